"""BM25 over the postings rows of a query's terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.search.catalogue import Corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP_CHUNKS = 600
CHUNKS_OF_A_FILE = 12
DECAY = 0.9


@dataclass(frozen=True, slots=True)
class LexicalScores:
    """Scores of every chunk and file of the corpus; 0 where no term occurs or the file is not allowed.

    `files` holds each file's best chunk score, `coverage` the decayed sum of its best dozen. `newer_chunk_ids` are in
    the postings but above every id of the corpus: the best of what was committed after it was read.
    """

    chunks: NDArray[np.float32]
    files: NDArray[np.float32]
    coverage: NDArray[np.float64]
    newer_chunk_ids: NDArray[np.int64]


def score_chunks(
    corpus: Corpus,
    rows: Iterable[tuple[str, bytes, bytes]],
    weights: Mapping[str, float],
    allowed: NDArray[np.bool_] | None = None,
    of_kind: NDArray[np.bool_] | None = None,
) -> LexicalScores:
    """Sum weight · idf · impact over (term, ids, impacts) rows; idf counts the chunks that are alive.

    Files that are not `allowed`, and chunks that are not `of_kind`, score nothing.
    """
    chunks = np.zeros(corpus.chunk_count, dtype=np.float32)
    newest = corpus.newest_chunk_id
    newer: list[NDArray[np.int64]] = []
    for term, ids, impacts in _by_term(rows):
        positions = corpus.chunk_positions(ids)
        is_live = positions >= 0
        idf = _idf(int(is_live.sum()), corpus.chunk_count)
        chunks[positions[is_live]] += np.float32(weights[term] * idf) * impacts[is_live]
        newer.append(ids[~is_live & (ids > newest)].astype(np.int64))
    if allowed is not None:
        chunks[~allowed[corpus.file_of_chunk]] = 0
    if of_kind is not None:
        chunks[~of_kind] = 0
    return LexicalScores(
        chunks=chunks,
        files=_best_of_files(corpus, chunks),
        coverage=_coverage(corpus, chunks),
        newer_chunk_ids=np.unique(np.concatenate([np.zeros(0, np.int64), *newer])),
    )


def _by_term(
    rows: Iterable[tuple[str, bytes, bytes]],
) -> Iterable[tuple[str, NDArray[np.uint32], NDArray[np.uint8]]]:
    parts: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for term, ids, impacts in rows:
        lists = parts.setdefault(term, ([], []))
        lists[0].append(ids)
        lists[1].append(impacts)
    for term in sorted(parts):
        ids, impacts = (b"".join(pieces) for pieces in parts[term])
        yield term, np.frombuffer(ids, dtype="<u4"), np.frombuffer(impacts, dtype=np.uint8)


def _idf(document_frequency: int, total: int) -> float:
    return float(np.log1p((total - document_frequency + 0.5) / (document_frequency + 0.5)))


def _best_of_files(corpus: Corpus, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
    best = np.zeros(corpus.file_count, dtype=np.float32)
    with_chunks = np.flatnonzero(np.diff(corpus.offsets))
    if len(with_chunks):
        best[with_chunks] = np.maximum.reduceat(chunks, corpus.offsets[with_chunks])
    return best


def _coverage(corpus: Corpus, chunks: NDArray[np.float32]) -> NDArray[np.float64]:
    top = highest(chunks, TOP_CHUNKS)
    files, scores = corpus.file_of_chunk[top], chunks[top].astype(np.float64)
    order = np.lexsort((-scores, files))
    files, scores = files[order], scores[order]
    starts = np.searchsorted(files, files, side="left")
    rank = np.arange(len(files)) - starts
    parts = np.where(rank < CHUNKS_OF_A_FILE, scores * DECAY**rank, 0.0)
    return np.bincount(files, weights=parts, minlength=corpus.file_count).astype(np.float64)


def highest(values: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Positions of the greatest positive values, best first; equal ones in order of position."""
    positive = np.flatnonzero(values > 0)
    if len(positive) > count:
        # The count-th greatest value with all its equals, so that ties are cut by position and not by chance.
        least = np.partition(values[positive], len(positive) - count)[len(positive) - count]
        positive = positive[values[positive] >= least]
    return positive[np.argsort(-values[positive], kind="stable")][:count]
