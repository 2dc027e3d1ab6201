"""Several servers and workers on one database."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import combinations
from pathlib import Path
from uuid import UUID

import pytest
from fastmcp import Client

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job
from tests.faults.checks import completed, watched
from tests.faults.conftest import PACKAGES
from tests.support.processes import PATIENCE_SECONDS, Site, answering, ask, copy_packages, start
from tests.support.waiting import until

pytestmark = pytest.mark.faults

RACE_SECONDS = 1.0
"""Two claims of the same moment may be recorded in either order, and one that lost a race comes a turn later."""


async def test_two_servers_and_two_workers_run_at_most_three_jobs_in_order_and_answer_throughout(
    site: Site, tmp_path: Path
) -> None:
    repositories = [copy_packages(tmp_path / package, package) for package in PACKAGES[:6]]
    async with (
        site.client(worker="external", worker_idle_seconds=1) as quiet,
        site.client(watch_seconds=60, worker_idle_seconds=1) as spawning,
    ):
        await asyncio.gather(*(ask(client, "list_background_jobs") for client in (quiet, spawning)))
        ids = [await start(quiet, repository) for repository in repositories]
        async with watched(site) as watch:
            explicit = site.worker()
            await ask(spawning, "get_job_status", job_id=ids[0])
            await until(lambda: len(site.processes("worker")) >= 2, what="both workers", seconds=PATIENCE_SECONDS)
            asking = [asyncio.create_task(_ask_until_done(client, ids)) for client in (quiet, spawning)]
            jobs = [await completed(site, job_id) for job_id in ids]
            answers = await asyncio.gather(*asking)
    assert max(watch.running()) == MAX_RUNNING_JOBS
    assert min(answers) > 3
    assert _started_out_of_order(jobs) == []
    assert explicit.poll() is None


async def _ask_until_done(client: Client, ids: list[UUID]) -> int:
    """How many times the server answered until it called every job completed."""
    answers = 0
    while True:
        listed = await ask(client, "list_background_jobs")
        reports = [await ask(client, "get_job_status", job_id=job_id) for job_id in ids]
        answers += 1
        assert listed["total_count"] == len(ids)
        if {report["status"] for report in reports} == {"completed"}:
            return answers
        await asyncio.sleep(0.1)


def _started_out_of_order(jobs: list[Job]) -> list[tuple[str, str]]:
    wrong = []
    for earlier, later in combinations(jobs, 2):
        assert earlier.started_at is not None
        assert later.started_at is not None
        if (earlier.started_at - later.started_at).total_seconds() > RACE_SECONDS:
            wrong.append((earlier.repo_name, later.repo_name))
    return wrong


async def test_ten_servers_on_one_database_all_answer_while_a_job_runs(site: Site, corpus: Path) -> None:
    async with AsyncExitStack() as stack:
        clients = [site.client() for _ in range(10)]
        for opened in asyncio.as_completed([asyncio.create_task(client.__aenter__()) for client in clients]):
            stack.push_async_exit(await opened)
        await asyncio.gather(*(answering(client) for client in clients))
        job_id = await start(clients[0], corpus)
        await site.committed(job_id, 1)
        reports = await asyncio.gather(*(ask(client, "get_job_status", job_id=job_id) for client in clients))
        found = await asyncio.gather(*(ask(client, "search_code", query="event loop") for client in clients))
        assert {report["status"] for report in reports} == {"running"}
        assert {answer["freshness"][0]["state"] for answer in found} <= {"indexing", "ready"}
        await completed(site, job_id)
        found = await asyncio.gather(*(ask(client, "search_code", query="event loop") for client in clients))
        assert {answer["results"][0]["repository"] for answer in found} == {corpus.name}
        assert len(site.processes("worker")) == 1
