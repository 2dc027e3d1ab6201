"""In how many chunks terms occur now, whatever has been deleted since their postings were written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.storage import search_store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

COUNTED_IDS = 5_000_000
"""So many are read to be counted, those of rare terms first. What is more common decides nothing."""


async def live_frequencies(
    connection: AsyncConnection, schema: str, corpus: Corpus, repository_ids: Sequence[int], terms: Sequence[str]
) -> dict[str, int]:
    """The number of living chunks with each of the terms; of the most common ones, deleted chunks are counted too."""
    stored = await search_store.document_frequencies(connection, schema, repository_ids, terms)
    by_frequency = sorted(stored, key=lambda term: (stored[term], term))
    is_counted = np.cumsum([stored[term] for term in by_frequency]) <= COUNTED_IDS
    rare = [term for term, is_rare in zip(by_frequency, is_counted.tolist(), strict=True) if is_rare]
    counts: Counter[str] = Counter()
    for term, ids in await search_store.chunks_with_terms(connection, schema, repository_ids, rare):
        counts[term] += int((corpus.chunk_positions(np.frombuffer(ids, dtype="<u4")) >= 0).sum())
    return {term: counts[term] for term in rare} | {term: stored[term] for term in by_frequency[len(rare) :]}
