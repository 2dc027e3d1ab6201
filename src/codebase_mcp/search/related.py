"""Code related to a place: files with headers near that of the chunk there, or with the compound names it uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.indexing.terms import JOINED, content_terms, stem
from codebase_mcp.search import dense, lexical, places, rank, scope, snippets, stems, wording
from codebase_mcp.search.catalogue import Catalogue, Corpus
from codebase_mcp.search.coverage import Coverage, ProjectIndex, freshness_of, project_index
from codebase_mcp.search.dense import NO_COSINES, HeaderCosines, QueryVector
from codebase_mcp.search.frequencies import live_frequencies
from codebase_mcp.search.models import Origin, RelatedAnswer, SearchRequest
from codebase_mcp.search.places import FilePath
from codebase_mcp.search.query import Query, analyse
from codebase_mcp.search.rank import Evidence, RankedFile
from codebase_mcp.search.selection import Selection
from codebase_mcp.search.service import hit_of, once_per_path
from codebase_mcp.storage import search_store, tables
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.search_store import ChunkRow

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import Embedder

FILE_PATH = "where file_path is"
NO_VECTOR = "Related by names alone: the chunk at that line has no vector. Index the repository again."


@dataclass(frozen=True, slots=True)
class Related:
    """Ranked files, cut to the limit, with the chunk to show of each, and how many there were."""

    files: list[RankedFile]
    chunks: list[ChunkRow]
    count: int
    query: Query
    warnings: tuple[str, ...] = ()


class RelatedService:
    """Finds what is related to a place in the code. It asks no embedding model: vectors are those of the index."""

    def __init__(self, database: Database, embedder: Embedder, catalogue: Catalogue) -> None:
        self._database = database
        self._embedder = embedder
        self._catalogue = catalogue

    async def find(self, request: SearchRequest, line: int) -> RelatedAnswer:
        """What is related to that line of the file that the request has for a query."""
        started = time.perf_counter()
        check(request, line)
        schema = tables.schema_name(request.project_id)
        path = await asyncio.to_thread(places.read_path, request.query, request.here)
        async with self._database.snapshot("search", schema) as connection:
            index = await project_index(connection, schema, request, self._embedder.identity)
            coverage, corpus, file = await self._located(connection, schema, index, request, path)
            chunk = await _chunk_at(connection, schema, corpus, file, line)
            found = await _Relating(connection, schema, coverage, corpus, request, file, chunk).find()
        answer = _answer(request, corpus, file, chunk, found)
        fresh, latency_ms = await freshness_of(coverage), round((time.perf_counter() - started) * 1000, 1)
        warnings = [*coverage.notes, *request.notes, *answer.warnings]
        return answer.model_copy(update={"freshness": fresh, "warnings": warnings, "latency_ms": latency_ms})

    async def _located(
        self, connection: AsyncConnection, schema: str, index: ProjectIndex, request: SearchRequest, path: FilePath
    ) -> tuple[Coverage, Corpus, int]:
        """What to look at, and the file in it: one outside of the caller's repository says itself what is meant."""
        selection = index.choices.for_request(request)
        coverage, corpus, file = await self._sought(connection, schema, index, selection, path)
        error = None if file is not None else await places.why_left_out(connection, corpus, path, request.project_id)
        if file is None and error is None and selection.is_by_location:
            selection = await self._elsewhere(connection, schema, index, path)
            coverage, corpus, file = await self._sought(connection, schema, index, selection, path)
            if file is None:
                error = await places.why_left_out(connection, corpus, path, request.project_id)
        if file is None:
            raise error or places.not_indexed(corpus, path)
        return coverage, corpus, file

    async def _elsewhere(
        self, connection: AsyncConnection, schema: str, index: ProjectIndex, path: FilePath
    ) -> Selection:
        """The repository of the project in which the file is; all of them when it is in none."""
        everything, where = index.choices.everything(), path.absolute
        if where is None:
            _, corpus, file = await self._sought(connection, schema, index, everything, path)
            where = None if file is None else corpus.absolute_path(file)
        return everything if where is None else index.choices.containing(where, FILE_PATH) or everything

    async def _sought(
        self, connection: AsyncConnection, schema: str, index: ProjectIndex, selection: Selection, path: FilePath
    ) -> tuple[Coverage, Corpus, int | None]:
        coverage = index.covered_by(selection)
        corpus = await self._catalogue.corpus(connection, schema, coverage.repositories)
        return coverage, corpus, places.find_file(corpus, path, index.choices.host)


def check(request: SearchRequest, line: int) -> None:
    """InvalidInputError with the value and the limit when the request cannot be answered."""
    places.check_path(request.query)
    if line < 1:
        raise InvalidInputError(f"line is {line}; lines are counted from 1.")
    scope.check_request(request)


async def _chunk_at(connection: AsyncConnection, schema: str, corpus: Corpus, file: int, line: int) -> ChunkRow:
    file_id = int(corpus.file_ids[file])
    found = await search_store.chunks_with_lines(connection, schema, [(file_id, line)])
    if found:
        rows = await search_store.chunks_by_id(connection, [found[0].id])
        return rows[found[0].id]
    lines = await search_store.line_count(connection, file_id)
    raise InvalidInputError(
        f"line {line:,} is past the end of {corpus.absolute_path(file)}, which has {lines:,} lines in the index. Give a"
        " line of it; after a change, index the repository again."
    )


