"""A search never passes off an index as complete whose last job did not finish, and a retry takes what failed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from codebase_mcp.domain import FileOutcome, FileState, Job, JobStatus
from codebase_mcp.errors import (
    EmbeddingError,
    InvalidInputError,
    ProjectNotFoundError,
    RepositoryNotFoundError,
    StorageFullError,
)
from codebase_mcp.jobs import store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.jobs.store import BatchCounts
from codebase_mcp.service import Service
from tests.support import jobs
from tests.support.runs import SHOP, Bench, GatedPool, counts


async def states(service: Service) -> list[str]:
    """What a search and the list of repositories say of each."""
    answer = await service.search("ShoppingCart")
    told = [one.state for one in answer.freshness]
    listed = [one.state for one in (await service.list_repositories()).repositories]
    assert sorted(told) == sorted(listed)
    return told


async def start(service: Service, bench: Bench) -> UUID:
    return (await service.start_indexing(str(bench.root))).job_id


# --- how a job may stop before its end ---


async def failed_in_its_listing(service: Service, bench: Bench) -> None:
    await start(service, bench)
    moved = bench.root.rename(bench.root.with_name("moved"))
    job = await bench.carry_on()
    assert (job.status, job.files_total) == (JobStatus.FAILED, 0)
    moved.rename(bench.root)


async def failed_in_its_middle(service: Service, bench: Bench) -> None:
    bench.write({"new.py": "x = 1\n"})
    bench.embedder.failures = [EmbeddingError("no good")]
    await start(service, bench)
    assert (await bench.carry_on()).status is JobStatus.FAILED


async def cancelled_before_it_began(service: Service, bench: Bench) -> None:
    await service.cancel_job(await start(service, bench), confirmed=True)


async def cancelled_when_claimed(service: Service, bench: Bench) -> None:
    job_id = await start(service, bench)
    bench.pool = gated = GatedPool(0)
    bench.write({"new.py": "x = 1\n"})
    running = asyncio.create_task(JobRunner(await bench.claim(), bench.tools).run())
    await asyncio.wait_for(gated.waits.wait(), 20)
    await service.cancel_job(job_id, confirmed=True)
    gated.gate.set()
    await running


async def blocked(service: Service, bench: Bench) -> None:
    bench.write({"new.py": "x = 1\n"})
    bench.embedder.failures = [StorageFullError("the disk is full")]
    await start(service, bench)
    assert (await bench.carry_on()).status is JobStatus.BLOCKED


async def released_and_never_resumed(service: Service, bench: Bench) -> None:
    await start(service, bench)
    assert await store.release(bench.database, jobs.claim_of(await bench.claim()))


async def orphaned(service: Service, bench: Bench) -> None:
    await start(service, bench)
    await jobs.lapse(bench.database, (await bench.claim()).id)


STOPS = [
    failed_in_its_listing, failed_in_its_middle, cancelled_before_it_began, cancelled_when_claimed, blocked,
    released_and_never_resumed, orphaned,
]  # fmt: skip


@pytest.mark.parametrize("stop", STOPS)
async def test_an_update_that_did_not_finish_leaves_the_repository_incomplete(
    service: Service, bench: Bench, stop: object
) -> None:
    await start(service, bench)
    await bench.carry_on()
    assert await states(service) == ["ready"]
    await stop(service, bench)  # type: ignore[operator]
    assert await states(service) == ["incomplete"]


@pytest.mark.parametrize("stop", STOPS)
async def test_a_first_job_that_did_not_finish_leaves_the_repository_incomplete(
    service: Service, bench: Bench, stop: object
) -> None:
    await stop(service, bench)  # type: ignore[operator]
    assert await states(service) == ["incomplete"]


async def test_a_job_that_has_just_been_started_or_is_worked_on_is_indexing(service: Service, bench: Bench) -> None:
    await start(service, bench)
    assert await states(service) == ["indexing"]
    job = await bench.claim()
    assert await states(service) == ["indexing"]
    await JobRunner(job, bench.tools).run()
    assert await states(service) == ["ready"]


async def test_the_next_job_that_completes_makes_up_for_a_cancelled_one(service: Service, bench: Bench) -> None:
    await cancelled_before_it_began(service, bench)
    await start(service, bench)
    await bench.carry_on()
    assert await states(service) == ["ready"]
    await service.remove_repository("shop", confirmed=True)
    await bench.run()
    await cancelled_before_it_began(service, bench)
    assert await states(service) == ["incomplete"]


async def test_a_removed_repository_is_not_shown_for_its_old_jobs(service: Service, bench: Bench) -> None:
    other = Bench(bench.database, bench.settings, bench.root.parent / "other")
    other.write({"x.py": "x = 1\n"})
    await start(service, other)
    await other.carry_on()
    await failed_in_its_middle(service, bench)
    assert sorted(await states(service)) == ["incomplete", "ready"]
    await service.remove_repository("shop", confirmed=True)
    assert await states(service) == ["ready"]


@pytest.mark.parametrize("stop", [start, cancelled_before_it_began])
async def test_a_repository_that_was_never_begun_can_be_removed(service: Service, bench: Bench, stop: object) -> None:
    await stop(service, bench)  # type: ignore[operator]
    assert len(await states(service)) == 1
    removed = await service.remove_repository("shop", confirmed=True)
    assert removed.path == str(bench.root)
    assert ("its job was cancelled" in removed.message) == (stop is start)
    assert await states(service) == []
    with pytest.raises(RepositoryNotFoundError):
        await service.remove_repository("shop", confirmed=True)
    await start(service, bench)
    assert await states(service) == ["indexing"]


async def test_a_first_job_that_ends_just_before_it_is_cancelled_is_removed_with_its_index(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(service, bench)
    cancel = store.cancel

    async def cancelled_too_late(*arguments: Any) -> Job | None:
        await bench.carry_on()
        return await cancel(*arguments)

    monkeypatch.setattr(store, "cancel", cancelled_too_late)
    assert (await service.remove_repository("shop", confirmed=True)).files_removed == len(SHOP)
    with pytest.raises(ProjectNotFoundError):
        await states(service)


async def test_a_repository_that_was_never_begun_is_removed_by_a_path_as_people_write_it(
    service: Service, bench: Bench
) -> None:
    await start(service, bench)
    await service.remove_repository(f"{bench.root}/../{bench.root.name}/", confirmed=True)
    assert await states(service) == []


async def test_a_name_that_an_index_and_a_first_job_share_removes_neither(service: Service, bench: Bench) -> None:
    await bench.run()
    twin = Bench(bench.database, bench.settings, bench.root.parent / "twin" / "shop")
    twin.write({"x.py": "x = 1\n"})
    await start(service, twin)
    with pytest.raises(InvalidInputError, match="'shop' is ambiguous"):
        await service.remove_repository("shop", confirmed=True)
    assert sorted(await states(service)) == ["indexing", "ready"]
    assert (await service.remove_repository(str(twin.root), confirmed=True)).files_removed == 0
    assert await states(service) == ["ready"]


# --- files that failed ---


async def fail_some(bench: Bench, *paths: str) -> Job:
    """A completed job of which these files failed, whatever the parser thinks of them."""
    job = await bench.run()
    for path in paths:
        await jobs.execute(
            bench.database,
            "UPDATE codebase_mcp.job_files SET state = 'failed', reason = 'it died' WHERE relative_path = :path",
            path=path,
        )
        await jobs.execute(bench.database, f"DELETE FROM {bench.schema}.code_files WHERE relative_path = :p", p=path)
    await jobs.set_column(bench.database, job.id, f"files_failed = {len(paths)}, files_indexed = {5 - len(paths)}")
    return await jobs.current(bench.database, job.id)


async def retried(service: Service, bench: Bench) -> Job:
    await service.start_indexing(str(bench.root), retry_failed=True)
    return await bench.carry_on()


async def test_without_a_retry_what_failed_stays_failed_and_says_so(service: Service, bench: Bench) -> None:
    await fail_some(bench, "shop/cart.py", "README.md")
    await start(service, bench)
    job = await bench.carry_on()
    assert counts(job) == (0, 3, 0, 2)
    assert "2 failed (2 it died) of 5 files" in job.progress_message


async def test_a_retry_reads_only_what_failed(service: Service, bench: Bench) -> None:
    await fail_some(bench, "shop/cart.py", "README.md")
    job = await retried(service, bench)
    assert counts(job) == (2, 3, 0, 0)
    assert job.bytes_total == sum(len(SHOP[path]) for path in ("shop/cart.py", "README.md"))
    assert await jobs.file_states(bench.database, job.id) == {
        path: "indexed" if path in ("shop/cart.py", "README.md") else "unchanged" for path in SHOP
    }
    assert await bench.indexed() == SHOP


async def test_a_retry_reads_what_has_changed_as_any_start_does(service: Service, bench: Bench) -> None:
    await fail_some(bench, "README.md")
    bench.write({"shop/pay.py": "def pay():\n    return 1\n", "shop/new.py": "x = 1\n"})
    job = await retried(service, bench)
    assert counts(job) == (3, 3, 0, 0)


async def test_a_file_that_fails_again_is_told_again_and_can_be_retried_again(service: Service, bench: Bench) -> None:
    await fail_some(bench, "README.md")
    await service.start_indexing(str(bench.root), retry_failed=True)
    job = await bench.claim()
    await jobs.capture(bench.database, job, ["README.md"])
    async with bench.database.transaction("writers") as connection:
        await store.commit_batch(connection, jobs.claim_of(job), BatchCounts(failed=1), is_checkpoint=False)
        outcome = FileOutcome("README.md", FileState.FAILED, "it died again")
        await store.mark_files(connection, jobs.claim_of(job), {0: outcome})
    await jobs.finish(bench.database, job)
    assert (await service.job_status(job.id)).left_out_reasons[0].reason == "it died again"
    assert counts(await retried(service, bench)) == (1, 4, 0, 0)


async def test_a_retry_where_nothing_failed_says_so_and_starts_nothing(service: Service, bench: Bench) -> None:
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="no file failed in the last completed job"):
            await service.start_indexing(str(bench.root), retry_failed=True)
        await bench.run()
    assert (await service.list_jobs()).total_count == 2


async def test_a_retry_of_a_file_that_is_gone_leaves_it_out(service: Service, bench: Bench) -> None:
    await fail_some(bench, "README.md")
    Path(bench.root, "README.md").unlink()
    assert counts(await retried(service, bench)) == (0, 4, 0, 0)
