"""Who may write for a job: the current attempt of a running one, and what a cancel does to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from codebase_mcp.domain import FileOutcome, FileState, Job, JobPhase, JobStatus
from codebase_mcp.errors import CodebaseMcpError, ConstraintViolatedError, DatabaseError, LeaseLostError
from codebase_mcp.indexing.discover import Discovery, discover
from codebase_mcp.indexing.listing import Look
from codebase_mcp.jobs import capture, store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.jobs.store import BatchCounts
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.databases import several
from tests.support.runs import SHOP, Bench
from tests.support.waiting import until


async def _renew(database: Database, job: Job) -> bool:
    return await store.renew(database, jobs.claim_of(job), files_scanned=7, progress_message="mine")


async def _attach(database: Database, job: Job) -> None:
    async with database.transaction() as connection:
        await store.attach_repository(connection, jobs.claim_of(job), 7)


async def _capture(database: Database, job: Job) -> None:
    await jobs.capture(database, job)


async def _commit(database: Database, job: Job) -> None:
    async with database.transaction() as connection:
        await store.commit_batch(connection, jobs.claim_of(job), BatchCounts(), is_checkpoint=True)


async def _fence(database: Database, job: Job) -> None:
    async with database.transaction() as connection:
        await store.fence(connection, jobs.claim_of(job), JobPhase.FINISHING, "mine")


async def _finish(database: Database, job: Job) -> None:
    await jobs.finish(database, job)


async def _fail(database: Database, job: Job) -> Job | None:
    return await store.fail(database, jobs.claim_of(job), error_type="E", message="mine", traceback=None)


async def _block(database: Database, job: Job) -> Job | None:
    return await store.block(database, jobs.claim_of(job), error_type="E", message="mine")


async def _release(database: Database, job: Job) -> Job | None:
    return await store.release(database, jobs.claim_of(job))


WRITES = [_renew, _attach, _capture, _commit, _fence, _finish, _fail, _block, _release]
Write = Callable[[Database, Job], Awaitable[object]]


async def succeeds(write: Write, database: Database, job: Job) -> bool:
    """Whether the write was let through; None, False and a lost lease are the ways to be refused."""
    try:
        answer = await write(database, job)
    except LeaseLostError:
        return False
    return answer is not False and (answer is not None or write in (_attach, _capture, _commit, _fence, _finish))


@pytest.mark.parametrize("write", WRITES)
async def test_the_current_attempt_may_write(database: Database, write: Write) -> None:
    assert await succeeds(write, database, await jobs.running(database))


@pytest.mark.parametrize("write", WRITES)
async def test_a_stale_attempt_writes_nothing(database: Database, write: Write) -> None:
    stale = await jobs.running(database)
    await jobs.lapse(database, stale.id)
    successor = await jobs.claim(database)
    before = await jobs.event_types(database, stale.id)
    assert not await succeeds(write, database, stale)
    assert await jobs.current(database, stale.id) == successor
    assert await jobs.event_types(database, stale.id) == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_cancelled_job_is_written_no_more(database: Database, write: Write) -> None:
    job = await jobs.running(database)
    cancelled = await store.cancel(database, job.id)
    assert not await succeeds(write, database, job)
    assert await jobs.current(database, job.id) == cancelled


async def test_a_lapsed_lease_that_nobody_took_may_be_renewed(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.lapse(database, job.id)
    assert await _renew(database, job)
    assert await jobs.try_claim(database) is None
    renewed = await jobs.current(database, job.id)
    assert (renewed.files_scanned, renewed.progress_message) == (7, "mine")


async def test_a_list_is_captured_once(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    with pytest.raises(LeaseLostError):
        await jobs.capture(database, job)


async def test_a_file_is_moved_out_of_pending_once(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job, ["a.py"])
    await jobs.commit(database, job, 0)
    await jobs.execute(
        database,
        "UPDATE codebase_mcp.job_files SET state = 'failed', reason = 'x' WHERE job_id = :id",
        id=job.id,
    )
    async with database.transaction("writers") as connection:
        outcome = {0: FileOutcome("a.py", FileState.INDEXED)}
        await store.mark_files(connection, jobs.claim_of(job), outcome)
    assert await jobs.file_states(database, job.id) == {"a.py": "failed"}


async def test_a_job_with_a_file_left_to_do_does_not_finish(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    await jobs.commit(database, job, 0, 2)
    with pytest.raises(LeaseLostError):
        await jobs.finish(database, job)
    await jobs.commit(database, job, 1)
    assert (await jobs.finish(database, job)).progress_percentage == 100


async def test_more_files_done_than_were_captured_is_refused(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job, ["a.py"])
    with pytest.raises(ConstraintViolatedError, match="no_more_files_done_than_captured"):
        await jobs.commit(database, job, 0, 1)


# --- cancel ---


@pytest.mark.parametrize("state", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.BLOCKED, "orphaned"])
async def test_an_active_job_is_cancelled_at_once(database: Database, state: str) -> None:
    job = await jobs.in_state(database, state)
    cancelled = await store.cancel(database, job.id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.phase) == (JobStatus.CANCELLED, JobPhase.DONE)
    assert cancelled.cancelled_at is not None
    assert cancelled.finished_at is not None
    assert (cancelled.slot, cancelled.worker_id, cancelled.lease_expires_at, cancelled.retry_at) == (None,) * 4
    assert (await jobs.event_types(database, job.id))[-1] == "cancelled"
    assert await jobs.try_claim(database) is None


@pytest.mark.parametrize("state", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_cancelling_a_job_that_has_ended_changes_nothing(database: Database, state: JobStatus) -> None:
    job = await jobs.in_state(database, state)
    events = await jobs.event_types(database, job.id)
    assert await store.cancel(database, job.id) is None
    assert await jobs.current(database, job.id) == job
    assert await jobs.event_types(database, job.id) == events


async def test_cancelling_an_unknown_job_answers_nothing(database: Database) -> None:
    assert await store.cancel(database, uuid4()) is None


@pytest.fixture
def patient_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that waits for whoever holds the job for as long as a busy machine may take, and throws nobody out."""
    monkeypatch.setattr(store, "CANCEL_LOCK_MILLISECONDS", 20_000)


