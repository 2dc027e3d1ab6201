"""Finds what an earlier version indexed of files that may hold secrets, and deletes its vectors from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def files_with_words(connection: AsyncConnection, repository_id: int, words: Sequence[str]) -> list[int]:
    """Ids of the files with a chunk that contains one of the words. Reads all chunks of the repository."""
    chunks = tables.code_chunks.c
    contains = sa.or_(*(chunks.content.contains(word, autoescape=True) for word in words))
    found = await connection.execute(
        sa.select(chunks.file_id).where(chunks.repository_id == repository_id, contains).distinct()
    )
    return list(found.scalars())


async def text_of_file(connection: AsyncConnection, file_id: int) -> str:
    """As it was indexed."""
    chunks = tables.code_chunks.c
    rows = await connection.execute(sa.select(chunks.content).where(chunks.file_id == file_id).order_by(chunks.ordinal))
    return "".join(rows.scalars())


async def forget_vectors(connection: AsyncConnection, schema: str, file_ids: Sequence[int]) -> None:
    """Deletes the vectors of these files from the cache, which knows only hashes of texts."""
    await connection.execute(
        sa.text(
            f"DELETE FROM {tables.CONTROL_SCHEMA}.embedding_cache c USING {schema}.embeddings e"
            " WHERE e.file_id = ANY(:ids) AND c.model_id = e.model_id AND c.vector = e.vector"
        ),
        {"ids": list(file_ids)},
    )
