"""Who starts a worker, when it leaves, and who stops PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.jobs.spawn import living_worker
from codebase_mcp.storage import embedded
from codebase_mcp.storage.file_lock import is_held
from tests.faults.checks import completed
from tests.faults.takeovers import holder_of
from tests.support.freezing import given_back, log_lines, parsers_of
from tests.support.processes import (
    CHECKOUT,
    PATIENCE_SECONDS,
    Site,
    ask,
    copy_packages,
    environment,
    site_like,
    start,
)
from tests.support.waiting import until

pytestmark = pytest.mark.faults

REPLACED_SECONDS = 15.0
"""Until the lease lapsed, the server noticed, its last worker is not taken to be coming up, and another is there."""
SLACK_SECONDS = 3.0
"""What a busy machine may add."""


@pytest.fixture
async def unheld(prepared: Path) -> AsyncIterator[Site]:
    """A site in which only the product's own processes keep PostgreSQL running."""
    async with site_like(prepared, hold=False, worker_idle_seconds=0.5) as site:
        yield site


async def test_a_job_survives_the_client_that_started_it_and_a_new_client_sees_it_finish(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.client() as client:
        job_id = await start(client, corpus)
    assert site.processes("serve") == []
    async with site.client() as client:
        report = await ask(client, "get_job_status", job_id=job_id)
        assert report["status"] in ("pending", "running", "completed")
        job = await completed(site, job_id)
        report = await ask(client, "get_job_status", job_id=job_id, include_events=True)
    assert report["status"] == "completed"
    assert [event["event_type"] for event in report["events"]][:2] == ["created", "started"]
    assert job.attempt == 1
    assert await site.digest(job) == calm_digest


async def _postgresql_stopped(site: Site) -> None:
    """Its last process may be seen to hold the lock for a moment after whoever stopped it has left."""
    await until(lambda: not is_held(site.layout.lock("alive")), what="the end of PostgreSQL", seconds=PATIENCE_SECONDS)


async def test_the_worker_leaves_when_idle_and_the_last_one_out_stops_postgresql(unheld: Site, tmp_path: Path) -> None:
    repository = copy_packages(tmp_path / "small", "json")
    async with unheld.client() as client:
        job_id = await start(client, repository)

        async def end() -> str | None:
            status = (await ask(client, "get_job_status", job_id=job_id))["status"]
            return None if status in ("pending", "running") else str(status)

        assert await until(end, what="the end of the job", seconds=PATIENCE_SECONDS) == "completed"
        await unheld.no_process("worker")
        assert embedded.is_answering(unheld.data_dir)
    await unheld.no_process()
    await _postgresql_stopped(unheld)

    async with unheld.client() as client:
        job_id = await start(client, repository)
    await unheld.no_process()
    await _postgresql_stopped(unheld)
    unheld.hold()
    assert (await completed(unheld, job_id)).files_unchanged > 0


async def test_a_spawned_worker_that_finds_the_host_lock_taken_leaves_at_once(site: Site) -> None:
    settings = site.settings()
    first = site.worker("--spawned")

    await until(lambda: living_worker(settings), what="a holder of the lock", seconds=PATIENCE_SECONDS)
    second = site.worker("--spawned")
    assert await asyncio.to_thread(second.wait, 20) == 0
    assert first.poll() is None
    assert living_worker(settings) == first.pid


async def test_worker_stop_ends_every_worker_of_the_database_and_their_jobs_go_on_later(
    site: Site, tmp_path: Path
) -> None:
    async with site.service() as service:
        workers = [site.worker("--spawned"), site.worker()]
        for worker in workers:
            await log_lines(site, "worker ready", pid=worker.pid)
            for parser in await parsers_of(worker.pid):
                parser.suspend()
        job_id = (await service.start_indexing(str(copy_packages(tmp_path / "small", "json")))).job_id
        await site.event(job_id, "started")
        said = await _worker_stop(site)
        assert [await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) for worker in workers] == [0, 0]
        assert sorted(said) == sorted(
            f"The worker ({worker.pid}) was stopped; its jobs go on when one starts again." for worker in workers
        )
        released = await given_back(site, job_id)
        assert (await site.job(job_id)).status is (JobStatus.PENDING if released else JobStatus.RUNNING)
        assert await _worker_stop(site) == ["No worker was running on this host."]
        site.worker()
        job = await completed(site, job_id)
    assert (job.attempt, job.fruitless_attempts) == (2, 0)


async def _worker_stop(site: Site) -> list[str]:
    command = [sys.executable, "-m", "codebase_mcp", "worker", "--stop"]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=environment(site.data_dir, {}), capture_output=True, text=True, check=True
    )
    return str(ended.stdout).splitlines()


def _server(site: Site) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "codebase_mcp", "serve"]
    env = environment(site.data_dir, {})
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=CHECKOUT)


@pytest.mark.parametrize("how", ["end of input", "a signal"])
async def test_a_server_leaves_in_time_though_its_database_hangs(site: Site, how: str) -> None:
    server = _server(site)
    assert server.stdin is not None
    try:
        log = site.data_dir / "logs" / "serve.log"
        await until(lambda: log.exists() and "database ready" in log.read_text(), what="a ready server", seconds=60)
        database = site.postgres_processes()
        for process in database:
            with contextlib.suppress(psutil.NoSuchProcess):  # a session may end at any time
                process.suspend()
        told = time.monotonic()
        if how == "a signal":
            server.send_signal(signal.SIGINT)
        else:
            server.stdin.close()
        try:
            code = await asyncio.to_thread(server.wait, PATIENCE_SECONDS)
            gone_after = time.monotonic() - told
        finally:
            for process in database:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
    assert code == 0
    assert gone_after < 2 + SLACK_SECONDS


async def test_a_frozen_holder_of_the_host_lock_is_replaced_by_a_worker_that_ignores_the_lock(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.client(lease_seconds=3, renew_seconds=0.5, watch_seconds=0.5) as client:
        job_id = await start(client, corpus)
        await site.committed(job_id, 5)
        frozen = await holder_of(site, job_id)
        frozen.suspend()
        frozen_at = await site.clock()
        take_overs = len(await site.events(job_id, "resumed"))
        resumed = await site.event(job_id, "resumed", take_overs + 1)
        assert (resumed.created_at - frozen_at).total_seconds() < REPLACED_SECONDS + SLACK_SECONDS
        assert site.processes("--ignore-host-lock")
        job = await completed(site, job_id)
        assert frozen.status() == psutil.STATUS_STOPPED
        frozen.send_signal(signal.SIGCONT)
        assert resumed.event_data["attempt"] >= 2
        assert await site.digest(job) == calm_digest