@dataclass(frozen=True, slots=True)
class _Relating:
    connection: AsyncConnection
    schema: str
    coverage: Coverage
    corpus: Corpus
    request: SearchRequest
    file: int
    chunk: ChunkRow

    async def find(self) -> Related:
        filters = await asyncio.to_thread(scope.file_filters, self.corpus, self.request)
        allowed = scope.all_of(filters)
        query = await self._query()
        if allowed is not None and not allowed.any():
            return Related([], [], 0, query, (scope.nothing_matches(self.corpus, filters),))
        vector = await self._vector()
        evidence = await self._evidence(query, allowed)
        nearest = await self._nearest(vector, allowed)
        candidates = rank.candidate_files(evidence, nearest, allowed)
        cosines = await self._cosines(vector, candidates)
        ranked = self._others_first(rank.rank_files(evidence, cosines, candidates))
        best = rank.best_chunks(evidence, cosines, [item.file for item in ranked], {}, self._others)
        ranked = [item for item in ranked if item.file in best]
        shown = ranked[: self.request.limit]
        chunks = await self._chunks([best[item.file] for item in shown])
        return Related(shown, chunks, len(ranked), query, () if vector else (NO_VECTOR,))

    @property
    def _others(self) -> NDArray[np.bool_]:
        """All chunks but the one that others are to be related to."""
        others = np.ones(self.corpus.chunk_count, dtype=bool)
        others[self.corpus.chunk_positions(np.array([self.chunk.id]))] = False
        return others

    async def _query(self) -> Query:
        """The compound names of the chunk, the rarest of them when there are many."""
        names = [term for term in content_terms(self.chunk.content) if term.startswith(JOINED)]
        joined = frozenset(stem(name.removeprefix(JOINED)) for name in names)
        query = replace(analyse(""), weights=dict.fromkeys(names, 1.0), joined=joined)
        frequencies = await live_frequencies(self.connection, self.schema, self.corpus, self._ids, names)
        return wording.rarest(query, frequencies, self.corpus.chunk_count)

    @property
    def _ids(self) -> list[int]:
        return [repository.id for repository in self.corpus.repositories]

    async def _vector(self) -> QueryVector | None:
        found = await search_store.stored_vector(self.connection, self.schema, self.chunk.id, self.coverage.model_id)
        return QueryVector(found.literal, found.model_id, found.dimensions) if found else None

    async def _evidence(self, query: Query, allowed: NDArray[np.bool_] | None) -> Evidence:
        corpus = self.corpus
        postings = await search_store.term_postings(self.connection, self.schema, self._ids, list(query.weights))
        scores = await asyncio.to_thread(lexical.score_chunks, corpus, postings, query.weights, allowed, self._others)
        shares = stems.explained_share(corpus.stems, query)
        pushed_down = scope.pushed_down_files(corpus, self.request, query)
        return Evidence(corpus, query, scores, shares, [], pushed_down)

    async def _nearest(self, vector: QueryVector | None, allowed: NDArray[np.bool_] | None) -> list[int]:
        if vector is None:
            return []
        found = await dense.nearest_files(
            self.connection, self.schema, self.corpus, vector,
            allowed=allowed, is_whole_project=self.coverage.is_whole_project,
        )  # fmt: skip
        return found.files

    async def _cosines(self, vector: QueryVector | None, candidates: Sequence[int]) -> HeaderCosines:
        if vector is None or not candidates:
            return NO_COSINES
        return await dense.header_cosines(
            self.connection, self.schema, self.corpus, vector, candidates, of_kind=self._others
        )

    def _others_first(self, ranked: Sequence[RankedFile]) -> list[RankedFile]:
        """What else is in the same file comes last, and not again as a file of another repository."""
        own = self.corpus.place(self.file)
        others = [item for item in ranked if self.corpus.place(item.file) != own]
        return [*once_per_path(self.corpus, others), *(item for item in ranked if item.file == self.file)]

    async def _chunks(self, positions: Sequence[int]) -> list[ChunkRow]:
        ids = self.corpus.chunk_ids(np.array(positions, dtype=np.int64)).tolist()
        rows = await search_store.chunks_by_id(self.connection, ids)
        return [rows[i] for i in ids]


def _answer(request: SearchRequest, corpus: Corpus, file: int, chunk: ChunkRow, found: Related) -> RelatedAnswer:
    paths = [corpus.absolute_path(item.file) for item in found.files]
    shown = snippets.fit(found.chunks, paths, found.query, request.max_tokens)
    hits = [
        hit_of(corpus, item, path, one, snippet, own=request.host)
        for item, path, one, snippet in zip(found.files, paths, found.chunks, shown, strict=False)
    ]
    return RelatedAnswer(
        origin=Origin(
            file_path=corpus.absolute_path(file),
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            symbol=chunk.symbol,
            kind=chunk.kind,
            repository=corpus.repository(file).name,
            host=corpus.host_of(file, request.host),
        ),
        results=hits,
        total_count=found.count,
        truncated=len(shown) < len(found.files) or any(snippet.form != "full" for snippet in shown),
        freshness=[],
        warnings=list(found.warnings),
        latency_ms=0.0,
    )
