"""Several servers and workers on one database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from fastmcp import Client

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job
from tests.faults.checks import completed, watched
from tests.faults.conftest import PACKAGES
from tests.faults.slots import most_running_at_once
from tests.support.freezing import log_lines
from tests.support.processes import Site, answering, ask, copy_packages, start
from tests.support.waiting import until

pytestmark = [
    pytest.mark.faults,
    # On a busy machine a server needs longer to leave than its client waits; that none stays is checked at the end.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]

RACE_SECONDS = 3.0
"""Two claims of the same moment may be recorded in either order."""
SERVERS = 3
SERVICES = 7


async def test_several_servers_and_workers_run_at_most_three_jobs_in_order_and_answer_throughout(
    site: Site, tmp_path: Path
) -> None:
    await _run_jobs(site, tmp_path, servers=2, workers=3, jobs=10)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_ten_servers_and_eight_workers_run_at_most_three_of_twenty_jobs_in_order_and_answer_throughout(
    site: Site, tmp_path: Path
) -> None:
    await _run_jobs(site, tmp_path, servers=10, workers=8, jobs=20)


async def _run_jobs(site: Site, tmp_path: Path, *, servers: int, workers: int, jobs: int) -> None:
    """One of the workers is spawned by a server, the others are started by hand."""
    repositories = [copy_packages(tmp_path / f"{n}", PACKAGES[n % len(PACKAGES)]) for n in range(jobs)]
    async with AsyncExitStack() as stack, watched(site) as watch:
        explicit = [site.worker(batch_files=4) for _ in range(workers - 1)]
        clients = await _opened(stack, [site.client(watch_seconds=60, batch_files=4) for _ in range(servers)])
        # A worker that is not there yet gets none of the first jobs.
        await log_lines(site, "worker ready", workers - 1)
        ids = [await start(clients[n % servers], repository) for n, repository in enumerate(repositories)]
        asking = [asyncio.create_task(_ask_until_done(client, ids)) for client in clients]
        ended = [await completed(site, job_id) for job_id in ids]
        answers = await asyncio.gather(*asking)
    assert max(watch.running()) <= await most_running_at_once(site) == MAX_RUNNING_JOBS
    assert min(answers) > 3
    assert not list(_overtaken(ended))
    assert len({event.event_data["worker_id"] for job in ended for event in await site.events(job.id, "started")}) > 1
    assert all(worker.poll() is None for worker in explicit)


async def _opened(stack: AsyncExitStack, clients: list[Client[Any]]) -> list[Client[Any]]:
    """All of them, as soon as each server has opened the database."""
    for opened in asyncio.as_completed([asyncio.create_task(client.__aenter__()) for client in clients]):
        stack.push_async_exit(await opened)
    await asyncio.gather(*(answering(client) for client in clients))
    return clients


async def _ask_until_done(client: Client[Any], ids: list[UUID]) -> int:
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


def _overtaken(jobs: list[Job]) -> Iterator[str]:
    """Jobs are given as they were created: none may start long before an earlier one."""
    for earlier, later in combinations(jobs, 2):
        if (lead := _started(earlier) - _started(later)) > RACE_SECONDS:
            yield f"{later.repo_path} started {lead:.1f} s before {earlier.repo_path}"


def _started(job: Job) -> float:
    assert job.started_at is not None
    return job.started_at.timestamp()


async def test_ten_who_serve_one_database_all_answer_while_one_worker_runs_the_job(site: Site, corpus: Path) -> None:
    # All ten watch over the jobs and may spawn a worker; most of them without a process of their own, which takes long.
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(site.service(worker="spawn", **site.knobs)) for _ in range(SERVICES)
        ]
        clients = await _opened(stack, [site.client() for _ in range(SERVERS)])
        job_id = await start(clients[0], corpus)
        await site.committed(job_id, 1)
        reports = await asyncio.gather(*(service.job_status(job_id) for service in services))
        told = await asyncio.gather(*(ask(client, "get_job_status", job_id=job_id) for client in clients))
        statuses = {report.status.value for report in reports} | {report["status"] for report in told}
        assert statuses <= {"running", "completed"}
        found = await asyncio.gather(*(service.search("event loop") for service in services))
        assert {answer.freshness[0].state for answer in found} <= {"indexing", "ready"}
        await completed(site, job_id)
        found = await asyncio.gather(*(service.search("event loop") for service in services))
        shown = await asyncio.gather(*(ask(client, "search_code", query="event loop") for client in clients))
        assert {answer.results[0].repository for answer in found} == {corpus.name}
        assert {answer["results"][0]["repository"] for answer in shown} == {corpus.name}
        # On a very busy machine servers may also have started one that ignores the lock, for fear the first is frozen.
        await until(lambda: len(_lock_minding_workers(site)) == 1, what="one worker alone")


def _lock_minding_workers(site: Site) -> list[psutil.Process]:
    helpers = site.processes("--ignore-host-lock")
    return [worker for worker in site.processes("worker") if worker not in helpers]
