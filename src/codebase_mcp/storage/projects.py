"""Projects, their repositories and the embedding models: the rows that say what exists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from codebase_mcp.errors import RepositoryNotFoundError
from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


REMOVED = "The repository was removed while it was being indexed. Start again to index it."


class ModelIdentity(Protocol):
    """What tells one embedding model from another: vectors of different models never mix."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str: ...


_OF_REPOSITORY = tables.repositories.c
# Kept, because every search begins with it, and making a statement takes as long as carrying it out.
_COLUMNS = sa.select(
    _OF_REPOSITORY.id, _OF_REPOSITORY.path, _OF_REPOSITORY.name, _OF_REPOSITORY.indexed_commit,
    _OF_REPOSITORY.last_indexed_at, _OF_REPOSITORY.is_complete, _OF_REPOSITORY.file_count,
    _OF_REPOSITORY.chunk_count, _OF_REPOSITORY.deleted_chunk_count, _OF_REPOSITORY.version,
    _OF_REPOSITORY.finished_version, _OF_REPOSITORY.host_id, tables.hosts.c.name.label("host_name"),
).outerjoin_from(
    tables.repositories, tables.hosts, tables.hosts.c.host_id == _OF_REPOSITORY.host_id
)  # fmt: skip
_ALL = _COLUMNS.order_by(_OF_REPOSITORY.name, _OF_REPOSITORY.path, _OF_REPOSITORY.id)


@dataclass(frozen=True, slots=True)
class Repository:
    """One row of a project's `repositories`."""

    id: int
    path: str
    name: str
    indexed_commit: str | None
    last_indexed_at: datetime | None
    is_complete: bool
    file_count: int
    chunk_count: int
    deleted_chunk_count: int
    version: int
    finished_version: int
    host_id: str | None = None
    host_name: str | None = None

    @property
    def place(self) -> tuple[str | None, str]:
        """The host and the path, which tell it from every other repository of its project."""
        return self.host_id, self.path


async def ensure_project(connection: AsyncConnection, project_id: str) -> str:
    """Makes the project known; returns the name of its schema, which the worker creates later."""
    schema = tables.schema_name(project_id)
    await connection.execute(
        insert(tables.projects).values(project_id=project_id, schema_name=schema).on_conflict_do_nothing()
    )
    return schema


async def project_schema(connection: AsyncConnection, project_id: str) -> str | None:
    """The schema of a known project, else None."""
    projects = tables.projects
    return await connection.scalar(sa.select(projects.c.schema_name).where(projects.c.project_id == project_id))


async def schema_exists(connection: AsyncConnection, schema: str) -> bool:
    """False while a project has been named but no worker has taken its first job yet."""
    found = await connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f"{schema}.repositories"})
    return found is not None


async def ensure_model(connection: AsyncConnection, identity: ModelIdentity, dimensions: int) -> int:
    """The id of an embedding model, registered when it is new."""
    values = {"provider": identity.provider, "model": identity.model, "revision": identity.revision}
    new = insert(tables.embedding_models).values(**values, dimensions=dimensions)
    await connection.execute(new.on_conflict_do_nothing())
    model_id = await known_model(connection, identity)
    assert model_id is not None, "it was there already or is new"
    return model_id


async def known_model(connection: AsyncConnection, identity: ModelIdentity) -> int | None:
    """The id of an embedding model that was accepted for indexing; None of any other."""
    models = tables.embedding_models.c
    is_same = (
        models.provider == identity.provider, models.model == identity.model, models.revision == identity.revision
    )  # fmt: skip
    found: int | None = await connection.scalar(sa.select(models.id).where(*is_same))
    return found


async def dimensions_of_model(connection: AsyncConnection, provider: str, model: str) -> list[int]:
    """The lengths of vectors that have been registered under this name, whatever the revision."""
    models = tables.embedding_models.c
    statement = sa.select(models.dimensions).where(models.provider == provider, models.model == model).distinct()
    return sorted((await connection.execute(statement)).scalars())


async def ensure_repository(connection: AsyncConnection, host_id: str, path: str, name: str) -> Repository:
    """The repository row for a real path on a host, created when it is new; a new name replaces the old one."""
    repositories = tables.repositories
    statement = insert(repositories).values(host_id=host_id, path=path, name=name)
    statement = statement.on_conflict_do_update(index_elements=["host_id", "path"], set_={"name": name})
    await connection.execute(statement)
    return await _one(connection, sa.and_(repositories.c.host_id == host_id, repositories.c.path == path))


async def repository(connection: AsyncConnection, repository_id: int) -> Repository:
    return await _one(connection, tables.repositories.c.id == repository_id)


async def forget_deleted_chunks(connection: AsyncConnection, repository_id: int) -> None:
    """After a cleaning merge no posting names a deleted chunk any more."""
    repositories = tables.repositories
    await connection.execute(
        sa.update(repositories).where(repositories.c.id == repository_id).values(deleted_chunk_count=0)
    )


async def list_repositories(connection: AsyncConnection) -> list[Repository]:
    rows = await connection.execute(_ALL)
    return [Repository(**row) for row in rows.mappings()]


async def mark_incomplete(connection: AsyncConnection, repository_id: int) -> None:
    """From the first claim of a job until it completes."""
    repositories = tables.repositories
    await connection.execute(
        sa.update(repositories).where(repositories.c.id == repository_id).values(is_complete=False)
    )


async def mark_complete(connection: AsyncConnection, repository_id: int, indexed_commit: str | None) -> None:
    """Raises RepositoryNotFoundError when the repository was removed meanwhile."""
    repositories = tables.repositories
    marked = await connection.execute(
        sa.update(repositories)
        .where(repositories.c.id == repository_id)
        .values(
            is_complete=True,
            indexed_commit=indexed_commit,
            last_indexed_at=sa.func.clock_timestamp(),
            version=repositories.c.version + 1,
            finished_version=repositories.c.version + 1,
        )
    )
    if marked.rowcount != 1:
        raise RepositoryNotFoundError(REMOVED)


_INDEX_TABLES = (
    tables.embeddings, tables.symbols, tables.code_chunks, tables.lexical_postings, tables.lexical_segments,
    tables.code_files, tables.not_indexed_files,
)  # fmt: skip


async def delete_repository(connection: AsyncConnection, repository_id: int) -> None:
    """Deletes a repository with all its rows."""
    for table in _INDEX_TABLES:
        await connection.execute(sa.delete(table).where(table.c.repository_id == repository_id))
    await connection.execute(sa.delete(tables.repositories).where(tables.repositories.c.id == repository_id))


async def give_space_back(connection: AsyncConnection, schema: str) -> None:
    """Makes the room of deleted rows usable again, and returns what lies at the ends of the tables to the disk.

    Needs a connection in autocommit.
    """
    for table in _INDEX_TABLES:
        await connection.execute(sa.text(f'VACUUM "{schema}".{table.name}'))


async def drop_project(connection: AsyncConnection, project_id: str, schema: str) -> None:
    """Drops a project's schema and forgets the project; its jobs stay for the audit trail."""
    await connection.execute(sa.text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))
    await connection.execute(sa.delete(tables.projects).where(tables.projects.c.project_id == project_id))


async def schema_size_bytes(connection: AsyncConnection, schema: str) -> int:
    """Bytes on disk of a project's tables with their indexes and out-of-line values."""
    statement = sa.text(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relkind = 'r'"
    )
    return int(await connection.scalar(statement, {"schema": schema}) or 0)


async def _one(connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> Repository:
    return Repository(**(await connection.execute(_COLUMNS.where(condition))).mappings().one())
