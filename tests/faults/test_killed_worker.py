"""kill -9 of the worker: the job goes on within ten seconds and loses no more than the batch that was under way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import JobStatus
from tests.faults.checks import completed, wasted_files, watched
from tests.support.processes import PATIENCE_SECONDS, Site, ask

pytestmark = pytest.mark.faults

TAKEOVER_SECONDS = 10.0
NEVER = 60
"""`watch_seconds` of a server that is not to look after the worker by itself."""


async def test_after_kill_9_of_the_worker_a_new_server_a_status_call_or_a_watching_server_gets_the_job_going(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    seed = int(os.environ.get("FAULT_SEED", random.randrange(10_000)))
    sys.stdout.write(f"FAULT_SEED={seed}\n")
    moments = random.Random(seed)
    async with watched(site) as watch, AsyncExitStack() as clients:
        async with site.service() as service:
            job_id = (await service.start_indexing(str(corpus))).job_id
        site.worker("--spawned")
        killed_at = await _kill_at_random(site, job_id, moments, 1)
        client = await clients.enter_async_context(site.client(watch_seconds=NEVER))
        await _goes_on(site, job_id, killed_at, 1)

        killed_at = await _kill_at_random(site, job_id, moments, 2)
        report = await ask(client, "get_job_status", job_id=job_id)
        assert report["status"] == "running"
        await site.only_worker()
        await clients.enter_async_context(site.client())
        await _goes_on(site, job_id, killed_at, 2)

        killed_at = await _kill_at_random(site, job_id, moments, 3)
        await _goes_on(site, job_id, killed_at, 3)
        job = await completed(site, job_id)
    assert job.attempt == 4
    assert watch.most_fruitless == 1
    assert job.files_indexed == job.files_total
    assert await wasted_files(site) <= 3
    assert await site.digest(job) == calm_digest


async def _kill_at_random(site: Site, job_id: UUID, moments: random.Random, number: int) -> datetime:
    """Kills the worker somewhere in the n-th fifth of the work; the database's time of it."""
    await site.committed(job_id, 1 + 25 * (number - 1) + moments.randrange(25))
    worker = await site.only_worker()
    await asyncio.sleep(moments.random() / 20)
    killed_at = await site.clock()
    worker.kill()
    return killed_at


async def _goes_on(site: Site, job_id: UUID, killed_at: datetime, number: int) -> None:
    done_before = (await site.job(job_id)).files_indexed
    resumed = await site.event(job_id, "resumed", number)
    assert (resumed.created_at - killed_at).total_seconds() < TAKEOVER_SECONDS
    assert resumed.event_data["after"] == "running"
    assert (await site.job(job_id)).files_indexed >= done_before


async def test_a_kill_at_any_point_of_a_batch_keeps_what_was_committed_and_nothing_else(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    points = {"claimed": 0, "committed": 2, "embedded": 0, "fenced": 1, "written": 1}
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        done = 0
        for point, files in points.items():
            worker = site.doomed_worker(
                point,
                2 if point in ("committed", "fenced", "written") else 1,
                signal.SIGKILL,
                lease_seconds=2,
                renew_seconds=0.5,
            )
            code = await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
            assert code == -signal.SIGKILL
            job = await site.job(job_id)
            done += files
            assert (job.status, job.files_indexed) == (JobStatus.RUNNING, done), point
            if point != "claimed":
                marked = await site.rows("SELECT count(*) AS n FROM codebase_mcp.job_files WHERE state = 'indexed'")
                stored = await site.rows("SELECT count(*) AS n FROM cb_proj_default_37a8eec1.code_files")
                assert marked[0]["n"] == stored[0]["n"] == done, point
        site.worker(batch_files=32)
        job = await completed(site, job_id)
    assert job.attempt == len(points) + 1
    assert await wasted_files(site) <= len(points)
    assert await site.digest(job) == calm_digest
