"""Who starts a worker, when it leaves, and who stops PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from codebase_mcp.jobs.spawn import living_worker
from codebase_mcp.storage import embedded
from codebase_mcp.storage.file_lock import is_held
from tests.faults.checks import completed
from tests.support.processes import PATIENCE_SECONDS, Site, ask, copy_packages, site_like, start
from tests.support.waiting import until

pytestmark = pytest.mark.faults


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
    assert not is_held(unheld.layout.lock("alive"))

    async with unheld.client() as client:
        job_id = await start(client, repository)
    await unheld.no_process()
    assert not is_held(unheld.layout.lock("alive"))
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


async def test_a_frozen_holder_of_the_host_lock_is_replaced_by_a_worker_that_ignores_the_lock(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.client(lease_seconds=2, watch_seconds=0.5) as client:
        job_id = await start(client, corpus)
        await site.committed(job_id, 5)
        frozen = await site.only_worker()
        frozen.suspend()
        resumed = await site.event(job_id, "resumed")
        replacements = site.processes("--ignore-host-lock")
        assert len(replacements) == 1
        job = await completed(site, job_id)
        assert frozen.status() == psutil.STATUS_STOPPED
        frozen.send_signal(signal.SIGCONT)
        assert resumed.event_data["attempt"] == job.attempt == 2
        assert await site.digest(job) == calm_digest
