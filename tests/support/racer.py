"""Who claims and finishes jobs without doing them, as fast as it can: `python -m tests.support.racer JOBS` ends when so
many jobs are completed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.errors import ConstraintViolatedError
from codebase_mcp.settings import Settings
from codebase_mcp.storage import embedded
from codebase_mcp.storage.database import Database, PoolName
from tests.support import jobs
from tests.support.databases import PatientDatabase

HOLD_SECONDS = 0.01
"""Longest that a job is held: long enough for a fourth one to be seen beside three."""


class RacingDatabase(PatientDatabase):
    """Counts, by constraint, what the database refused."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(url, application_name=f"racer {number}")
        self.refused: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def transaction(
        self, pool: PoolName = "control", project_schema: str | None = None
    ) -> AsyncIterator[AsyncConnection]:
        try:
            async with super().transaction(pool, project_schema) as connection:
                yield connection
        except ConstraintViolatedError as error:
            self.refused[error.constraint] += 1
            raise


async def race(database: Database, total: int) -> None:
    """Claims whatever there is until `total` jobs are completed."""
    worker_id = uuid4()
    while await _completed(database) < total:
        job = await jobs.try_claim(database, worker_id=worker_id)
        if job is not None:
            await asyncio.sleep(random.uniform(0, HOLD_SECONDS))
            await jobs.finish(database, job)


async def _completed(database: Database) -> int:
    statement = "SELECT count(*) FROM codebase_mcp.indexing_jobs WHERE status = 'completed'"
    return int(await jobs.scalar(database, statement))


async def main(total: int) -> None:
    database = RacingDatabase(embedded.Layout(Settings().data_dir).url, os.getpid())
    try:
        await race(database, total)
    finally:
        await database.close()
    sys.stdout.write(f"racer was refused {dict(database.refused)}\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
