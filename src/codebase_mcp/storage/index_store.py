"""Writes a project's index: files with their chunks, vectors, symbols and postings, all of a batch in one transaction.

The caller has fenced the transaction before; nothing here commits. This module and `segments` own the tables
code_files, code_chunks, embeddings, symbols, lexical_postings and lexical_segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from codebase_mcp.domain import FileOutcome, FileStat, PreparedBatch
from codebase_mcp.storage import tables
from codebase_mcp.storage.database import copy_rows
from codebase_mcp.storage.halfvec import halfvec_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the index remembers of a file to tell whether it changed."""

    id: int
    size_bytes: int
    mtime_ns: int
    content_hash: bytes
    index_fingerprint: str
    ctime_ns: int | None = None
    inode: int | None = None

    @property
    def stat(self) -> FileStat:
        return FileStat(self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)


@dataclass(frozen=True, slots=True)
class ReservedIds:
    """The first of as many consecutive ids as were asked for."""

    first_chunk_id: int
    first_file_id: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a batch goes and what made it."""

    schema: str
    repository_id: int
    model_id: int
    index_fingerprint: str
    job_id: UUID


async def known_files(
    connection: AsyncConnection, repository_id: int, paths: Sequence[str] | None = None
) -> dict[str, KnownFile]:
    """The indexed files of a repository by relative path; all of them, or those of `paths`."""
    files = tables.code_files
    query = sa.select(
        files.c.relative_path, files.c.id, files.c.size_bytes, files.c.mtime_ns, files.c.content_hash,
        files.c.index_fingerprint, files.c.ctime_ns, files.c.inode,
    ).where(files.c.repository_id == repository_id)  # fmt: skip
    if paths is not None:
        query = query.where(files.c.relative_path == sa.any_(sa.literal(list(paths), sa.ARRAY(sa.Text))))
    rows = await connection.execute(query)
    return {row[0]: KnownFile(*row[1:]) for row in rows}


async def file_stats(connection: AsyncConnection, schema: str, repository_id: int) -> dict[str, FileStat]:
    """The stat of each indexed file as it was read, by relative path."""
    # Aggregated by the server: arrays arrive ten times faster than a row for each file.
    statement = sa.text(
        "SELECT array_agg(relative_path), array_agg(size_bytes), array_agg(mtime_ns), array_agg(ctime_ns),"
        f" array_agg(inode) FROM {schema}.code_files WHERE repository_id = :repository_id"
    )
    paths, *columns = (await connection.execute(statement, {"repository_id": repository_id})).one()
    return dict(zip(paths, map(FileStat, *columns), strict=True)) if paths else {}


async def reserve_ids(connection: AsyncConnection, schema: str, *, chunks: int, files: int) -> ReservedIds:
    """Takes consecutive ids from both sequences. Call it in a transaction of its own: others wait for its lock."""
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"reserve {schema}"})
    return ReservedIds(
        first_chunk_id=await _reserve(connection, schema, "chunk_ids", chunks),
        first_file_id=await _reserve(connection, schema, "file_ids", files),
    )


async def _reserve(connection: AsyncConnection, schema: str, sequence: str, count: int) -> int:
    if count == 0:
        return 0
    name = f'"{schema}".{sequence}'
    statement = sa.text("SELECT setval(CAST(:name AS regclass), nextval(CAST(:name AS regclass)) + :more)")
    last = (await connection.execute(statement, {"name": name, "more": count - 1})).scalar_one()
    return int(last) - count + 1


async def replace_files(
    connection: AsyncConnection, target: Target, batch: PreparedBatch, ids: ReservedIds, vectors: NDArray[np.float32]
) -> None:
    """Puts the batch's files in place of what the index has under their paths. `vectors` has one row per chunk."""
    if not batch.files:
        return
    replaced = await known_files(connection, target.repository_id, [file.relative_path for file in batch.files])
    deleted_chunks = await delete_files(connection, [known.id for known in replaced.values()])
    await _copy_files(connection, target, batch, ids)
    await _copy_chunks(connection, target, batch, ids)
    await _copy_vectors(connection, target, batch, ids, vectors)
    await _copy_symbols(connection, target, batch, ids)
    await _copy_postings(connection, target, batch, ids)
    chunks = sum(len(file.chunks) for file in batch.files)
    await _count_change(connection, target.repository_id, len(batch.files) - len(replaced), chunks, deleted_chunks)


