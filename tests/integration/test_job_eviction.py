"""Whoever holds a job's row for too long is disconnected: by a cancel at once, by a claim when it is silent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.jobs import store
from codebase_mcp.storage import embedded, tables
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.postgres import TestServer
from tests.support.waiting import until

TOUCH = "UPDATE codebase_mcp.indexing_jobs SET files_scanned = files_scanned WHERE id = $1"
COPYING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'ClientRead' AND state = 'active'"
    " AND datname = current_database()"
)


@contextlib.asynccontextmanager
async def frozen_in_a_copy(postgres: TestServer, database: Database, url: str, job: Job) -> AsyncIterator[None]:
    """A session without deadlines that has the job's row locked and says nothing in the middle of a COPY."""
    name = sa.make_url(url).database
    host = embedded.Layout(postgres.data_dir).socket_dir
    session = await asyncpg.connect(host=str(host), port=5432, user="postgres", database=name)
    never = asyncio.Event()

    async def rows() -> AsyncIterator[tuple[object, ...]]:
        await never.wait()
        yield ()

    async def hold() -> None:
        async with session.transaction():
            await session.execute(TOUCH, job.id)
            columns = ["job_id", "ordinal", "relative_path", "size_bytes", "mtime_ns", "state"]
            await session.copy_records_to_table(
                "job_files", schema_name=tables.CONTROL_SCHEMA, columns=columns, records=rows()
            )

    holding = asyncio.create_task(hold())
    try:
        await until(lambda: copying(database), what="a session in the middle of a COPY")
        yield
    finally:
        session.terminate()
        holding.cancel()
        await asyncio.wait([holding])
        holding.cancelled() or holding.exception()


async def copying(database: Database) -> int:
    async with database.transaction("search") as connection:
        return int(await connection.scalar(COPYING) or 0)


async def are_copying(database: Database, number: int) -> bool:
    return await copying(database) == number


async def test_a_cancel_does_not_wait_for_who_holds_the_row(
    postgres: TestServer, database: Database, database_url: str
) -> None:
    job = await jobs.running(database)
    async with frozen_in_a_copy(postgres, database, database_url, job):
        started = time.monotonic()
        cancelled = await store.cancel(database, job.id)
        assert time.monotonic() - started < 5
    assert cancelled is not None
    assert cancelled.status is JobStatus.CANCELLED


async def test_a_cancel_disconnects_nobody_who_holds_another_row(
    postgres: TestServer, database: Database, database_url: str
) -> None:
    one, other = await jobs.running(database, "/src/one"), await jobs.running(database, "/src/other")
    async with (
        frozen_in_a_copy(postgres, database, database_url, one),
        frozen_in_a_copy(postgres, database, database_url, other),
    ):
        await until(lambda: are_copying(database, 2), what="both sessions")
        assert await store.cancel(database, one.id)
        assert await copying(database) == 1


async def test_a_claim_disconnects_who_holds_the_row_of_a_lapsed_job_in_silence_and_the_next_one_gets_it(
    postgres: TestServer, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SILENT_SECONDS", 60.0)
    job = await jobs.running(database)
    await jobs.lapse(database, job.id)
    async with frozen_in_a_copy(postgres, database, database_url, job):
        assert await jobs.try_claim(database) is None
        assert await copying(database) == 1  # it has only just stopped responding
        monkeypatch.setattr(store, "SILENT_SECONDS", 0.0)
        claimed = await until(lambda: jobs.try_claim(database), what="the job")
    assert claimed.id == job.id
    assert claimed.attempt == job.attempt + 1


async def test_a_silent_holder_keeps_the_row_of_a_job_whose_lease_is_good(
    postgres: TestServer, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SILENT_SECONDS", 0.0)
    job = await jobs.running(database)
    async with frozen_in_a_copy(postgres, database, database_url, job):
        assert await jobs.try_claim(database) is None
        assert await copying(database) == 1


async def test_a_cancel_of_a_database_that_is_away_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = Database(f"postgresql://postgres@/none?host={tmp_path_factory.mktemp('nowhere')}", application_name="x")
    with pytest.raises(DatabaseUnavailableError):
        await store.cancel(nowhere, uuid4())
