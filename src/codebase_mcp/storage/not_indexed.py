"""Remembers the files that were read and not indexed because of their content, and new stats of unchanged files.

The caller has fenced what belongs to a job; nothing here commits. This module owns the table not_indexed_files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from codebase_mcp.domain import FileStat
from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import FileOutcome

_KEY = ("repository_id", "relative_path")
_REFRESHED_TABLES = (tables.code_files, tables.not_indexed_files)


@dataclass(frozen=True, slots=True)
class NotIndexedFile:
    """A file as it was when its content ruled it out."""

    content_hash: bytes
    stat: FileStat
    reason: str
    rules_fingerprint: str


async def not_indexed_files(
    connection: AsyncConnection, repository_id: int, paths: Sequence[str] | None = None
) -> dict[str, NotIndexedFile]:
    """By relative path; all of a repository, or those of `paths`."""
    files = tables.not_indexed_files.c
    query = sa.select(
        files.relative_path, files.content_hash, files.reason, files.rules_fingerprint,
        files.size_bytes, files.mtime_ns, files.ctime_ns, files.inode,
    ).where(files.repository_id == repository_id)  # fmt: skip
    if paths is not None:
        query = query.where(files.relative_path == sa.any_(sa.literal(list(paths), sa.ARRAY(sa.Text))))
    return {
        path: NotIndexedFile(content_hash, FileStat(*stat), reason, rules)
        for path, content_hash, reason, rules, *stat in await connection.execute(query)
    }


async def remember(
    connection: AsyncConnection, repository_id: int, rules_fingerprint: str, outcomes: Iterable[FileOutcome]
) -> None:
    """Keeps those of the outcomes that rest on the content of their file."""
    records = [
        {
            "repository_id": repository_id, "relative_path": one.relative_path, "content_hash": one.content_hash,
            "reason": one.reason, "rules_fingerprint": rules_fingerprint, **one.stat._asdict(),
        }
        for one in outcomes
        if one.content_hash is not None
    ]  # fmt: skip
    if not records:
        return
    statement = insert(tables.not_indexed_files)
    new = {column.name: column for column in statement.excluded if column.name not in _KEY}
    await connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=new), records)


async def has_outdated(connection: AsyncConnection, repository_id: int, job_id: UUID) -> bool:
    """Whether files are remembered that the job did not skip: they are indexed now, or gone."""
    outdated = sa.exists().where(*_outdated(repository_id, job_id))
    return bool(await connection.scalar(sa.select(outdated)))


async def forget_outdated(connection: AsyncConnection, repository_id: int, job_id: UUID) -> None:
    await connection.execute(sa.delete(tables.not_indexed_files).where(*_outdated(repository_id, job_id)))


def _outdated(repository_id: int, job_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    files, listed = tables.not_indexed_files.c, tables.job_files.c
    skipped = sa.select(listed.relative_path).where(listed.job_id == job_id, listed.state == "skipped")
    return files.repository_id == repository_id, files.relative_path.not_in(skipped)


async def refresh_stats(
    connection: AsyncConnection, repository_id: int, verified: Mapping[str, tuple[bytes, FileStat]]
) -> None:
    """Records the stat of files whose content (SHA-256) was found to be what it was: they need not be read again.

    True whatever a job does meanwhile: a row with another content is left alone, and so is one that a job has locked.
    """
    for table in _REFRESHED_TABLES:
        new = _verified_values(verified)
        free = (
            sa.select(table.c.relative_path, table.c.content_hash)
            .where(
                table.c.repository_id == repository_id,
                table.c.relative_path == sa.any_(sa.literal(list(verified), sa.ARRAY(sa.Text))),
            )
            .with_for_update(skip_locked=True, key_share=True)
            .cte("free")
        )
        await connection.execute(
            sa.update(table)
            .where(
                table.c.repository_id == repository_id,
                table.c.relative_path == free.c.relative_path,
                free.c.relative_path == new.c.relative_path,
                table.c.content_hash == new.c.content_hash,
            )
            .values({name: new.c[name] for name in FileStat._fields})
        )


def _verified_values(verified: Mapping[str, tuple[bytes, FileStat]]) -> sa.TableValuedAlias:
    stats = [stat for _, stat in verified.values()]
    columns = [
        sa.cast(list(verified), sa.ARRAY(sa.Text)),
        sa.cast([content_hash for content_hash, _ in verified.values()], sa.ARRAY(sa.LargeBinary)),
        *(sa.cast([getattr(stat, name) for stat in stats], sa.ARRAY(sa.BigInteger)) for name in FileStat._fields),
    ]
    unnested = sa.func.unnest(*columns)
    return unnested.table_valued("relative_path", "content_hash", *FileStat._fields).render_derived("new")
