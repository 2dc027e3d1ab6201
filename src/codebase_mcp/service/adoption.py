"""Moves a repository with its jobs to this host: for a host that is gone, and for what no host is known of."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.answers import AdoptedRepository
from codebase_mcp.domain import Job, host_label
from codebase_mcp.errors import ConstraintViolatedError, InvalidInputError, InvalidStatusError
from codebase_mcp.jobs import ownership, store
from codebase_mcp.jobs.progress import counted
from codebase_mcp.search.freshness import on_host
from codebase_mcp.storage import hosts, projects, tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Host
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.projects import Repository

CHANGED_MEANWHILE = "Somebody else has just changed it. Look at it again, and try once more. Nothing was changed."


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is to be moved: all that a project has of one path on one host. `is_confirmed`: whatever its content."""

    project_id: str
    from_host_id: str | None
    path: str
    host: Host
    is_confirmed: bool = False

    @property
    def schema(self) -> str:
        return tables.schema_name(self.project_id)


def of_job(job: Job, host: Host, *, is_confirmed: bool) -> Adoption:
    """Raises InvalidStatusError for a job that has ended: it has nothing to be moved for."""
    if job.status.is_terminal:
        raise InvalidStatusError(
            f"Job {job.id} is {job.status} already. `codebase-mcp repos adopt` moves a repository. Nothing was changed."
        )
    return Adoption(job.project_id, job.host_id, job.repo_path, host, is_confirmed)


async def adopted(database: Database, wanted: Adoption) -> AdoptedRepository:
    """Moves it. Raises InvalidStatusError while the other host works on it or when this one has a repository at the
    same path, InvalidInputError when the tree is not here, or another one is and that was not confirmed."""
    async with database.transaction("control", wanted.schema) as connection:
        repository, label = await _described(connection, wanted)
    await _require_same_tree(database, wanted, repository)
    try:
        async with database.transaction("control", wanted.schema) as connection:
            await _refuse_own(connection, wanted)
            jobs = await store.prepare_adoption(connection, wanted.project_id, wanted.from_host_id, wanted.path)
            _refuse_living(jobs, label)
            is_moved = await hosts.move_path(
                connection, wanted.project_id, wanted.path, wanted.from_host_id, wanted.host.id,
                has_index=repository is not None,
            )  # fmt: skip
            if not is_moved:
                raise InvalidStatusError(CHANGED_MEANWHILE)
            await store.note_adoption(connection, [job.id for job in jobs], wanted.from_host_id, wanted.host.id)
    except ConstraintViolatedError:
        raise InvalidStatusError(CHANGED_MEANWHILE) from None
    return _answer(wanted, repository, label, len(jobs))


async def _described(connection: AsyncConnection, wanted: Adoption) -> tuple[Repository | None, str]:
    """The repository, if it has an index, and what its host is called."""
    if wanted.from_host_id == wanted.host.id:
        raise InvalidStatusError(f"{wanted.path} belongs to this host already. Nothing was changed.")
    known = await hosts.known_hosts(connection)
    other = known.get(wanted.from_host_id or "")
    label = host_label(wanted.from_host_id, None if other is None else other.name, wanted.host)
    assert label is not None, "only what is this host's has none"
    return await _repository(connection, wanted, wanted.from_host_id), label


async def _repository(connection: AsyncConnection, wanted: Adoption, host_id: str | None) -> Repository | None:
    if not await projects.schema_exists(connection, wanted.schema):
        return None
    everything = await projects.list_repositories(connection)
    return next((one for one in everything if one.place == (host_id, wanted.path)), None)


async def _require_same_tree(database: Database, wanted: Adoption, repository: Repository | None) -> None:
    if not await asyncio.to_thread(os.path.isdir, wanted.path):
        raise InvalidInputError(
            f"{wanted.path} is no directory on this host, so that it could not be indexed here. Adopt it on a host that"
            " has the tree at that path, or remove its index with `codebase-mcp repos remove`. Nothing was changed."
        )
    if repository is None or wanted.is_confirmed:
        return
    same, sampled = await ownership.compare_sample(database, wanted.project_id, wanted.path, repository.id)
    if sampled and not same:
        raise InvalidInputError(
            f"{wanted.path} is another tree on this host: of {counted(sampled, 'indexed file')} that were compared,"
            " none is the same here. Its index would be replaced by the next job. Add --yes if you want that, or"
            f" `codebase-mcp index {wanted.path}` for a repository of this host's own. Nothing was changed."
        )


async def _refuse_own(connection: AsyncConnection, wanted: Adoption) -> None:
    own = await _repository(connection, wanted, wanted.host.id)
    jobs = await store.active_jobs(connection, wanted.project_id)
    active = next((job for job in jobs if job.place == (wanted.host.id, wanted.path)), None)
    if own is None and active is None:
        return
    first = f"`codebase-mcp repos remove {own.id}`" if own else f"`codebase-mcp jobs cancel {active and active.id}`"
    raise InvalidStatusError(
        f"This host has a repository of its own at {wanted.path}. To have the other one instead, run {first} first."
        " Nothing was changed."
    )


def _refuse_living(jobs: list[store.AdoptedJob], label: str) -> None:
    if living := next((job for job in jobs if job.is_living), None):
        raise InvalidStatusError(
            f"Job {living.id} is being worked on, by a worker on {on_host(label)} that is alive. Stop that worker, or"
            f" cancel the job (`codebase-mcp jobs cancel {living.id}`), then try again. Nothing was changed."
        )


def _answer(wanted: Adoption, repository: Repository | None, label: str, jobs: int) -> AdoptedRepository:
    going_on = f" {counted(jobs, 'job')} of it {'goes' if jobs == 1 else 'go'} on here." if jobs else ""
    return AdoptedRepository(
        repository_id=None if repository is None else repository.id,
        path=wanted.path,
        project_id=wanted.project_id,
        from_host=label,
        active_jobs=jobs,
        message=f"{wanted.path} belonged to {on_host(label)} and belongs to this host now.{going_on}",
    )
