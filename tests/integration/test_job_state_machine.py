"""Random histories of jobs against a model: after every step the database says what the model says.

The examples are the same at every run, so that a failure is the doing of a change; `--soak` makes many more and new
ones. A failure prints its steps and a line that replays it; CODEBASE_MCP_SHRINK=1 makes the failing example small,
which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from codebase_mcp.domain import FileState, JobPhase
from codebase_mcp.jobs.store import FRUITLESS_LIMIT, Claim
from tests.support import jobs
from tests.support.job_arena import Arena, Ending, open_arena, overlapping
from tests.support.job_calls import (
    Attach,
    Block,
    Cancel,
    Capture,
    Commit,
    Fail,
    Fence,
    Finish,
    Operation,
    Prune,
    Redo,
    Release,
    Renew,
    Start,
    TakeWork,
    Write,
)
from tests.support.job_model import FATES, Disagreement, Model, ModelJob, assert_rules, compare

T = TypeVar("T")

REPOSITORIES = [(project, path) for project in ("one", "two") for path in ("/src/a", "/src/b", "/src/c")]
WORKERS = [uuid4() for _ in range(4)]
LONG_AGO = "'2000-01-01'"
MOMENTS = {
    "lapsed": "clock_timestamp() - interval '1 second'",
    "long lapsed": LONG_AGO,
    "far": "clock_timestamp() + interval '1 hour'",
}

PICKS = st.integers(0, 9_999)
WRITES = ["commit", "commit", "fence", "capture", "attach", "redo", "renew"]
ENDS = ["finish", "finish", "fail", "block", "block", "release", "release"]
CALLS = ["claim"] * 5 + ["start", "capture"] * 3 + ["commit"] * 2 + WRITES + ENDS + ["cancel", "prune"]
PAIRS = [
    ("any", "any"), ("claim", "claim"), ("claim", "claim"), ("claim", "write"), ("claim", "write"), ("claim", "end"),
    ("claim", "cancel"), ("write", "cancel"), ("write", "claim"), ("write", "renew"), ("write", "start"),
    ("renew", "write"), ("end", "cancel"), ("end", "claim"), ("end", "renew"), ("end", "start"), ("cancel", "write"),
    ("cancel", "end"), ("cancel", "cancel"), ("cancel", "start"), ("start", "start"), ("prune", "prune"),
]  # fmt: skip
ENDINGS: st.SearchStrategy[Ending] = st.sampled_from(["committed"] * 4 + ["rolled back", "frozen"])


@pytest.fixture
def arena(database_url: str) -> Iterator[Arena]:
    with open_arena(database_url) as opened:
        yield opened


class JobEngine(RuleBasedStateMachine):
    """Each rule is one call of the engine, one move of the clock, or two calls at once on two connections."""

    def __init__(self, arena: Arena) -> None:
        super().__init__()
        self.arena = arena
        self.model = Model()

    @initialize(started=st.integers(0, 7), claimed=st.integers(0, 4), captured=st.integers(0, 3))
    def some_jobs_are_under_way(self, started: int, claimed: int, captured: int) -> None:
        self.arena.do(jobs.execute(self.arena.first, "DELETE FROM codebase_mcp.indexing_jobs"))
        for n in range(started):
            self._call(Start(*_one(REPOSITORIES, n)))
        for n in range(claimed):
            self._call(self._claim(n))
        for claim in self.model.claims[:captured]:
            self._call(Capture(claim, (FileState.PENDING,) * 4))

    @rule(pick=PICKS, kind=st.sampled_from(CALLS))
    def one_call(self, pick: int, kind: str) -> None:
        if operation := self._operation(kind, pick):
            self._call(operation)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS, other_pick=PICKS, kinds=st.sampled_from(PAIRS), is_silent=st.booleans(), ends=ENDINGS)
    def two_calls_at_once(
        self, pick: int, other_pick: int, kinds: tuple[str, str], is_silent: bool, ends: Ending
    ) -> None:
        """Mostly both about one job, whose worker may have stopped responding."""
        job = _one(self.model.running() or list(self.model.jobs.values()), pick)
        if is_silent and job.status == "running":
            self._silence(job, "lapsed")
        first, second = (self._operation(kind, n, job) for kind, n in zip(kinds, (pick, other_pick), strict=True))
        if first and second and not _same_hands(first, second):
            self._call_both(first, second, ends)

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICKS, what=st.sampled_from(["lapsed", "long lapsed", "far", "deaths", "time", "time", "time"]))
    def without_a_call(self, pick: int, what: str) -> None:
        running = self.model.running()
        match what:
            case "time":
                self._let_time_pass(pick)
            case "deaths":
                self._let_workers_die(1 + pick % (FRUITLESS_LIMIT + 2), pick)
            case _ if running:
                self._silence(_one(running, pick), what)

    # --- what holds after every step ---

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        rows = self.arena.look()
        assert_rules(rows)
        if differences := compare(self.model, rows):
            raise Disagreement("\n".join(differences))

    # --- how ---

    def _call(self, operation: Operation) -> None:
        operation.apply(self.model, self.arena.do(operation.run(self.arena.first)))
        self.arena.settle()

    def _call_both(self, first: Operation, second: Operation, ending: Ending) -> None:
        """`second` begins while the transaction of `first` is open, and ends when it likes."""
        answers = self.arena.do(overlapping(self.arena, first, second, ending))
        self.arena.settle()
        rows = self.arena.look()
        problems: list[str] = []
        for model in answers.explanations(self.model, first, second, problems):
            if not (differences := compare(model, rows)):
                self.model = model
                return
            problems.extend(differences)
        raise Disagreement(f"{first}, then {second}: {answers}\n" + "\n".join(problems))

    def _let_time_pass(self, pick: int) -> None:
        """What waits for its retry need wait no longer; what has ended has ended long ago."""
        waiting = [job for job in self.model.jobs.values() if job.is_due is False or job.is_old is False]
        if not waiting:
            return
        job = _one(waiting, pick)
        if job.status == "blocked":
            job.is_due = True
            self._set(job, f"retry_at = {LONG_AGO}")
        else:
            job.is_old = True
            self._set(job, f"finished_at = {LONG_AGO}")

    def _let_workers_die(self, times: int, pick: int) -> None:
        for n in range(times):
            if running := self.model.running():
                self._silence(_one(running, pick), "lapsed")
                self._call(self._claim(n))

    def _silence(self, job: ModelJob, lease: str) -> None:
        """A lease that lapsed, or one that looks endless because the clock was set back."""
        job.lease = lease
        self._set(job, f"lease_expires_at = {MOMENTS[lease]}")

    def _set(self, job: ModelJob, assignment: str) -> None:
        self.arena.do(jobs.set_column(self.arena.first, job.id, assignment))

    def _some_claim(self, pick: int, job: ModelJob | None = None) -> Claim:
        """Mostly one that is good, else any that ever was; of one job if it has any."""
        claims = [claim for claim in self.model.claims if job and claim.job_id == job.id] or self.model.claims
        good = [claim for claim in claims if self.model.held(claim)]
        return _one(good if good and pick % 10 < 7 else claims, pick // 10)

    def _operation(self, kind: str, pick: int, job: ModelJob | None = None) -> Operation | None:
        """The call of this kind, on one job if it is one that concerns a job."""
        kind = _one({"any": CALLS, "write": WRITES, "end": ENDS}.get(kind, [kind]), pick)
        match kind:
            case "start":
                return Start(job.project_id, job.repo_path) if job else Start(*_one(REPOSITORIES, pick))
            case "claim":
                return self._claim(pick)
            case "prune":
                return Prune()
            case "cancel":
                return Cancel(job.id if job else _one(list(self.model.jobs), pick)) if self.model.jobs else None
        return self._write(kind, pick, self._some_claim(pick, job)) if self.model.claims else None

    def _claim(self, pick: int) -> Operation:
        return TakeWork(_one(WORKERS, pick))

    def _write(self, kind: str, pick: int, claim: Claim) -> Operation:
        states = [FileState.PENDING, FileState.PENDING, *FATES[1:]]
        match kind:
            case "renew":
                return Renew(claim, pick % 8)
            case "attach":
                return Attach(claim, 1 + pick % 3)
            case "fence":
                return Fence(claim, JobPhase.FINISHING if pick % 2 else JobPhase.INDEXING)
            case "capture":
                return Capture(claim, tuple(_one(states, pick // n) for n in (1, 3, 7, 11)[: 1 + pick % 4]))
            case "commit":
                return self._commit_for(claim, everything=pick % 3 == 0, is_checkpoint=pick % 5 == 0)
        return {"redo": Redo, "finish": Finish, "fail": Fail, "block": Block, "release": Release}[kind](claim)

    def _commit_for(self, claim: Claim, *, everything: bool, is_checkpoint: bool) -> Commit:
        job = self.model.jobs.get(claim.job_id)
        pending = job.pending if job else []
        chosen = pending if everything else pending[:1]
        return Commit(claim, tuple((n, _one(FATES, n + claim.attempt)) for n in chosen), is_checkpoint)


def _one(candidates: Sequence[T], pick: int) -> T:
    return candidates[pick % len(candidates)]


def _same_hands(first: Operation, second: Operation) -> bool:
    """A worker makes one claim after the other, and a runner one step, but for its renewals."""
    if isinstance(first, TakeWork) and isinstance(second, TakeWork):
        return first.worker_id == second.worker_id
    if not (isinstance(first, Write) and isinstance(second, Write)):
        return False
    return first.claim == second.claim and not isinstance(first, Renew) and not isinstance(second, Renew)


# --- the tests ---

QUIET = settings(
    deadline=None,
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink) if os.environ.get("CODEBASE_MCP_SHRINK") else (Phase.generate,),
    stateful_step_count=60,
)


def run(arena: Arena, **more: Any) -> None:
    def machine() -> JobEngine:  # the line that replays a failure goes above this one
        return JobEngine(arena)

    run_state_machine_as_test(machine, settings=settings(QUIET, **more))


@pytest.mark.timeout(600)
def test_every_history_of_calls_leaves_what_the_model_foretells(arena: Arena) -> None:
    run(arena, max_examples=15, derandomize=True)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_more_histories_leave_what_the_model_foretells(arena: Arena) -> None:
    run(arena, max_examples=2_000)