async def delete_files(connection: AsyncConnection, file_ids: Sequence[int]) -> int:
    """Deletes files with everything below them; returns how many chunks went. Counts are the caller's to update."""
    if not file_ids:
        return 0
    ids = sa.literal(list(file_ids), sa.ARRAY(sa.BigInteger))
    for table in (tables.embeddings, tables.symbols):
        await connection.execute(sa.delete(table).where(table.c.file_id == sa.any_(ids)))
    chunks = await connection.execute(sa.delete(tables.code_chunks).where(tables.code_chunks.c.file_id == sa.any_(ids)))
    await connection.execute(sa.delete(tables.code_files).where(tables.code_files.c.id == sa.any_(ids)))
    return int(chunks.rowcount)


async def remove_files(connection: AsyncConnection, repository_id: int, file_ids: Sequence[int]) -> int:
    """Takes files out of the index, counts included; returns how many chunks went."""
    deleted_chunks = await delete_files(connection, file_ids)
    await _count_change(connection, repository_id, -len(file_ids), 0, deleted_chunks)
    return deleted_chunks


async def touch_files(connection: AsyncConnection, repository_id: int, outcomes: Iterable[FileOutcome]) -> None:
    """Records the new stat of files whose content is what it was."""
    touched = list(outcomes)
    if not touched:
        return
    files = tables.code_files
    columns = sa.func.unnest(
        sa.cast([one.relative_path for one in touched], pg.ARRAY(sa.Text)),
        sa.cast([one.size_bytes for one in touched], pg.ARRAY(sa.BigInteger)),
        sa.cast([one.mtime_ns for one in touched], pg.ARRAY(sa.BigInteger)),
        sa.cast([one.ctime_ns for one in touched], pg.ARRAY(sa.BigInteger)),
        sa.cast([one.inode for one in touched], pg.ARRAY(sa.BigInteger)),
    )
    new = columns.table_valued("relative_path", *FileStat._fields).render_derived("new")
    await connection.execute(
        sa.update(files)
        .where(files.c.repository_id == repository_id, files.c.relative_path == new.c.relative_path)
        .values({name: new.c[name] for name in FileStat._fields})
    )


async def _count_change(
    connection: AsyncConnection, repository_id: int, files: int, new_chunks: int, deleted_chunks: int
) -> None:
    repositories = tables.repositories
    await connection.execute(
        sa.update(repositories)
        .where(repositories.c.id == repository_id)
        .values(
            version=repositories.c.version + 1,
            file_count=repositories.c.file_count + files,
            chunk_count=repositories.c.chunk_count + new_chunks - deleted_chunks,
            deleted_chunk_count=repositories.c.deleted_chunk_count + deleted_chunks,
        )
    )


def _numbered(batch: PreparedBatch, ids: ReservedIds) -> Iterator[tuple[Any, int, int]]:
    """Each file with its id and the id of its first chunk."""
    chunk_id = ids.first_chunk_id
    for position, file in enumerate(batch.files):
        yield file, ids.first_file_id + position, chunk_id
        chunk_id += len(file.chunks)


async def _copy_files(connection: AsyncConnection, target: Target, batch: PreparedBatch, ids: ReservedIds) -> None:
    columns = (
        "id", "repository_id", "relative_path", "content_hash", "size_bytes", "mtime_ns", "language", "role",
        "first_chunk_id", "chunk_count", "definition_count", "index_fingerprint", "indexed_by_job", "ctime_ns", "inode",
    )  # fmt: skip
    records = [
        (
            file_id, target.repository_id, file.relative_path, file.content_hash, file.size_bytes, file.mtime_ns,
            file.language, file.role.value, chunk_id, len(file.chunks), len(file.definitions),
            target.index_fingerprint, target.job_id, file.ctime_ns, file.inode,
        )
        for file, file_id, chunk_id in _numbered(batch, ids)
    ]  # fmt: skip
    await copy_rows(connection, tables.code_files, target.schema, columns, records)


