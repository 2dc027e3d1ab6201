"""What a search asks of a project before anything else: its unfinished jobs, its schema, its model, its last counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.projects import ModelIdentity


class UnfinishedJob(NamedTuple):
    """A repository's last job, unless that one completed, left a mark on the repository itself, or was removed with it.

    `is_active` is False for one that ended before a worker took it up; `is_advancing` for any that nobody works on,
    but for one that has just been started.
    """

    repo_path: str
    repo_name: str
    progress_percentage: int
    is_active: bool
    is_advancing: bool
    host_id: str | None = None
    host_name: str | None = None

    @property
    def place(self) -> tuple[str | None, str]:
        """The host and the path, as those of a repository."""
        return self.host_id, self.repo_path


class LastCounts(NamedTuple):
    """What a repository's last job found, and left out; of a job under way, so far."""

    files_total: int
    files_skipped: int
    files_failed: int


class ProjectState(NamedTuple):
    """`model_id` is None before anything was embedded with the model; `has_schema` False before the first job ran.

    `counts` are by id and path of the repository; one has none before its files were listed, and when its jobs were
    pruned.
    """

    jobs: list[UnfinishedJob]
    has_schema: bool
    model_id: int | None
    counts: dict[tuple[int, str], LastCounts]


_HOST_NAME = f"(SELECT name FROM {tables.CONTROL_SCHEMA}.hosts h WHERE h.host_id = j.host_id)"
_UNFINISHED_JOBS = f"""
    SELECT repo_path, repo_name, progress_percentage, true AS is_active,
           (status = 'pending' AND attempt = 0) OR (status = 'running' AND lease_expires_at > clock_timestamp()),
           host_id, {_HOST_NAME}
    FROM {tables.CONTROL_SCHEMA}.indexing_jobs j
    WHERE project_id = :project_id AND status IN ('pending', 'running', 'blocked')
    UNION ALL
    SELECT repo_path, repo_name, progress_percentage, false, false, host_id, {_HOST_NAME}
    FROM {tables.CONTROL_SCHEMA}.indexing_jobs j
    WHERE project_id = :project_id AND repository_id IS NULL AND status IN ('failed', 'cancelled')
      AND metadata ->> 'hidden_at' IS NULL
      AND NOT EXISTS (SELECT 1 FROM {tables.CONTROL_SCHEMA}.indexing_jobs later
        WHERE later.project_id = j.project_id AND later.repo_path = j.repo_path
          AND later.host_id IS NOT DISTINCT FROM j.host_id AND later.created_at > j.created_at)
"""


async def unfinished_jobs(connection: AsyncConnection, project_id: str) -> list[UnfinishedJob]:
    rows = await connection.execute(sa.text(_UNFINISHED_JOBS), {"project_id": project_id})
    return [UnfinishedJob(*row) for row in rows]


_LAST_COUNTS = f"""
    SELECT DISTINCT ON (repository_id, repo_path)
           repository_id, repo_path, files_total, files_skipped, files_failed
    FROM {tables.CONTROL_SCHEMA}.indexing_jobs
    WHERE project_id = :project_id AND repository_id IS NOT NULL AND files_total > 0
    ORDER BY repository_id, repo_path, created_at DESC
"""


async def read(connection: AsyncConnection, schema: str, project_id: str, identity: ModelIdentity) -> ProjectState:
    """What a project has, as one statement: every search begins with it."""
    statement = sa.text(
        "SELECT m.id, to_regclass(:repositories) IS NOT NULL,"
        f" (SELECT json_agg(counted) FROM ({_LAST_COUNTS}) counted), j.*"
        f" FROM (SELECT 1) AS always LEFT JOIN {tables.CONTROL_SCHEMA}.embedding_models m"
        " ON m.provider = :provider AND m.model = :model AND m.revision = :revision"
        f" LEFT JOIN ({_UNFINISHED_JOBS}) j ON true"
    )
    arguments = {
        "repositories": f"{schema}.repositories", "provider": identity.provider,
        "model": identity.model, "revision": identity.revision,
        "project_id": project_id,
    }  # fmt: skip
    rows = (await connection.execute(statement, arguments)).all()
    jobs = [UnfinishedJob(*row[3:]) for row in rows if row[3] is not None]
    counts = {(row["repository_id"], row["repo_path"]): _last_counts(row) for row in rows[0][2] or ()}
    return ProjectState(jobs, has_schema=rows[0][1], model_id=rows[0][0], counts=counts)


def _last_counts(row: Mapping[str, int]) -> LastCounts:
    return LastCounts(row["files_total"], row["files_skipped"], row["files_failed"])