@pytest.mark.usefixtures("patient_cancel")
async def test_a_cancel_waits_for_the_batch_that_came_first_and_shuts_out_the_next(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    async with database.transaction("writers") as connection:
        counts = BatchCounts(indexed=1, chunks=4, bytes=1)
        await store.commit_batch(connection, jobs.claim_of(job), counts, is_checkpoint=False)
        cancelling = asyncio.create_task(store.cancel(database, job.id))
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await until(lambda: jobs.scalar(database, blocked), what="the cancel to wait for the batch")
        assert not cancelling.done()
    cancelled = await cancelling
    assert cancelled is not None
    assert (cancelled.files_indexed, cancelled.chunks_created) == (1, 4)
    with pytest.raises(LeaseLostError):
        await jobs.commit(database, job, 1)


async def test_a_listing_that_outlives_its_cancelled_job_lists_nothing_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, gate, looks = threading.Event(), threading.Event(), list[Look]()

    def slow_discover(root: Path, *, max_file_bytes: int, look: Look) -> Discovery:
        looks.append(look)
        reached.set()
        gate.wait(20)
        return discover(root, max_file_bytes=max_file_bytes, look=look)

    monkeypatch.setattr(capture, "discover", slow_discover)
    await bench.start()
    job = await bench.claim()
    running = asyncio.create_task(JobRunner(job, bench.tools).run())
    await asyncio.to_thread(reached.wait, 20)
    await store.cancel(bench.database, job.id)
    await asyncio.wait_for(running, 5)
    gate.set()
    assert list(discover(bench.root, max_file_bytes=1, look=looks[0])) == []
    assert len(list(discover(bench.root, max_file_bytes=1))) == len(SHOP)


@pytest.mark.usefixtures("patient_cancel")
async def test_of_a_cancel_and_a_finish_at_once_exactly_one_wins(database_url: str) -> None:
    async with several(database_url, 2) as (first, second):
        for n in range(12):
            job = await jobs.running(first, f"/src/{n}")
            outcomes = await asyncio.gather(
                store.cancel(first, job.id), jobs.finish(second, job), return_exceptions=True
            )
            assert all(isinstance(one, (Job, LeaseLostError)) or one is None for one in outcomes), outcomes
            assert sum(isinstance(one, Job) for one in outcomes) == 1
            terminal = {"cancelled", "completed"} & set(await jobs.event_types(first, job.id))
            assert terminal == {(await jobs.current(first, job.id)).status.value}


async def test_a_second_terminal_event_is_refused(database: Database) -> None:
    job = await jobs.in_state(database, JobStatus.COMPLETED)
    with pytest.raises(ConstraintViolatedError, match="one_terminal_event_per_job"):
        await jobs.execute(
            database,
            "INSERT INTO codebase_mcp.job_events (job_id, event_type) VALUES (:id, 'failed')",
            id=job.id,
        )


async def test_a_database_that_is_away_is_told_apart_from_a_lost_lease(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.execute(database, "ALTER TABLE codebase_mcp.indexing_jobs RENAME TO elsewhere")
    with pytest.raises(DatabaseError) as caught:
        await _renew(database, job)
    assert isinstance(caught.value, CodebaseMcpError)
