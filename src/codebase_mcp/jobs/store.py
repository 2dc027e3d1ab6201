"""The job engine's statements as typed functions; the only reader of rows into `Job`.

Every function that takes a `Claim` is fenced: it answers nothing (or raises `LeaseLostError`) once the job was
cancelled or taken over. Functions with a `connection` argument are part of the caller's transaction; the others are
one statement, one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from codebase_mcp.domain import DiscoveredFile, FileOutcome, FileStat, FileState, Host, Job, JobEvent, JobPhase
from codebase_mcp.errors import ConstraintViolatedError, DatabaseUnavailableError, LeaseLostError
from codebase_mcp.jobs.statements import row as _row
from codebase_mcp.jobs.statements import rows as _rows
from codebase_mcp.jobs.statements import statements
from codebase_mcp.storage import tables
from codebase_mcp.storage.database import copy_rows

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.database import Database

FRUITLESS_LIMIT = 5
"""Take-overs in a row without a committed batch after which a job is given up."""
SUSPECT_FROM = 2
UNEXPECTED_LIMIT = 3
"""Fruitless attempts from which a job runs alone: whoever died with it once may have died of another's file."""
SUSPECT_WAIT_SECONDS = 25.0
"""Long enough for a server to notice that a suspect waits, and for the worker that it starts to come up."""

CANCEL_TRIES = 3
CANCEL_LOCK_MILLISECONDS = 250
SILENT_SECONDS = 3.0
"""Who holds the row of a lapsed job and has said nothing for so long is taken for dead."""
CAPTURED_AT_ONCE = 50_000
"""Rows of one COPY: a statement has a deadline, a large repository has not."""
PRUNED_AT_ONCE = 20
"""A job may have a row for each of very many files."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write for a job: good as long as `attempt` is the job's current attempt."""

    job_id: UUID
    attempt: int
    lease_seconds: float

    @property
    def token(self) -> dict[str, Any]:
        """What every write compares."""
        return {"id": self.job_id, "attempt": self.attempt}

    @property
    def renewal(self) -> dict[str, Any]:
        return self.token | {"lease_seconds": self.lease_seconds}


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A captured file that is still to be done."""

    ordinal: int
    relative_path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """A file of the list taken at the start, with the state it starts in."""

    found: DiscoveredFile
    state: FileState
    reason: str | None


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What one committed batch adds to the job. `as_text` are those of the indexed that no grammar could read."""

    indexed: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    chunks: int = 0
    bytes: int = 0
    as_text: int = 0

    @property
    def files(self) -> int:
        return self.indexed + self.unchanged + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class WaitingWork:
    """How much there is to do, and whether somebody does it."""

    claimable: int
    running: int
    active: int
    longest_lapse_seconds: float


@dataclass(frozen=True, slots=True)
class AdoptedJob:
    """An active job of a repository that another host is to have; `is_living`: its worker is at it."""

    id: UUID
    is_living: bool


async def _job(connection: AsyncConnection, name: str, arguments: Mapping[str, Any]) -> Job | None:
    row = await _row(connection, name, arguments)
    return None if row is None else to_job(row)


async def _transition(database: Database, name: str, arguments: Mapping[str, Any]) -> Job | None:
    async with database.transaction("control") as connection:
        return await _job(connection, name, arguments)


def to_job(row: sa.RowMapping) -> Job:
    return Job.model_validate({field: row[field] for field in Job.model_fields})


# --- asking for work ---


