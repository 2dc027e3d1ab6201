"""Listing and removing the repositories of a project."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from codebase_mcp.answers import RemovedRepository, RepositoryList, RepositoryReport
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.jobs import store
from codebase_mcp.search import freshness
from codebase_mcp.search.selection import choices_of
from codebase_mcp.storage import project_state, projects
from codebase_mcp.storage.projects import Repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Job
    from codebase_mcp.search.models import RepositoryFreshness
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.project_state import UnfinishedJob


async def listed(database: Database, project_id: str, schema: str) -> RepositoryList:
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        jobs = await _active_jobs(connection, project_id)
        unfinished = {job.repo_path: job for job in await project_state.unfinished_jobs(connection, project_id)}
        size_bytes = await projects.schema_size_bytes(connection, schema)
    first_jobs = choices_of(known, unfinished.values()).first_jobs
    paths = [one.path for one in known] + [job.repo_path for job in first_jobs]
    heads = await asyncio.to_thread(freshness.head_commits, paths)
    all_chunks = sum(repository.chunk_count for repository in known) or 1
    reports = [
        _report(
            repository,
            freshness.freshness_of(repository, unfinished.get(repository.path), heads[repository.path]),
            jobs.get(repository.path),
            size_bytes * repository.chunk_count // all_chunks,
        )
        for repository in known
    ]
    reports += [
        _first_job(freshness.freshness_of_first_job(job, heads[job.repo_path]), jobs.get(job.repo_path))
        for job in first_jobs
    ]
    return RepositoryList(project_id=project_id, database_name=schema, repositories=reports)


async def removed(database: Database, project_id: str, schema: str, wanted: str, here: str | None) -> RemovedRepository:
    """Cancels the repository's job, deletes its rows, and gives the space back to the disk where possible.

    A relative path counts from `here`.
    """
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        jobs = await _active_jobs(connection, project_id)
        unfinished = await project_state.unfinished_jobs(connection, project_id)
    chosen = _the_one(wanted, known, unfinished, here)
    path, _ = _place(chosen)
    active = jobs.pop(path, None)
    cancelled = active and await store.cancel(database, active.id)
    # Or a job that ended before it had anything to show would be told of for days to come.
    await store.hide_first_jobs(database, project_id, path)
    # A worker may have begun with a first job in the moment before it was cancelled.
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
    repository = next((one for one in known if one.path == path), None)
    if repository is None:
        return _nothing_removed(chosen, project_id, is_cancelled=cancelled is not None)
    return await _removed_index(database, project_id, schema, repository, is_last=len(known) == 1 and not jobs)


async def _removed_index(
    database: Database, project_id: str, schema: str, repository: Repository, *, is_last: bool
) -> RemovedRepository:
    if is_last:
        async with database.maintenance(autocommit=False) as connection:
            await projects.drop_project(connection, project_id, schema)
    else:
        async with database.maintenance(schema, autocommit=False) as connection:
            await projects.delete_repository(connection, repository.id)
        async with database.maintenance() as connection:
            await projects.give_space_back(connection, schema)
    return RemovedRepository(
        path=repository.path,
        name=repository.name,
        project_id=project_id,
        files_removed=repository.file_count,
        chunks_removed=repository.chunk_count,
        message=f"The index of {repository.path} was removed. The files themselves were not touched.",
    )


def _nothing_removed(chosen: Repository | UnfinishedJob, project_id: str, *, is_cancelled: bool) -> RemovedRepository:
    path, name = _place(chosen)
    return RemovedRepository(
        path=path,
        name=name,
        project_id=project_id,
        files_removed=0,
        chunks_removed=0,
        message=f"Nothing of {path} is indexed{'; its job was cancelled' if is_cancelled else ''}.",
    )


async def _known(connection: AsyncConnection, schema: str) -> list[Repository]:
    return await projects.list_repositories(connection) if await projects.schema_exists(connection, schema) else []


async def _active_jobs(connection: AsyncConnection, project_id: str) -> dict[str, Job]:
    return {job.repo_path: job for job in await store.active_jobs(connection, project_id)}


def _the_one(
    wanted: str, known: list[Repository], jobs: Iterable[UnfinishedJob], here: str | None
) -> Repository | UnfinishedJob:
    """The one that is named. Nothing is guessed, as for a search: what it finds is deleted."""
    choices = choices_of(known, jobs)
    found = choices.named(wanted, here)
    if not found:
        raise choices.not_found(wanted)
    chosen: list[Repository | UnfinishedJob] = [*found.repositories, *found.first_jobs]
    if len(chosen) > 1:
        paths = ", ".join(_place(one)[0] for one in chosen)
        raise InvalidInputError(f"Repository {wanted!r} is ambiguous: {paths}. Give the path of the one to remove.")
    return chosen[0]


def _place(chosen: Repository | UnfinishedJob) -> tuple[str, str]:
    """Path and name."""
    if isinstance(chosen, Repository):
        return chosen.path, chosen.name
    return chosen.repo_path, chosen.repo_name


def _report(repository: Repository, fresh: RepositoryFreshness, job: Job | None, size_bytes: int) -> RepositoryReport:
    return RepositoryReport(
        repository_id=repository.id,
        name=repository.name,
        path=repository.path,
        state=fresh.state,
        progress_percentage=fresh.progress_percentage,
        active_job_id=None if job is None else job.id,
        indexed_commit=fresh.indexed_commit,
        head_commit=fresh.head_commit,
        last_indexed_at=repository.last_indexed_at,
        file_count=repository.file_count,
        chunk_count=repository.chunk_count,
        size_bytes=size_bytes,
    )


def _first_job(fresh: RepositoryFreshness, job: Job | None) -> RepositoryReport:
    return RepositoryReport(
        repository_id=None,
        name=fresh.repository,
        path=fresh.path,
        state=fresh.state,
        progress_percentage=fresh.progress_percentage,
        active_job_id=None if job is None else job.id,
        indexed_commit=None,
        head_commit=fresh.head_commit,
        last_indexed_at=None,
        file_count=0,
        chunk_count=0,
        size_bytes=0,
    )
