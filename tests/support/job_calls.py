"""The calls of the job engine as operations whose answers and effects the model foretells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from codebase_mcp.domain import FileOutcome, FileState, JobPhase
from codebase_mcp.errors import LeaseLostError
from codebase_mcp.jobs import store
from codebase_mcp.jobs.store import BatchCounts, CapturedFile, Claim
from codebase_mcp.storage.database import Database
from tests.support.job_model import Disagreement, Model, ModelJob, expect
from tests.support.jobs import FILE_BYTES, HOST, found

RETENTION_DAYS = 7
NOBODY: frozenset[UUID] = frozenset()


@dataclass(frozen=True)
class Held:
    """Stands for a database, but every transaction is the one that is open already."""

    connection: Any

    @asynccontextmanager
    async def transaction(self, *_: object, **__: object) -> Any:
        yield self.connection

    maintenance = transaction


@dataclass(frozen=True)
class Operation(ABC):
    """One call of the engine."""

    @abstractmethod
    async def run(self, database: Database) -> Any:
        """Makes the call; what it answered."""

    @abstractmethod
    def apply(self, model: Model, outcome: Any, locked: Set[UUID] = NOBODY) -> None:
        """Compares the answer with the model, and changes that as the call has changed the database."""

    @abstractmethod
    def locks(self, model: Model, outcome: Any) -> set[UUID]:
        """Whose rows stay locked while its transaction is open, from the model as it was before."""


@dataclass(frozen=True)
class Start(Operation):
    project_id: str
    repo_path: str

    async def run(self, database: Database) -> tuple[UUID, bool]:
        names = {"project_id": self.project_id, "repo_path": self.repo_path, "repo_name": "any"}
        job, is_new = await store.start(database, **names, force_reindex=False, metadata={}, host_id=HOST.id)
        return job.id, is_new

    def apply(self, model: Model, outcome: Any, locked: Set[UUID] = NOBODY) -> None:
        job_id, is_new = outcome
        if active := model.active(self.project_id, self.repo_path):
            expect(outcome, (active.id, False), self)
        else:
            expect(is_new, True, self)
            model.jobs[job_id] = ModelJob(job_id, self.project_id, self.repo_path)

    def locks(self, model: Model, outcome: Any) -> set[UUID]:
        return {outcome[0]} if outcome[1] else set()


@dataclass(frozen=True)
class TakeWork(Operation):
    """A claim by a worker; answers (job, attempt, slot) or None."""

    worker_id: UUID
    lease_seconds: float = 100.0

    async def run(self, database: Database) -> tuple[UUID, int, int | None] | None:
        job = await store.claim(database, worker_id=self.worker_id, host=HOST, lease_seconds=self.lease_seconds)
        return None if job is None else (job.id, job.attempt, job.slot)

    def apply(self, model: Model, outcome: Any, locked: Set[UUID] = NOBODY) -> None:
        for hopeless in model.hopeless(locked):
            hopeless.leave("failed", "failed")
            hopeless.error_type = "WorkerDied"
        job, free = model.candidate(self.worker_id, locked), model.free_slots()
        if job is None:
            expect(outcome, None, self)
            return
        if outcome is None or outcome[2] not in ({job.slot} if job.slot else free):
            raise Disagreement(f"{self}: {outcome} is no claim of {job} with one of the free slots {free}")
        expect(outcome[:2], (job.id, job.attempt + 1), self)
        self._take(job, outcome[2])
        model.claims.append(Claim(job.id, job.attempt, self.lease_seconds))

    def _take(self, job: ModelJob, slot: int) -> None:
        job.events.append(
            "unblocked" if job.status == "blocked" else "resumed" if job.attempt else "started",
        )
        if job.status == "running" and job.worker_id != self.worker_id:
            job.fruitless_attempts += 1
        job.status, job.lease, job.is_due, job.error_type = "running", "held", None, None
        job.attempt, job.slot, job.worker_id = job.attempt + 1, slot, self.worker_id
        job.phase = "indexing" if job.files else "discovering"

    def locks(self, model: Model, outcome: Any) -> set[UUID]:
        hopeless = {job.id for job in model.hopeless(NOBODY)}
        candidate = model.candidate(self.worker_id, hopeless)
        return hopeless | ({candidate.id} if candidate else set())


@dataclass(frozen=True)
class Cancel(Operation):
    job_id: UUID

    async def run(self, database: Database) -> bool:
        return await store.cancel(database, self.job_id) is not None

    def apply(self, model: Model, outcome: Any, locked: Set[UUID] = NOBODY) -> None:
        job = model.jobs.get(self.job_id)
        expect(outcome, job is not None and job.is_active, self)
        if job and outcome:
            job.leave("cancelled", "cancelled")

    def locks(self, model: Model, outcome: Any) -> set[UUID]:
        return {self.job_id} if outcome else set()


@dataclass(frozen=True)
class Prune(Operation):
    async def run(self, database: Database) -> int:
        return await store.prune(database, RETENTION_DAYS)

    def apply(self, model: Model, outcome: Any, locked: Set[UUID] = NOBODY) -> None:
        gone = {job.id for job in model.jobs.values() if job.is_old} - locked
        expect(outcome, len(gone), self)
        for job_id in gone:
            del model.jobs[job_id]

    def locks(self, model: Model, outcome: Any) -> set[UUID]:
        return {job.id for job in model.jobs.values() if job.is_old}


# --- writes of whoever holds, or held, a job ---


@dataclass(frozen=True)
class Write(Operation):
    """Let through if and only if the claim is good."""

    claim: Claim

    async def run(self, database: Database) -> bool:
        try:
            return await self._write(database)
        except LeaseLostError:
            return False

    def apply(self, model: Model, outcome: Any, locked: Set[UUID] = NOBODY) -> None:
        job = model.held(self.claim)
        expect(outcome, job is not None and self._may(job), self)
        if job and outcome:
            self._change(job)

    def locks(self, model: Model, outcome: Any) -> set[UUID]:
        return {self.claim.job_id} if outcome else set()

    @abstractmethod
    async def _write(self, database: Database) -> bool:
        """True if the engine let it through."""

    def _may(self, job: ModelJob) -> bool:
        return True

    @abstractmethod
    def _change(self, job: ModelJob) -> None:
        """What the write does to the job."""


@dataclass(frozen=True)
class Renew(Write):
    files_scanned: int = 0

    async def _write(self, database: Database) -> bool:
        return await store.renew(database, self.claim, files_scanned=self.files_scanned)

    def _change(self, job: ModelJob) -> None:
        job.lease = "held"
        job.files_scanned = max(job.files_scanned, self.files_scanned)


@dataclass(frozen=True)
class Attach(Write):
    repository_id: int = 1

    async def _write(self, database: Database) -> bool:
        async with database.transaction("writers") as connection:
            await store.attach_repository(connection, self.claim, self.repository_id)
        return True

    def _change(self, job: ModelJob) -> None:
        job.repository_id = self.repository_id


@dataclass(frozen=True)
class Capture(Write):
    """The list of files, each in the state it starts in."""

    states: Sequence[FileState] = (FileState.PENDING,)

    async def _write(self, database: Database) -> bool:
        captured = [
            CapturedFile(found(f"{n}.py"), state, "why" if state in (FileState.SKIPPED, FileState.FAILED) else None)
            for n, state in enumerate(self.states)
        ]
        async with database.transaction("writers") as connection:
            await store.capture(connection, self.claim, captured, {})
        return True

    def _may(self, job: ModelJob) -> bool:
        return not job.files

    def _change(self, job: ModelJob) -> None:
        job.files = [state.value for state in self.states]
        job.files_scanned, job.bytes_total = len(job.files), FILE_BYTES * len(job.pending)
        job.phase, job.lease, job.fruitless_attempts = "indexing", "held", 0


@dataclass(frozen=True)
class Commit(Write):
    """A batch: files by ordinal with the state they get, in one transaction behind the fence."""

    outcomes: tuple[tuple[int, FileState], ...] = ()
    is_checkpoint: bool = False

    async def _write(self, database: Database) -> bool:
        states = [state for _, state in self.outcomes]
        counts = BatchCounts(
            indexed=states.count(FileState.INDEXED),
            unchanged=states.count(FileState.UNCHANGED),
            skipped=states.count(FileState.SKIPPED),
            failed=states.count(FileState.FAILED),
            chunks=len(states),
            bytes=FILE_BYTES * len(states),
        )
        reasons = {FileState.SKIPPED: "binary", FileState.FAILED: "it died"}
        marks = {n: FileOutcome(f"{n}.py", state, reasons.get(state)) for n, state in self.outcomes}
        async with database.transaction("writers") as connection:
            await store.commit_batch(connection, self.claim, counts, is_checkpoint=self.is_checkpoint)
            await store.mark_files(connection, self.claim, marks)
        return True

    def _change(self, job: ModelJob) -> None:
        for ordinal, state in self.outcomes:
            job.files[ordinal] = state.value
        job.chunks_created += len(self.outcomes)
        job.bytes_done += FILE_BYTES * len(self.outcomes)
        done = min(99, 100 * job.bytes_done // max(job.bytes_total, 1))
        job.progress_percentage = max(job.progress_percentage, done)
        job.phase, job.lease, job.fruitless_attempts, job.block_count = "indexing", "held", 0, 0
        if self.is_checkpoint:
            job.events.append("progress")


@dataclass(frozen=True)
class Redo(Write):
    """Everything again, because the model or the program changed."""

    async def _write(self, database: Database) -> bool:
        async with database.transaction("writers") as connection:
            await store.redo_files(connection, self.claim, "another")
        return True

    def _change(self, job: ModelJob) -> None:
        job.files = ["pending" if state in ("indexed", "unchanged") else state for state in job.files]
        job.chunks_created, job.bytes_done, job.bytes_total = 0, 0, FILE_BYTES * len(job.pending)


@dataclass(frozen=True)
class Fence(Write):
    phase: JobPhase = JobPhase.FINISHING

    async def _write(self, database: Database) -> bool:
        async with database.transaction("writers") as connection:
            await store.fence(connection, self.claim, self.phase, "upkeep")
        return True

    def _change(self, job: ModelJob) -> None:
        job.phase, job.lease = self.phase.value, "held"
        if self.phase is JobPhase.FINISHING:
            job.progress_percentage = 99


@dataclass(frozen=True)
class Finish(Write):
    async def _write(self, database: Database) -> bool:
        async with database.transaction("writers") as connection:
            await store.finish(connection, self.claim, "done")
        return True

    def _may(self, job: ModelJob) -> bool:
        return not job.pending

    def _change(self, job: ModelJob) -> None:
        job.progress_percentage = 100
        job.leave("completed", "completed")


@dataclass(frozen=True)
class Fail(Write):
    async def _write(self, database: Database) -> bool:
        ended = await store.fail(database, self.claim, error_type="ValueError", message="no good", traceback=None)
        return ended is not None

    def _change(self, job: ModelJob) -> None:
        job.error_type = "ValueError"
        job.leave("failed", "failed")


@dataclass(frozen=True)
class Block(Write):
    async def _write(self, database: Database) -> bool:
        return await store.block(database, self.claim, error_type="StorageFullError", message="full") is not None

    def _change(self, job: ModelJob) -> None:
        job.error_type = "StorageFullError"
        job.leave("blocked", "blocked")
        job.is_due, job.block_count = False, min(6, job.block_count + 1)


@dataclass(frozen=True)
class Release(Write):
    async def _write(self, database: Database) -> bool:
        return await store.release(database, self.claim) is not None

    def _change(self, job: ModelJob) -> None:
        job.leave("pending", "released")
