"""Jobs that are cancelled, blocked, taken away or given files that kill: what is committed stays, the rest goes on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from codebase_mcp.domain import JobPhase, JobStatus
from codebase_mcp.errors import (
    ConstraintViolatedError,
    DatabaseUnavailableError,
    EmbeddingError,
    LeaseLostError,
    StorageFullError,
)
from codebase_mcp.indexing.pool import ParsingPool, PoolBrokenError
from codebase_mcp.jobs import batches, capture, runner, store
from codebase_mcp.jobs.finishing import Finishing
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.jobs.upgrade import ProgramFiles
from tests.support import jobs, poison
from tests.support.runs import SHOP, Bench, GatedPool, ThreadPool, counts
from tests.support.waiting import until

REASON = "the process that parsed this file died or hung"


@contextlib.asynccontextmanager
async def halted_after(bench: Bench, committed: int) -> AsyncIterator[asyncio.Task[None]]:
    """The task of a job that has committed so many files, one by one, and waits for its pool."""
    bench.configure(batch_files=1)
    bench.pool = gated = GatedPool(committed)
    await bench.start()
    job = await bench.claim()
    task = asyncio.create_task(JobRunner(job, bench.tools).run())
    await until(lambda: is_committed(bench, job.id, committed), what=f"{committed} files to be committed")
    await gated.waits.wait()
    try:
        yield task
    finally:
        bench.pool = ThreadPool()
        task.cancel()
        await asyncio.wait([task])


async def is_committed(bench: Bench, job_id: Any, files: int) -> bool:
    return (await jobs.current(bench.database, job_id)).files_indexed == files


async def only_job(bench: Bench) -> Any:
    return (await jobs.execute(bench.database, "SELECT * FROM codebase_mcp.indexing_jobs ORDER BY created_at"))[-1]


# --- poison ---


@pytest.fixture
def real_pool(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(batches, "prepare_batch", poison.prepare_unless_poisoned)
    bench.pool = ParsingPool(1)
    yield bench.pool
    bench.pool.close()


@pytest.mark.usefixtures("real_pool")
async def test_a_file_that_kills_its_process_fails_alone_and_the_job_completes(bench: Bench) -> None:
    shutil.rmtree(bench.root)
    bench.write({"a/poison.py": "boom = 1\n", "b.py": "x = 1\n", "c.py": "y = 1\n"})
    job = await bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (2, 0, 0, 1))
    assert await jobs.reasons(bench.database, job.id) == {"a/poison.py": REASON}
    assert "1 failed" in job.progress_message
    assert await bench.indexed() == {"b.py": "x = 1\n", "c.py": "y = 1\n"}
    async with bench.database.transaction() as connection:
        failed = await store.failed_files(connection, "default", jobs.HOST.id, str(bench.root))
    assert [file.relative_path for file in failed] == ["a/poison.py"]


@pytest.mark.usefixtures("real_pool")
async def test_a_file_that_failed_is_tried_again_only_when_it_changed_or_is_asked_for(bench: Bench) -> None:
    shutil.rmtree(bench.root)
    bench.write({"a/poison.py": "boom = 1\n", "b.py": "x = 1\n"})
    await bench.run()
    again = await bench.run()
    assert counts(again) == (0, 1, 0, 1)
    assert await jobs.reasons(bench.database, again.id) == {"a/poison.py": REASON}
    assert counts(await bench.run(metadata={"retry_paths": ["a/poison.py"]})) == (0, 1, 0, 1)
    (bench.root / "a" / "poison.py").rename(bench.root / "cured.py")
    assert counts(await bench.run()) == (1, 1, 0, 0)


async def test_a_retry_reads_the_failed_file_again(bench: Bench) -> None:
    await bench.run()
    job = await bench.run(metadata={"retry_paths": ["shop/pay.py"]}, force_reindex=False)
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (0, 5, 0, 0))
    states = await jobs.file_states(bench.database, job.id)
    assert set(states.values()) == {"unchanged"}
    bench.write({"README.md": "# Changed\n"})
    assert counts(await bench.run(metadata={"retry_paths": ["shop/pay.py"]})) == (1, 4, 0, 0)


async def test_a_parsing_pool_of_processes_indexes_as_threads_do(bench: Bench) -> None:
    await bench.run()
    with contextlib.closing(ParsingPool(1)) as pool:
        real = Bench(bench.database, bench.settings, bench.root, pool=pool, project_id="real")
        await real.run()
    assert await real.digest() == await bench.digest()


# --- cancel ---


async def test_a_cancelled_job_stops_and_keeps_what_it_committed(bench: Bench) -> None:
    async with halted_after(bench, 2) as task:
        cancelled = await store.cancel(bench.database, (await only_job(bench)).id)
        assert cancelled is not None
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert (await jobs.current(bench.database, cancelled.id)) == cancelled
    assert len(await bench.indexed()) == cancelled.files_indexed == 2
    assert not (await bench.repository()).is_complete


async def test_the_start_after_a_cancel_goes_on_where_it_stopped(bench: Bench) -> None:
    async with halted_after(bench, 2) as task:
        await store.cancel(bench.database, (await only_job(bench)).id)
        await asyncio.wait_for(asyncio.shield(task), 5)
    job = await bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (3, 2, 0, 0))
    assert await bench.indexed() == SHOP
    assert (await bench.repository()).is_complete


async def test_a_cancel_at_any_point_lets_nothing_more_be_written(bench: Bench) -> None:
    bench.configure(batch_files=2)
    for point in ("claimed", "embedded", "committed"):
        await bench.start()
        job = await bench.claim()
        reached = asyncio.Event()
        bench.on_point = lambda now, point=point, reached=reached: reached.set() if now == point else None
        task = asyncio.create_task(JobRunner(job, bench.tools).run())
        await asyncio.wait_for(reached.wait(), 10)
        ended = await store.cancel(bench.database, job.id) or await jobs.current(bench.database, job.id)
        await asyncio.wait_for(task, 10)
        assert await jobs.current(bench.database, job.id) == ended
        repository_files = await bench.indexed() if ended.repository_id else {}
        assert all(SHOP[path] == text for path, text in repository_files.items())
    assert (await bench.run()).status is JobStatus.COMPLETED
    assert await bench.indexed() == SHOP


# --- stopping, losing ---


async def test_a_stopped_runner_gives_the_job_back_and_another_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RELEASE_SECONDS", 20)
    async with halted_after(bench, 2) as task:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    released = await only_job(bench)
    assert (released.status, released.attempt, released.fruitless_attempts) == (JobStatus.PENDING, 1, 0)
    job = await bench.carry_on()
    assert (job.status, counts(job), job.attempt) == (JobStatus.COMPLETED, (5, 0, 0, 0), 2)
    assert await bench.indexed() == SHOP
    assert await jobs.event_types(bench.database, job.id) == [
        "created", "started", "captured", "released", "resumed", "completed",
    ]  # fmt: skip


async def test_a_release_that_cannot_be_recorded_is_left_to_the_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "release", refusing(DatabaseUnavailableError()))
    async with halted_after(bench, 1) as task:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert (await only_job(bench)).status == JobStatus.RUNNING


async def test_a_runner_whose_job_was_taken_over_stops_and_writes_nothing_more(bench: Bench) -> None:
    async with halted_after(bench, 1) as task:
        job = await only_job(bench)
        await jobs.lapse(bench.database, job.id)
        await until(lambda: jobs.try_claim(bench.database), what="the job to be taken over before it is renewed")
        taken = await jobs.current(bench.database, job.id)
        assert taken.attempt == 2
        await asyncio.wait_for(asyncio.shield(task), 5)
        after = await jobs.current(bench.database, job.id)
        assert after == taken
    assert len(await bench.indexed()) == 1


def refusing(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


async def test_a_runner_that_cannot_renew_stops_before_its_lease_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.configure(lease_seconds=4)
    async with halted_after(bench, 1) as task:
        monkeypatch.setattr(store, "renew", refusing(DatabaseUnavailableError()))
        await asyncio.wait_for(asyncio.shield(task), 15)
        job = await only_job(bench)
    assert job.status == JobStatus.RUNNING


async def test_a_short_silence_of_the_database_ends_no_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, failures = store.renew, [DatabaseUnavailableError(), StorageFullError()]

    async def sometimes(*arguments: Any, **more: Any) -> bool:
        if failures:
            raise failures.pop()
        return await renew(*arguments, **more)

    monkeypatch.setattr(store, "renew", sometimes)
    async with halted_after(bench, 1) as task:
        await until(lambda: not failures, what="two renewals to fail")
        assert isinstance(bench.pool, GatedPool)
        bench.pool.gate.set()
        await asyncio.wait_for(asyncio.shield(task), 10)
    assert (await only_job(bench)).status == JobStatus.COMPLETED


async def test_renewals_tell_how_many_files_were_seen_while_listing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, list_files = threading.Event(), capture.list_files

    def slowly(*arguments: Any) -> None:
        list_files(*arguments)
        gate.wait(20)

    monkeypatch.setattr(capture, "list_files", slowly)
    await bench.start()
    job = await bench.claim()
    task = asyncio.create_task(JobRunner(job, bench.tools).run())

    async def seen() -> bool:
        now = await jobs.current(bench.database, job.id)
        return (now.files_scanned, now.phase, now.progress_message) == (
            5, JobPhase.DISCOVERING, "listing files, 5 so far",
        )  # fmt: skip

    try:
        await until(seen, what="the listing to show")
    finally:
        gate.set()
    await task
    assert (await jobs.current(bench.database, job.id)).status is JobStatus.COMPLETED


# --- errors ---


async def test_a_passing_trouble_blocks_the_job_and_the_next_claim_completes_it(bench: Bench) -> None:
    bench.embedder.failures = [StorageFullError("the disk is full")]
    blocked = await bench.attempt()
    assert (blocked.status, blocked.error_type, blocked.error_message) == (
        JobStatus.BLOCKED, "StorageFullError", "the disk is full",
    )  # fmt: skip
    await jobs.set_column(bench.database, blocked.id, "retry_at = clock_timestamp()")
    job = await bench.carry_on()
    assert (job.status, job.error_message, counts(job)) == (JobStatus.COMPLETED, None, (5, 0, 0, 0))
    assert await bench.indexed() == SHOP


async def test_a_block_is_recorded_once_the_database_is_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    block, failures = store.block, [DatabaseUnavailableError(), StorageFullError()]

    async def later(*arguments: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return await block(*arguments, **more)

    monkeypatch.setattr(store, "block", later)
    bench.embedder.failures = [StorageFullError("the disk is full")]
    job = await bench.attempt()
    assert (job.status, job.error_message, failures) == (JobStatus.BLOCKED, "the disk is full", [])


async def test_what_waiting_cannot_cure_fails_the_job_with_its_trace(bench: Bench) -> None:
    bench.embedder.failures = [EmbeddingError("the model answered NaN")]
    job = await bench.run()
    assert (job.status, job.error_type, job.error_message) == (
        JobStatus.FAILED, "EmbeddingError", "the model answered NaN",
    )  # fmt: skip
    assert "Traceback" in str(job.error_traceback)
    assert await bench.indexed() == {}


UNEXPECTED = [KeyError("surprise"), ImportError("no package metadata was found"), ConstraintViolatedError("some_rule")]


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda error: type(error).__name__)
async def test_an_error_that_nobody_foresaw_fails_the_job_only_when_it_comes_again_and_again(
    bench: Bench, error: Exception
) -> None:
    bench.embedder.failures = [error] * 3
    job = await bench.attempt()
    for _ in range(2):
        assert (job.status, job.error_type) == (JobStatus.BLOCKED, type(error).__name__)
        assert str(job.error_message).startswith("unexpected error (")
        await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
        job = await bench.carry_on()
    assert (job.status, job.error_type) == (JobStatus.FAILED, type(error).__name__)
    assert "Traceback" in str(job.error_traceback)
    assert await bench.indexed() == {}


async def test_a_committed_batch_ends_a_row_of_unexpected_errors(bench: Bench) -> None:
    bench.configure(batch_files=1)
    bench.embedder.failures = [KeyError(1), KeyError(2), None, KeyError(3), KeyError(4), None]
    job = await bench.attempt()
    while job.status is JobStatus.BLOCKED:
        await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
        job = await bench.carry_on()
    assert job.status is JobStatus.COMPLETED
    assert await bench.indexed() == SHOP


class ChangedFiles(ProgramFiles):
    def find_change(self) -> str | None:
        return "/opt/codebase-mcp/lib/some_library.py"


@pytest.mark.parametrize("error", [*UNEXPECTED, EmbeddingError("the model's file is gone")], ids=str)
async def test_a_job_is_given_back_when_the_programs_files_have_changed(bench: Bench, error: Exception) -> None:
    """Whatever went wrong may come of that, and a worker that was started anew knows better."""
    bench.embedder.failures = [error]
    await bench.start()
    job = await bench.claim()
    await JobRunner(job, replace(bench.tools, program_files=ChangedFiles())).run()
    assert (await jobs.current(bench.database, job.id)).status is JobStatus.PENDING
    assert (await bench.carry_on()).status is JobStatus.COMPLETED


class LifelessPool(ParsingPool):
    """No process comes up: what a removed program or a full process table looks like."""

    async def run(self, function: Callable[[Any], Any], given: Any) -> Any:
        raise PoolBrokenError

    run_isolated = run


async def test_no_file_is_given_up_when_nothing_can_be_parsed_at_all(bench: Bench) -> None:
    bench.pool = LifelessPool(1)
    job = await bench.attempt()
    assert (job.status, job.error_type, job.files_failed) == (JobStatus.BLOCKED, "ParsersUnavailableError", 0)
    bench.pool = ParsingPool(1)
    await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
    job = await bench.carry_on()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 0, 0))


async def test_a_model_that_answers_too_few_vectors_stores_nothing(bench: Bench) -> None:
    class Lying(type(bench.embedder)):  # type: ignore[misc]
        async def embed_documents(self, texts: Any) -> Any:
            return (await super().embed_documents(texts))[:-1]

    bench.embedder = Lying()
    job = await bench.attempt()
    assert (job.status, job.error_type) == (JobStatus.BLOCKED, "ValueError")
    assert await bench.indexed() == {}


async def test_an_end_that_cannot_be_recorded_is_left_to_the_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "fail", refusing(DatabaseUnavailableError()))
    bench.embedder.failures = [EmbeddingError("broken")]
    assert (await bench.attempt()).status is JobStatus.RUNNING


def test_a_lost_lease_explains_every_other_error_of_the_moment() -> None:
    lost, broken = LeaseLostError(), EmbeddingError("broken")
    nested = ExceptionGroup("", [broken, ExceptionGroup("", [KeyError("x"), lost])])
    assert runner._most_telling(nested) is lost
    assert runner._most_telling(ExceptionGroup("", [ExceptionGroup("", [broken]), KeyError("x")])) is broken


async def test_a_job_that_is_pruned_under_its_worker_ends_quietly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    job = await bench.claim()
    monkeypatch.setattr(batches.Batches, "run", lambda _self: gone(bench))
    await JobRunner(job, bench.tools).run()
    assert await jobs.execute(bench.database, "SELECT id FROM codebase_mcp.indexing_jobs") == []


async def gone(bench: Bench) -> None:
    await jobs.execute(bench.database, "DELETE FROM codebase_mcp.indexing_jobs")


async def test_a_job_after_one_that_was_cancelled_in_its_finish_does_what_that_one_left_undone(bench: Bench) -> None:
    undisturbed = Bench(bench.database, bench.settings, bench.root, project_id="undisturbed")
    await undisturbed.run()
    job = await bench.start()
    claimed = await bench.claim()

    async def cancel_first(*arguments: Any) -> None:
        await store.cancel(bench.database, job.id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finishing, "_count_references", cancel_first)
        await JobRunner(claimed, bench.tools).run()
    assert (await jobs.current(bench.database, job.id)).status is JobStatus.CANCELLED
    assert counts(await bench.run()) == (0, 5, 0, 0)
    assert await bench.digest() == await undisturbed.digest()


# --- a repository that is removed while its job starts ---


@pytest.mark.parametrize("what", ["its row", "the whole project"])
async def test_a_job_whose_repository_is_removed_under_it_ends_with_a_clear_word(bench: Bench, what: str) -> None:
    await bench.start()
    job = await bench.claim()
    gone = f"DELETE FROM {bench.schema}.repositories" if what == "its row" else f"DROP SCHEMA {bench.schema} CASCADE"
    bench.pool = gated = GatedPool(0)
    task = asyncio.create_task(JobRunner(job, bench.tools).run())
    await asyncio.wait_for(gated.waits.wait(), 10)
    await jobs.execute(bench.database, gone)
    gated.gate.set()
    await asyncio.wait_for(task, 20)
    ended = await jobs.current(bench.database, job.id)
    assert (ended.status, ended.error_type, ended.error_message) == (
        JobStatus.FAILED,
        "RepositoryNotFoundError",
        "The repository was removed while it was being indexed. Start again to index it.",
    )


async def test_a_job_taken_over_after_its_repository_was_removed_does_not_pretend_to_be_complete(bench: Bench) -> None:
    async with halted_after(bench, committed=2) as task:
        task.cancel()
        await asyncio.wait([task])
    await jobs.execute(bench.database, f"TRUNCATE {bench.schema}.repositories CASCADE")
    ended = await bench.carry_on()
    assert (ended.status, ended.error_type) == (JobStatus.FAILED, "RepositoryNotFoundError")