async def start(
    database: Database,
    *,
    project_id: str,
    repo_path: str,
    repo_name: str,
    force_reindex: bool,
    metadata: dict[str, Any],
    host_id: str,
) -> tuple[Job, bool]:
    """A new pending job of that host and True, or the repository's active job and False."""
    where = {"project_id": project_id, "host_id": host_id, "repo_path": repo_path}
    arguments = where | {
        "id": uuid4(), "repo_name": repo_name, "force_reindex": force_reindex, "metadata": json.dumps(metadata),
    }  # fmt: skip
    # The active job may end between the two statements; then the next round inserts.
    for _ in range(3):
        async with database.transaction("control") as connection:
            if job := await _job(connection, "start", arguments):
                return job, True
            if job := await _job(connection, "active_job", where):
                return job, False
    raise ConstraintViolatedError(
        "one_active_job_per_repository", f"jobs for {repo_path} come and go too fast; try again"
    )


async def cancel(database: Database, job_id: UUID) -> Job | None:
    """The job as cancelled, or None when it was not active.

    Whoever holds the job's row for longer than a moment is thrown out, a worker that froze in a batch as well as one
    that is slow: what it has in hand for this job is not wanted any more.
    """
    for _ in range(CANCEL_TRIES - 1):
        try:
            return await _cancel(database, job_id)
        except DatabaseUnavailableError:
            async with database.transaction("control") as connection:
                await _rows(connection, "evict_holder", {"id": job_id})
    return await _cancel(database, job_id)


async def _cancel(database: Database, job_id: UUID) -> Job | None:
    async with database.transaction("control") as connection:
        await connection.execute(sa.text(f"SET LOCAL lock_timeout = '{CANCEL_LOCK_MILLISECONDS}'"))
        return await _job(connection, "cancel", {"id": job_id})


async def prepare_adoption(
    connection: AsyncConnection, project_id: str, host_id: str | None, repo_path: str
) -> list[AdoptedJob]:
    """Locks a repository's active jobs and gives back those whose workers are dead; rolled back with the caller."""
    where = {"project_id": project_id, "host_id": host_id, "repo_path": repo_path}
    return [AdoptedJob(row["id"], row["is_living"]) for row in await _rows(connection, "prepare_adoption", where)]


async def note_adoption(
    connection: AsyncConnection, job_ids: Sequence[UUID], from_host: str | None, to_host: str
) -> None:
    """Writes the event of jobs that were moved to another host."""
    await _rows(connection, "note_adoption", {"ids": list(job_ids), "from_host": from_host, "to_host": to_host})


async def hide_first_jobs(database: Database, project_id: str, host_id: str | None, repo_path: str) -> None:
    """Has a repository that was never begun no longer shown as incomplete; its jobs stay on record."""
    async with database.transaction("control") as connection:
        where = {"project_id": project_id, "host_id": host_id, "repo_path": repo_path}
        await _rows(connection, "hide_first_jobs", where)


# --- owning a job ---


async def claim(database: Database, *, worker_id: UUID, host: Host, lease_seconds: float) -> Job | None:
    """Takes the most urgent job of the host that can run now; None when there is none or no slot is free."""
    arguments = {
        "worker_id": worker_id, "host_id": host.id, "host": host.name, "lease_seconds": lease_seconds,
        "suspect_from": SUSPECT_FROM, "suspect_wait_seconds": SUSPECT_WAIT_SECONDS,
    }  # fmt: skip
    try:
        async with database.transaction("control") as connection:
            await _rows(connection, "fail_hopeless", {"fruitless_limit": FRUITLESS_LIMIT, "host_id": host.id})
            job = await _job(connection, "claim", arguments)
            if job is None:
                await _rows(connection, "evict_silent", {"silent_seconds": SILENT_SECONDS, "host_id": host.id})
            return job
    except ConstraintViolatedError as error:
        if error.constraint == "one_job_per_slot":
            return None  # another worker took the last slot in the same instant
        raise


async def renew(
    database: Database,
    claim: Claim,
    *,
    files_scanned: int = 0,
    progress_message: str | None = None,
    has_advanced: bool = False,
) -> bool:
    """Extends the lease; False means stop: the job is cancelled or somebody else's."""
    more = {"files_scanned": files_scanned, "progress_message": progress_message, "has_advanced": has_advanced}
    async with database.transaction("control") as connection:
        return await _row(connection, "renew", claim.renewal | more) is not None


