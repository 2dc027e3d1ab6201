"""The approximate index over header vectors: built after a bulk load, dropped before one.

COPY into a table with a live HNSW index is some 150 times slower, so a large job drops it first; until it is built
again, a search scans exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.database import Database


HALF_FLOAT_BYTES = 2
ROW_OVERHEAD_BYTES = 800
"""What pgvector holds of each row while it builds a graph with 16 links, besides the vector."""
LEAST_KILOBYTES = 65_536
_IS_VALID = "SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(CAST(:name AS text))"


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """The index of one model's vectors in one project."""

    schema: str
    model_id: int
    dimensions: int

    @property
    def name(self) -> str:
        return f"nearest_headers_{self.model_id}"


async def build(database: Database, index: VectorIndex, *, least_rows: int) -> bool:
    """Builds the index if the model has at least `least_rows` vectors and none is there; True if it did.

    Runs on a connection of its own without deadlines, and lets writers go on meanwhile.
    """
    async with database.maintenance() as connection:
        # Only one builder at a time; a broken connection gives the lock up as well. It comes before the look at what
        # is there, or a builder that looked too early would drop and build again what another has just built.
        key = {"key": f"{index.schema} {index.name}"}
        if not await connection.scalar(sa.text("SELECT pg_try_advisory_lock(hashtext(:key))"), key):
            return False
        is_wanted = await _is_wanted(connection, index, least_rows)
        if is_wanted:
            await _take_memory(connection, index)
            await _create(connection, index)
        await connection.execute(sa.text("SELECT pg_advisory_unlock(hashtext(:key))"), key)
        return is_wanted


async def _take_memory(connection: AsyncConnection, index: VectorIndex) -> None:
    """A graph that does not fit into memory is built many times slower: asks for as much as the server can give."""
    row_bytes = index.dimensions * HALF_FLOAT_BYTES + ROW_OVERHEAD_BYTES
    wanted = (
        f'least(greatest((SELECT count(*) FROM "{index.schema}".embeddings) * {row_bytes} / 1024, {LEAST_KILOBYTES}),'
        # What the server says of its memory, in pages of 8 kB; a quarter of it.
        " (SELECT CAST(setting AS bigint) * 2 FROM pg_settings WHERE name = 'effective_cache_size'))"
    )
    await connection.execute(sa.text(f"SELECT set_config('maintenance_work_mem', {wanted} || 'kB', false)"))


async def _create(connection: AsyncConnection, index: VectorIndex) -> None:
    # What an interrupted build leaves behind is invalid and in the way.
    await connection.execute(sa.text(f'DROP INDEX IF EXISTS "{index.schema}".{index.name}'))
    await connection.execute(
        sa.text(
            f'CREATE INDEX CONCURRENTLY {index.name} ON "{index.schema}".embeddings'
            f" USING hnsw ((vector::halfvec({index.dimensions})) halfvec_cosine_ops)"
            f" WHERE model_id = {index.model_id}"
        )
    )


async def drop(connection: AsyncConnection, index: VectorIndex) -> None:
    """Drops the index, in the caller's transaction. A build under way is stopped: it would slow every COPY as well."""
    await connection.execute(
        sa.text(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index"
            " WHERE datname = current_database() AND relid = to_regclass(CAST(:name AS text))"
        ),
        {"name": f'"{index.schema}".embeddings'},
    )
    await connection.execute(sa.text(f'DROP INDEX IF EXISTS "{index.schema}".{index.name}'))


async def _is_wanted(connection: AsyncConnection, index: VectorIndex, least_rows: int) -> bool:
    if await is_ready(connection, index):
        return False
    rows = await connection.scalar(
        sa.text(f'SELECT count(*) FROM "{index.schema}".embeddings WHERE model_id = :model_id'),
        {"model_id": index.model_id},
    )
    return int(rows or 0) >= least_rows


async def projects_without(connection: AsyncConnection, least_rows: int) -> list[str]:
    """Ids of projects that may lack the index of a model, judged by PostgreSQL's own rough counts; `build` counts."""
    candidates = sa.text(
        "SELECT DISTINCT p.project_id FROM codebase_mcp.projects p"
        " JOIN pg_namespace n ON n.nspname = p.schema_name"
        " JOIN pg_class e ON e.relnamespace = n.oid AND e.relname = 'embeddings'"
        " CROSS JOIN codebase_mcp.embedding_models m"
        # -1 says that PostgreSQL has not counted yet.
        " WHERE (e.reltuples < 0 OR e.reltuples >= 0.5 * :least_rows) AND NOT EXISTS ("
        "   SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        "   WHERE i.indrelid = e.oid AND i.indisvalid AND c.relname = 'nearest_headers_' || m.id)"
    )
    return list((await connection.execute(candidates, {"least_rows": least_rows})).scalars())


async def exists(connection: AsyncConnection, index: VectorIndex) -> bool:
    """Whether the index is there, complete or not."""
    name = {"name": f'"{index.schema}".{index.name}'}
    return await connection.scalar(sa.text("SELECT to_regclass(CAST(:name AS text))"), name) is not None


async def is_ready(connection: AsyncConnection, index: VectorIndex) -> bool:
    """Whether the index exists and is complete."""
    found = await connection.scalar(
        sa.text(_IS_VALID),
        {"name": f'"{index.schema}".{index.name}'},
    )
    return bool(found)


async def prepare_scan(connection: AsyncConnection, index: VectorIndex, candidates: int) -> bool:
    """Whether the index is complete; if so, what follows in this transaction can take so many `candidates` from it."""
    prepared = await connection.scalar(
        sa.text(
            f"SELECT ({_IS_VALID})"
            " AND set_config('hnsw.iterative_scan', 'strict_order', true) <> ''"
            " AND set_config('hnsw.ef_search', CAST(CAST(:candidates AS integer) AS text), true) <> ''"
        ),
        {"name": f'"{index.schema}".{index.name}', "candidates": candidates},
    )
    return bool(prepared)
