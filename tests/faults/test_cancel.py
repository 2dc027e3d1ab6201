"""Cancelling: terminal at once in every state, nothing written afterwards, and a later start goes on."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import Job, JobPhase, JobStatus
from codebase_mcp.service import Service
from tests.faults.checks import completed, contents
from tests.support import jobs
from tests.support.freezing import given_up, halted, let_go_on, slow_worker
from tests.support.processes import SLACK, Site, answering, ask, refusal, start

pytestmark = pytest.mark.faults

TERMINAL = timedelta(seconds=1) + SLACK
"""From asking until the job is cancelled."""
STOPPED = timedelta(seconds=5) + SLACK
"""From the cancel until the worker has stopped the work."""
LANES = ("one", "two", "three")


async def test_a_cancelled_job_writes_nothing_more_frees_its_slot_and_the_next_start_completes_it(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    # A worker that leaves as soon as it has nothing to do shows when it stopped.
    async with site.client(worker_idle_seconds=0) as client:
        job_id = await start(client, corpus)
        await site.committed(job_id, 10)
        asked_at = await site.clock()
        answer = await ask(client, "cancel_job", job_id=job_id, confirmed=True)
        at_the_answer = await contents(site)
        assert answer["status"] == "cancelled"
        cancelled = await site.job(job_id)
        assert cancelled.cancelled_at is not None
        assert cancelled.cancelled_at - asked_at < TERMINAL
        assert (cancelled.slot, cancelled.lease_expires_at) == (None, None)
        await site.no_process("worker")
        assert await site.clock() - cancelled.cancelled_at < STOPPED
        assert await contents(site) == at_the_answer
        assert at_the_answer["code_files"] == cancelled.files_indexed == answer["files_indexed"]
        assert [event.event_type for event in await site.events(job_id)][-1] == "cancelled"
        listed = await ask(client, "list_repositories")
        assert [repository["state"] for repository in listed["repositories"]] == ["incomplete"]

        second = await start(client, corpus)
        job = await completed(site, second)
        assert second != job_id
    assert job.files_unchanged == cancelled.files_indexed
    assert await site.digest(job) == calm_digest


async def test_whatever_its_state_an_active_job_is_cancelled_within_a_second_and_an_ended_one_is_left_alone(
    site: Site,
) -> None:
    async with site.client(worker="external") as client:
        await answering(client)
        for state in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.BLOCKED, "orphaned"):
            job = await jobs.in_state(site.observer, state, f"/src/{state}")
            asked_at = await site.clock()
            answer = await ask(client, "cancel_job", job_id=job.id, confirmed=True)
            cancelled = await site.job(job.id)
            assert (answer["status"], cancelled.status) == ("cancelled", JobStatus.CANCELLED), state
            assert cancelled.cancelled_at is not None
            assert cancelled.cancelled_at - asked_at < TERMINAL, state
            again = await ask(client, "cancel_job", job_id=job.id, confirmed=True)
            assert again["cancelled_at"] == answer["cancelled_at"], state
            assert await site.job(job.id) == cancelled, state
        for state in (JobStatus.COMPLETED, JobStatus.FAILED):
            job = await jobs.in_state(site.observer, state, f"/src/{state}")
            events = await site.events(job.id)
            words = await refusal(client, "cancel_job", job_id=job.id, confirmed=True)
            assert words.startswith("INVALID_STATUS")
            assert f"is {state} already" in words
            assert await site.job(job.id) == job
            assert await site.events(job.id) == events


async def test_a_cancel_stops_the_work_in_every_phase_and_the_worker_goes_on(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    places = {"claimed": JobPhase.DISCOVERING, "embedded": JobPhase.INDEXING, "ending": JobPhase.FINISHING}
    worker = slow_worker(site, "--halt", "claimed=1", "--halt", "embedded=5", "--halt", "ending=1")
    async with site.service() as service:
        for point, phase in places.items():
            job_id = (await service.start_indexing(str(corpus))).job_id
            await halted(site, point)
            assert (await site.job(job_id)).phase is phase
            cancelled_at = await _cancel_in_time(site, service, job_id)
            at_the_answer = await _stored(site, phase)
            await let_go_on(site, point)
            assert await given_up(site, since=cancelled_at, pid=worker.pid, job_id=job_id) < STOPPED, phase
            assert await _stored(site, phase) == at_the_answer, phase
        job = await completed(site, (await service.start_indexing(str(corpus))).job_id)
    assert job.files_unchanged == job.files_total
    assert await site.digest(job) == calm_digest


async def _stored(site: Site, phase: JobPhase) -> dict[str, int]:
    """Before the first file is listed there may be no tables to count in."""
    return {} if phase is JobPhase.DISCOVERING else await contents(site)


async def _cancel_in_time(site: Site, service: Service, job_id: UUID) -> datetime:
    asked_at = await site.clock()
    await service.cancel_job(job_id, confirmed=True)
    cancelled = await site.job(job_id)
    assert cancelled.cancelled_at is not None
    assert cancelled.cancelled_at - asked_at < TERMINAL
    assert (cancelled.slot, cancelled.worker_id, cancelled.lease_expires_at) == (None, None, None)
    return cancelled.cancelled_at


async def test_in_a_storm_of_cancels_no_batch_comes_after_one_and_each_slot_is_free_at_once(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random
) -> None:
    await _storm(site, corpus, calm_digest, seed, cancels=4)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_in_a_storm_of_a_hundred_and_fifty_cancels_no_batch_comes_after_one(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random
) -> None:
    await _storm(site, corpus, calm_digest, seed, cancels=50)


async def _storm(site: Site, corpus: Path, calm_digest: str, seed: random.Random, *, cancels: int) -> None:
    """In three lanes, so that each next job needs the very slot that the cancel before it has freed."""
    workers = [site.worker(poll_seconds=0.1, batch_files=4) for _ in range(2)]
    lanes = [random.Random(seed.random()) for _ in LANES]
    async with site.service() as service, asyncio.TaskGroup() as group:
        ended = [
            group.create_task(_lane(site, service, corpus, project, moments=moments, cancels=cancels))
            for project, moments in zip(LANES, lanes, strict=True)
        ]
    assert {await site.digest(task.result()) for task in ended} == {calm_digest}
    assert all(worker.poll() is None for worker in workers)


async def _lane(
    site: Site, service: Service, corpus: Path, project: str, *, moments: random.Random, cancels: int
) -> Job:
    """Starts and cancels a repository again and again, and at last lets it complete."""
    for number in range(cancels):
        job_id = await _start(service, corpus, project, force_reindex=True)
        await site.committed(job_id, moments.randrange(1, 12))
        await asyncio.sleep(moments.random() / 20)
        cancelled_at = await _cancel_in_time(site, service, job_id)
        if number % 2:
            at_the_answer = await contents(site, project)
            assert await given_up(site, since=cancelled_at, job_id=job_id) < STOPPED
            assert _of_project(await contents(site, project)) == _of_project(at_the_answer)
    job = await completed(site, await _start(service, corpus, project))
    assert job.started_at is not None
    assert job.started_at - job.created_at < STOPPED
    return job


def _of_project(counted: dict[str, int]) -> dict[str, int]:
    """Without what is counted over all jobs."""
    return {name: count for name, count in counted.items() if name != "indexed"}


async def _start(service: Service, corpus: Path, project: str, *, force_reindex: bool = False) -> UUID:
    started = await service.start_indexing(str(corpus), project_id=project, force_reindex=force_reindex)
    assert not started.already_running
    return started.job_id
