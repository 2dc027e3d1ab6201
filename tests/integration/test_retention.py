"""Every process deletes old jobs: when it starts and each day after, and it lets nothing wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.jobs import retention, store
from codebase_mcp.jobs.retention import Retention
from codebase_mcp.service import Service
from codebase_mcp.service.life import Life
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.runs import SERVED, Bench
from tests.support.waiting import until


async def an_old_job(database: Database) -> Job:
    job = await jobs.in_state(database, JobStatus.CANCELLED)
    await jobs.set_column(database, job.id, "finished_at = finished_at - interval '8 days'")
    return job


async def goes(database: Database, job: Job) -> None:
    async def is_gone() -> bool:
        return await jobs.execute(database, "SELECT id FROM codebase_mcp.indexing_jobs WHERE id = :id", id=job.id) == []

    await until(is_gone, what="the old job to go")


async def test_a_server_deletes_old_jobs_when_it_starts_and_each_day(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await an_old_job(bench.database)
    service = Service(bench.settings.model_copy(update=SERVED | {"watch_seconds": 0.02}))
    await service.ready(20)
    await goes(bench.database, job)
    kept = service._life._retention
    await until(lambda: not kept.is_due, what="a day to pass before the next time")
    later = await an_old_job(bench.database)
    monkeypatch.setattr(kept, "_due_at", 0.0)
    await goes(bench.database, later)
    await service.close()


async def test_nothing_waits_for_old_jobs_to_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> int:
        began.set()
        await gate.wait()
        return 0

    looks: list[bool] = []
    look = Life.ensure_worker

    async def noted(self: Life) -> None:
        looks.append(began.is_set())
        await look(self)

    monkeypatch.setattr(store, "prune", slow)
    monkeypatch.setattr(Life, "ensure_worker", noted)
    service = Service(bench.settings.model_copy(update=SERVED | {"watch_seconds": 0.02}))
    await service.ready(20)
    await asyncio.wait_for(began.wait(), 20)
    await until(lambda: sum(looks) >= 3, what="the server to go on looking for jobs without a worker")
    started = await service.start_indexing(str(bench.root))
    assert (await service.job_status(started.job_id)).status is JobStatus.PENDING
    assert not gate.is_set()
    await service.close()


async def test_trouble_with_old_jobs_is_tried_again_before_the_day_is_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune, failures = store.prune, [DatabaseUnavailableError()]

    async def failing(*arguments: Any) -> int:
        if failures:
            raise failures.pop()
        return await prune(*arguments)

    monkeypatch.setattr(store, "prune", failing)
    monkeypatch.setattr(retention, "RETRY_SECONDS", 0.0)
    old = await an_old_job(database)
    kept = Retention(7)
    assert kept.is_due
    await kept.prune(database)
    assert kept.is_due
    await kept.prune(database)
    assert not kept.is_due
    await goes(database, old)
