"""Listing and removing the repositories of a project."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from codebase_mcp.answers import RemovedRepository, RepositoryList, RepositoryReport
from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.jobs import store
from codebase_mcp.search import freshness, scope
from codebase_mcp.storage import projects, search_store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Job
    from codebase_mcp.search.models import RepositoryFreshness
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.projects import Repository


async def listed(database: Database, project_id: str, schema: str) -> RepositoryList:
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        jobs = {job.repo_path: job for job in await store.active_jobs(connection, project_id)}
        unfinished = {job.repo_path: job for job in await search_store.unfinished_jobs(connection, project_id)}
        size_bytes = await projects.schema_size_bytes(connection, schema)
    paths = {repository.path for repository in known}
    first_jobs = [job for path, job in jobs.items() if path not in paths]
    heads = await asyncio.to_thread(freshness.head_commits, [*paths, *(job.repo_path for job in first_jobs)])
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
        _first_job(job, freshness.freshness_of_first_job(unfinished[job.repo_path], heads[job.repo_path]))
        for job in first_jobs
        if job.repo_path in unfinished
    ]
    return RepositoryList(project_id=project_id, database_name=schema, repositories=reports)


async def removed(database: Database, project_id: str, schema: str, wanted: str) -> RemovedRepository:
    """Cancels the repository's job, deletes its rows, and gives the space back to the disk where possible."""
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        jobs = {job.repo_path: job for job in await store.active_jobs(connection, project_id)}
    paths = {repository.path for repository in known}
    for job in jobs.values():
        if job.repo_path not in paths and wanted in (job.repo_path, job.repo_name):
            return await _cancelled_first_job(database, job)
    repository = _the_one(wanted, known)
    if active := jobs.pop(repository.path, None):
        await store.cancel(database, active.id)
    if len(known) == 1 and not jobs:
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


async def _cancelled_first_job(database: Database, job: Job) -> RemovedRepository:
    await store.cancel(database, job.id)
    return RemovedRepository(
        path=job.repo_path,
        name=job.repo_name,
        project_id=job.project_id,
        files_removed=0,
        chunks_removed=0,
        message=f"Nothing of {job.repo_path} was indexed yet; its job was cancelled.",
    )


async def _known(connection: AsyncConnection, schema: str) -> list[Repository]:
    return await projects.list_repositories(connection) if await projects.schema_exists(connection, schema) else []


def _the_one(wanted: str, known: list[Repository]) -> Repository:
    found = scope.find_repositories(wanted, known)
    if not found:
        raise RepositoryNotFoundError
    if len(found) > 1:
        paths = ", ".join(repository.path for repository in found)
        raise InvalidInputError(f"Repository {wanted!r} is not unique: {paths}. Give the path of the one to remove.")
    return found[0]


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


def _first_job(job: Job, fresh: RepositoryFreshness) -> RepositoryReport:
    return RepositoryReport(
        repository_id=None,
        name=job.repo_name,
        path=job.repo_path,
        state=fresh.state,
        progress_percentage=fresh.progress_percentage,
        active_job_id=job.id,
        indexed_commit=None,
        head_commit=fresh.head_commit,
        last_indexed_at=None,
        file_count=0,
        chunk_count=0,
        size_bytes=0,
    )
