"""A repository or a job of another host becomes this host's own, or stays where it is and why."""

from __future__ import annotations

import pytest

from codebase_mcp.domain import Host, JobStatus
from codebase_mcp.errors import InvalidInputError, InvalidStatusError
from codebase_mcp.jobs import store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.service import Service
from tests.support import audit, jobs
from tests.support.jobs import HOST
from tests.support.runs import SHOP, Bench

GONE = Host("gone-host", "gone")


async def indexed(bench: Bench, host: Host = GONE) -> int:
    await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=host.id)
    job = await jobs.claim(bench.database, host=host)
    await JobRunner(job, bench.tools).run()
    repository_id = (await jobs.current(bench.database, job.id)).repository_id
    assert repository_id is not None
    return repository_id


async def test_an_adopted_repository_is_this_hosts_own_without_reading_anything_again(
    bench: Bench, service: Service
) -> None:
    repository_id, before = await indexed(bench), await bench.digest()
    adopted = await service.adopt_repository("shop")
    assert (adopted.repository_id, adopted.from_host, adopted.active_jobs) == (repository_id, "gone-host", 0)
    assert "belonged to host gone-host and belongs to this host now" in adopted.message
    (listed,) = (await service.list_repositories()).repositories
    assert (listed.repository_id, listed.host, listed.state) == (repository_id, None, "ready")
    job = await bench.run()
    assert (job.repository_id, job.files_unchanged, job.files_indexed) == (repository_id, len(SHOP), 0)
    assert await bench.digest() == before


@pytest.mark.parametrize("state", ["pending", "orphaned", "blocked"])
async def test_an_adopted_job_goes_on_here(bench: Bench, service: Service, state: str) -> None:
    job = await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=GONE.id)
    if state != "pending":
        claimed = await jobs.claim(bench.database, host=GONE)
        await (jobs.block(bench.database, claimed) if state == "blocked" else jobs.lapse(bench.database, job.id))
    adopted = await service.adopt_job(job.id)
    assert (adopted.repository_id, adopted.active_jobs) == (None, 1)
    if state == "blocked":
        await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
    done = await bench.carry_on()
    assert (done.id, done.status, done.files_indexed) == (job.id, JobStatus.COMPLETED, len(SHOP))
    assert "adopted" in await jobs.event_types(bench.database, job.id)
    async with bench.database.transaction() as connection:
        assert audit.differences(done, await store.events(connection, job.id)) == []


async def test_a_job_takes_its_half_finished_index_along(bench: Bench, service: Service) -> None:
    repository_id = await indexed(bench)
    job = await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=GONE.id)
    await service.adopt_job(job.id)
    done = await bench.carry_on()
    assert (done.repository_id, done.files_unchanged) == (repository_id, len(SHOP))


async def test_what_a_living_worker_is_at_is_not_adopted(bench: Bench, service: Service) -> None:
    await indexed(bench)
    job = await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=GONE.id)
    await jobs.claim(bench.database, host=GONE)
    before = await jobs.current(bench.database, job.id)
    for adoption in (service.adopt_job(job.id), service.adopt_repository("shop")):
        with pytest.raises(
            InvalidStatusError, match=rf"Job {job.id} is being worked on, by a worker on host gone-host"
        ):
            await adoption
    assert await jobs.current(bench.database, job.id) == before
    assert (await bench.repository()).host_id == GONE.id


async def test_a_zombie_of_the_old_host_writes_nothing_after_the_adoption(bench: Bench, service: Service) -> None:
    job = await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=GONE.id)
    zombie = await jobs.claim(bench.database, host=GONE)
    await jobs.lapse(bench.database, job.id)
    await service.adopt_job(job.id)
    assert not await store.renew(bench.database, jobs.claim_of(zombie))


async def test_a_repository_of_its_own_at_the_same_path_is_not_replaced(bench: Bench, service: Service) -> None:
    other, own = await indexed(bench), await indexed(bench, HOST)
    with pytest.raises(InvalidStatusError, match=rf"repository of its own at .*repos remove {own}"):
        await service.adopt_repository(str(other))
    assert {one.repository_id for one in (await service.list_repositories()).repositories} == {other, own}


async def test_an_active_job_of_its_own_at_the_same_path_is_not_replaced(bench: Bench, service: Service) -> None:
    other = await jobs.start(bench.database, str(bench.root), bench.project_id, host_id=GONE.id)
    own = await jobs.start(bench.database, str(bench.root), bench.project_id)
    with pytest.raises(InvalidStatusError, match=f"jobs cancel {own.id}"):
        await service.adopt_job(other.id)


async def test_a_path_that_is_not_here_is_not_adopted(bench: Bench, service: Service) -> None:
    await indexed(bench)
    bench.root.rename(bench.root.with_name("moved"))
    with pytest.raises(InvalidInputError, match=r"is no directory on this host.*repos remove"):
        await service.adopt_repository("shop")


async def test_another_tree_at_the_path_is_adopted_only_when_that_is_meant(bench: Bench, service: Service) -> None:
    repository_id = await indexed(bench)
    for path in SHOP:
        (bench.root / path).write_text(f"# something else: {path}\n")
    with pytest.raises(InvalidInputError, match="of 5 indexed files that were compared, none is the same here"):
        await service.adopt_repository("shop")
    assert (await service.adopt_repository("shop", confirmed=True)).repository_id == repository_id


async def test_a_job_that_has_ended_is_not_adopted(bench: Bench, service: Service) -> None:
    await indexed(bench)
    (job,) = (await service.list_jobs()).jobs
    with pytest.raises(InvalidStatusError, match=r"is completed already.*repos adopt"):
        await service.adopt_job(job.job_id)
