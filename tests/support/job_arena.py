"""Where the model meets the engine: a guarded database, two sets of connections to it, and calls that overlap."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.job_calls import Cancel, Held, Operation, TakeWork
from tests.support.job_model import SEEN, Disagreement, Model
from tests.support.waiting import until

T = TypeVar("T")
Ending = Literal["committed", "rolled back", "frozen"]

UNAVAILABLE = "unavailable"

# What must hold at every commit, whoever makes it and however short it is to be seen.
GUARDS = [
    """
    CREATE FUNCTION public.history_is_told() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE last_event text; now_status text;
    BEGIN
      SELECT status INTO now_status FROM codebase_mcp.indexing_jobs WHERE id = NEW.id;
      SELECT event_type INTO last_event FROM codebase_mcp.job_events WHERE job_id = NEW.id
        AND event_type IN ('created', 'started', 'resumed', 'unblocked', 'released', 'blocked', 'completed', 'failed',
          'cancelled') ORDER BY id DESC LIMIT 1;
      IF now_status <> (CASE WHEN last_event IN ('created', 'released') THEN 'pending'
          WHEN last_event IN ('started', 'resumed', 'unblocked') THEN 'running' ELSE last_event END) THEN
        RAISE EXCEPTION 'a job is %, its last event is %', now_status, last_event;
      END IF;
      RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER history_is_told AFTER INSERT OR UPDATE ON codebase_mcp.indexing_jobs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.history_is_told()
    """,
    """
    CREATE FUNCTION public.transition_is_allowed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.progress_percentage < OLD.progress_percentage OR NEW.attempt < OLD.attempt THEN
        RAISE EXCEPTION 'progress or attempt fell: % %, then % %', OLD.progress_percentage, OLD.attempt,
          NEW.progress_percentage, NEW.attempt;
      ELSIF OLD.finished_at IS NOT NULL AND NEW.status <> OLD.status THEN
        RAISE EXCEPTION 'a job that was % became %', OLD.status, NEW.status;
      ELSIF NEW.status = 'blocked' AND OLD.status <> 'blocked'
          AND NEW.retry_at NOT BETWEEN clock_timestamp() AND clock_timestamp() + interval '75 seconds' THEN
        RAISE EXCEPTION 'blocked until %', NEW.retry_at;
      END IF;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER transition_is_allowed AFTER UPDATE ON codebase_mcp.indexing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.transition_is_allowed()
    """,
]

# A retry that comes due by itself, while an example runs, would be a surprise to the model.
SETTLE = """
UPDATE codebase_mcp.indexing_jobs SET retry_at = clock_timestamp() + interval '1 hour'
WHERE status = 'blocked' AND retry_at BETWEEN '2001-01-01' AND clock_timestamp() + interval '30 minutes'
"""


@dataclass
class Arena:
    """A database, a second set of connections to it, and the event loop that all examples share."""

    runner: asyncio.Runner
    first: Database
    second: Database

    def do(self, work: Awaitable[T]) -> T:
        async def worked() -> T:
            return await work

        return self.runner.run(worked())

    def settle(self) -> None:
        self.do(jobs.execute(self.first, SETTLE))

    def look(self) -> Any:
        return self.do(jobs.execute(self.first, SEEN))


@contextlib.contextmanager
def open_arena(url: str) -> Iterator[Arena]:
    with asyncio.Runner() as runner:
        arena = Arena(runner, *(Database(url, application_name=name, control_seconds=20) for name in ("a", "b")))
        for guard in GUARDS:
            arena.do(jobs.execute(arena.first, guard))
        yield arena
        for database in (arena.first, arena.second):
            arena.do(database.close())


# --- two calls at once ---


class _UndoneError(Exception):
    """Rolls the transaction back in which it is raised."""


def _undo_unless(is_committed: bool) -> None:
    if not is_committed:
        raise _UndoneError


@dataclass(frozen=True)
class Answers:
    """What two overlapping calls answered; `has_waited` says whether the second waited for the first."""

    first: Any
    second: Any
    has_waited: bool
    is_committed: bool

    def explanations(self, before: Model, first: Operation, second: Operation, problems: list[str]) -> Iterator[Model]:
        """The models of every order that gives these answers; that of the first is sure, because it began alone."""
        first.apply(copy.deepcopy(before), self.first)
        locked = first.locks(before, self.first)
        for order in self._orders(first, second, locked):
            model = copy.deepcopy(before)
            try:
                for step in order:
                    step(model)
            except Disagreement as problem:
                problems.append(str(problem))
            else:
                yield model

    def _orders(self, first: Operation, second: Operation, locked: set[UUID]) -> list[list[Callable[[Model], None]]]:
        def one(model: Model) -> None:
            first.apply(model, self.first)

        def other(model: Model) -> None:
            if self.second == UNAVAILABLE:  # it was rolled back, whether or not its waiting was seen
                return
            has_lost_the_slot = isinstance(first, TakeWork) and isinstance(second, TakeWork) and self.second is None
            if self.has_waited and has_lost_the_slot and self.is_committed:
                return
            if self.has_waited and isinstance(second, TakeWork) and not isinstance(first, TakeWork):
                raise Disagreement(f"{second} waited for {first}")
            second.apply(model, self.second, frozenset(locked))

        if not self.is_committed:
            return [[other]]
        return [[one, other]] if self.has_waited else [[one, other], [other, one]]


async def overlapping(arena: Arena, first: Operation, second: Operation, ending: Ending) -> Answers:
    """The second begins while the transaction of the first is open; that one ends when the second has ended or waits.

    If the first is frozen and the second a cancel, it does not end by itself at all.
    """
    answer: Any = None
    state, is_committed = "", False
    try:
        async with arena.first.transaction("writers") as connection:
            answer = await first.run(cast(Database, Held(connection)))
            task = asyncio.create_task(_answer(second, arena.second))
            while state not in ("done", "waiting") or (state == "waiting" and _is_for_ever(second, ending)):
                state = await until(lambda: _done_or_waiting(arena, task), what=f"{second} to end or to wait")
            # What the engine refuses it also rolls back.
            _undo_unless(ending != "rolled back" and answer is not False and not _is_for_ever(second, ending))
        is_committed = True
    except _UndoneError:
        pass
    except DatabaseUnavailableError:
        # On a busy machine the second may lose its patience and throw the first one out: that was rolled back, then.
        is_committed = False
    return Answers(answer, await task, state == "waiting", is_committed)


def _is_for_ever(second: Operation, ending: Ending) -> bool:
    return ending == "frozen" and isinstance(second, Cancel)


async def _answer(operation: Operation, database: Database) -> Any:
    try:
        return await operation.run(database)
    except DatabaseUnavailableError:  # it waited for longer than a lock may be waited for
        return UNAVAILABLE


async def _done_or_waiting(arena: Arena, task: asyncio.Task[Any]) -> str:
    if task.done():
        return "done"
    waiting = await jobs.scalar(arena.first, "SELECT count(*) FROM pg_locks WHERE NOT granted")
    return "waiting" if waiting and not task.done() else ""
