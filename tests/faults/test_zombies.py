"""Workers that stand still longer than their lease, wherever they are: they never write for their successor."""

from __future__ import annotations

import asyncio
import random
import signal
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import JobStatus
from tests.faults.checks import completed, contents
from tests.support.freezing import clock_shows, frozen, given_up, halted, let_go_on, log_lines, slow_worker, wake
from tests.support.processes import PATIENCE_SECONDS, SLACK, Site, copy_packages
from tests.support.waiting import until

pytestmark = pytest.mark.faults

LEASE = timedelta(seconds=2)
STOP = timedelta(seconds=2) + SLACK
"""From the waking of a zombie until it has stopped the work that is not its own any more."""
THROWN_OUT = timedelta(seconds=1.5) + SLACK
"""From asking for a cancel until the frozen worker's connection has lost the job's row."""
FREE = timedelta(seconds=3) + SLACK
"""From the freezing inside a transaction until the job's row can be locked by others."""


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped process", "blocked event loop"])
async def test_a_worker_that_stood_still_before_a_batch_writes_none_of_it_and_goes_on_with_other_work(
    site: Site, corpus: Path, calm_digest: str, tmp_path: Path, is_stopped: bool
) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        # It would renew too late to learn anything: only the fence of its next batch can stop it.
        lease = {"careless_lease_seconds": LEASE.seconds, "careless_renew_seconds": 10}
        if is_stopped:
            zombie = site.doomed_worker("embedded", 5, signal.SIGSTOP, **lease)
            still_at = await frozen(site, zombie)
        else:
            zombie = slow_worker(site, "--halt", "embedded=5", **lease)
            still_at = await halted(site, "embedded")
        zombies_attempt = (await site.job(job_id)).attempt
        # Halted between two batches with a long lease, so that nothing but the zombie could write meanwhile.
        successor = site.doomed_worker("committed", 5, signal.SIGSTOP, lease_seconds=60)
        await frozen(site, successor)
        await clock_shows(site, still_at + 2.5 * LEASE)

        before, job = await contents(site), await site.job(job_id)
        assert (job.attempt, job.status) == (zombies_attempt + 1, JobStatus.RUNNING)
        woken_at = await (wake(site, zombie) if is_stopped else let_go_on(site, "embedded"))
        assert await given_up(site, since=woken_at, pid=zombie.pid) < STOP
        assert await contents(site) == before
        after = await site.job(job_id)
        assert (after.attempt, after.status, after.files_indexed) == (job.attempt, job.status, job.files_indexed)
        assert after.lease_expires_at == job.lease_expires_at

        other = (await service.start_indexing(str(copy_packages(tmp_path / "other", "json")))).job_id
        await completed(site, other)
        (started,) = await site.events(other, "started")
        (first,) = await site.events(job_id, "started")
        assert started.event_data["worker_id"] == first.event_data["worker_id"]

        await wake(site, successor)
        job = await completed(site, job_id)
    assert job.files_indexed == job.files_total
    assert await site.digest(job) == calm_digest


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_sixty_workers_frozen_at_random_moments_are_replaced_and_stop_when_they_wake(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random
) -> None:
    lease = timedelta(seconds=3)
    knobs = {"lease_seconds": lease.seconds, "renew_seconds": 0.5, "poll_seconds": 0.2}
    workers = {process.pid: process for process in (site.worker(**knobs), site.worker(**knobs))}
    pids = {line["worker_id"]: line["pid"] for line in await log_lines(site, "worker ready", 2)}
    async with site.service() as service:
        frozen_so_far = 0
        while frozen_so_far < 60:
            job_id = (await service.start_indexing(str(corpus), force_reindex=True)).job_id
            await site.committed(job_id, seed.randrange(1, 60))
            await asyncio.sleep(seed.random() / 20)
            zombie = workers[pids[str((await site.job(job_id)).worker_id)]]
            zombie.send_signal(signal.SIGSTOP)
            still_at = await frozen(site, zombie)
            if await _is_taken_over(site, job_id):
                frozen_so_far += 1
                await clock_shows(site, still_at + 2.5 * lease)
                woken_at = await wake(site, zombie)
                assert await given_up(site, since=woken_at, pid=zombie.pid, job_id=job_id) < STOP
            zombie.send_signal(signal.SIGCONT)
            job = await completed(site, job_id)
            assert await site.digest(job) == calm_digest
    assert all(worker.poll() is None for worker in workers.values())


async def _is_taken_over(site: Site, job_id: UUID) -> bool:
    """Waits for it; False when the worker had finished the job before it froze."""

    async def outcome() -> str:
        if await site.events(job_id, "resumed"):
            return "resumed"
        return "ended" if (await site.job(job_id)).status.is_terminal else ""

    return await until(outcome, what="a take-over", seconds=PATIENCE_SECONDS) == "resumed"


async def test_a_job_whose_worker_froze_inside_its_transaction_is_cancelled_before_the_database_throws_that_one_out(
    site: Site, corpus: Path
) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        zombie = site.doomed_worker("fenced", 3, signal.SIGSTOP)
        await frozen(site, zombie)
        asked_at = await site.clock()
        answer = await service.cancel_job(job_id, confirmed=True)
        assert answer.cancelled_at is not None
        assert answer.cancelled_at - asked_at < THROWN_OUT
        assert answer.files_indexed == 2

        before = await contents(site)
        assert before["code_files"] == 2
        woken_at = await wake(site, zombie)
        assert await given_up(site, since=woken_at, pid=zombie.pid) < STOP
        assert await contents(site) == before


async def test_a_job_whose_worker_froze_inside_its_transaction_is_free_in_three_seconds_and_keeps_no_part_of_the_batch(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        zombie = site.doomed_worker(
            "written", 3, signal.SIGSTOP, careless_lease_seconds=LEASE.seconds, careless_renew_seconds=0.5
        )
        still_at = await frozen(site, zombie)
        assert await _unlocked(site, job_id) - still_at < FREE
        before = await contents(site)
        assert before["code_files"] == before["indexed"] == 2
        marked = await site.rows("SELECT count(*) AS n FROM codebase_mcp.job_files WHERE state = 'indexed'")
        assert marked[0]["n"] == 2

        successor = site.worker()
        job = await completed(site, job_id)
        woken_at = await wake(site, zombie)
        assert await given_up(site, since=woken_at, pid=zombie.pid) < STOP
        assert successor.poll() is None
    assert job.files_indexed == job.files_total
    assert await site.digest(job) == calm_digest


async def _unlocked(site: Site, job_id: UUID) -> datetime:
    """Waits until nobody holds the job's row; the database's time of it."""

    async def is_free() -> bool:
        return bool(
            await site.rows(
                "SELECT id FROM codebase_mcp.indexing_jobs WHERE id = :id FOR UPDATE SKIP LOCKED", id=job_id
            )
        )

    await until(is_free, what="the job's row to be free", seconds=PATIENCE_SECONDS)
    return await site.clock()
