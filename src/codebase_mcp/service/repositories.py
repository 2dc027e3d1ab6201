"""Listing and removing the repositories of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codebase_mcp.answers import RemovedRepository, RepositoryList, RepositoryReport
from codebase_mcp.domain import host_label
from codebase_mcp.errors import InvalidInputError, InvalidStatusError
from codebase_mcp.jobs import store
from codebase_mcp.search import freshness
from codebase_mcp.search.selection import Choices, choices_of
from codebase_mcp.storage import hosts, project_state, projects
from codebase_mcp.storage.projects import Repository
from codebase_mcp.storage.tables import schema_name

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Host, Job
    from codebase_mcp.search.models import RepositoryFreshness
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.host_identity import HostIdentity
    from codebase_mcp.storage.project_state import UnfinishedJob


async def listed(database: Database, project_id: str, schema: str, host: Host) -> RepositoryList:
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        jobs = await _active_jobs(connection, project_id)
        unfinished = {job.place: job for job in await project_state.unfinished_jobs(connection, project_id)}
        size_bytes = await projects.schema_size_bytes(connection, schema)
    first_jobs = choices_of(known, unfinished.values()).first_jobs
    places = [*(one.place for one in known), *(job.place for job in first_jobs)]
    heads = await freshness.heads_of(places, host)
    all_chunks = sum(repository.chunk_count for repository in known) or 1
    reports = [
        _report(
            repository,
            freshness.freshness_of(
                repository, unfinished.get(repository.place), heads.get(repository.place), host=host
            ),
            jobs.get(repository.place),
            size_bytes * repository.chunk_count // all_chunks,
        )
        for repository in known
    ]
    reports += [
        _first_job(freshness.freshness_of_first_job(job, heads.get(job.place), host=host), jobs.get(job.place))
        for job in first_jobs
    ]
    return RepositoryList(project_id=project_id, database_name=schema, repositories=reports)


async def removed(
    database: Database, project_id: str, schema: str, wanted: str, here: str | None, *, host: Host
) -> RemovedRepository:
    """Cancels the repository's job, deletes its rows, and gives the space back to the disk where possible.

    A relative path counts from `here`.
    """
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        jobs = await _active_jobs(connection, project_id)
        unfinished = await project_state.unfinished_jobs(connection, project_id)
    chosen = the_one(wanted, choices_of(known, unfinished, host), here, "remove")
    host_id, path = chosen.place
    active = jobs.pop(chosen.place, None)
    cancelled = active and await store.cancel(database, active.id)
    # Otherwise a job that failed before its repository existed would be reported until it is pruned.
    await store.hide_first_jobs(database, project_id, host_id, path)
    # A worker may have begun with a first job in the moment before it was cancelled.
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
    repository = next((one for one in known if one.place == chosen.place), None)
    if repository is None:
        return _nothing_removed(chosen, project_id, is_cancelled=cancelled is not None)
    return await _removed_index(database, project_id, schema, repository, is_last=len(known) == 1 and not jobs)


async def to_adopt(
    database: Database, project_id: str, schema: str, wanted: str, here: str | None, *, host: Host
) -> Repository | UnfinishedJob:
    """The repository that is named, of those that belong to other hosts or to none.

    Raises RepositoryNotFoundError when there is none, InvalidInputError when there are several.
    """
    async with database.transaction("search", schema) as connection:
        known = await _known(connection, schema)
        unfinished = await project_state.unfinished_jobs(connection, project_id)
    everything = choices_of(known, unfinished, host)
    others = choices_of(
        [one for one in known if one.host_id != host.id], [job for job in unfinished if job.host_id != host.id], host
    )
    if everything.named(wanted, here) and not others.named(wanted, here):
        raise InvalidStatusError(f"Repository {wanted!r} belongs to this host already. Nothing was changed.")
    return the_one(wanted, others, here, "adopt")


async def hosts_with(connection: AsyncConnection, project_id: str, path: str, host: Host) -> list[str]:
    """The other hosts that have an index of their tree at a path, in words."""
    schema = schema_name(project_id)
    if not await projects.schema_exists(connection, schema):
        return []
    labels = [
        host_label(host_id, name, host) for host_id, name in await hosts.hosts_with_path(connection, schema, path)
    ]
    return [freshness.on_host(label) for label in labels if label is not None]


async def same_path_elsewhere(
    connection: AsyncConnection, project_id: str, path: str, identity: HostIdentity
) -> list[str]:
    """What to say at a start about repositories at the same path that are not this host's."""
    owners = await hosts_with(connection, project_id, path, identity.host)
    if not owners:
        return []
    told = [f"{path} is also a repository of {' and '.join(owners)}; that one stays as it is, this host has its own."]
    if identity.copied_from is not None:
        told.append(
            f"This data directory was made on another machine, which is host {identity.copied_from}. If this machine"
            f" replaces it: `codebase-mcp repos adopt {path}`, or set CODEBASE_MCP_HOST_ID to that name."
        )
    return told


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
    path, name = chosen.place[1], name_of(chosen)
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


async def _active_jobs(connection: AsyncConnection, project_id: str) -> dict[tuple[str | None, str], Job]:
    return {job.place: job for job in await store.active_jobs(connection, project_id)}


def the_one(wanted: str, choices: Choices, here: str | None, verb: str) -> Repository | UnfinishedJob:
    """The one that is named. Nothing is guessed, as it is for a search: `verb` says what is done to it."""
    found = choices.named(wanted, here)
    if not found:
        raise choices.not_found(wanted)
    if len(found.items) > 1:
        paths = ", ".join(choices.shown_place(one) for one in found.items)
        raise InvalidInputError(
            f"Repository {wanted!r} is ambiguous: {paths}. Give the path, or the id, of the one to {verb}."
        )
    return found.items[0]


def name_of(chosen: Repository | UnfinishedJob) -> str:
    return chosen.name if isinstance(chosen, Repository) else chosen.repo_name


def _report(repository: Repository, fresh: RepositoryFreshness, job: Job | None, size_bytes: int) -> RepositoryReport:
    return RepositoryReport(
        repository_id=repository.id,
        name=repository.name,
        path=repository.path,
        host=fresh.host,
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
        host=fresh.host,
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