async def _copy_chunks(connection: AsyncConnection, target: Target, batch: PreparedBatch, ids: ReservedIds) -> None:
    columns = (
        "id", "repository_id", "file_id", "ordinal", "start_line", "end_line", "kind", "symbol", "content",
    )  # fmt: skip
    records = [
        (
            chunk_id + chunk.ordinal, target.repository_id, file_id, chunk.ordinal, chunk.start_line, chunk.end_line,
            chunk.kind, chunk.symbol, chunk.content,
        )
        for file, file_id, chunk_id in _numbered(batch, ids)
        for chunk in file.chunks
    ]  # fmt: skip
    await copy_rows(connection, tables.code_chunks, target.schema, columns, records)


async def _copy_vectors(
    connection: AsyncConnection, target: Target, batch: PreparedBatch, ids: ReservedIds, vectors: NDArray[np.float32]
) -> None:
    owners = [file_id for file, file_id, _ in _numbered(batch, ids) for _ in file.chunks]
    if len(vectors) != len(owners):
        raise ValueError(f"{len(vectors)} vectors for {len(owners)} chunks")
    records = [
        (ids.first_chunk_id + position, target.model_id, file_id, target.repository_id, vector)
        for position, (file_id, vector) in enumerate(zip(owners, halfvec_bytes(vectors), strict=True))
    ]
    columns = ("chunk_id", "model_id", "file_id", "repository_id", "vector")
    await copy_rows(connection, tables.embeddings, target.schema, columns, records)


async def _copy_symbols(connection: AsyncConnection, target: Target, batch: PreparedBatch, ids: ReservedIds) -> None:
    columns = (
        "repository_id", "file_id", "name", "folded_name", "kind", "start_line", "end_line", "depth", "parent",
        "is_declaration",
    )  # fmt: skip
    records = [
        (
            target.repository_id, file_id, item.name, folded(item.name), item.kind, item.start_line, item.end_line,
            item.depth, item.parent, item.is_declaration,
        )
        for file, file_id, _ in _numbered(batch, ids)
        for item in file.definitions
    ]  # fmt: skip
    await copy_rows(connection, tables.symbols, target.schema, columns, records)


def folded(name: str) -> str:
    """One spelling for ErrorHandler, errorHandler and error_handler."""
    return name.lower().replace("_", "")


async def _copy_postings(connection: AsyncConnection, target: Target, batch: PreparedBatch, ids: ReservedIds) -> None:
    segment = (await connection.execute(sa.select(tables.segment_ids.next_value()))).scalar_one()
    await connection.execute(
        sa.insert(tables.lexical_segments).values(repository_id=target.repository_id, segment=segment, level=0)
    )
    columns = ("repository_id", "space", "term", "segment", "df", "ids", "impacts")
    records = list(_posting_records(target.repository_id, int(segment), batch, ids))
    await copy_rows(connection, tables.lexical_postings, target.schema, columns, records)


def _posting_records(
    repository_id: int, segment: int, batch: PreparedBatch, ids: ReservedIds
) -> Iterator[tuple[int, str, str, int, int, bytes, bytes]]:
    for space, postings in batch.postings.items():
        base = ids.first_chunk_id if space == "chunk" else ids.first_file_id
        all_ids = (postings.ids.astype("<u4") + np.uint32(base)).tobytes()
        all_impacts = postings.impacts.tobytes()
        offsets = postings.offsets.tolist()
        for term, start, end in zip(postings.terms, offsets, offsets[1:], strict=False):
            yield (
                repository_id, space.value, term, segment, end - start,
                all_ids[4 * start : 4 * end], all_impacts[start:end],
            )  # fmt: skip