async def attach_repository(connection: AsyncConnection, claim: Claim, repository_id: int) -> None:
    arguments = claim.token | {"repository_id": repository_id}
    _held(await _row(connection, "attach_repository", arguments))


async def capture(
    connection: AsyncConnection, claim: Claim, captured: Sequence[CapturedFile], metadata: dict[str, Any]
) -> None:
    """Stores the file list; from here on `job_files` is the truth of what is left."""
    pending = [file for file in captured if file.state is FileState.PENDING]
    arguments = claim.renewal | {
        "files_total": len(captured),
        "files_unchanged": sum(file.state is FileState.UNCHANGED for file in captured),
        "files_skipped": sum(file.state is FileState.SKIPPED for file in captured),
        "files_failed": sum(file.state is FileState.FAILED for file in captured),
        "bytes_total": sum(file.found.size_bytes for file in pending),
        "metadata": json.dumps(metadata),
    }
    columns = ("job_id", "ordinal", "relative_path", "state", "reason", *FileStat._fields)
    records = [
        (claim.job_id, ordinal, file.found.relative_path, file.state.value, file.reason, *file.found.stat)
        for ordinal, file in enumerate(captured)
    ]
    _held(await _row(connection, "may_capture", claim.token))
    for start in range(0, len(records), CAPTURED_AT_ONCE):
        part = records[start : start + CAPTURED_AT_ONCE]
        await copy_rows(connection, tables.job_files, tables.CONTROL_SCHEMA, columns, part)
    _held(await _row(connection, "capture", arguments))


async def commit_batch(connection: AsyncConnection, claim: Claim, counts: BatchCounts, *, is_checkpoint: bool) -> Job:
    """The fence of a batch: first statement of its transaction."""
    arguments = claim.renewal | {
        "indexed": counts.indexed, "unchanged": counts.unchanged, "skipped": counts.skipped, "failed": counts.failed,
        "chunks": counts.chunks, "bytes": counts.bytes, "as_text": counts.as_text, "is_checkpoint": is_checkpoint,
    }  # fmt: skip
    return to_job(_held(await _row(connection, "commit_batch", arguments)))


async def mark_files(connection: AsyncConnection, claim: Claim, states: Mapping[int, FileOutcome]) -> None:
    """Moves captured files, by ordinal, out of `pending`."""
    arguments = {
        "id": claim.job_id,
        "ordinals": list(states),
        "states": [outcome.state.value for outcome in states.values()],
        "reasons": [outcome.reason for outcome in states.values()],
    }
    await connection.execute(statements()["mark_files"], arguments)


async def redo_files(connection: AsyncConnection, claim: Claim, index_fingerprint: str) -> None:
    """Makes all files that were indexed or unchanged pending again; the job then begins with its list anew."""
    arguments = claim.token | {"index_fingerprint": index_fingerprint}
    _held(await _row(connection, "redo_files", arguments))


async def fence(connection: AsyncConnection, claim: Claim, phase: JobPhase, progress_message: str) -> None:
    """The fence of a step of upkeep: first statement of its transaction."""
    arguments = claim.renewal | {"phase": phase.value, "progress_message": progress_message}
    _held(await _row(connection, "fence", arguments))


async def finish(
    connection: AsyncConnection, claim: Claim, progress_message: str, left_out: Sequence[dict[str, Any]] = ()
) -> Job:
    arguments = claim.token | {"progress_message": progress_message, "left_out": json.dumps(list(left_out))}
    return to_job(_held(await _row(connection, "finish", arguments)))


async def fail(database: Database, claim: Claim, *, error_type: str, message: str, traceback: str | None) -> Job | None:
    arguments = claim.token | {"error_type": error_type, "error_message": message, "error_traceback": traceback}
    return await _transition(database, "fail", arguments)


