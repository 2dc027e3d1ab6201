"""The canonical digest: two indexes are the same exactly when it is equal.

It covers path, content hash, chunk ordinals, lines, contents, vectors, symbols, counts and decoded postings; never ids,
segments or times, which differ between runs that build the same index.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from codebase_mcp.domain import PostingSpace
from codebase_mcp.storage.segments import live_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

ROWS_AT_ONCE = 2_000

_FILES = """
SELECT f.relative_path, encode(f.content_hash, 'hex'), f.size_bytes, f.language, f.role, f.chunk_count,
       f.definition_count, f.reference_count
FROM {schema}.code_files f WHERE f.repository_id = :repository_id ORDER BY f.relative_path"""

_CHUNKS = """
SELECT f.relative_path, c.ordinal, c.start_line, c.end_line, c.kind, c.symbol, c.content, CAST(e.vector AS text)
FROM {schema}.code_chunks c JOIN {schema}.code_files f ON f.id = c.file_id
LEFT JOIN {schema}.embeddings e ON e.chunk_id = c.id
WHERE c.repository_id = :repository_id ORDER BY f.relative_path, c.ordinal"""

_SYMBOLS = """
SELECT f.relative_path, s.name, s.folded_name, s.kind, s.start_line, s.end_line, s.depth, s.parent, s.is_declaration
FROM {schema}.symbols s JOIN {schema}.code_files f ON f.id = s.file_id
WHERE s.repository_id = :repository_id
ORDER BY f.relative_path, s.start_line, s.end_line, s.name COLLATE "C", s.kind, s.depth, s.parent COLLATE "C"
"""

_POSTINGS = """
SELECT space, term, string_agg(ids, CAST('' AS bytea) ORDER BY segment),
       string_agg(impacts, CAST('' AS bytea) ORDER BY segment)
FROM {schema}.lexical_postings WHERE repository_id = :repository_id GROUP BY space, term ORDER BY space, term"""


async def canonical_digest(connection: AsyncConnection, schema: str, repository_id: int) -> str:
    """SHA-256 (hex) over everything a search can see of one repository."""
    digest = hashlib.sha256()
    for query in (_FILES, _CHUNKS, _SYMBOLS):
        statement = sa.text(query.format(schema=schema))
        async with connection.stream(statement, {"repository_id": repository_id}) as rows:
            async for part in rows.partitions(ROWS_AT_ONCE):
                digest.update("".join(repr(tuple(row)) for row in part).encode())
    await _add_postings(connection, schema, repository_id, digest)
    return digest.hexdigest()


async def _add_postings(connection: AsyncConnection, schema: str, repository_id: int, digest: hashlib._Hash) -> None:
    live = await live_ids(connection, repository_id)
    ranks = await _path_ranks(connection, schema, repository_id)
    statement = sa.text(_POSTINGS.format(schema=schema))
    async with connection.stream(statement, {"repository_id": repository_id}) as rows:
        async for part in rows.partitions(ROWS_AT_ONCE):
            for space, term, raw_ids, raw_impacts in part:
                ids, impacts = np.frombuffer(raw_ids, dtype="<u4"), np.frombuffer(raw_impacts, dtype=np.uint8)
                kept = live.mask(space, ids)
                if not kept.any():
                    continue
                places = ranks.places(space, ids[kept])
                order = np.argsort(places, kind="stable")
                digest.update(f"{space} {term}".encode())
                digest.update(places[order].tobytes() + impacts[kept][order].tobytes())


class _PathRanks:
    """Turns ids into numbers that depend on paths and ordinals alone."""

    def __init__(self, table: NDArray[np.int64]) -> None:
        self._files = table[np.argsort(table[:, 0])]
        with_chunks = table[table[:, 3] > 0]
        self._runs = with_chunks[np.argsort(with_chunks[:, 1])]

    def places(self, space: str, ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        if space != PostingSpace.CHUNK:
            return np.asarray(self._files[np.searchsorted(self._files[:, 0], ids), 2])
        run = self._runs[np.searchsorted(self._runs[:, 1], ids, side="right") - 1]
        return np.asarray((run[:, 2] << 32) + ids.astype(np.int64) - run[:, 1])


async def _path_ranks(connection: AsyncConnection, schema: str, repository_id: int) -> _PathRanks:
    rows = await connection.execute(
        sa.text(
            "SELECT id, first_chunk_id, row_number() OVER (ORDER BY relative_path), chunk_count"
            f" FROM {schema}.code_files WHERE repository_id = :repository_id"
        ),
        {"repository_id": repository_id},
    )
    return _PathRanks(np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 4))
