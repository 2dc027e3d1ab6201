"""A worker that is told to stop gives its jobs back; one that froze and wakes up late writes nothing any more."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.checks import completed, contents, wasted_files, watched
from tests.support.processes import PATIENCE_SECONDS, Site
from tests.support.waiting import until

pytestmark = pytest.mark.faults


async def test_a_worker_told_to_stop_releases_its_job_and_another_takes_it_over_promptly(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.service() as service, watched(site) as watch:
        workers = [site.worker(), site.worker()]
        ready = await _log_lines(site, "worker ready", 2)
        job_id = (await service.start_indexing(str(corpus))).job_id
        await site.committed(job_id, 1)
        owner = str((await site.job(job_id)).worker_id)
        (pid,) = (line["pid"] for line in ready if line["worker_id"] == owner)
        (first,) = (worker for worker in workers if worker.pid == pid)
        told_at = await site.clock()
        first.send_signal(signal.SIGTERM)
        released = await site.event(job_id, "released")
        resumed = await site.event(job_id, "resumed")
        await asyncio.to_thread(first.wait, PATIENCE_SECONDS)
        job = await completed(site, job_id)
    assert first.returncode == 0
    assert (released.created_at - told_at).total_seconds() < 2
    assert (resumed.created_at - released.created_at).total_seconds() < 2
    assert resumed.event_data["after"] == "pending"
    assert watch.most_fruitless == 0
    assert await wasted_files(site) <= 1
    assert await site.digest(job) == calm_digest


@pytest.mark.parametrize("point", ["committed", "written"])
async def test_a_worker_that_wakes_after_it_was_replaced_writes_nothing(
    site: Site, corpus: Path, calm_digest: str, point: str
) -> None:
    lease = timedelta(seconds=3)
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        # It would renew too late to learn anything: only the fence of its next batch can stop it.
        zombie = site.doomed_worker(point, 5, signal.SIGSTOP, lease_seconds=lease.seconds, renew_seconds=10)
        frozen_at = await _frozen(site, zombie.pid)
        # Halted between two batches with a longer lease, so that nothing but the zombie could write meanwhile.
        successor = site.doomed_worker("committed", 5, signal.SIGSTOP, lease_seconds=2 * lease.seconds)
        await _frozen(site, successor.pid)
        resumed = await site.event(job_id, "resumed")
        await _clock_shows(site, frozen_at + 2.5 * lease)

        before, job = await contents(site), await site.job(job_id)
        zombie.send_signal(signal.SIGCONT)
        woken_at = await site.clock()
        given_up = await _log_lines(site, "job given up", 1, zombie.pid)
        assert (datetime.fromisoformat(given_up[0]["timestamp"]) - woken_at).total_seconds() < 2
        assert await contents(site) == before
        after = await site.job(job_id)
        assert (after.attempt, after.status, after.files_indexed) == (2, "running", job.files_indexed)
        assert after.lease_expires_at == job.lease_expires_at

        zombie.terminate()
        successor.send_signal(signal.SIGCONT)
        job = await completed(site, job_id)
    assert resumed.event_data["attempt"] == job.attempt == 2
    assert job.files_indexed == job.files_total
    assert await site.digest(job) == calm_digest


async def _frozen(site: Site, pid: int) -> datetime:
    """Waits until a process has stopped itself; the database's time of it."""
    process = psutil.Process(pid)
    stopped = psutil.STATUS_STOPPED
    await until(lambda: process.status() == stopped, what=f"process {pid} to freeze", seconds=PATIENCE_SECONDS)
    return await site.clock()


async def _clock_shows(site: Site, moment: datetime) -> None:
    async def is_reached() -> bool:
        return await site.clock() >= moment

    await until(is_reached, what=str(moment), seconds=PATIENCE_SECONDS)


async def _log_lines(site: Site, event: str, number: int, pid: int | None = None) -> list[dict[str, Any]]:
    """Waits until the workers' log has that many lines about an event."""
    log = site.data_dir / "logs" / "worker.log"

    def enough() -> list[dict[str, Any]] | None:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        found = [line for line in lines if line["event"] == event and pid in (None, line["pid"])]
        return found if len(found) == number else None

    return await until(enough, what=f"{number} log lines {event!r}", seconds=PATIENCE_SECONDS)
