"""Clocks that are wrong, steps of the database's clock, and a machine that sleeps: leases and retries do not mind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from codebase_mcp.jobs.spawn import living_worker
from tests.faults.checks import completed, watched
from tests.support.freezing import clock_shows, log_lines
from tests.support.processes import CHECKOUT, PATIENCE_SECONDS, Site, copy_packages

pytestmark = pytest.mark.faults

LEASE = timedelta(seconds=3)
SHORT_LEASE = {"lease_seconds": LEASE.seconds, "renew_seconds": 0.5}
HOUR, MINUTES = timedelta(hours=1), timedelta(minutes=5)
SLACK = timedelta(minutes=1)
"""What a busy machine may add, to start a server and its worker, say. An hour's error would show by far."""


@contextlib.contextmanager
def skewed(monkeypatch: pytest.MonkeyPatch, skew: timedelta) -> Iterator[None]:
    """Processes that are started meanwhile, and their children, have a wall clock that is off by so much."""
    with monkeypatch.context() as patched:
        patched.setenv("CLOCK_SKEW_SECONDS", str(skew.total_seconds()))
        # With the folder of the program, without which PYTHONPATH would be left to others.
        folders = (CHECKOUT / "tests" / "support" / "skewed_clock", CHECKOUT / "src")
        patched.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
        yield


async def error_of_clock(site: Site, pid: int) -> timedelta:
    """By how much the clock of a worker differs from the database's."""
    (line,) = await log_lines(site, "worker ready", pid=pid)
    return datetime.fromisoformat(line["timestamp"]) - await site.clock()


async def test_wrong_clocks_of_a_worker_and_a_server_change_no_lease(
    site: Site, corpus: Path, calm_digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
    with skewed(monkeypatch, HOUR):
        fast = site.doomed_worker("committed", 3, signal.SIGKILL, **SHORT_LEASE)
    await asyncio.to_thread(fast.wait, PATIENCE_SECONDS)
    lapses_at = (await site.job(job_id)).lease_expires_at
    assert lapses_at is not None
    assert lapses_at - await site.clock() < LEASE
    assert await error_of_clock(site, fast.pid) > HOUR - MINUTES
    with skewed(monkeypatch, -HOUR):
        server = site.client(batch_files=32, **SHORT_LEASE)
    async with server:
        resumed = await site.event(job_id, "resumed")
        slow = living_worker(site.settings())
        job = await completed(site, job_id)
    assert slow is not None
    assert await error_of_clock(site, slow) < -HOUR + MINUTES
    assert timedelta(0) <= resumed.created_at - lapses_at < SLACK
    assert resumed.event_data["attempt"] == 2
    assert await site.digest(job) == calm_digest


async def test_wrong_clocks_of_workers_change_no_retry(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(copy_packages(tmp_path / "small", "json")))).job_id
    workers = []
    for skew in (HOUR, -HOUR):
        with skewed(monkeypatch, skew):
            workers.append(site.worker(min_free_disk_bytes=10**18, **SHORT_LEASE))
    await site.event(job_id, "unblocked", 3)
    for worker in workers:
        worker.terminate()
    site.worker()
    await completed(site, job_id)
    blocked, unblocked = await site.events(job_id, "blocked"), await site.events(job_id, "unblocked")
    for before, after in zip(blocked, unblocked, strict=False):
        retry_at = datetime.fromisoformat(before.event_data["retry_at"])
        assert timedelta(0) <= after.created_at - retry_at < SLACK


@pytest.mark.unchecked("the rows are set to what a clock leaves that was stepped back")
async def test_jobs_go_on_at_once_after_the_databases_clock_was_set_back(site: Site, tmp_path: Path) -> None:
    async with site.service() as service:
        roots = [copy_packages(tmp_path / name, "json") for name in ("running", "blocked")]
        running, blocked = [(await service.start_indexing(str(root))).job_id for root in roots]
        dead = site.doomed_worker("embedded", 1, signal.SIGKILL, **SHORT_LEASE)
        await asyncio.to_thread(dead.wait, PATIENCE_SECONDS)
        await site.execute(
            "UPDATE codebase_mcp.indexing_jobs SET lease_expires_at = lease_expires_at + interval '1 hour'"
            " WHERE status = 'running'"
        )
        await site.execute(
            "UPDATE codebase_mcp.indexing_jobs SET status = 'blocked', slot = NULL, worker_id = NULL,"
            " lease_expires_at = NULL, retry_at = clock_timestamp() + interval '1 hour 5 seconds'"
            f" WHERE id = '{blocked}'"
        )
        await site.execute(
            "INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data, created_at)"
            f" VALUES ('{blocked}', 'blocked', '{{}}', clock_timestamp() + interval '1 hour')"
        )
        site.worker(batch_files=32)
        await completed(site, running)
        await completed(site, blocked)


async def test_work_goes_on_after_the_machine_slept(site: Site, corpus: Path, calm_digest: str) -> None:
    async with site.service() as service, watched(site) as watch:
        worker = site.worker(**SHORT_LEASE)
        job_id = (await service.start_indexing(str(corpus))).job_id
        await site.committed(job_id, 3)
        asleep_at = await site.clock()
        sleepers = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(), *site.postgres_processes()]
        for process in sleepers:
            with contextlib.suppress(psutil.NoSuchProcess):  # a session may end at any time
                process.suspend()
        await asyncio.sleep(LEASE.total_seconds() + 1)
        for process in reversed(sleepers):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        await clock_shows(site, asleep_at + LEASE)
        job = await completed(site, job_id)
    assert watch.most_fruitless == 0
    assert worker.poll() is None
    assert await site.digest(job) == calm_digest
