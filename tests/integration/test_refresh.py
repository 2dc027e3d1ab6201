"""A search that must be fresh: what was saved before it is found, or the answer says why not."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.errors import (
    DatabaseUnavailableError,
    EmbeddingError,
    InvalidInputError,
    ProjectNotFoundError,
    RepositoryNotFoundError,
    StorageFullError,
)
from codebase_mcp.jobs import store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.search.models import Refresh, SearchAnswer
from codebase_mcp.service import Service, refresh
from codebase_mcp.service.looks import Looks
from tests.support import jobs
from tests.support.jobs import HOST
from tests.support.runs import Bench, GatedPool, everything
from tests.support.waiting import until

NEW = {"shop/refund.py": "class RefundDesk:\n    def pay_back(self):\n        return 1\n"}


async def fresh(service: Service, **more: Any) -> SearchAnswer:
    return await service.search("RefundDesk", require_fresh=True, **more)


async def outcome(service: Service, **more: Any) -> Refresh:
    """Of a search in one repository."""
    answer = await fresh(service, **more)
    (entry,) = answer.freshness
    assert entry.refresh is not None
    told = [] if entry.refresh.is_fresh else [f"shop is not fresh. {entry.refresh.message}"]
    assert answer.warnings[-1:] == told or not told
    return entry.refresh


async def joining(service: Service, monkeypatch: pytest.MonkeyPatch) -> asyncio.Task[Refresh]:
    """A search that has found the active job."""
    start, joined = service.start_indexing, asyncio.Event()

    async def starting(*arguments: Any, **more: Any) -> Any:
        started = await start(*arguments, **more)
        assert started.already_running or joined.is_set()
        joined.set()
        return started

    monkeypatch.setattr(service, "start_indexing", starting)
    searching = asyncio.create_task(outcome(service))
    await asyncio.wait_for(joined.wait(), 20)
    return searching


async def all_jobs(service: Service) -> int:
    return (await service.list_jobs()).total_count


async def is_ready(service: Service) -> bool:
    return (await service.search("x")).freshness[0].state == "ready"


async def pending_jobs(service: Service) -> list[UUID]:
    return [job.job_id for job in (await service.list_jobs(status=JobStatus.PENDING)).jobs]


@asynccontextmanager
async def at_work(bench: Bench) -> AsyncIterator[None]:
    """Somebody who runs the jobs that come."""

    async def work() -> None:
        while True:
            await JobRunner(await bench.claim(), bench.tools).run()

    task = asyncio.create_task(work())
    yield
    task.cancel()


async def at_its_end(bench: Bench) -> Job:
    """A job that has nothing left to do but what follows the last file."""
    job = await jobs.running(bench.database, str(bench.root))
    await jobs.set_column(bench.database, job.id, "phase = 'indexing', files_total = 6, files_unchanged = 6")
    await jobs.execute(bench.database, f"UPDATE {bench.schema}.repositories SET is_complete = false")
    return job


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda seconds: monkeypatch.setattr(refresh, "FRESH_WITHIN_SECONDS", seconds)


# --- fresh ---


async def test_what_was_saved_before_the_search_is_found(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write(NEW)
    async with at_work(bench):
        answer = await fresh(service)
    (entry,) = answer.freshness
    assert answer.results[0].file_path.endswith("shop/refund.py")
    assert entry.refresh is not None
    assert entry.refresh.is_fresh
    assert entry.refresh.message.startswith("Brought up to date")
    assert entry.refresh.job_id is not None
    assert (await service.job_status(entry.refresh.job_id)).files_indexed == 1
    assert not [warning for warning in answer.warnings if "not fresh" in warning]


async def test_where_nothing_changed_no_job_is_started(service: Service, bench: Bench) -> None:
    await bench.run()
    found = await outcome(service)
    assert (found.is_fresh, found.message, found.job_id) == (True, "No file has changed since the index.", None)
    assert await all_jobs(service) == 1


async def test_a_search_that_need_not_be_fresh_tells_nothing_of_it(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write(NEW)
    (entry,) = (await service.search("RefundDesk")).freshness
    assert entry.refresh is None
    assert await all_jobs(service) == 1


async def test_a_save_just_before_the_call_is_seen_although_a_look_is_under_way(service: Service, bench: Bench) -> None:
    await bench.run()
    await service.count_changes(await service.search("x"), seconds=20)
    bench.write(NEW)
    async with at_work(bench):
        assert (await outcome(service)).job_id is not None


async def test_an_index_that_an_interrupted_job_left_is_completed(service: Service, bench: Bench) -> None:
    await bench.run()
    started = await service.start_indexing(str(bench.root))
    await service.cancel_job(started.job_id, confirmed=True)
    async with at_work(bench):
        assert (await outcome(service)).job_id is not None
        await until(lambda: is_ready(service), what="the job's end")
    await jobs.execute(bench.database, f"UPDATE {bench.schema}.repositories SET is_complete = false")
    async with at_work(bench):
        assert (await outcome(service)).job_id is not None
        await until(lambda: is_ready(service), what="the job's end")


async def test_a_job_that_listed_the_files_before_they_changed_is_followed_by_another(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    bench.write({"shop/other.py": "x = 1\n"})
    bench.pool = gated = GatedPool(5)
    first = await bench.start()
    running = asyncio.create_task(JobRunner(await bench.claim(), bench.tools).run())
    await asyncio.wait_for(gated.waits.wait(), 20)
    bench.write(NEW)
    searching = await joining(service, monkeypatch)
    gated.gate.set()
    await running
    async with at_work(bench):
        found = await searching
    assert found.is_fresh
    assert found.job_id not in (None, first.id)


async def test_the_end_of_a_job_whose_files_can_all_be_found_is_not_waited_for(
    service: Service, bench: Bench, within: Any
) -> None:
    await bench.run()
    await service.search("RefundDesk")
    bench.write(NEW)
    await bench.run()
    job = await at_its_end(bench)
    within(15.0)
    began = time.monotonic()
    answer = await fresh(service)
    assert time.monotonic() - began < 14
    assert answer.results[0].file_path.endswith("shop/refund.py")
    assert answer.freshness[0].refresh == Refresh(
        is_fresh=True, message="Brought up to date; what else its job does goes on.", job_id=job.id
    )


async def test_a_job_that_has_yet_to_remove_files_is_waited_for(service: Service, bench: Bench, within: Any) -> None:
    await bench.run()
    (bench.root / "README.md").unlink()
    job = await at_its_end(bench)
    within(15.0)
    searching = asyncio.create_task(outcome(service))
    looks = service._looks._remembered
    await until(lambda: looks, what="a look")
    looks.clear()
    await until(lambda: looks, what="another one, of the job that has done its files")
    assert not searching.done()
    await jobs.execute(bench.database, f"DELETE FROM {bench.schema}.code_files WHERE relative_path = 'README.md'")
    await jobs.set_column(bench.database, job.id, "phase = 'finishing'")
    assert (await searching).is_fresh
    assert (await jobs.current(bench.database, job.id)).status is JobStatus.RUNNING


async def test_files_that_are_not_removed_in_time_are_still_in_the_index(
    service: Service, bench: Bench, within: Any
) -> None:
    await bench.run()
    (bench.root / "README.md").unlink()
    await at_its_end(bench)
    within(0.3)
    assert not (await outcome(service)).is_fresh


async def test_a_first_job_is_joined(service: Service, bench: Bench) -> None:
    bench.write(NEW)
    started = await service.start_indexing(str(bench.root))
    async with at_work(bench):
        answer = await fresh(service, repository="shop")
    assert answer.results[0].file_path.endswith("shop/refund.py")
    assert answer.freshness[0].refresh is not None
    assert answer.freshness[0].refresh.job_id == started.job_id


async def test_all_repositories_of_the_search_are_brought_up_to_date(service: Service, bench: Bench) -> None:
    other = Bench(bench.database, bench.settings, bench.root.parent / "other", bench.embedder)
    other.write({"x.py": "x = 1\n"})
    await other.run()
    await bench.run()
    other.write(NEW)
    bench.write(NEW)
    async with at_work(bench):
        answer = await fresh(service)
    assert {one.repository: one.refresh and one.refresh.is_fresh for one in answer.freshness} == {
        "shop": True,
        "other": True,
    }
    assert {hit.repository for hit in answer.results[:2]} == {"shop", "other"}
    bench.write({"y.py": "y = 1\n"})
    answer = await fresh(service, repository="other")
    assert [one.repository for one in answer.freshness] == ["other"]


async def test_a_repository_keeps_its_name_and_a_large_root_its_permission(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(bench.root))
    await service.start_indexing(str(bench.root), name="my shop", allow_large_root=True)
    await bench.carry_on()
    bench.write(NEW)
    async with at_work(bench):
        answer = await fresh(service)
    assert answer.freshness[0].refresh is not None
    assert (answer.freshness[0].refresh.is_fresh, answer.freshness[0].repository) == (True, "my shop")


# --- not fresh, and why ---


async def test_a_job_that_waits_for_its_turn_is_told_with_its_place(
    service: Service, bench: Bench, within: Any
) -> None:
    await bench.run()
    bench.write(NEW)
    for number in range(3):
        await jobs.running(bench.database, f"/src/{number}", project_id="elsewhere")
    await jobs.start(bench.database, "/src/first", "elsewhere")
    within(0.3)
    found = await outcome(service)
    assert not found.is_fresh
    assert "Waits to be indexed: place 2 in the queue, behind 3 running jobs." in found.message
    assert f"follow job {found.job_id} with get_job_status" in found.message
    found_again = await outcome(service)
    assert found_again.job_id == found.job_id


async def test_a_job_that_takes_longer_is_told_with_its_progress(service: Service, bench: Bench, within: Any) -> None:
    await bench.run()
    bench.write(NEW)
    bench.pool = gated = GatedPool(5)
    job = await bench.start()
    running = asyncio.create_task(JobRunner(await bench.claim(), bench.tools).run())
    await asyncio.wait_for(gated.waits.wait(), 20)
    await jobs.set_column(bench.database, job.id, "progress_percentage = 34")
    within(0.3)
    answer = await service.search("ShoppingCart", require_fresh=True)
    gated.gate.set()
    await running
    (entry,) = answer.freshness
    assert answer.results
    assert entry.refresh is not None
    assert (entry.refresh.is_fresh, entry.refresh.job_id) == (False, job.id)
    assert entry.refresh.message.startswith("Still being indexed, 34 %: ")
    assert answer.warnings[-1] == f"shop is not fresh. {entry.refresh.message}"


async def test_a_job_that_would_clearly_take_longer_is_not_waited_for(
    service: Service, bench: Bench, within: Any
) -> None:
    await bench.run()
    for number in range(500):
        with (bench.root / f"large{number}.py").open("wb") as file:
            file.truncate(900_000)
    within(15.0)
    began = time.monotonic()
    assert not (await outcome(service)).is_fresh
    assert time.monotonic() - began < 14


async def test_a_failure_is_told_with_its_reason(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write(NEW)
    bench.embedder.failures = [EmbeddingError("no good")]
    async with at_work(bench):
        found = await outcome(service)
    assert not found.is_fresh
    assert "Indexing it failed: no good What was" in found.message


async def test_a_blocked_job_is_told_with_its_reason(service: Service, bench: Bench, within: Any) -> None:
    await bench.run()
    bench.write(NEW)
    bench.embedder.failures = [StorageFullError("the disk is full")] * 9
    job = await bench.start()
    await bench.carry_on()
    await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp() + interval '1 hour'")
    within(15.0)
    began = time.monotonic()
    found = await outcome(service)
    assert time.monotonic() - began < 14
    assert "Its job is blocked: the disk is full" in found.message


async def test_a_job_that_is_cancelled_meanwhile_is_told(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write(NEW)
    searching = asyncio.create_task(outcome(service))
    started = await until(lambda: pending_jobs(service), what="a job")
    await store.cancel(bench.database, started[0])
    found = await asyncio.wait_for(searching, 20)
    assert not found.is_fresh
    assert "was cancelled" in found.message


async def test_a_root_that_is_gone_is_told_and_starts_no_job(service: Service, bench: Bench) -> None:
    await bench.run()
    shutil.rmtree(bench.root)
    answer = await service.search("ShoppingCart", require_fresh=True)
    assert answer.results
    message = answer.freshness[0].refresh and answer.freshness[0].refresh.message
    assert message == (
        f"VALIDATION_ERROR: {bench.root} does not exist. Its index is kept as it was. Check the path, then start again."
    )
    assert await all_jobs(service) == 1


async def test_a_disk_that_is_too_full_for_a_job_is_told_with_the_numbers(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    bench.write(NEW)
    bench.settings.data_dir.mkdir(exist_ok=True)
    full = bench.settings.model_copy(update={"database_url": None, "min_free_disk_bytes": 10**18})
    monkeypatch.setattr(service, "_settings", full)
    found = await outcome(service)
    assert not found.is_fresh
    assert found.message.startswith("DATABASE_ERROR: Only ")
    assert await all_jobs(service) == 1


async def test_files_that_change_while_they_are_indexed_do_not_hold_the_search_for_ever(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    monkeypatch.setattr(refresh, "MOST_ROUNDS", 1)
    bench.write(NEW)
    await bench.start()
    searching = await joining(service, monkeypatch)
    bench.on_point = lambda point: bench.write({"late.py": "x = 1\n"}) if point == "finishing" else None
    await bench.carry_on()
    found = await searching
    assert (found.is_fresh, found.message) == (False, "Its files change while they are indexed.")


# --- errors ---


async def test_what_is_not_indexed_is_refused_with_how_to_index_it(
    service: Service, bench: Bench, tmp_path: Path
) -> None:
    with pytest.raises(ProjectNotFoundError, match="codebase-mcp index PATH"):
        await fresh(service)
    await bench.run()
    before = await everything(bench.database)
    with pytest.raises(RepositoryNotFoundError, match="Index it first: start_indexing_background"):
        await fresh(service, repository=str(tmp_path / "elsewhere"))
    assert await everything(bench.database) == before


async def test_a_project_without_an_index_is_refused_with_how_to_make_one(service: Service, bench: Bench) -> None:
    started = await service.start_indexing(str(bench.root))
    await jobs.execute(bench.database, "DELETE FROM codebase_mcp.indexing_jobs")
    with pytest.raises(RepositoryNotFoundError, match=r"Nothing is indexed in project 'default'\. Index a repository"):
        await fresh(service)
    assert started.status is JobStatus.PENDING


async def test_a_search_that_cannot_be_answered_starts_nothing(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write(NEW)
    for wrong in ({"path_glob": "!a"}, {"language": "klingon"}):
        with pytest.raises(InvalidInputError):
            await fresh(service, **wrong)
    assert await all_jobs(service) == 1


async def test_a_database_that_is_away_is_an_error_and_no_answer(service: Service, bench: Bench) -> None:
    await bench.run()

    def away() -> Any:
        raise DatabaseUnavailableError

    service.__dict__["_looks"] = Looks(away, bench.settings, lambda: HOST.id)
    with pytest.raises(DatabaseUnavailableError):
        await fresh(service)


async def test_a_database_that_goes_away_before_the_start_is_an_error_too(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    bench.write(NEW)

    async def away(*_arguments: Any, **_more: Any) -> Any:
        raise DatabaseUnavailableError

    monkeypatch.setattr(service, "start_indexing", away)
    with pytest.raises(DatabaseUnavailableError):
        await fresh(service)
