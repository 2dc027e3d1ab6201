"""The hosts that use a database, and which of them repositories and jobs belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Host

SIGN_SECONDS = 10
"""A sign of life is written at most this often."""

_JOBS = f"{tables.CONTROL_SCHEMA}.indexing_jobs"
_ACTIVE = "status IN ('pending', 'running', 'blocked')"

_SIGN = sa.text(
    f"INSERT INTO {tables.CONTROL_SCHEMA}.hosts AS known (host_id, name) VALUES (:host_id, :name)"
    " ON CONFLICT (host_id) DO UPDATE SET name = excluded.name, seen_at = clock_timestamp()"
    " WHERE known.name <> excluded.name OR known.seen_at < clock_timestamp() - make_interval(secs => :seconds)"
)

# Of a job all but its host stays: the right to write is its attempt. What would collide with something of the new host
# is left where it is.
_MOVE_JOBS = f"""
UPDATE {_JOBS} j SET host_id = :to_host
WHERE j.host_id IS NOT DISTINCT FROM CAST(:from_host AS text)
  AND (CAST(:project_id AS text) IS NULL OR (j.project_id = :project_id AND j.repo_path = :path))
  AND NOT (j.{_ACTIVE} AND EXISTS (SELECT 1 FROM {_JOBS} own WHERE own.project_id = j.project_id
    AND own.host_id = :to_host AND own.repo_path = j.repo_path AND own.{_ACTIVE}))
  AND NOT (j.status = 'running' AND EXISTS (SELECT 1 FROM {_JOBS} own
    WHERE own.host_id = :to_host AND own.status = 'running' AND own.slot = j.slot))
"""
_UNOWNED_JOBS = f"""
SELECT project_id, repo_path AS path, bool_or({_ACTIVE}) AS is_active,
       (array_agg(host ORDER BY (status = 'completed') DESC, created_at DESC)
         FILTER (WHERE host IS NOT NULL))[1] AS last_host
FROM {_JOBS} WHERE host_id IS NULL GROUP BY project_id, repo_path
"""


@dataclass(frozen=True, slots=True)
class Unowned:
    """A path of a project with rows of the older revision that no host has claimed. `last_host` is the name of the host
    whose worker completed the last job on record, or at least took the last one up."""

    project_id: str
    path: str
    repository_id: int | None
    is_active: bool
    last_host: str | None


@dataclass(frozen=True, slots=True)
class KnownHost:
    """A host as the database knows it; `seen_at` is kept up while it has active jobs."""

    name: str
    seen_at: datetime


async def sign(connection: AsyncConnection, host: Host) -> None:
    """Makes the host known, or says that it still lives."""
    await connection.execute(_SIGN, {"host_id": host.id, "name": host.name, "seconds": SIGN_SECONDS})


async def known_hosts(connection: AsyncConnection) -> dict[str, KnownHost]:
    """All hosts that ever used this database, by id."""
    rows = await connection.execute(sa.text(f"SELECT host_id, name, seen_at FROM {tables.CONTROL_SCHEMA}.hosts"))
    return {row[0]: KnownHost(row[1], row[2]) for row in rows}


async def unowned(connection: AsyncConnection) -> list[Unowned]:
    """What no host owns; nothing but for databases of the older revision."""
    found = {
        (row["project_id"], row["path"]): Unowned(repository_id=None, **row)
        for row in (await connection.execute(sa.text(_UNOWNED_JOBS))).mappings()
    }
    for project_id, schema in await project_schemas(connection):
        statement = sa.text(f'SELECT id, path FROM "{schema}".repositories WHERE host_id IS NULL')
        for repository_id, path in await connection.execute(statement):
            jobs = found.get((project_id, path))
            found[project_id, path] = Unowned(
                project_id,
                path,
                repository_id,
                is_active=jobs is not None and jobs.is_active,
                last_host=None if jobs is None else jobs.last_host,
            )
    return sorted(found.values(), key=lambda one: (one.project_id, one.path))


async def project_schemas(connection: AsyncConnection) -> list[tuple[str, str]]:
    """(project, schema) of each project that has tables of this revision."""
    rows = await connection.execute(
        sa.text(
            f"SELECT p.project_id, p.schema_name FROM {tables.CONTROL_SCHEMA}.projects p"
            " JOIN pg_attribute a ON a.attrelid = to_regclass(format('%I.repositories', p.schema_name))"
            " WHERE a.attname = 'host_id' AND NOT a.attisdropped ORDER BY p.project_id"
        )
    )
    return [(row[0], row[1]) for row in rows]


async def move_everything(connection: AsyncConnection, from_host: str | None, to_host: str) -> int:
    """Moves what belongs to one identity of a host to another; how many rows. What collides stays."""
    moved = 0
    for _, schema in await project_schemas(connection):
        statement = sa.text(_move_repositories(schema, "true"))
        moved += (await connection.execute(statement, {"from_host": from_host, "to_host": to_host})).rowcount
    arguments = {"from_host": from_host, "to_host": to_host, "project_id": None, "path": None}
    return moved + (await connection.execute(sa.text(_MOVE_JOBS), arguments)).rowcount


async def move_path(
    connection: AsyncConnection, project_id: str, path: str, from_host: str | None, to_host: str, *, has_index: bool
) -> bool:
    """Moves a repository and its jobs; False, without any change, when another host was faster, or `to_host` has a
    repository of its own there."""
    arguments = {"from_host": from_host, "to_host": to_host, "path": path, "project_id": project_id}
    if has_index:
        statement = sa.text(_move_repositories(tables.schema_name(project_id), "r.path = :path"))
        if not (await connection.execute(statement, arguments)).rowcount:
            return False
    moved = (await connection.execute(sa.text(_MOVE_JOBS), arguments)).rowcount
    return has_index or moved > 0


def _move_repositories(schema: str, which: str) -> str:
    return (
        f'UPDATE "{schema}".repositories r SET host_id = :to_host'
        f" WHERE r.host_id IS NOT DISTINCT FROM CAST(:from_host AS text) AND {which}"
        f' AND NOT EXISTS (SELECT 1 FROM "{schema}".repositories own'
        " WHERE own.host_id = :to_host AND own.path = r.path)"
    )


async def hosts_with_path(connection: AsyncConnection, schema: str, path: str) -> list[tuple[str | None, str | None]]:
    """(id, name) of each host, or of none, that a project's repositories at this path belong to."""
    statement = sa.text(
        f'SELECT r.host_id, h.name FROM "{schema}".repositories r'
        f" LEFT JOIN {tables.CONTROL_SCHEMA}.hosts h ON h.host_id = r.host_id WHERE r.path = :path ORDER BY h.name"
    )
    return [(row[0], row[1]) for row in await connection.execute(statement, {"path": path})]


async def sampled_hashes(connection: AsyncConnection, schema: str, repository_id: int, limit: int) -> dict[str, bytes]:
    """The content hashes of some of a repository's files, by relative path; the same ones each time."""
    statement = sa.text(
        f'SELECT relative_path, content_hash FROM "{schema}".code_files WHERE repository_id = :repository_id'
        " ORDER BY md5(relative_path) LIMIT :limit"
    )
    rows = await connection.execute(statement, {"repository_id": repository_id, "limit": limit})
    return {row[0]: bytes(row[1]) for row in rows}
