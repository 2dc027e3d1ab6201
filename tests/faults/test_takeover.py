"""Workers that are killed while others run: who takes over what, when, and in which order."""

from __future__ import annotations

import asyncio
import random
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job, JobStatus
from codebase_mcp.service import Service
from tests.faults.checks import completed
from tests.support.freezing import clock_shows, log_lines, slow_worker
from tests.support.processes import PATIENCE_SECONDS, SLACK, Site, copy_packages
from tests.support.waiting import until

pytestmark = pytest.mark.faults

LEASE = timedelta(seconds=4)
KNOBS = {"lease_seconds": LEASE.seconds, "renew_seconds": 0.5, "poll_seconds": 0.2}
MOST = timedelta(seconds=2) + SLACK
"""A take-over comes at most this long after the lease has lapsed."""
LARGE = ("asyncio", "email", "importlib")
"""Their jobs last long enough for their workers to be killed in the middle of all three."""
SMALL = ("concurrent", "http", "json")


async def test_of_four_workers_one_is_killed_and_its_job_is_taken_over_in_time_while_the_others_go_on(
    site: Site, tmp_path: Path, seed: random.Random
) -> None:
    await _kill_one_of_four(site, tmp_path, seed, kills=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_of_four_workers_one_at_a_time_is_killed_thirty_times(
    site: Site, tmp_path: Path, seed: random.Random
) -> None:
    await _kill_one_of_four(site, tmp_path, seed, kills=30)


async def _kill_one_of_four(site: Site, tmp_path: Path, seed: random.Random, *, kills: int) -> None:
    repositories = [copy_packages(tmp_path / package, package) for package in ("asyncio", "email", "multiprocessing")]
    workers = [_one_job_worker(site) for _ in range(MAX_RUNNING_JOBS + 1)]
    async with site.service() as service:
        for _ in range(kills):
            ready = await log_lines(site, "worker ready", len(workers))
            ids = await _start(service, repositories)
            await asyncio.gather(*(site.committed(job_id, 1) for job_id in ids))
            pids = {line["worker_id"]: line["pid"] for line in ready}
            orphaned = ids.pop(seed.randrange(len(ids)))
            before = {job_id: await site.job(job_id) for job_id in ids}
            pid = pids[str((await site.job(orphaned)).worker_id)]
            await asyncio.sleep(seed.random() / 10)
            next(worker for worker in workers if worker.pid == pid).kill()
            await _taken_over_in_time(site, orphaned)
            await _undisturbed(site, before)
            for job_id in (orphaned, *ids):
                await completed(site, job_id)
            workers.append(_one_job_worker(site))


def _one_job_worker(site: Site) -> subprocess.Popen[bytes]:
    """Four of them share three jobs; the pace leaves time to kill one of them in the middle of its job."""
    return slow_worker(site, "--jobs", "1", "--pace", "committed=0.15", **KNOBS)


async def _taken_over_in_time(site: Site, job_id: UUID) -> None:
    resumed = await site.event(job_id, "resumed")
    (claim,) = await site.rows("SELECT old_lease FROM ledger.claims WHERE job_id = :id AND attempt = 2", id=job_id)
    assert resumed.event_data["after"] == "running"
    assert timedelta(0) <= resumed.created_at - claim["old_lease"] <= MOST


async def _undisturbed(site: Site, before: dict[UUID, Job]) -> None:
    for job_id, job in before.items():
        now = await site.job(job_id)
        assert now.attempt == 1
        assert now.status is JobStatus.COMPLETED or (now.worker_id, now.slot) == (job.worker_id, job.slot)
        assert await site.events(job_id, "resumed") == await site.events(job_id, "released") == []


async def test_after_all_workers_were_killed_a_single_one_takes_orphans_first_and_then_the_oldest(
    site: Site, tmp_path: Path
) -> None:
    repositories = [copy_packages(tmp_path / package, package) for package in (*LARGE, *SMALL)]
    workers = [slow_worker(site, "--jobs", "2", "--pace", "committed=0.3", **KNOBS) for _ in range(2)]
    async with site.service() as service:
        await log_lines(site, "worker ready", len(workers))
        orphans = await _start(service, repositories[:MAX_RUNNING_JOBS])
        await until(lambda: _all_running(site, orphans), what="three running jobs", seconds=PATIENCE_SECONDS)
        waiting = await _start(service, repositories[MAX_RUNNING_JOBS:])
        for worker in workers:
            worker.kill()
        # One that waits is older than any orphan: it comes after them all the same.
        oldest = waiting.pop()
        await site.execute(
            f"UPDATE codebase_mcp.indexing_jobs SET created_at = created_at - interval '1 hour' WHERE id = '{oldest}'"
        )
        await clock_shows(site, max([await _lapse(site, job_id) for job_id in orphans]))
        (last,) = await site.rows("SELECT max(id) AS event FROM codebase_mcp.job_events")
        site.worker()
        for job_id in (*orphans, oldest, *waiting):
            await completed(site, job_id)
    claims = await site.rows(
        "SELECT job_id FROM codebase_mcp.job_events WHERE id > :last AND event_type IN ('started', 'resumed')"
        " ORDER BY id",
        last=last["event"],
    )
    assert [claim["job_id"] for claim in claims] == [*orphans, oldest, *waiting]


async def _start(service: Service, repositories: list[Path]) -> list[UUID]:
    return [(await service.start_indexing(str(root), force_reindex=True)).job_id for root in repositories]


async def _all_running(site: Site, ids: list[UUID]) -> bool:
    return {(await site.job(job_id)).status for job_id in ids} == {JobStatus.RUNNING}


async def _lapse(site: Site, job_id: UUID) -> datetime:
    lapses_at = (await site.job(job_id)).lease_expires_at
    assert lapses_at is not None
    return lapses_at
