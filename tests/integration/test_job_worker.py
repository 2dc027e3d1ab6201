"""The worker's loop: what it claims, what it survives, when it leaves, and what it gives back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from codebase_mcp.domain import JobStatus
from codebase_mcp.errors import DatabaseRemovedError, DatabaseStartingError, DatabaseUnavailableError
from codebase_mcp.jobs import runner, store, worker
from codebase_mcp.jobs.spawn import HostLock, Spawner, living_worker
from codebase_mcp.jobs.worker import Worker, run_inline, run_worker
from codebase_mcp.storage import vector_index
from codebase_mcp.storage.opening import OpenedDatabase
from codebase_mcp.storage.vector_index import VectorIndex
from tests.support import index, jobs
from tests.support.runs import SHOP, Bench, GatedPool
from tests.support.waiting import until


@pytest.fixture
async def opened(bench: Bench) -> AsyncIterator[OpenedDatabase]:
    bench.configure(poll_seconds=0.02)
    made = OpenedDatabase(bench.settings, "tests", control_seconds=5)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def time_to_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough of it to give every job back, however busy the machine is."""
    monkeypatch.setattr(runner, "RELEASE_SECONDS", 20)
    monkeypatch.setattr(worker, "STOP_SECONDS", 20)


@contextlib.asynccontextmanager
async def working(
    bench: Bench, opened: OpenedDatabase, host_lock: HostLock | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(Worker(opened, bench.tools, host_lock).run(stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def reaches(bench: Bench, job_id: Any, status: JobStatus) -> None:
    async def reached() -> bool:
        return (await jobs.current(bench.database, job_id)).status is status

    await until(reached, what=f"the job to be {status}")


async def test_a_worker_completes_what_is_started(bench: Bench, opened: OpenedDatabase) -> None:
    async with working(bench, opened):
        first = await bench.start()
        await reaches(bench, first.id, JobStatus.COMPLETED)
        second = await bench.start(force_reindex=True)
        await reaches(bench, second.id, JobStatus.COMPLETED)
    assert await bench.indexed() == SHOP


async def test_a_blocked_job_goes_on_by_itself(bench: Bench, opened: OpenedDatabase) -> None:
    bench.embedder.failures = [DatabaseUnavailableError("gone for a moment")]
    job = await bench.start()
    async with working(bench, opened):
        await reaches(bench, job.id, JobStatus.COMPLETED)
    types = await jobs.event_types(bench.database, job.id)
    assert types == ["created", "started", "captured", "blocked", "unblocked", "completed"]


@pytest.mark.usefixtures("time_to_release")
async def test_a_worker_runs_three_jobs_and_gives_them_back_when_it_stops(bench: Bench, opened: OpenedDatabase) -> None:
    bench.pool = GatedPool(0)
    for name in "abcd":
        (bench.root.parent / name).mkdir()
        (bench.root.parent / name / "x.py").write_text("x = 1\n")
        await jobs.start(bench.database, str(bench.root.parent / name))

    async def statuses() -> list[str]:
        rows = await jobs.execute(
            bench.database, "SELECT status FROM codebase_mcp.indexing_jobs WHERE phase <> 'discovering' ORDER BY 1"
        )
        return [row[0] for row in rows]

    async def all_claimed() -> bool:
        return await statuses() == ["pending", "running", "running", "running"]

    async with working(bench, opened):
        await until(all_claimed, what="three jobs to run")
    assert await statuses() == ["pending"] * 4


async def test_a_job_that_the_same_worker_takes_over_runs_once(bench: Bench, opened: OpenedDatabase) -> None:
    bench.configure(renew_seconds=10, batch_files=1)
    bench.pool = gated = GatedPool(1)
    job = await bench.start()
    async with working(bench, opened):
        await asyncio.wait_for(gated.waits.wait(), 10)
        await jobs.lapse(bench.database, job.id)
        await until(lambda: attempt_is(bench, job.id, 2), what="the job to be taken over")
        gated.gate.set()
        await reaches(bench, job.id, JobStatus.COMPLETED)
    assert await bench.indexed() == SHOP


async def has_indexed(bench: Bench, job_id: Any, files: int) -> bool:
    return (await jobs.current(bench.database, job_id)).files_indexed == files


async def attempt_is(bench: Bench, job_id: Any, attempt: int) -> bool:
    return (await jobs.current(bench.database, job_id)).attempt == attempt


async def test_a_worker_survives_whatever_a_turn_raises(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, revive = store.claim, opened.revive
    errors: list[Exception] = [DatabaseUnavailableError(), RuntimeError("a bug"), DatabaseUnavailableError()]
    revived: list[Exception | None] = [DatabaseUnavailableError("still away"), None]

    async def failing_claim(*arguments: Any, **more: Any) -> Any:
        if errors:
            raise errors.pop()
        return await claim(*arguments, **more)

    async def failing_revive() -> None:
        if error := revived.pop():
            raise error
        await revive()

    monkeypatch.setattr(store, "claim", failing_claim)
    monkeypatch.setattr(opened, "revive", failing_revive)
    job = await bench.start()
    async with working(bench, opened):
        await reaches(bench, job.id, JobStatus.COMPLETED)
    assert (errors, revived) == ([], [])


async def test_a_worker_leaves_a_schema_that_a_newer_program_has_migrated(bench: Bench, opened: OpenedDatabase) -> None:
    job = await bench.start()
    await jobs.execute(bench.database, "UPDATE codebase_mcp.alembic_version SET version_num = '9999'")
    async with working(bench, opened) as task:
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert (await jobs.current(bench.database, job.id)).status is JobStatus.PENDING


async def test_a_worker_leaves_when_its_database_was_removed(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    async def removed() -> None:
        raise DatabaseRemovedError

    monkeypatch.setattr(store, "claim", away)
    monkeypatch.setattr(opened, "revive", removed)
    async with working(bench, opened) as task:
        await asyncio.wait_for(asyncio.shield(task), 5)


async def test_a_worker_prunes_when_it_starts(bench: Bench, opened: OpenedDatabase) -> None:
    old = await jobs.in_state(bench.database, JobStatus.CANCELLED)
    await jobs.set_column(bench.database, old.id, "finished_at = finished_at - interval '8 days'")

    async def is_gone() -> bool:
        return await jobs.execute(bench.database, "SELECT id FROM codebase_mcp.indexing_jobs") == []

    async with working(bench, opened):
        await until(is_gone, what="the old job to go")


async def test_a_worker_builds_the_vector_index_after_a_job(bench: Bench, opened: OpenedDatabase) -> None:
    bench.configure(vector_index_rows=1)
    job = await bench.start()

    async def is_ready() -> bool:
        async with bench.database.transaction("writers") as connection:
            of_project = VectorIndex(bench.schema, 1, index.DIMENSIONS)
            return await vector_index.is_ready(connection, of_project)

    async with working(bench, opened):
        await reaches(bench, job.id, JobStatus.COMPLETED)
        await until(is_ready, what="the index to be built")


async def test_an_idle_worker_builds_a_vector_index_whose_build_was_lost(bench: Bench, opened: OpenedDatabase) -> None:
    bench.configure(vector_index_rows=1)
    await bench.run()
    of_project = VectorIndex(bench.schema, 1, index.DIMENSIONS)

    async def is_ready() -> bool:
        async with bench.database.transaction("writers") as connection:
            return await vector_index.is_ready(connection, of_project)

    assert not await is_ready()
    async with working(bench, opened):
        await until(is_ready, what="the index to be built")


async def test_an_idle_worker_looks_for_vector_indexes_again_after_trouble(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    async def failing(*_: object) -> list[str]:
        looks.append(1)
        raise DatabaseUnavailableError

    monkeypatch.setattr(vector_index, "projects_without", failing)
    monkeypatch.setattr(worker, "INDEX_CHECK_SECONDS", 0.0)
    async with working(bench, opened) as task:
        await until(lambda: len(looks) >= 2, what="a second look")
        assert not task.done()


async def test_a_vector_index_that_cannot_be_built_ends_no_worker(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def broken(*_: object, **__: object) -> bool:
        tried.set()
        raise DatabaseUnavailableError

    monkeypatch.setattr(vector_index, "build", broken)
    async with working(bench, opened) as task:
        await bench.start()
        await asyncio.wait_for(tried.wait(), 10)
        second = await bench.start(force_reindex=True)
        await reaches(bench, second.id, JobStatus.COMPLETED)
        assert not task.done()


# --- leaving ---


async def test_an_idle_worker_with_the_host_lock_leaves_and_frees_it(bench: Bench, opened: OpenedDatabase) -> None:
    bench.configure(worker_idle_seconds=0.05)
    lock = HostLock(bench.settings)
    assert lock.take()
    async with working(bench, opened, lock) as task:
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert living_worker(bench.settings) is None


async def test_looking_after_the_vector_indexes_keeps_no_idle_worker(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "INDEX_CHECK_SECONDS", 0.5)
    bench.configure(worker_idle_seconds=0.5)
    lock = HostLock(bench.settings)
    assert lock.take()
    async with working(bench, opened, lock) as task:
        await asyncio.wait_for(asyncio.shield(task), 10)


async def test_a_worker_never_leaves_while_a_job_is_active_anywhere(bench: Bench, opened: OpenedDatabase) -> None:
    bench.configure(worker_idle_seconds=0.05)
    elsewhere = await jobs.running(bench.database, "/src/elsewhere")
    lock = HostLock(bench.settings)
    assert lock.take()
    looks: list[bool] = []
    take = lock.take

    def noticed() -> bool:
        looks.append(take())
        return looks[-1]

    lock.take = noticed  # type: ignore[method-assign]
    async with working(bench, opened, lock) as task:
        await until(lambda: len(looks) >= 3, what="the worker to think of leaving three times")
        assert not task.done()
        assert living_worker(bench.settings) == os.getpid()
        await store.cancel(bench.database, elsewhere.id)
        await asyncio.wait_for(asyncio.shield(task), 5)


async def test_a_worker_without_the_host_lock_stays(bench: Bench, opened: OpenedDatabase) -> None:
    bench.configure(worker_idle_seconds=0)
    job = await bench.start()
    async with working(bench, opened) as task:
        await reaches(bench, job.id, JobStatus.COMPLETED)
        again = await bench.start(force_reindex=True)
        await reaches(bench, again.id, JobStatus.COMPLETED)
        assert not task.done()


# --- the command ---


async def test_the_command_works_until_it_is_told_to_stop(bench: Bench) -> None:
    job = await bench.start()
    bench.configure(poll_seconds=0.05)
    running = asyncio.create_task(run_worker(bench.settings, is_spawned=False))
    await reaches(bench, job.id, JobStatus.COMPLETED)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0
    assert await bench.indexed() == SHOP


async def test_a_spawned_worker_leaves_when_there_is_nothing_to_do(bench: Bench) -> None:
    bench.configure(worker_idle_seconds=0.05, poll_seconds=0.02)
    assert await asyncio.wait_for(run_worker(bench.settings, is_spawned=True), 10) == 0
    assert living_worker(bench.settings) is None


async def test_a_spawned_worker_leaves_at_once_when_another_has_the_host_lock(bench: Bench) -> None:
    lock = HostLock(bench.settings)
    assert lock.take()
    assert await asyncio.wait_for(run_worker(bench.settings, is_spawned=True), 5) == 0
    assert living_worker(bench.settings) == os.getpid()
    lock.free()


async def test_a_worker_that_can_never_work_says_so_in_its_exit_code(bench: Bench) -> None:
    bench.configure(database_url=SecretStr("mysql://host/name"))
    assert await run_worker(bench.settings, is_spawned=False) == 1


async def test_a_worker_waits_for_a_database_that_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database, failures = OpenedDatabase.open, [DatabaseUnavailableError()]

    async def open_later(self: OpenedDatabase) -> Any:
        if failures:
            raise failures.pop()
        return await open_database(self)

    monkeypatch.setattr(OpenedDatabase, "open", open_later)
    bench.configure(worker_idle_seconds=0.05, poll_seconds=0.02)
    assert await asyncio.wait_for(run_worker(bench.settings, is_spawned=True), 15) == 0
    assert failures == []


async def test_a_worker_that_waits_for_its_database_can_be_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def never(self: OpenedDatabase) -> None:
        tried.set()
        raise DatabaseUnavailableError

    monkeypatch.setattr(OpenedDatabase, "open", never)
    running = asyncio.create_task(run_worker(bench.settings, is_spawned=False))
    await asyncio.wait_for(tried.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 5) == 0


async def test_a_spawned_worker_leaves_when_there_was_no_database_for_too_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: OpenedDatabase) -> None:
        raise DatabaseUnavailableError

    monkeypatch.setattr(OpenedDatabase, "open", never)
    monkeypatch.setattr(worker, "GIVE_UP_SECONDS", 0.1)
    assert await asyncio.wait_for(run_worker(bench.settings, is_spawned=True), 15) == 0
    assert living_worker(bench.settings) is None


async def test_a_spawned_worker_leaves_when_its_database_went_away_for_too_long(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    lock = HostLock(bench.settings)
    assert lock.take()
    async with working(bench, opened, lock) as task:
        await until(lambda: bench.settings, what="a turn")
        monkeypatch.setattr(worker, "GIVE_UP_SECONDS", 0.1)
        monkeypatch.setattr(store, "claim", away)
        await asyncio.wait_for(asyncio.shield(task), 15)
    lock.free()


async def test_a_worker_without_the_host_lock_waits_for_its_database_for_ever(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    async def away(*_: object, **__: object) -> None:
        failures.append(1)
        raise DatabaseUnavailableError

    monkeypatch.setattr(worker, "GIVE_UP_SECONDS", 0.0)
    monkeypatch.setattr(store, "claim", away)
    async with working(bench, opened) as task:
        await until(lambda: len(failures) >= 3, what="three failures")
        assert not task.done()


async def test_a_claim_that_hangs_does_not_keep_a_worker_that_is_told_to_stop(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = asyncio.Event()

    async def hanging(*_: object, **__: object) -> None:
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "claim", hanging)
    async with working(bench, opened):
        await asyncio.wait_for(hangs.wait(), 10)


@pytest.mark.usefixtures("time_to_release")
async def test_a_worker_that_is_replaced_lets_its_jobs_commit_their_batches(
    bench: Bench, opened: OpenedDatabase
) -> None:
    bench.configure(batch_files=1)
    bench.pool = gated = GatedPool(1)
    replaced = asyncio.Event()
    job = await bench.start()
    task = asyncio.create_task(Worker(opened, bench.tools, replaced=replaced).run(asyncio.Event()))
    await asyncio.wait_for(gated.waits.wait(), 10)
    await until(lambda: has_indexed(bench, job.id, 1), what="a committed file")
    replaced.set()
    await asyncio.sleep(0.1)
    assert not task.done()
    gated.gate.set()
    assert await asyncio.wait_for(task, 30)
    after = await jobs.current(bench.database, job.id)
    assert (after.status, after.files_indexed) == (JobStatus.PENDING, 2)


@pytest.mark.usefixtures("time_to_release")
async def test_a_worker_that_is_replaced_can_still_be_told_to_stop(bench: Bench, opened: OpenedDatabase) -> None:
    bench.pool = gated = GatedPool(0)
    replaced, stop = asyncio.Event(), asyncio.Event()
    job = await bench.start()
    task = asyncio.create_task(Worker(opened, bench.tools, replaced=replaced).run(stop))
    await asyncio.wait_for(gated.waits.wait(), 10)
    replaced.set()
    await asyncio.sleep(0.1)
    assert not task.done()
    stop.set()
    assert await asyncio.wait_for(task, 30)
    assert (await jobs.current(bench.database, job.id)).status is JobStatus.PENDING


async def test_a_busy_worker_has_another_started_for_a_suspect(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[store.WaitingWork] = []
    monkeypatch.setattr(Spawner, "ensure_worker", lambda _self, work: asked.append(work))
    bench.pool = gated = GatedPool(0)
    bench.configure(watch_seconds=0.02)
    lock = HostLock(bench.settings)
    assert lock.take()
    suspect = await jobs.running(bench.database, "/src/suspect")
    await bench.start()
    async with working(bench, opened, lock):
        await asyncio.wait_for(gated.waits.wait(), 10)
        await jobs.set_column(bench.database, suspect.id, "fruitless_attempts = 1")
        await jobs.lapse(bench.database, suspect.id)
        await until(lambda: any(work.claimable for work in asked), what="a call for help")
        assert (await jobs.current(bench.database, suspect.id)).attempt == 1
        await store.cancel(bench.database, suspect.id)


async def test_a_worker_inside_another_process_stops_with_it(bench: Bench, opened: OpenedDatabase) -> None:
    stop = asyncio.Event()
    job = await bench.start()
    running = asyncio.create_task(run_inline(opened, bench.settings, stop))
    await reaches(bench, job.id, JobStatus.COMPLETED)
    stop.set()
    await asyncio.wait_for(running, 10)
    assert await bench.indexed() == SHOP


async def test_an_address_that_was_never_opened_has_no_database(bench: Bench) -> None:
    never = OpenedDatabase(bench.settings, "tests", control_seconds=1)
    with pytest.raises(DatabaseStartingError):
        _ = never.database
    await never.revive()
    await never.close()


async def test_the_schema_is_looked_at_now_and_then_not_each_turn(
    bench: Bench, opened: OpenedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SCHEMA_CHECK_SECONDS", 0.0)
    async with working(bench, opened) as task:
        async with bench.database.transaction() as connection:
            await connection.execute(sa.text("UPDATE codebase_mcp.alembic_version SET version_num = '9999'"))
        await asyncio.wait_for(asyncio.shield(task), 5)
