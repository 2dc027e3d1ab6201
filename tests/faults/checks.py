"""What must hold of a finished job and its index, whatever happened on the way, and a watch over what happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job, JobStatus
from codebase_mcp.errors import DatabaseError
from codebase_mcp.storage.tables import schema_name
from tests.support.processes import Site

TERMINAL = {"completed", "failed", "cancelled"}

_FILES = """
SELECT f.relative_path, f.chunk_count,
       (SELECT count(*) FROM {schema}.code_chunks c WHERE c.file_id = f.id) AS chunks,
       (SELECT count(DISTINCT ordinal) FROM {schema}.code_chunks c
        WHERE c.file_id = f.id AND ordinal BETWEEN 0 AND f.chunk_count - 1) AS ordinals,
       (SELECT count(*) FROM {schema}.embeddings e JOIN {schema}.code_chunks c ON c.id = e.chunk_id
        WHERE c.file_id = f.id) AS vectors
FROM {schema}.code_files f WHERE f.repository_id = :repository_id"""


async def completed(site: Site, job_id: UUID) -> Job:
    """Waits for the end of a job; fails unless it completed with an index and a history that are whole."""
    job = await site.ended(job_id)
    assert job.status is JobStatus.COMPLETED, f"{job.error_type}: {job.error_message}"
    assert job.files_indexed + job.files_unchanged + job.files_skipped + job.files_failed == job.files_total
    assert job.files_failed == 0
    kinds = [event.event_type for event in await site.events(job_id)]
    assert kinds[0] == "created"
    assert [kind for kind in kinds if kind in TERMINAL] == ["completed"]
    assert kinds[-1] == "completed"
    await _check_files(site, job)
    return job


async def _check_files(site: Site, job: Job) -> None:
    schema = schema_name(job.project_id)
    files = await site.rows(_FILES.format(schema=schema), repository_id=job.repository_id)
    torn = [file for file in files if not file["chunk_count"] == file["chunks"] == file["ordinals"] == file["vectors"]]
    assert not torn
    assert len(files) == job.files_indexed + job.files_unchanged
    counted = await site.rows(
        f"SELECT file_count, chunk_count FROM {schema}.repositories WHERE id = :id", id=job.repository_id
    )
    assert counted == [{"file_count": len(files), "chunk_count": sum(file["chunks"] for file in files)}]


async def contents(site: Site, project_id: str = "default") -> dict[str, int]:
    """How many rows each table that a batch writes to has."""
    schema = schema_name(project_id)
    tables = ["code_files", "code_chunks", "embeddings", "symbols", "lexical_postings"]
    counts = ", ".join(f"(SELECT count(*) FROM {schema}.{table}) AS {table}" for table in tables)
    found = await site.rows(f"SELECT {counts}, (SELECT sum(files_indexed) FROM codebase_mcp.indexing_jobs) AS indexed")
    return dict(found[0])


async def wasted_files(site: Site, project_id: str = "default") -> int:
    """Files that were prepared for a batch which was never committed: ids are reserved just before the commit."""
    schema = schema_name(project_id)
    found = await site.rows(
        f"SELECT (SELECT last_value FROM {schema}.file_ids) - (SELECT count(*) FROM {schema}.code_files) AS wasted"
    )
    return int(found[0]["wasted"])


@dataclass
class Watch:
    """Looks at all jobs many times a second; `check` fails on what must never be seen."""

    site: Site
    samples: list[dict[UUID, tuple[str, int]]] = field(default_factory=list)
    most_fruitless: int = 0

    async def look(self) -> None:
        while True:
            with contextlib.suppress(DatabaseError):  # some tests take the database away
                rows = await self.site.rows(
                    "SELECT id, status, progress_percentage, fruitless_attempts FROM codebase_mcp.indexing_jobs"
                )
                self.samples.append({row["id"]: (row["status"], row["progress_percentage"]) for row in rows})
                self.most_fruitless = max([self.most_fruitless, *(row["fruitless_attempts"] for row in rows)])
            await asyncio.sleep(0.03)

    def running(self) -> list[int]:
        return [sum(status == "running" for status, _ in sample.values()) for sample in self.samples]

    def check(self) -> None:
        assert max(self.running()) <= MAX_RUNNING_JOBS
        highest: dict[UUID, int] = {}
        for sample in self.samples:
            for job_id, (_, progress) in sample.items():
                assert progress >= highest.get(job_id, 0), f"the progress of {job_id} fell to {progress}"
                highest[job_id] = progress


@contextlib.asynccontextmanager
async def watched(site: Site) -> AsyncIterator[Watch]:
    watch = Watch(site)
    looking = asyncio.create_task(watch.look())
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait([looking])
    watch.check()
