"""A worker that is told to stop gives its jobs back and is gone in time, whatever hangs in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from codebase_mcp.domain import JobStatus
from codebase_mcp.jobs.spawn import living_worker
from codebase_mcp.storage.tables import schema_name
from tests.faults.checks import completed, wasted_files, watched
from tests.support.freezing import given_back, halted, let_go_on, log_lines, parsers_of, slow_worker
from tests.support.processes import PATIENCE_SECONDS, SLACK, Site, copy_packages
from tests.support.waiting import until

pytestmark = pytest.mark.faults

PROMPTLY = timedelta(seconds=1)
"""From the word to stop until the job is given back, and, for a process, about twice that until it is gone. Where
nothing ends the waiting, it takes a minute."""


async def test_a_worker_told_to_stop_releases_its_job_and_another_takes_it_over_promptly(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.service() as service, watched(site) as watch:
        workers = [site.worker(), site.worker()]
        ready = await log_lines(site, "worker ready", 2)
        job_id = (await service.start_indexing(str(corpus))).job_id
        await site.committed(job_id, 1)
        owner = str((await site.job(job_id)).worker_id)
        (pid,) = (line["pid"] for line in ready if line["worker_id"] == owner)
        (first,) = (worker for worker in workers if worker.pid == pid)
        told_at = await site.clock()
        first.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.wait, PATIENCE_SECONDS)
        released = await given_back(site, job_id)
        resumed = await site.event(job_id, "resumed")
        job = await completed(site, job_id)
    assert first.returncode == 0
    assert resumed.event_data["after"] == ("pending" if released else "running")
    if released:
        assert released.created_at - told_at < PROMPTLY + SLACK
        assert resumed.created_at - released.created_at < PROMPTLY + SLACK
        assert watch.most_fruitless == 0
    assert await wasted_files(site) <= 1
    assert await site.digest(job) == calm_digest


async def test_a_worker_told_to_stop_inside_a_transaction_gives_its_job_back(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        worker = site.doomed_worker("written", 5, signal.SIGTERM)
        code = await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
        released = await given_back(site, job_id)
        left = JobStatus.PENDING if released else JobStatus.RUNNING
        job = await site.job(job_id)
        assert (code, job.status, job.fruitless_attempts) == (0, left, 0)
        site.worker(batch_files=32)
        job = await completed(site, job_id)
        (resumed,) = await site.events(job_id, "resumed")
    assert resumed.event_data["after"] == left
    assert released is None or resumed.created_at > released.created_at
    assert await site.digest(job) == calm_digest


async def test_a_worker_told_to_stop_while_it_finishes_a_job_gives_it_back(site: Site, tmp_path: Path) -> None:
    async with site.service() as service:
        job_id = (await service.start_indexing(str(copy_packages(tmp_path / "small", "json")))).job_id
        worker = slow_worker(site, "--halt", "finishing=1")
        await halted(site, "finishing")
        schema = schema_name("default")
        async with site.observer.maintenance(autocommit=False) as connection:
            await connection.execute(sa.text(f"LOCK TABLE {schema}.symbols, {schema}.code_files"))
            worker.send_signal(signal.SIGTERM)
            told_at = await let_go_on(site, "finishing")
            assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 0
            released = await given_back(site, job_id)
        site.worker()
        job = await completed(site, job_id)
    assert job.attempt == 2
    if released:
        assert released.created_at - told_at < PROMPTLY + SLACK
        assert job.fruitless_attempts == 0


@pytest.mark.parametrize("what", ["the listing", "the parsing", "the database"])
async def test_a_worker_told_to_stop_leaves_though_something_hangs(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with site.service() as service:
        with monkeypatch.context() as patched:
            if what == "the listing":
                patched.setenv("PATH", f"{_git_that_hangs(tmp_path)}{os.pathsep}{os.environ['PATH']}")
            worker = site.worker("--spawned", lease_seconds=3, renew_seconds=0.5)
        await log_lines(site, "worker ready")
        parsers = await parsers_of(worker.pid)
        if what != "the listing":
            _each(parsers, psutil.Process.suspend)  # they die with their worker
        job_id = (await service.start_indexing(str(copy_packages(tmp_path / "small", "json")))).job_id
        await site.event(job_id, "started")
        if what == "the listing":
            await until(lambda: site.processes("sleep"), what="the listing to hang", seconds=PATIENCE_SECONDS)
        database = site.postgres_processes() if what == "the database" else []
        told_at, told = await site.clock(), time.monotonic()
        _each(database, psutil.Process.suspend)
        worker.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
        gone_after = timedelta(seconds=time.monotonic() - told)
        _each(database, psutil.Process.resume)
        _each(site.processes("sleep"), psutil.Process.kill)
        if what != "the database":
            released = await given_back(site, job_id)
            assert released is None or released.created_at - told_at < PROMPTLY + SLACK
        assert living_worker(site.settings()) is None
        site.worker()
        job = await completed(site, job_id)
    assert code == 0
    assert gone_after < 2 * PROMPTLY + SLACK
    assert job.attempt >= 2


def _git_that_hangs(folder: Path) -> Path:
    (folder / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (folder / "git").chmod(0o755)
    return folder


def _each(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            do(process)