async def block(
    database: Database,
    claim: Claim,
    *,
    error_type: str,
    message: str,
    retry_after_seconds: float = 0.0,
    is_unexpected: bool = False,
) -> Job | None:
    """Lets the job wait; it is tried again when its growing delay is over, and not before `retry_after_seconds`.

    None when the job is no longer the claim's, and for an unexpected error at the UNEXPECTED_LIMIT-th time in a row.
    """
    arguments = claim.token | {
        "error_type": error_type, "error_message": message, "retry_after_seconds": retry_after_seconds,
        "is_unexpected": is_unexpected, "unexpected_limit": UNEXPECTED_LIMIT,
    }  # fmt: skip
    return await _transition(database, "block", arguments)


async def release(database: Database, claim: Claim) -> Job | None:
    return await _transition(database, "release", claim.token)


def _held(row: sa.RowMapping | None) -> sa.RowMapping:
    if row is None:
        raise LeaseLostError
    return row


async def vanished_files(connection: AsyncConnection, job: Job, schema: str, limit: int) -> list[int]:
    """Ids of indexed files that the job's list does not keep.

    A file that could not be read is no proof of a deletion: its rows stay, and so do those below an unreadable path.
    """
    statement = sa.text(statements()["vanished_files"].text.replace("PROJECT", schema))
    unreadable = job.metadata.get("unreadable_paths", [])
    arguments = {"id": job.id, "repository_id": job.repository_id, "limit": limit, "unreadable_paths": unreadable}
    return list((await connection.execute(statement, arguments)).scalars())


# --- reading ---


async def job(connection: AsyncConnection, job_id: UUID) -> Job | None:
    return await _job(connection, "job", {"id": job_id})


async def active_jobs(connection: AsyncConnection, project_id: str) -> list[Job]:
    return [to_job(row) for row in await _rows(connection, "active_jobs", {"project_id": project_id})]


async def events(connection: AsyncConnection, job_id: UUID) -> list[JobEvent]:
    return [JobEvent.model_validate(dict(row)) for row in await _rows(connection, "events", {"id": job_id})]


async def pending_files(connection: AsyncConnection, job_id: UUID, *, after: int, limit: int) -> list[PendingFile]:
    rows = await _rows(connection, "pending_files", {"id": job_id, "after": after, "limit": limit})
    return [PendingFile(**row) for row in rows]


async def failed_files(
    connection: AsyncConnection, project_id: str, host_id: str, repo_path: str, *, index_fingerprint: str | None = None
) -> list[FileOutcome]:
    """What the last completed job of a repository, of this fingerprint if given, could not index, as it was then."""
    where = {
        "project_id": project_id, "host_id": host_id, "repo_path": repo_path, "index_fingerprint": index_fingerprint,
    }  # fmt: skip
    rows = await _rows(connection, "failed_files", where)
    return [
        FileOutcome(row["relative_path"], FileState.FAILED, row["reason"], *(row[name] for name in FileStat._fields))
        for row in rows
    ]


async def waiting_work(database: Database, host_id: str) -> WaitingWork:
    """Of the jobs of one host."""
    async with database.transaction("control") as connection:
        row = _held(await _row(connection, "waiting_work", {"host_id": host_id}))
    return WaitingWork(row["claimable"], row["running"], row["active"], float(row["longest_lapse_seconds"]))


async def prune(database: Database, retention_days: int) -> int:
    """Deletes jobs that ended longer ago than `retention_days`, with their files and events; returns how many."""
    deleted = 0
    # A connection of its own: a server has no use for one that may write for long, and a worker needs all of its own.
    async with database.maintenance() as connection:
        while True:
            rows = await _rows(connection, "prune", {"retention_days": retention_days, "limit": PRUNED_AT_ONCE})
            deleted += len(rows)
            if len(rows) < PRUNED_AT_ONCE:
                return deleted
