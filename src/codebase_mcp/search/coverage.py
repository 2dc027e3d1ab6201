"""What a request looks at, and how fresh that is: the same for every tool that answers from the index."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.search import freshness, scope
from codebase_mcp.search.models import RepositoryFreshness
from codebase_mcp.storage import project_state, projects
from codebase_mcp.storage.project_state import LastCounts, UnfinishedJob
from codebase_mcp.storage.projects import Repository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import EmbedderIdentity
    from codebase_mcp.search.models import SearchRequest


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a search looks at: repositories, unfinished jobs by path, and those of repositories without an index."""

    repositories: list[Repository]
    jobs: dict[str, UnfinishedJob]
    first_jobs: list[UnfinishedJob]
    model_id: int | None
    is_whole_project: bool
    counts: dict[tuple[int, str], LastCounts]


async def coverage_of(
    connection: AsyncConnection, schema: str, request: SearchRequest, identity: EmbedderIdentity
) -> Coverage:
    state = await project_state.read(connection, schema, request.project_id, identity)
    jobs = {job.repo_path: job for job in state.jobs}
    known = await projects.list_repositories(connection) if state.has_schema else []
    without_index = [job for path, job in jobs.items() if path not in {item.path for item in known}]
    if request.repository is None:
        return Coverage(known, jobs, without_index, state.model_id, is_whole_project=True, counts=state.counts)
    names = [name for job in without_index for name in (job.repo_path, job.repo_name)]
    chosen = scope.find_repositories(request.repository, known, also_known=names)
    wanted = str(request.repository).strip()
    first_jobs = [job for job in without_index if not chosen and wanted in (job.repo_path, job.repo_name)]
    is_whole = len(chosen) == len(known)
    return Coverage(chosen, jobs, first_jobs, state.model_id, is_whole_project=is_whole, counts=state.counts)


def nothing_indexed(coverage: Coverage, project_id: str) -> list[str]:
    """What to say of a project without a repository: an empty answer of it proves nothing."""
    if coverage.repositories or coverage.first_jobs:
        return []
    return [
        f"Nothing is indexed in project {project_id!r}. Index a repository first: start_indexing_background with its "
        "absolute path, or `codebase-mcp index PATH`."
    ]


async def freshness_of(coverage: Coverage) -> list[RepositoryFreshness]:
    paths = [item.path for item in coverage.repositories] + [job.repo_path for job in coverage.first_jobs]
    heads = await asyncio.to_thread(freshness.head_commits, paths)
    return [
        *(
            freshness.freshness_of(
                item, coverage.jobs.get(item.path), heads[item.path], coverage.counts.get((item.id, item.path))
            )
            for item in coverage.repositories
        ),
        *(freshness.freshness_of_first_job(job, heads[job.repo_path]) for job in coverage.first_jobs),
    ]
