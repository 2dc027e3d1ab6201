"""Tells with a search what has changed since the index, without making it wait: looks go on beside and are remembered.

A look takes 15 µs a file, many times what a search takes. It begins when the answer is made, what it finds is told
with the searches of the next seconds, and after it the files have rest for twenty times as long as it took.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.logs import get_logger
from codebase_mcp.search.models import RelatedAnswer, SearchAnswer, SymbolAnswer
from codebase_mcp.service.changes import Looked, look_at, new_look

if TYPE_CHECKING:
    from codebase_mcp.indexing.listing import Look
    from codebase_mcp.search.models import RepositoryFreshness
    from codebase_mcp.settings import Settings
    from codebase_mcp.storage.database import Database

log = get_logger(__name__)

AnswerT = TypeVar("AnswerT", SearchAnswer, SymbolAnswer, RelatedAnswer)

GOOD_FOR_SECONDS = 10.0
REST = 20
"""A look is not repeated before so many times what it took."""
MOST_REPOSITORIES = 5
"""So many are looked at for one search; those of the best hits first."""
AT_ONCE = 2

NOT_YET = "Being counted: search again in a few seconds, or with require_fresh."
TOO_MANY = f"Counted for {MOST_REPOSITORIES} repositories of a search at most: search in one repository."
RESTING = "Not counted in the last seconds, because it takes long: search with require_fresh to know."


@dataclass(frozen=True, slots=True)
class _Remembered:
    looked: Looked
    ended: float
    seconds: float


class Looks:
    """What is known of the files of each repository, and the looks under way. One per service."""

    def __init__(
        self,
        database: Callable[[], Database],
        settings: Settings,
        host_id: Callable[[], str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`host_id` is the host of this service: the trees of others cannot be looked at."""
        self._database = database
        self._host_id = host_id
        self._settings = settings
        self._clock = clock
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._remembered: dict[tuple[str, str], _Remembered] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._open: dict[int, Look] = {}

    async def look(self, project_id: str, path: str) -> Looked:
        """A look that begins now: what is saved before this call is seen."""
        async with self._turn:
            look = new_look()
            self._open[id(look)] = look
            began = self._clock()
            try:
                max_bytes = self._settings.max_file_bytes
                looked = await look_at(self._database(), project_id, (self._host_id(), path), max_bytes, look)
            finally:
                del self._open[id(look)]
        self._remembered[project_id, path] = _Remembered(looked, self._clock(), self._clock() - began)
        return looked

    def told(self, answer: AnswerT, project_id: str) -> AnswerT:
        """The answer with what is known of changes; begins the looks that later answers will tell of."""
        chosen = _most_wanted(answer)
        entries = [
            entry
            if entry.host is not None
            else self._with_changes(project_id, entry)
            if entry.path in chosen
            else _not_known(entry, TOO_MANY)
            for entry in answer.freshness
        ]
        return answer.model_copy(update={"freshness": entries})

    async def awaited(self, answer: AnswerT, project_id: str, seconds: float) -> AnswerT:
        """The same for who has time: waits for the looks under way, so long at most."""
        own = [entry for entry in answer.freshness if entry.host is None]
        looks = [self._under_way.get((project_id, entry.path)) for entry in own]
        if waited_for := [look for look in looks if look is not None]:
            await asyncio.wait(waited_for, timeout=seconds)
        told = self.told(answer, project_id)
        late = f"Counting takes more than {seconds:g} s."
        entries = [_not_known(one, late) if one.changed_files_unknown == NOT_YET else one for one in told.freshness]
        return told.model_copy(update={"freshness": entries})

    async def close(self) -> None:
        """Ends the looks under way; their threads end soon after."""
        for look in self._open.values():
            look.list_deadline = look.deadline = -math.inf
        for task in list(self._under_way.values()):
            task.cancel()
        if self._under_way:
            await asyncio.wait(list(self._under_way.values()), timeout=1)

    def _with_changes(self, project_id: str, entry: RepositoryFreshness) -> RepositoryFreshness:
        known = self._remembered.get((project_id, entry.path))
        if known is not None and known.looked.indexed_at == entry.last_indexed_at:
            age = self._clock() - known.ended
            if age < GOOD_FOR_SECONDS:
                told = {"changed_files": known.looked.changes, "changed_files_unknown": known.looked.unknown}
                return entry.model_copy(update=told)
            if age < REST * known.seconds:
                return _not_known(entry, known.looked.unknown or RESTING)
        self._begin(project_id, entry)
        return _not_known(entry, NOT_YET)

    def _begin(self, project_id: str, entry: RepositoryFreshness) -> None:
        key = project_id, entry.path
        if key not in self._under_way:
            task = self._under_way[key] = asyncio.create_task(self._look_beside(project_id, entry))
            task.add_done_callback(lambda _done: self._under_way.pop(key, None))

    async def _look_beside(self, project_id: str, entry: RepositoryFreshness) -> None:
        """Nobody waits for it, so that nothing it meets may be raised."""
        try:
            await self.look(project_id, entry.path)
        except CodebaseMcpError as error:
            looked = Looked(entry.last_indexed_at, unknown=error.message)
            self._remembered[project_id, entry.path] = _Remembered(looked, self._clock(), 0.0)
        except Exception:
            log.exception("changes not counted", path=entry.path)


def _most_wanted(answer: SearchAnswer | SymbolAnswer | RelatedAnswer) -> set[str]:
    """Paths of the repositories to look at."""
    shown = {hit.repository for hit in answer.results}
    own = [entry for entry in answer.freshness if entry.host is None]
    by_need = sorted(own, key=lambda entry: entry.repository not in shown)
    return {entry.path for entry in by_need[:MOST_REPOSITORIES]}


def _not_known(entry: RepositoryFreshness, why: str) -> RepositoryFreshness:
    return entry.model_copy(update={"changed_files": None, "changed_files_unknown": why})
