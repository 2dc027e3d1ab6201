"""Guards of a running job that matter only when something goes wrong at the one unlucky moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.jobs import store
from codebase_mcp.jobs.store import BatchCounts
from codebase_mcp.storage import disk
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.databases import several
from tests.support.runs import SHOP, Bench, ThreadPool, counts
from tests.support.waiting import until


@pytest.mark.parametrize("point", ["fenced", "written"])
async def test_a_batch_that_fails_at_its_end_leaves_nothing(bench: Bench, point: str) -> None:
    bench.configure(batch_files=2)
    reached: list[str] = []

    def fail_in_the_second_batch(now: str) -> None:
        reached.append(now)
        if now == point and reached.count(point) == 2:
            raise KeyError("surprise")

    bench.on_point = fail_in_the_second_batch
    job = await bench.attempt()
    assert (job.status, counts(job)) == (JobStatus.BLOCKED, (2, 0, 0, 0))
    states = list((await jobs.file_states(bench.database, job.id)).values())
    assert (states.count("indexed"), states.count("pending")) == (2, 3)
    assert set(await bench.indexed()) == set(sorted(SHOP)[:2])
    assert job.chunks_created == await jobs.scalar(bench.database, f"SELECT count(*) FROM {bench.schema}.code_chunks")


async def test_a_list_of_files_is_not_stored_in_the_last_bytes_of_a_disk(bench: Bench) -> None:
    bench.configure(database_url=None, data_dir=bench.root, min_free_disk_bytes=10**18)
    job = await bench.attempt()
    assert (job.status, job.error_type, job.files_total) == (JobStatus.BLOCKED, "StorageFullError", 0)
    assert "indexing needs 250,000,000,000 MB" in str(job.error_message)
    assert await jobs.file_states(bench.database, job.id) == {}


# --- what changes under a running job ---


class MeddlingPool(ThreadPool):
    """Does something just before files are read."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self._meddle = meddle

    async def run(self, function: Callable[[Any], Any], given: Any) -> Any:
        self._meddle()
        return await super().run(function, given)


async def test_deleted_files_are_not_removed_in_the_last_bytes_of_a_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    (bench.root / sorted(SHOP)[0]).unlink()
    bench.configure(database_url=None, data_dir=bench.root, min_free_disk_bytes=1_000)
    fills_up = {"finishing": lambda: monkeypatch.setattr(disk, "free_bytes", lambda _settings: 0)}
    bench.on_point = lambda point: fills_up.get(point, lambda: None)()
    job = await bench.attempt()
    assert (job.status, job.error_type) == (JobStatus.BLOCKED, "StorageFullError")
    assert set(await bench.indexed()) == set(SHOP)


async def test_a_running_job_is_blocked_before_the_disk_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.configure(database_url=None, data_dir=bench.root, min_free_disk_bytes=1_000)
    bench.pool = MeddlingPool(lambda: monkeypatch.setattr(disk, "free_bytes", lambda _settings: 0))
    job = await bench.attempt()
    assert (job.status, job.error_type, counts(job)) == (JobStatus.BLOCKED, "StorageFullError", (0, 0, 0, 0))
    assert job.files_total == len(SHOP)
    assert await bench.indexed() == {}


async def test_a_root_that_is_away_only_while_a_batch_is_read_deletes_nothing(bench: Bench) -> None:
    await bench.run()
    away = bench.root.with_name("away")
    bench.pool = MeddlingPool(lambda: bench.root.rename(away))
    bench.on_point = lambda point: away.rename(bench.root) if point == "fenced" else None
    job = await bench.run(force_reindex=True)
    assert (job.status, job.error_type) == (JobStatus.FAILED, "RepositoryUnreadableError")
    assert await bench.indexed() == SHOP


async def test_a_root_that_goes_away_before_deleted_files_are_removed_keeps_them(bench: Bench) -> None:
    await bench.run()
    bench.pool = MeddlingPool((bench.root / "shop" / "pay.py").unlink)
    bench.on_point = lambda point: bench.root.rename(bench.root.with_name("away")) if point == "committed" else None
    job = await bench.run(force_reindex=True)
    assert (job.status, job.error_type) == (JobStatus.FAILED, "RepositoryUnreadableError")
    assert await bench.indexed() == SHOP


async def test_a_job_waits_for_a_newer_worker_when_its_project_was_migrated_by_one(bench: Bench) -> None:
    await bench.run()
    await jobs.execute(bench.database, f"UPDATE {bench.schema}.alembic_version SET version_num = '9999'")
    job = await bench.attempt(force_reindex=True)
    assert (job.status, job.error_type) == (JobStatus.BLOCKED, "SchemaMismatchError")
    assert "Upgrade codebase-mcp" in str(job.error_message)


# --- rows that somebody holds ---


async def _commit_beside_a_cancel(holder: Database, database: Database, job: Job) -> Job | None:
    async with holder.transaction("writers") as connection:
        counts = BatchCounts(indexed=1, chunks=1, bytes=1)
        await store.commit_batch(connection, jobs.claim_of(job), counts, is_checkpoint=False)
        return await store.cancel(database, job.id)


async def test_a_cancel_throws_out_whoever_holds_the_job(database_url: str, database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    async with several(database_url, 1) as (frozen,):
        with pytest.raises(DatabaseUnavailableError):
            await _commit_beside_a_cancel(frozen, database, job)
    cancelled = await jobs.current(database, job.id)
    assert (cancelled.status, cancelled.files_indexed) == (JobStatus.CANCELLED, 0)


async def test_a_lapsed_job_is_wrested_from_a_client_that_has_fallen_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SILENT_SECONDS", 0.0)
    job = await jobs.running(database)
    await jobs.lapse(database, job.id)
    # Without deadlines, like a client whose COPY never ends.
    holding, held = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.maintenance(autocommit=False) as connection:
            await store.attach_repository(connection, jobs.claim_of(job), 1)
            held.set()
            await holding.wait()

    task = asyncio.create_task(hold())
    await held.wait()
    assert await jobs.try_claim(database) is None
    # A session that is told to end lets go of its row a moment later.
    claimed = await until(lambda: jobs.try_claim(database), what="the job to be claimed")
    holding.set()
    with pytest.raises(DatabaseUnavailableError):
        await task
    assert claimed.attempt == job.attempt + 1


# --- coming back ---


async def test_jobs_that_are_blocked_together_come_back_one_by_one(database: Database) -> None:
    for n in range(12):
        blocked = await jobs.block(database, await jobs.running(database, f"/src/{n}"))
        await jobs.set_column(database, blocked.id, "retry_at = clock_timestamp() + interval '1 hour'")
    rows = await jobs.execute(
        database,
        "SELECT extract(epoch FROM CAST(event_data ->> 'retry_at' AS timestamptz) - created_at) AS delay"
        " FROM codebase_mcp.job_events WHERE event_type = 'blocked'",
    )
    delays = [float(row.delay) for row in rows]
    assert max(delays) - min(delays) > 0.05
    assert all(0.79 < delay < 1.21 for delay in delays)
