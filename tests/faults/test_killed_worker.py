"""kill -9 of the worker: the job goes on within ten seconds and loses no more than the batch that was under way."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.jobs.store import FRUITLESS_LIMIT
from tests.faults.checks import completed, wasted_files, watched
from tests.faults.kills import Kills
from tests.faults.takeovers import holder_of, spread
from tests.support.processes import PATIENCE_SECONDS, SLACK, Site, ask
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

TAKEOVER_SECONDS = 10.0
NEVER = 60
"""`watch_seconds` of a server that is not to look after the worker by itself."""
SHORT = {"lease_seconds": 4, "renew_seconds": 0.5}
"""For workers whose take-over is not what is measured."""


async def test_after_kill_9_of_the_worker_a_new_server_a_status_call_or_a_watching_server_gets_the_job_going(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random
) -> None:
    async with watched(site) as watch, AsyncExitStack() as clients:
        async with site.service() as service:
            job_id = (await service.start_indexing(str(corpus))).job_id
        site.worker("--spawned")  # with the lease as shipped
        killed_at = await _kill_at_random(site, job_id, seed, 1)
        client = await clients.enter_async_context(site.client(watch_seconds=NEVER, **SHORT))
        await _goes_on(site, job_id, killed_at, 1)

        killed_at = await _kill_at_random(site, job_id, seed, 2)
        report = await ask(client, "get_job_status", job_id=job_id)
        assert report["status"] == "running"
        await until(lambda: site.processes("worker"), what="a worker", seconds=PATIENCE_SECONDS)
        await clients.enter_async_context(site.client(**SHORT))
        await _goes_on(site, job_id, killed_at, 2)

        killed_at = await _kill_at_random(site, job_id, seed, 3)
        await _goes_on(site, job_id, killed_at, 3)
        job = await completed(site, job_id)
    # On a busy machine a worker may lose its short lease without being killed, and takes the job back.
    assert job.attempt >= 4
    assert 1 <= watch.most_fruitless < FRUITLESS_LIMIT
    assert job.files_indexed == job.files_total
    assert await wasted_files(site) <= job.attempt - 1
    assert await site.digest(job) == calm_digest


async def _kill_at_random(site: Site, job_id: UUID, seed: random.Random, number: int) -> datetime:
    """Kills the worker somewhere in the n-th fifth of the work; the database's time of it."""
    await site.committed(job_id, 1 + 25 * (number - 1) + seed.randrange(25))
    worker = await holder_of(site, job_id)
    await asyncio.sleep(seed.random() / 20)
    killed_at = await site.clock()
    worker.kill()
    return killed_at


async def _goes_on(site: Site, job_id: UUID, killed_at: datetime, number: int) -> None:
    done_before = (await site.job(job_id)).files_indexed
    resumed = await site.event(job_id, "resumed", number)
    # A worker that is only just being started cannot take anything over: its start is the machine's time, not ours.
    could_be_at = max(killed_at, _ready_at(site, resumed.event_data["worker_id"]))
    assert (resumed.created_at - could_be_at).total_seconds() < TAKEOVER_SECONDS
    assert resumed.event_data["after"] == "running"
    assert (await site.job(job_id)).files_indexed >= done_before


def _ready_at(site: Site, worker_id: str) -> datetime:
    """When a worker logged that it is ready."""
    lines = map(json.loads, (site.data_dir / "logs" / "worker.log").read_text().splitlines())
    (ready,) = (one for one in lines if one["event"] == "worker ready" and one["worker_id"] == worker_id)
    return datetime.fromisoformat(ready["timestamp"])


async def test_a_kill_at_any_point_of_a_batch_keeps_what_was_committed_and_nothing_else(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    points = {"claimed": 0, "committed": 2, "embedded": 0, "fenced": 1, "written": 1}
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        done = 0
        for point, files in points.items():
            times = 2 if point in ("committed", "fenced", "written") else 1
            worker = site.doomed_worker(point, times, signal.SIGKILL)
            code = await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
            assert code == -signal.SIGKILL
            job = await site.job(job_id)
            done += files
            assert (job.status, job.files_indexed) == (JobStatus.RUNNING, done), point
            if point != "claimed":
                marked = await site.rows("SELECT count(*) AS n FROM codebase_mcp.job_files WHERE state = 'indexed'")
                stored = await site.rows("SELECT count(*) AS n FROM cb_proj_default_37a8eec1.code_files")
                assert marked[0]["n"] == stored[0]["n"] == done, point
            await site.execute("UPDATE codebase_mcp.indexing_jobs SET lease_expires_at = clock_timestamp()")
        site.worker(batch_files=32)
        job = await completed(site, job_id)
    assert job.attempt == len(points) + 1
    assert await wasted_files(site) <= len(points)
    assert await site.digest(job) == calm_digest


async def test_workers_killed_at_random_moments_lose_no_more_than_what_was_under_way(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random
) -> None:
    async with site.service() as service:
        kills = Kills(site, service, corpus, calm_digest, seed, kills_per_run=3, knobs=dict(SHORT))
        await kills.go_on(5, lanes=1, workers=2)
        summary = await kills.summary()
    taken = spread(summary["takeover_seconds"])
    sys.stdout.write(f"{summary} {taken}\n")
    assert summary["kills"] == 5
    assert taken["count"] > 0
    assert taken["max"] < SHORT["lease_seconds"] + 2 + SLACK.total_seconds()
    handed_over = sum(job.attempt - 1 for job in kills.runs)
    assert await wasted_files(site, "lane-0") <= handed_over + (summary["runs"] - 1) * summary["files_per_run"]
