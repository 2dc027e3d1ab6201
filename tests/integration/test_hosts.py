"""Several hosts on one database: whose jobs are whose, and what a host sees of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from codebase_mcp.domain import MAX_RUNNING_JOBS, Host, Job, JobStatus
from codebase_mcp.errors import InvalidInputError, InvalidStatusError
from codebase_mcp.jobs import store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.search.models import SearchAnswer
from codebase_mcp.service import Service
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.jobs import HOST
from tests.support.runs import SERVED, SHOP, Bench

OTHER = Host("other-host", "other")
TEXTS = {"till.py": "class CashRegister:\n    def open_drawer(self):\n        return 1\n"}


async def on(database: Database, host: Host, path: str = "/src/shop") -> Job:
    return await jobs.start(database, path, host_id=host.id)


async def test_a_job_is_claimed_on_its_own_host_only(database: Database) -> None:
    job = await on(database, OTHER)
    assert await jobs.try_claim(database) is None
    assert (await jobs.current(database, job.id)).status is JobStatus.PENDING
    assert (await jobs.claim(database, host=OTHER)).id == job.id


async def test_an_orphan_is_taken_over_on_its_own_host_only(database: Database) -> None:
    await on(database, OTHER)
    orphan = await jobs.claim(database, host=OTHER)
    await jobs.lapse(database, orphan.id)
    assert await jobs.try_claim(database) is None
    taken = await jobs.claim(database, host=OTHER)
    assert (taken.id, taken.attempt) == (orphan.id, 2)


async def test_a_blocked_job_that_is_due_is_taken_on_its_own_host_only(database: Database) -> None:
    await on(database, OTHER)
    job = await jobs.block(database, await jobs.claim(database, host=OTHER))
    await jobs.set_column(database, job.id, "retry_at = clock_timestamp() - interval '1 second'")
    assert await jobs.try_claim(database) is None
    assert (await jobs.claim(database, host=OTHER)).id == job.id


async def test_a_hopeless_job_is_given_up_by_its_own_host_only(database: Database) -> None:
    await on(database, OTHER)
    job = await jobs.claim(database, host=OTHER)
    await jobs.set_column(database, job.id, "fruitless_attempts = 5, lease_expires_at = now() - interval '1 minute'")
    assert await jobs.try_claim(database) is None
    assert (await jobs.current(database, job.id)).status is JobStatus.RUNNING
    assert await jobs.try_claim(database, host=OTHER) is None
    assert (await jobs.current(database, job.id)).status is JobStatus.FAILED


async def test_each_host_has_its_own_slots(database: Database) -> None:
    for host in (HOST, OTHER):
        for number in range(MAX_RUNNING_JOBS + 1):
            await on(database, host, f"/src/{number}")
    for host in (HOST, OTHER):
        claimed = [await jobs.try_claim(database, host=host) for _ in range(MAX_RUNNING_JOBS + 1)]
        assert sorted(job.slot or 0 for job in claimed if job) == [1, 2, 3]
        assert {job.host_id for job in claimed if job} == {host.id}


async def test_the_same_path_on_two_hosts_is_two_repositories(database: Database) -> None:
    own, other = await on(database, HOST), await on(database, OTHER)
    assert own.id != other.id
    assert (await jobs.try_start(database, host_id=OTHER.id))[0].id == other.id


async def test_the_work_of_another_host_is_none_of_this_one(database: Database) -> None:
    await on(database, OTHER)
    assert (await store.waiting_work(database, HOST.id)).active == 0
    assert (await store.waiting_work(database, OTHER.id)).claimable == 1


# --- with whole jobs ---


@pytest.fixture
async def elsewhere(bench: Bench) -> AsyncIterator[Callable[[], Awaitable[Service]]]:
    """Makes a service of the other host on the same database."""
    async with AsyncExitStack() as stack:

        async def make() -> Service:
            data_dir = bench.root.parent / "other-data"
            changes = SERVED | {"host_id": OTHER.id, "data_dir": data_dir}
            made = Service(bench.settings.model_copy(update=changes), working_directory=lambda: Path("/"))
            made.__dict__["_embedder"] = bench.embedder
            stack.push_async_callback(made.close)
            await made.launch()
            await made.ready(10)
            return made

        yield make


@pytest.fixture
async def here(bench: Bench, service: Service) -> Service:
    service.__dict__["_embedder"] = bench.embedder
    return service


async def index_as(bench: Bench, host: Host) -> Job:
    await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=host.id)
    job = await jobs.claim(bench.database, host=host)
    await JobRunner(job, bench.tools).run()
    return await jobs.current(bench.database, job.id)


def replace_tree(bench: Bench) -> None:
    """What lies at the same path on the other host."""
    for path in SHOP:
        (bench.root / path).unlink()
    bench.write(TEXTS)


def found(answer: SearchAnswer) -> set[tuple[str, str | None]]:
    return {(Path(hit.file_path).name, hit.host) for hit in answer.results}


async def test_the_same_path_with_other_content_replaces_nothing(bench: Bench, here: Service) -> None:
    first = await index_as(bench, HOST)
    replace_tree(bench)
    second = await index_as(bench, OTHER)
    assert (first.files_indexed, second.files_indexed) == (len(SHOP), 1)
    assert first.repository_id != second.repository_id
    listed = (await here.list_repositories()).repositories
    assert {(one.host, one.path, one.file_count) for one in listed} == {
        (None, str(bench.root), len(SHOP)), ("other-host", str(bench.root), 1),
    }  # fmt: skip


async def test_both_are_searched_and_each_hit_says_whose_it_is(bench: Bench, here: Service) -> None:
    await index_as(bench, HOST)
    replace_tree(bench)
    await index_as(bench, OTHER)
    answer = await here.search("cash register shopping cart", repository="*")
    assert {("cart.py", None), ("till.py", "other-host")} <= found(answer)
    (foreign,) = [one for one in answer.freshness if one.host]
    assert (foreign.head_commit, foreign.changed_files) == (None, None)
    assert foreign.changed_files_unknown == "The tree is on host other-host."
    hits = (await here.find_symbol("CashRegister", repository="*")).results
    assert [hit.host for hit in hits] == ["other-host"]


async def test_a_path_means_this_hosts_repository_and_the_other_is_named(bench: Bench, here: Service) -> None:
    await index_as(bench, HOST)
    replace_tree(bench)
    other = await index_as(bench, OTHER)
    for wanted in (str(bench.root), "shop"):
        answer = await here.search("cart", repository=wanted)
        assert [one.host for one in answer.freshness] == [None]
        assert f'{bench.root} on other-host (repository="{other.repository_id}")' in " ".join(answer.warnings)
    answer = await here.search("cash register", repository=str(other.repository_id))
    assert found(answer) == {("till.py", "other-host")}


async def test_who_works_at_the_path_of_another_hosts_repository_is_not_in_it(
    bench: Bench, elsewhere: Callable[[], Awaitable[Service]]
) -> None:
    await index_as(bench, HOST)
    service = await elsewhere()
    service._working_directory = lambda: bench.root
    answer = await service.search("cart")
    assert [one.host for one in answer.freshness] == ["test-host"]
    assert not any("working directory" in warning for warning in answer.warnings)


async def test_a_foreign_repository_cannot_be_made_fresh_here(
    bench: Bench, elsewhere: Callable[[], Awaitable[Service]]
) -> None:
    await index_as(bench, HOST)
    answer = await (await elsewhere()).search("cart", require_fresh=True)
    (entry,) = answer.freshness
    assert entry.refresh is not None
    assert not entry.refresh.is_fresh
    assert "Its tree is on host test-host, and only that host can index it" in entry.refresh.message
    assert found(answer) >= {("cart.py", "test-host")}


async def test_a_start_on_another_host_makes_a_repository_of_its_own_and_says_so(
    bench: Bench, elsewhere: Callable[[], Awaitable[Service]]
) -> None:
    own = await index_as(bench, HOST)
    started = await (await elsewhere()).start_indexing(str(bench.root))
    assert not started.already_running
    assert any("is also a repository of host test-host; that one stays" in one for one in started.warnings)
    assert (await jobs.current(bench.database, started.job_id)).host_id == OTHER.id
    assert (await bench.repository()).id == own.repository_id


async def test_a_path_that_is_only_on_another_host_is_told_so(
    bench: Bench, elsewhere: Callable[[], Awaitable[Service]]
) -> None:
    await index_as(bench, HOST)
    bench.root.rename(bench.root.with_name("moved"))
    with pytest.raises(InvalidInputError, match=r"does not exist.*It is a repository of host test-host"):
        await (await elsewhere()).start_indexing(str(bench.root))
    with pytest.raises(InvalidInputError, match=r"does not exist\. Check the spelling of the path\.$"):
        await (await elsewhere()).start_indexing("/no/such/path")


async def test_a_job_of_another_host_waits_for_it_and_says_so(
    bench: Bench, here: Service, elsewhere: Callable[[], Awaitable[Service]]
) -> None:
    started = await (await elsewhere()).start_indexing(str(bench.root))
    seen_here = await here.job_status(started.job_id)
    assert (seen_here.status, seen_here.host, seen_here.is_waiting_for_host) == (JobStatus.PENDING, "other-host", True)
    assert "waiting for a worker on host other-host, last seen" in seen_here.progress_message
    assert f"codebase-mcp jobs adopt {started.job_id}" in seen_here.progress_message
    (listed,) = (await here.list_jobs()).jobs
    assert (listed.host, listed.is_waiting_for_host) == ("other-host", True)
    seen_there = await (await elsewhere()).job_status(started.job_id)
    assert (seen_there.host, seen_there.is_waiting_for_host) == (None, False)


async def test_a_job_that_another_host_works_on_does_not_wait(bench: Bench, here: Service) -> None:
    await on(bench.database, OTHER)
    job = await jobs.claim(bench.database, host=OTHER)
    assert not (await here.job_status(job.id)).is_waiting_for_host
    await jobs.lapse(bench.database, job.id)
    assert (await here.job_status(job.id)).is_waiting_for_host


async def test_estimates_rest_on_the_jobs_of_this_host(
    bench: Bench, here: Service, elsewhere: Callable[[], Awaitable[Service]]
) -> None:
    await index_as(bench, HOST)
    assert (await here.estimate_indexing(str(bench.root))).files_unchanged == len(SHOP)
    foreign = await (await elsewhere()).estimate_indexing(str(bench.root))
    assert (foreign.files_unchanged, foreign.index_state, foreign.earlier_jobs) == (0, "none", [])


async def test_what_is_removed_by_its_path_is_this_hosts(bench: Bench, here: Service) -> None:
    await index_as(bench, HOST)
    replace_tree(bench)
    other = await index_as(bench, OTHER)
    removed = await here.remove_repository(str(bench.root), confirmed=True)
    assert removed.files_removed == len(SHOP)
    assert [one.repository_id for one in (await here.list_repositories()).repositories] == [other.repository_id]


async def test_an_own_repository_needs_no_adoption(bench: Bench, here: Service) -> None:
    await index_as(bench, HOST)
    with pytest.raises(InvalidStatusError, match="belongs to this host already"):
        await here.adopt_repository("shop")
