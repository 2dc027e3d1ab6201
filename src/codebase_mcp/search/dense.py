"""Nearest chunk headers: which files to consider, and how near every chunk of those is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.storage import search_store, vector_index
from codebase_mcp.storage.search_store import Restriction
from codebase_mcp.storage.vector_index import VectorIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

NEAREST_FILES = 60
EXACT_CHUNKS = 50_000
"""Up to so many chunks a scan is as fast as the index, and exact."""
SCANNED_CHUNKS = 200_000
"""Without an index a scan of more would keep people waiting."""


@dataclass(frozen=True, slots=True)
class QueryVector:
    """A query's vector in text form, with the model's number in the database; cosines are multiplied by `scale`."""

    literal: str
    model: int
    dimensions: int
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Nearest:
    """Files of the corpus, best first; `unknown_ids` are near files that the corpus does not have.

    `is_partial` says that only plausible files were looked at.
    """

    files: list[int]
    unknown_ids: list[int]
    is_partial: bool = False


async def nearest_files(
    connection: AsyncConnection,
    schema: str,
    corpus: Corpus,
    vector: QueryVector,
    *,
    allowed: NDArray[np.bool_] | None,
    is_whole_project: bool,
    plausible: Callable[[], NDArray[np.bool_]] | None = None,
    of_kind: NDArray[np.bool_] | None = None,
) -> Nearest:
    """The files with the headers nearest to the query among those allowed, and of these among the chunks `of_kind`.

    Of a large project whose index is not built yet only the `plausible` ones, if those are given.
    """
    only, searched = _restriction(corpus, allowed, of_kind)
    repository_ids = [repository.id for repository in corpus.repositories]
    index = VectorIndex(schema, vector.model, vector.dimensions)
    found: list[tuple[int, float]] = []
    candidates = search_store.INDEX_CANDIDATES
    has_index = searched > EXACT_CHUNKS and await vector_index.prepare_scan(connection, index, candidates)
    is_partial = False
    if has_index:
        found = await search_store.nearest_files_by_index(
            connection, schema, vector.model, vector.literal,
            dimensions=vector.dimensions, repository_ids=repository_ids, only=only,
        )  # fmt: skip
    elif plausible is not None and searched > SCANNED_CHUNKS:
        is_partial = True
        only, searched = _restriction(corpus, plausible(), of_kind)
    # The index gives up before it has looked at everything: few rows may mean that a filter hides what is near.
    if len(found) < min(searched, candidates):
        if only is None and not is_whole_project:
            only = Restriction("file_id", corpus.file_ids.tolist())
        found = await search_store.nearest_files_by_scan(
            connection, schema, vector.model, vector.literal,
            repository_ids=repository_ids, only=only, limit=NEAREST_FILES,
        )  # fmt: skip
    return replace(_known(corpus, found), is_partial=is_partial)


def _restriction(
    corpus: Corpus, allowed: NDArray[np.bool_] | None, of_kind: NDArray[np.bool_] | None
) -> tuple[Restriction | None, int]:
    """What to restrict a search of vectors to, and how many chunks are left."""
    if of_kind is not None:
        chunks = of_kind if allowed is None else of_kind & allowed[corpus.file_of_chunk]
        ids = corpus.chunk_ids(np.flatnonzero(chunks)).tolist()
        return Restriction("chunk_id", ids), len(ids)
    if allowed is not None:
        files = Restriction("file_id", corpus.file_ids[allowed].tolist())
        return files, int(np.diff(corpus.offsets)[allowed].sum())
    return None, corpus.chunk_count


def _known(corpus: Corpus, found: Sequence[tuple[int, float]]) -> Nearest:
    best: dict[int, float] = {}
    for file_id, cosine in found:
        if not math.isnan(cosine):
            best.setdefault(file_id, cosine)
    positions = dict(zip(best, corpus.file_positions(list(best)).tolist(), strict=True))
    known = [file_id for file_id, position in positions.items() if position >= 0]
    known.sort(key=lambda file_id: (-best[file_id], positions[file_id]))
    return Nearest(
        files=[positions[file_id] for file_id in known[:NEAREST_FILES]],
        unknown_ids=[file_id for file_id, position in positions.items() if position < 0],
    )


@dataclass(frozen=True, slots=True)
class HeaderCosines:
    """Cosines of the candidates' chunks, in ascending order of chunk position, and of each file's best chunk by file.

    `vanished` are candidates that have been deleted or replaced since the corpus was read.
    """

    positions: NDArray[np.int64]
    values: NDArray[np.float64]
    files: dict[int, float]
    vanished: list[int]

    def of_chunks(self, first: int, end: int) -> NDArray[np.float64]:
        """Of the chunks from position `first` up to `end`; 0 for those without a vector."""
        found = np.zeros(end - first)
        known = slice(*np.searchsorted(self.positions, (first, end)))
        found[self.positions[known] - first] = self.values[known]
        return found


NO_COSINES = HeaderCosines(np.zeros(0, np.int64), np.zeros(0), {}, [])


async def header_cosines(
    connection: AsyncConnection,
    schema: str,
    corpus: Corpus,
    vector: QueryVector,
    files: Sequence[int],
    *,
    of_kind: NDArray[np.bool_] | None = None,
) -> HeaderCosines:
    """How near every chunk of the candidate files is to the query; of those `of_kind` only, when that is given."""
    ids = corpus.file_ids[list(files)].tolist()
    rows = await search_store.header_cosines(connection, schema, vector.model, vector.literal, ids)
    present = {row.file_id for row in rows}
    with_vectors = [row for row in rows if row.chunk_ids != [None]]
    ids_of_chunks = np.array([chunk_id for row in with_vectors for chunk_id in row.chunk_ids], dtype=np.int64)
    cosines = vector.scale * np.array([cosine for row in with_vectors for cosine in row.cosines], dtype=np.float64)
    positions = corpus.chunk_positions(ids_of_chunks)
    # A zero vector has no angle to anything: its cosine is not a number.
    usable = (positions >= 0) & ~np.isnan(cosines)
    if of_kind is not None:
        usable[usable] = of_kind[positions[usable]]
    order = np.flatnonzero(usable)[np.argsort(positions[usable])]
    positions, cosines = positions[order], cosines[order]
    vanished = [file for file, file_id in zip(files, ids, strict=True) if file_id not in present]
    return HeaderCosines(positions, cosines, _best_of_files(corpus, positions, cosines), vanished)


def _best_of_files(corpus: Corpus, positions: NDArray[np.int64], cosines: NDArray[np.float64]) -> dict[int, float]:
    if not len(positions):
        return {}
    files, starts = np.unique(corpus.file_of_chunk[positions], return_index=True)
    return dict(zip(files.tolist(), np.maximum.reduceat(cosines, starts).tolist(), strict=True))
