"""Old jobs go, with all that hangs on them, under readers and while others delete; what is active or recent stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.domain import JobStatus
from codebase_mcp.jobs import store
from codebase_mcp.storage.database import Database
from tests.support import jobs

OLD, RECENT, ACTIVE = 9_000, 600, 400
RETENTION_DAYS = 7

ENDED = """
INSERT INTO codebase_mcp.indexing_jobs (id, repo_path, repo_name, project_id, status, phase, created_at, finished_at,
  completed_at, cancelled_at)
SELECT gen_random_uuid(), '/src/' || n, :name, 'p', s.status, 'done', ended.at - interval '1 hour', ended.at,
  CASE WHEN s.status = 'completed' THEN ended.at END, CASE WHEN s.status = 'cancelled' THEN ended.at END
FROM generate_series(1, :count) n,
  LATERAL (SELECT (ARRAY['completed', 'failed', 'cancelled'])[1 + n % 3] AS status) s,
  LATERAL (SELECT clock_timestamp() - make_interval(secs => 86400 * CAST(:days AS double precision)
    + n * CAST(:step AS double precision)) AS at) ended
"""
UNENDED = """
INSERT INTO codebase_mcp.indexing_jobs (id, repo_path, repo_name, project_id, status, phase, created_at, retry_at)
SELECT gen_random_uuid(), '/src/active/' || n, 'active', 'p', CASE WHEN n % 2 = 0 THEN 'pending' ELSE 'blocked' END,
  'indexing', clock_timestamp() - interval '90 days',
  CASE WHEN n % 2 = 1 THEN clock_timestamp() - interval '80 days' END
FROM generate_series(1, :count) n
"""
BELONGINGS = (
    "INSERT INTO codebase_mcp.job_events (job_id, event_type) SELECT id, kind FROM codebase_mcp.indexing_jobs,"
    " unnest(ARRAY['created', 'started']) kind",
    "INSERT INTO codebase_mcp.job_files (job_id, ordinal, relative_path, size_bytes, mtime_ns, state)"
    " SELECT id, n, 'f' || n, 1, 1, 'indexed' FROM codebase_mcp.indexing_jobs, generate_series(0, 3) n",
)


async def fill(database: Database) -> None:
    """Jobs on both sides of the seven days, to within seconds, and active ones that are older than any."""
    await jobs.execute(database, ENDED, name="old", count=OLD, days=RETENTION_DAYS, step=60)
    await jobs.execute(database, ENDED, name="recent", count=RECENT, days=RETENTION_DAYS - 0.01, step=-900)
    await jobs.execute(database, UNENDED, count=ACTIVE)
    for statement in BELONGINGS:
        await jobs.execute(database, statement)


async def left(database: Database, table: str = "indexing_jobs", column: str = "id") -> dict[str, int]:
    rows = await jobs.execute(
        database,
        f"SELECT j.repo_name, count(*) FROM codebase_mcp.{table} t JOIN codebase_mcp.indexing_jobs j"
        f" ON j.id = t.{column} GROUP BY 1",
    )
    return dict(map(tuple, rows))


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncConnection]:
    """A reader in the middle of its transaction, which sees the database as it was when it began."""
    async with database.maintenance(autocommit=False) as connection:
        await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await number_of_events(connection)
        yield connection


async def number_of_events(connection: AsyncConnection) -> Any:
    return await connection.scalar(sa.text("SELECT count(*) FROM codebase_mcp.job_events"))


async def test_only_what_ended_long_ago_goes_whoever_reads_or_deletes_beside_it(
    database: Database, database_url: str
) -> None:
    await fill(database)
    job = await jobs.start(database, "/src/new")
    others = [Database(database_url, application_name=f"process {n}", control_seconds=5) for n in range(3)]
    async with reading(others[0]) as reader, database.maintenance(autocommit=False) as holder:
        before = await number_of_events(reader)
        held = sa.text("SELECT id FROM codebase_mcp.indexing_jobs WHERE repo_name = 'old' LIMIT 1 FOR UPDATE")
        await holder.execute(held)
        deleted = await asyncio.gather(*(store.prune(other, RETENTION_DAYS) for other in others))
        # A job that somebody else is looking at is left for the next time, not waited for.
        assert sum(deleted) == OLD - 1
        assert await number_of_events(reader) == before
        claimed = await jobs.claim(database)
        assert claimed.status is JobStatus.RUNNING
    assert await store.prune(database, RETENTION_DAYS) == 1
    for other in others:
        await other.close()
    assert (await jobs.current(database, job.id)).repo_path == "/src/new"
    kept = {"recent": RECENT, "active": ACTIVE}
    assert {name: count for name, count in (await left(database)).items() if name != "new"} == kept
    orphans = "SELECT count(*) FROM codebase_mcp.{} WHERE job_id NOT IN (SELECT id FROM codebase_mcp.indexing_jobs)"
    assert (await left(database, "job_files", "job_id")) == {name: 4 * count for name, count in kept.items()}
    for table in ("job_files", "job_events"):
        assert await jobs.scalar(database, orphans.format(table)) == 0
    assert await store.prune(database, RETENTION_DAYS) == 0
