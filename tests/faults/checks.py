"""What must hold of a finished job and its index, whatever happened on the way, and a watch over what happens."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job, JobStatus
from codebase_mcp.errors import DatabaseError
from codebase_mcp.storage.tables import schema_name
from tests.faults.invariants import files_are_whole, violations
from tests.support.processes import PATIENCE_SECONDS, Site

TERMINAL = {"completed", "failed", "cancelled"}


async def completed(site: Site, job_id: UUID, *, patience_seconds: float = PATIENCE_SECONDS) -> Job:
    """Waits for the end of a job; fails unless it completed with an index and a history that are whole."""
    job = await site.ended(job_id, patience_seconds)
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
    assert not await violations(site.observer, (files_are_whole,))
    counted = await site.rows(
        f"SELECT file_count FROM {schema_name(job.project_id)}.repositories WHERE id = :id", id=job.repository_id
    )
    assert counted == [{"file_count": job.files_indexed + job.files_unchanged}]


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


_SEEN = """
SELECT r.path AS root, f.relative_path, f.content_hash, f.chunk_count, count(c.id) AS chunks,
       count(DISTINCT c.ordinal) FILTER (WHERE c.ordinal < f.chunk_count) AS ordinals,
       count(DISTINCT e.chunk_id) AS vectors, coalesce(string_agg(c.content, '' ORDER BY c.ordinal), '') AS text
FROM {schema}.code_files f JOIN {schema}.repositories r ON r.id = f.repository_id
LEFT JOIN {schema}.code_chunks c ON c.file_id = f.id LEFT JOIN {schema}.embeddings e ON e.chunk_id = c.id
WHERE f.id IN (SELECT id FROM {schema}.code_files ORDER BY id DESC LIMIT 2)
   OR (r.path, f.relative_path) IN (SELECT * FROM unnest(CAST(:roots AS text[]), CAST(:paths AS text[])))
GROUP BY r.path, f.id"""


@dataclass
class Reader:
    """Looks at a few files of the index, each time in one snapshot: what was written last, and what it saw before.

    A file is there whole, with its old or its new chunks, and as long as nobody touches it on the disk it stays.
    """

    site: Site
    looks: int = 0
    found: list[str] = field(default_factory=list)
    _seen: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)

    async def look(self) -> None:
        schemas = await self.site.rows(
            "SELECT schema_name FROM codebase_mcp.projects WHERE to_regclass(schema_name || '.code_files') IS NOT NULL"
        )
        for schema in schemas:
            await self._look_at(schema["schema_name"])

    def forget(self) -> None:
        """After a crash of the database, which may lose the last moments of what was committed."""
        self._seen.clear()

    async def _look_at(self, schema: str) -> None:
        known = [key for key in self._seen if key[0] == schema]
        asked = {known[(7 * self.looks + step) % len(known)] for step in range(3)} if known else set()
        there = await self.site.rows(
            _SEEN.format(schema=schema), roots=[key[1] for key in asked], paths=[key[2] for key in asked]
        )
        self.looks += 1
        for row in there:
            self._judge(schema, row)
        for key in asked - {(schema, row["root"], row["relative_path"]) for row in there}:
            if _stamp(key) == self._seen.pop(key):
                self.found.append(f"{key[2]} was in the index, is untouched on the disk and could not be found")

    def _judge(self, schema: str, row: sa.RowMapping) -> None:
        key = (schema, row["root"], row["relative_path"])
        if not row["chunk_count"] == row["chunks"] == row["ordinals"] == row["vectors"]:
            counts = f"{row['chunks']} chunks, {row['ordinals']} in order, {row['vectors']} vectors"
            self.found.append(f"{key[2]} was seen torn: {counts} of {row['chunk_count']}")
        elif hashlib.sha256(row["text"].encode()).digest() != row["content_hash"] and _is_utf8(key):
            self.found.append(f"{key[2]} was seen with chunks of another text than its hash says")
        if (stamp := _stamp(key)) is not None:
            self._seen[key] = stamp


def _stamp(key: tuple[str, str, str]) -> tuple[int, int] | None:
    """Size and time of a file; None when it is not there."""
    try:
        status = Path(key[1], key[2]).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _is_utf8(key: tuple[str, str, str]) -> bool:
    try:
        Path(key[1], key[2]).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return False
    return True


@dataclass
class Watch:
    """Looks at all jobs many times a second; `check` fails on what must never be seen."""

    site: Site
    samples: list[dict[UUID, tuple[str, int]]] = field(default_factory=list)
    most_fruitless: int = 0
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(self.site)

    async def look(self) -> None:
        while True:
            try:
                await self._look_once()
            except DatabaseError:  # some tests take the database away
                self.samples.append({})
                self.reader.forget()
            await asyncio.sleep(0.03)

    async def _look_once(self) -> None:
        rows = await self.site.rows(
            "SELECT id, status, progress_percentage, fruitless_attempts FROM codebase_mcp.indexing_jobs"
        )
        self.samples.append({row["id"]: (row["status"], row["progress_percentage"]) for row in rows})
        self.most_fruitless = max([self.most_fruitless, *(row["fruitless_attempts"] for row in rows)])
        if len(self.samples) % 4 == 0:
            await self.reader.look()

    def running(self) -> list[int]:
        return [sum(status == "running" for status, _ in sample.values()) for sample in self.samples]

    def check(self) -> None:
        assert self.samples, "the watch has not seen anything"
        assert max(self.running()) <= MAX_RUNNING_JOBS
        assert not self.reader.found, "\n".join(self.reader.found[:10])
        highest: dict[UUID, int] = {}
        for sample in self.samples:
            if not sample:  # a crash may lose the last moments of what was committed
                highest.clear()
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
