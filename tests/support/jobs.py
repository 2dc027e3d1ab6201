"""Jobs in every state, made with the engine's own statements, and what to read from them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from codebase_mcp.domain import DiscoveredFile, FileOutcome, FileState, Host, Job, JobStatus
from codebase_mcp.jobs import records, store
from codebase_mcp.jobs.store import BatchCounts, CapturedFile, Claim
from codebase_mcp.storage.database import Database

LEASE_SECONDS = 8.0
HOST = Host("test-host", "test-host")
"""The host of the tests; services and workers that they start have the same identity."""
FILE_BYTES = 100


async def start(database: Database, path: str = "/src/shop", project_id: str = "default", **more: Any) -> Job:
    job, is_new = await try_start(database, path, project_id, **more)
    assert is_new
    return job


async def try_start(
    database: Database, path: str = "/src/shop", project_id: str = "default", **more: Any
) -> tuple[Job, bool]:
    values: dict[str, Any] = {
        "repo_name": path.rpartition("/")[2], "force_reindex": False, "metadata": {}, "host_id": HOST.id,
    }  # fmt: skip
    values |= more
    return await store.start(database, project_id=project_id, repo_path=path, **values)


async def claim(
    database: Database, *, worker_id: UUID | None = None, lease_seconds: float = LEASE_SECONDS, host: Host = HOST
) -> Job:
    job = await try_claim(database, worker_id=worker_id, lease_seconds=lease_seconds, host=host)
    assert job is not None
    return job


async def try_claim(
    database: Database, *, worker_id: UUID | None = None, lease_seconds: float = LEASE_SECONDS, host: Host = HOST
) -> Job | None:
    return await store.claim(database, worker_id=worker_id or uuid4(), host=host, lease_seconds=lease_seconds)


def claim_of(job: Job) -> Claim:
    return Claim(job.id, job.attempt, LEASE_SECONDS)


async def running(database: Database, path: str = "/src/shop", **more: Any) -> Job:
    job = await start(database, path, **more)
    claimed = await claim(database)
    assert claimed.id == job.id
    return claimed


def found(path: str, size_bytes: int = FILE_BYTES, skip_reason: str | None = None) -> DiscoveredFile:
    return DiscoveredFile(path, size_bytes, 1, skip_reason)


def captured(paths: Sequence[str]) -> list[CapturedFile]:
    return [CapturedFile(found(path), FileState.PENDING, None) for path in paths]


async def capture(database: Database, job: Job, paths: Sequence[str] = ("a.py", "b.py", "c.py")) -> None:
    async with database.transaction("writers") as connection:
        await store.capture(connection, claim_of(job), captured(paths), {})


async def commit(database: Database, job: Job, *ordinals: int, is_checkpoint: bool = False) -> Job:
    """A batch that indexed the files of these ordinals, one chunk each."""
    counts = BatchCounts(indexed=len(ordinals), chunks=len(ordinals), bytes=FILE_BYTES * len(ordinals))
    async with database.transaction("writers") as connection:
        committed = await store.commit_batch(connection, claim_of(job), counts, is_checkpoint=is_checkpoint)
        outcomes = {ordinal: FileOutcome(f"file {ordinal}", FileState.INDEXED) for ordinal in ordinals}
        await store.mark_files(connection, claim_of(job), outcomes)
    return committed


async def finish(database: Database, job: Job) -> Job:
    async with database.transaction("writers") as connection:
        return await store.finish(connection, claim_of(job), "completed")


async def block(database: Database, job: Job) -> Job:
    blocked = await store.block(database, claim_of(job), error_type="StorageFullError", message="the disk is full")
    assert blocked is not None
    return blocked


async def fail(database: Database, job: Job) -> Job:
    failed = await store.fail(database, claim_of(job), error_type="ValueError", message="no good", traceback="…")
    assert failed is not None
    return failed


async def in_state(database: Database, status: JobStatus | str, path: str = "/src/shop") -> Job:
    """A job in a status, or `orphaned`: running with a lapsed lease."""
    job = await start(database, path)
    if status == JobStatus.PENDING:
        return job
    if status == JobStatus.CANCELLED:
        await store.cancel(database, job.id)
        return await current(database, job.id)
    job = await claim(database)
    match status:
        case JobStatus.BLOCKED:
            await block(database, job)
        case JobStatus.COMPLETED:
            await finish(database, job)
        case JobStatus.FAILED:
            await fail(database, job)
        case "orphaned":
            await lapse(database, job.id)
    return await current(database, job.id)


async def current(database: Database, job_id: UUID) -> Job:
    async with database.transaction("writers") as connection:
        job = await store.job(connection, job_id)
    assert job is not None
    return job


async def execute(database: Database, statement: str, **arguments: Any) -> Any:
    """All rows of a statement, if it gives any."""
    async with database.transaction("writers") as connection:
        result = await connection.execute(sa.text(statement), arguments)
        return result.all() if result.returns_rows else None


async def scalar(database: Database, statement: str, **arguments: Any) -> Any:
    rows = await execute(database, statement, **arguments)
    return rows[0][0]


async def set_column(database: Database, job_id: UUID, assignment: str) -> None:
    await execute(database, f"UPDATE codebase_mcp.indexing_jobs SET {assignment} WHERE id = :id", id=job_id)


async def lapse(database: Database, job_id: UUID) -> None:
    await set_column(database, job_id, "lease_expires_at = clock_timestamp() - interval '1 second'")


async def event_types(database: Database, job_id: UUID) -> list[str]:
    async with database.transaction("writers") as connection:
        return [event.event_type for event in await store.events(connection, job_id)]


async def file_states(database: Database, job_id: UUID) -> dict[str, str]:
    rows = await execute(
        database,
        "SELECT relative_path, state FROM codebase_mcp.job_files WHERE job_id = :id ORDER BY ordinal",
        id=job_id,
    )
    return dict(map(tuple, rows))


async def reasons(database: Database, job_id: UUID) -> dict[str, str]:
    async with database.transaction("writers") as connection:
        rows = await records.files_left_out(connection, job_id, 1000)
    return {row["relative_path"]: row["reason"] for row in rows}


async def together(*work: Any) -> list[Any]:
    """Results of several coroutines at once; every one has ended when it returns or raises."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
