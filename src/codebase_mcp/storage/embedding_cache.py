"""Vectors of texts that a slow model embedded before, by model and SHA-256 of the text: a memory, never the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from codebase_mcp.storage import tables
from codebase_mcp.storage.halfvec import halfvec_array, halfvec_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

KEPT_VECTORS = 500_000
"""About 1 GB with 768 dimensions. The oldest go first."""

_CACHE = f"{tables.CONTROL_SCHEMA}.embedding_cache"


async def remembered(
    connection: AsyncConnection, model_id: int, hashes: Sequence[bytes], dimensions: int, *, since: datetime | None
) -> dict[bytes, NDArray[np.float32]]:
    """The vectors that are there, if not older than `since`; one of another length is as good as none."""
    statement = sa.text(
        f"SELECT text_hash, vector FROM {_CACHE} WHERE model_id = :model_id AND text_hash = ANY(:hashes)"
        " AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')"
    )
    arguments = {"model_id": model_id, "hashes": list(hashes), "since": since}
    rows = (await connection.execute(statement, arguments)).all()
    vectors: dict[bytes, NDArray[np.float32]] = {}
    for text_hash, vector in rows:
        try:
            vectors[bytes(text_hash)] = halfvec_array([vector], dimensions)[0]
        except ValueError:
            continue
    return vectors


async def remember(connection: AsyncConnection, model_id: int, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
    """Keeps vectors by the hash of their text, in place of older ones."""
    hashes = sorted(vectors)  # in one order, so that two jobs with the same texts do not wait for each other
    wire = halfvec_bytes(np.stack([vectors[text_hash] for text_hash in hashes]))
    statement = sa.text(
        f"INSERT INTO {_CACHE} (model_id, text_hash, vector) VALUES (:model_id, :text_hash, CAST(:vector AS halfvec))"
        " ON CONFLICT (model_id, text_hash)"
        " DO UPDATE SET vector = EXCLUDED.vector, created_at = clock_timestamp()"
    )
    records = [
        {"model_id": model_id, "text_hash": text_hash, "vector": vector}
        for text_hash, vector in zip(hashes, wire, strict=True)
    ]
    await connection.execute(statement, records)


async def newest_in_excess(connection: AsyncConnection, *, kept: int = KEPT_VECTORS) -> datetime | None:
    """When the newest vector was made of those that are more than `kept`; None when there are not so many."""
    estimate = sa.text(f"SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST('{_CACHE}' AS regclass)")
    if int(await connection.scalar(estimate) or 0) <= kept:
        return None  # costs nothing, unlike the next question
    made = sa.text(f"SELECT created_at FROM {_CACHE} ORDER BY created_at DESC OFFSET :kept LIMIT 1")
    found: datetime | None = await connection.scalar(made, {"kept": kept})
    return found


async def forget(connection: AsyncConnection, *, up_to: datetime, most: int) -> int:
    """Deletes up to `most` of the vectors that were made then or earlier; how many went."""
    statement = sa.text(
        f"DELETE FROM {_CACHE} WHERE (model_id, text_hash) IN"
        f" (SELECT model_id, text_hash FROM {_CACHE} WHERE created_at <= :up_to LIMIT :most)"
    )
    return int((await connection.execute(statement, {"up_to": up_to, "most": most})).rowcount)
