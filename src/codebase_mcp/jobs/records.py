"""What people ask about jobs that may have ended long ago: pages of them, and which files they left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp.domain import FileStat, FileState, JobStatus
from codebase_mcp.jobs.statements import rows
from codebase_mcp.jobs.store import to_job
from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Job


REASONS_TOLD = 20


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many files of a job were skipped, or failed, for one reason."""

    state: FileState
    reason: str
    files: int


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any."""

    status: JobStatus | None = None
    repo_path_part: str | None = None
    project_id: str | None = None
    created_after: datetime | None = None


async def list_jobs(connection: AsyncConnection, which: JobFilter, *, limit: int, offset: int) -> tuple[list[Job], int]:
    """One page, newest first, and the number of all that match."""
    jobs = tables.indexing_jobs
    conditions: list[sa.ColumnElement[bool]] = []
    if which.status is not None:
        conditions.append(jobs.c.status == which.status.value)
    if which.repo_path_part is not None:
        conditions.append(jobs.c.repo_path.contains(which.repo_path_part, autoescape=True))
    if which.project_id is not None:
        conditions.append(jobs.c.project_id == which.project_id)
    if which.created_after is not None:
        conditions.append(jobs.c.created_at > which.created_after)
    total = await connection.scalar(sa.select(sa.func.count()).select_from(jobs).where(*conditions))
    page = sa.select(jobs).where(*conditions).order_by(jobs.c.created_at.desc(), jobs.c.id)
    found = (await connection.execute(page.limit(limit).offset(offset))).mappings().all()
    return [to_job(row) for row in found], int(total or 0)


async def is_repository_name(connection: AsyncConnection, name: str) -> bool:
    """Whether any job is about a repository of that name."""
    jobs = tables.indexing_jobs
    return bool(await connection.scalar(sa.select(sa.exists().where(jobs.c.repo_name == name))))


async def all_active_jobs(connection: AsyncConnection) -> list[Job]:
    """Of all projects and hosts, oldest first."""
    jobs = tables.indexing_jobs
    active = [status.value for status in JobStatus if not status.is_terminal]
    statement = sa.select(jobs).where(jobs.c.status.in_(active)).order_by(jobs.c.created_at)
    return [to_job(row) for row in (await connection.execute(statement)).mappings()]


async def files_left_out(connection: AsyncConnection, job_id: UUID, limit: int) -> list[sa.RowMapping]:
    return list(await rows(connection, "files_left_out", {"id": job_id, "limit": limit}))


async def reasons_left_out(connection: AsyncConnection, job_id: UUID) -> list[LeftOut]:
    """The commonest reasons, those of failures first, each with its files."""
    found = await rows(connection, "reasons_left_out", {"id": job_id, "limit": REASONS_TOLD})
    return [LeftOut(FileState(row["state"]), row["kind"], row["files"]) for row in found]


async def left_out_by_last_job(
    connection: AsyncConnection, project_id: str, host_id: str, repo_path: str, paths: Sequence[str]
) -> dict[str, FileStat] | None:
    """The stat of those of the files that the last completed job left out; None when it is not on record."""
    arguments = {"project_id": project_id, "host_id": host_id, "repo_path": repo_path, "paths": list(paths)}
    found = await rows(connection, "left_out_by_last_job", arguments)
    if not found:
        return None
    stats = ((row["relative_path"], FileStat(*(row[name] for name in FileStat._fields))) for row in found)
    return {path: stat for path, stat in stats if path}
