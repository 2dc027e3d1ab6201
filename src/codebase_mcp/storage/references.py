"""How many other files mention the names that a file defines: a static sign of how central the file is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.segments import LiveIds

REFERABLE_KINDS = ("class", "struct", "interface", "trait", "enum", "type", "function", "method", "macro")


async def outer_definitions(connection: AsyncConnection, repository_id: int) -> list[tuple[str, int]]:
    """(name, file id) of every type and function defined at most one level deep."""
    symbols = tables.symbols
    rows = await connection.execute(
        sa.select(symbols.c.name, symbols.c.file_id)
        .where(
            symbols.c.repository_id == repository_id,
            symbols.c.depth <= 1,
            symbols.c.kind.in_(REFERABLE_KINDS),
            ~symbols.c.is_declaration,
        )
        .distinct()
    )
    return [(name, file_id) for name, file_id in rows]


async def chunks_with_terms(
    connection: AsyncConnection, repository_id: int, terms: Sequence[str]
) -> list[tuple[str, NDArray[np.uint32]]]:
    """(term, chunk ids) from the postings; a term may come several times."""
    postings = tables.lexical_postings
    rows = await connection.execute(
        sa.select(postings.c.term, postings.c.ids).where(
            postings.c.repository_id == repository_id,
            postings.c.space == "chunk",
            postings.c.term == sa.any_(sa.literal(list(terms), sa.ARRAY(sa.Text))),
        )
    )
    return [(term, np.frombuffer(ids, dtype="<u4")) for term, ids in rows]


def mention_pairs(
    found: Sequence[tuple[str, NDArray[np.uint32]]], definers: Mapping[str, Sequence[int]], live: LiveIds
) -> NDArray[np.int64]:
    """Distinct (file that defines, file that mentions) rows, the file itself left out."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for term, chunk_ids in found:
        mentioners = live.files_of(chunk_ids)
        for definer in definers[term]:
            others = mentioners[mentioners != definer]
            pairs.append(np.column_stack([np.full(len(others), definer), others]))
    return np.unique(np.concatenate(pairs), axis=0)


async def set_reference_counts(connection: AsyncConnection, file_ids: Sequence[int], counts: Sequence[int]) -> None:
    """Writes the counts that differ from what is stored. Needs the project schema on the connection."""
    files = tables.code_files
    arrays = sa.literal(list(file_ids), sa.ARRAY(sa.BigInteger)), sa.literal(list(counts), sa.ARRAY(sa.Integer))
    new = sa.func.unnest(*arrays).table_valued("file_id", "mentions").render_derived(name="new")
    await connection.execute(
        sa.update(files)
        .where(files.c.id == new.c.file_id, files.c.reference_count != new.c.mentions)
        .values(reference_count=new.c.mentions)
    )
