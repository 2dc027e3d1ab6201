"""How fast a job is, whether it stands still, and what it says it is doing, from the times in the database."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codebase_mcp.domain import Job, JobPhase, JobStatus
from codebase_mcp.jobs import progress, store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.service import Service
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.runs import Bench, GatedPool
from tests.support.waiting import until

MANY = [f"f{n}.py" for n in range(60)]


async def measured_for(database: Database, job: Job, seconds: float) -> None:
    """As if the last batch, or the claim, had been so long ago."""
    ago = f"clock_timestamp() - interval '{seconds} seconds'"
    await jobs.set_column(database, job.id, f"measured_at = {ago}, progressed_at = {ago}")


async def batch(database: Database, job: Job, number: int, seconds: float) -> Job:
    """One file of 100 bytes that took so long."""
    await measured_for(database, job, seconds)
    return await jobs.commit(database, job, number)


async def captured(database: Database) -> Job:
    job = await jobs.running(database)
    await jobs.capture(database, job, MANY)
    return job


def pace(job: Job) -> float:
    return job.recent_bytes / job.recent_seconds


# --- pace ---


async def test_recent_batches_weigh_more_in_the_pace(database: Database) -> None:
    job = await captured(database)
    seconds = bytes_done = 0.0
    for number, took in enumerate((10.0, 5.0, 20.0)):
        fading = math.exp(-took / progress.PACE_SECONDS)
        seconds, bytes_done = seconds * fading + took, bytes_done * fading + jobs.FILE_BYTES
        committed = await batch(database, job, number, took)
        assert committed.recent_seconds == pytest.approx(seconds, abs=2)
        assert committed.recent_bytes == pytest.approx(bytes_done, rel=0.2)
        assert committed.recent_files == pytest.approx(committed.recent_bytes / jobs.FILE_BYTES)


async def test_the_pace_follows_a_job_that_becomes_slow_within_a_minute(service: Service, database: Database) -> None:
    job = await captured(database)
    for number in range(40):
        committed = await batch(database, job, number, 0.5)
    assert pace(committed) == pytest.approx(200, rel=0.3)
    fast = (await service.job_status(job.id)).estimated_time_remaining_seconds
    for number in range(40, 46):
        committed = await batch(database, job, number, 10)
    assert pace(committed) < 30
    slow = (await service.job_status(job.id)).estimated_time_remaining_seconds
    assert fast is not None
    assert slow is not None
    assert fast < 60 < slow


@pytest.mark.parametrize("interruption", ["death", "block", "release"])
async def test_time_in_which_nobody_worked_does_not_count(database: Database, interruption: str) -> None:
    job = await captured(database)
    for number in range(4):
        committed = await batch(database, job, number, 5)
    before = pace(committed)
    if interruption == "block":
        await jobs.block(database, job)
        await jobs.set_column(database, job.id, "retry_at = clock_timestamp()")
    elif interruption == "release":
        await store.release(database, jobs.claim_of(job))
    else:
        await jobs.lapse(database, job.id)
    await measured_for(database, job, 3_600)
    job = await jobs.claim(database)
    await jobs.set_column(database, job.id, "measured_at = measured_at - interval '5 seconds'")
    committed = await jobs.commit(database, job, 4)
    assert pace(committed) == pytest.approx(before, rel=0.4)


@pytest.mark.parametrize("seconds", [0, 3_600, 10 * 365 * 86_400, -60])
async def test_no_interval_is_too_odd_to_be_measured(database: Database, seconds: float) -> None:
    job = await captured(database)
    for number in range(3):
        committed = await batch(database, job, number, seconds)
        assert committed.recent_seconds >= 0
        assert committed.recent_bytes >= jobs.FILE_BYTES
    await jobs.set_column(database, job.id, "measured_at = NULL")
    assert (await jobs.commit(database, job, 3)).measured_at is not None


# --- stalls ---


async def is_stalled(service: Service, job: Job) -> bool:
    report = await service.job_status(job.id)
    listed = {one.job_id: one for one in (await service.list_jobs()).jobs}
    assert report.is_stalled == listed[job.id].is_stalled == (report.stalled_reason is not None)
    return report.is_stalled


async def a_batch(database: Database, job: Job) -> None:
    await jobs.commit(database, job, 0)


async def a_step(database: Database, job: Job) -> None:
    async with database.transaction("writers") as connection:
        await store.fence(connection, jobs.claim_of(job), JobPhase.FINISHING, "tidying")


async def a_listed_file(database: Database, job: Job) -> None:
    assert await store.renew(database, jobs.claim_of(job), files_scanned=len(MANY) + 1)


async def an_advance(database: Database, job: Job) -> None:
    assert await store.renew(database, jobs.claim_of(job), has_advanced=True)


async def a_take_over(database: Database, job: Job) -> None:
    await jobs.lapse(database, job.id)
    await jobs.claim(database)


@pytest.mark.parametrize("getting_on", [a_batch, a_step, a_listed_file, an_advance, a_take_over])
async def test_a_stall_ends_with_whatever_gets_on(service: Service, database: Database, getting_on: Any) -> None:
    job = await captured(database)
    assert not await is_stalled(service, job)
    await measured_for(database, job, progress.STALLED_SECONDS + 1)
    assert await is_stalled(service, job)
    assert await store.renew(database, jobs.claim_of(job), progress_message="parsing a 900 KB file")
    report = await service.job_status(job.id)
    assert report.stalled_reason == "no progress for 1 min: parsing a 900 KB file"
    assert report.estimated_time_remaining_seconds is None
    await getting_on(database, job)
    assert not await is_stalled(service, job)


async def test_the_doctor_names_jobs_that_stand_still_or_take_a_week(service: Service, database: Database) -> None:
    async def check() -> Any:
        return next(check for check in await service.doctor() if check.name == "jobs")

    job = await captured(database)
    waiting = await jobs.start(database, "/src/waiting")
    assert ((await check()).is_ok, (await check()).fix) == (True, None)
    await measured_for(database, job, 200)
    stalled = await check()
    assert not stalled.is_ok
    assert f"job {job.id} (/src/shop): no progress for 3 min" in stalled.detail
    assert str(waiting.id) not in stalled.detail
    await jobs.commit(database, job, 0)
    await jobs.set_column(database, job.id, "created_at = created_at - interval '8 days'")
    overdue = await check()
    assert f"job {job.id} (/src/shop): running for 8 days" in overdue.detail
    assert "jobs cancel" in str(overdue.fix)


# --- what a worker says it is doing ---


async def says(service: Service, job: Job, words: str) -> str:
    async def said() -> str | None:
        message = (await service.job_status(job.id)).progress_message
        return message if words in message else None

    return str(await until(said, what=f"the job to say {words!r}"))


class GatedEmbedding:
    """Holds every text back until told."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.gate = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def embed_documents(self, texts: Any) -> NDArray[np.float32]:
        await self.gate.wait()
        vectors: NDArray[np.float32] = await self._real.embed_documents(texts)
        return vectors


async def test_a_worker_says_what_it_waits_for(service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SLOW_SECONDS", 0.0)
    bench.pool = parsing = GatedPool(0)
    bench.embedder = embedding = GatedEmbedding(bench.embedder)  # type: ignore[assignment]
    await bench.start()
    job = await bench.claim()
    task = asyncio.create_task(JobRunner(job, bench.tools).run())
    assert (await says(service, job, "parsing")).startswith("parsing 5 files, 0 of 5 files")
    parsing.gate.set()
    assert (await says(service, job, "embedding")).startswith("embedding, 0 of 5 files")
    embedding.gate.set()
    await task
    report = await service.job_status(job.id)
    assert (report.status, report.is_stalled) == (JobStatus.COMPLETED, False)
    assert report.progress_message.startswith("completed: 5 indexed")


async def test_the_end_of_a_job_tells_its_steps_with_numbers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    fence = store.fence

    async def noted(connection: Any, claim: Any, phase: JobPhase, message: str) -> None:
        told.append(message)
        await fence(connection, claim, phase, message)

    monkeypatch.setattr(store, "fence", noted)
    await bench.run()
    assert "counting references, 0 of 5 files" in told
