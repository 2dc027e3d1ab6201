"""One search, from the request to the answer: what exists, what fits, which files, which lines, how fresh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.domain import Host
from codebase_mcp.errors import EmbeddingError
from codebase_mcp.indexing.terms import fold_name
from codebase_mcp.search import (
    definitions,
    dense,
    kinds,
    lexical,
    mentioned,
    quoted,
    rank,
    scope,
    snippets,
    stems,
    wording,
)
from codebase_mcp.search.catalogue import Catalogue, Corpus
from codebase_mcp.search.coverage import Coverage, coverage_of, freshness_of, nothing_indexed
from codebase_mcp.search.dense import NO_COSINES, HeaderCosines, QueryVector
from codebase_mcp.search.frequencies import live_frequencies
from codebase_mcp.search.kinds import KindCatalogue
from codebase_mcp.search.models import SearchAnswer, SearchHit, SearchRequest
from codebase_mcp.search.query import Query, analyse
from codebase_mcp.search.rank import Evidence, RankedFile
from codebase_mcp.search.signals import explained
from codebase_mcp.storage import search_store, tables
from codebase_mcp.storage.database import Database, halfvec_literal
from codebase_mcp.storage.search_store import ChunkRow

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import Embedder

NEWER_CHUNKS_LOOKED_AT = 200
WITHOUT_INDEX = (
    "Files that share no word with the query may be missing: the vector index of this large project is still to be "
    "built, which begins when its jobs have ended."
)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the ranked files, with the chunk to show of each, and how many candidates there were."""

    query: Query
    files: list[RankedFile]
    chunks: list[ChunkRow]
    candidate_count: int
    has_vectors: bool
    warnings: tuple[str, ...] = ()


class SearchService:
    """Answers searches. Keeps what it learns about repositories between calls; make one for each database."""

    def __init__(self, database: Database, embedder: Embedder, *, catalogue: Catalogue | None = None) -> None:
        self._database = database
        self._embedder = embedder
        self._catalogue = catalogue or Catalogue()
        self._kinds = KindCatalogue()

    async def search(self, request: SearchRequest, *, must_be_current: bool = False) -> SearchAnswer:
        """The best chunks of the best files.

        While a job is at work, files that it has just added may be missing, unless the answer `must_be_current`.

        InvalidInputError and RepositoryNotFoundError say what is wrong with the request. A project without an index
        gives an empty answer whose freshness says so.
        """
        started = time.perf_counter()
        scope.check_request(request)
        words, told = wording.plain(request.query)
        request = request.model_copy(update={"query": words})
        vector, warnings = await self._embed(wording.embedded_part(words))
        warnings = [*request.notes, *told, *warnings]
        may_be_old = not (must_be_current or scope.has_file_filters(request))
        answer = await self._attempt(request, vector, warnings, may_be_old=may_be_old)
        if answer is None:
            # A file was replaced since the corpus was read: look once more with a current one.
            answer = await self._attempt(request, vector, warnings, may_be_old=False)
        assert answer is not None, "one state of the database cannot contradict itself"
        return answer.model_copy(update={"latency_ms": round((time.perf_counter() - started) * 1000, 1)})

    async def _embed(self, text: str) -> tuple[NDArray[np.float32] | None, list[str]]:
        try:
            vector = await self._embedder.embed_query(text)
        except EmbeddingError as error:
            return None, [f"Ranked without the meaning of words, because {_continued(error.message)}"]
        return (vector if np.any(vector) else None), []

    async def _attempt(
        self, request: SearchRequest, vector: NDArray[np.float32] | None, warnings: Sequence[str], *, may_be_old: bool
    ) -> SearchAnswer | None:
        """The answer, from one state of the database; None when an older corpus would hide a file of it."""
        schema = tables.schema_name(request.project_id)
        async with self._database.snapshot("search", schema) as connection:
            coverage = await coverage_of(connection, schema, request, self._embedder.identity)
            corpus = await self._corpus(connection, schema, coverage, may_be_old=may_be_old)
            query_vector = _query_vector(vector, coverage.model_id, self._embedder.cosine_scale)
            found = await _Looking(connection, schema, coverage, corpus, request, query_vector, self._kinds).find()
        if found is None:
            return None
        said = [
            *coverage.notes,
            *warnings,
            *nothing_indexed(coverage, request.project_id),
            *found.warnings,
            *_missing_vectors(found, wanted=vector is not None),
            *_beyond_the_end(found, request),
        ]
        return await _answer(request, coverage, corpus, found, warnings=said)

    async def _corpus(
        self, connection: AsyncConnection, schema: str, coverage: Coverage, *, may_be_old: bool
    ) -> Corpus:
        active = {place for place, job in coverage.jobs.items() if job.is_active}
        changing = {item.id for item in coverage.repositories if may_be_old and item.place in active}
        return await self._catalogue.corpus(connection, schema, coverage.repositories, changing=changing)


def _continued(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _missing_vectors(found: Found, *, wanted: bool) -> list[str]:
    if found.has_vectors or not wanted or not found.files:
        return []
    return [
        "Ranked without the meaning of words: no vectors of the current embedding model. Index the repository again."
    ]


def _beyond_the_end(found: Found, request: SearchRequest) -> list[str]:
    if found.files or not found.candidate_count:
        return []
    return [
        f"offset {request.offset:,} is beyond the {found.candidate_count:,} candidate files of this query: nothing is "
        "left. Ask differently, or with a filter, to see other files."
    ]


def _query_vector(vector: NDArray[np.float32] | None, model_id: int | None, scale: float = 1.0) -> QueryVector | None:
    if vector is None or model_id is None:
        return None
    return QueryVector(halfvec_literal(vector), model_id, len(vector), scale)


@dataclass(frozen=True, slots=True)
class _Looking:
    """One attempt to answer a request on one connection. `None` from a step means: the corpus is out of date."""

    connection: AsyncConnection
    schema: str
    coverage: Coverage
    corpus: Corpus
    request: SearchRequest
    vector: QueryVector | None
    kinds: KindCatalogue

    async def find(self) -> Found | None:
        if not self.corpus.file_count:
            return Found(analyse(self.request.query), [], [], 0, has_vectors=False)
        query, told = await self._query()
        if not query.weights:
            return Found(query, [], [], 0, has_vectors=False, warnings=told)
        filters = await asyncio.to_thread(scope.file_filters, self.corpus, self.request)
        of_kind = await self._of_kind(filters)
        allowed = scope.all_of(filters)
        if allowed is not None and not allowed.any():
            why = scope.nothing_matches(self.corpus, filters)
            return Found(query, [], [], 0, has_vectors=False, warnings=(why,))
        evidence = await self._evidence(query, allowed, of_kind)
        nearest = await self._nearest(evidence, allowed, of_kind)
        if await self._has_replacements(nearest.unknown_ids, evidence.lexical.newer_chunk_ids):
            return None
        candidates = rank.candidate_files(evidence, nearest.files, allowed)
        cosines = await self._cosines(candidates, of_kind)
        if cosines.vanished:
            return None
        evidence = replace(evidence, quoted=await self._quoted(evidence, candidates))
        ranked = rank.rank_files(evidence, cosines, candidates)
        ranked = once_per_path(self.corpus, ranked)
        shown = ranked[self.request.offset :][: self.request.limit]
        chunks = await self._chunks(evidence, cosines, [item.file for item in shown], of_kind)
        told += (WITHOUT_INDEX,) if nearest.is_partial else ()
        return None if chunks is None else Found(query, shown, chunks, len(ranked), bool(cosines.files), told)

    async def _query(self) -> tuple[Query, tuple[str, ...]]:
        """The analysed query, of a long one the most telling part, and what is to be said about it."""
        query = analyse(self.request.query, [repository.name for repository in self.corpus.repositories])
        if not query.weights:
            return query, (wording.without_words(self.request.query),)
        if len(query.weights) <= wording.MAX_TERMS:
            return query, ()
        ids = [repository.id for repository in self.corpus.repositories]
        found = await live_frequencies(self.connection, self.schema, self.corpus, ids, list(query.weights))
        return wording.rarest(query, found, self.corpus.chunk_count), (wording.shortened(len(query.weights)),)

    async def _of_kind(self, filters: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
        """Which chunks the filter by kind lets through; adds to `filters` the files that have such a chunk."""
        if self.request.kind is None:
            return None
        index = await self.kinds.index(self.connection, self.schema, self.corpus)
        of_kind = index.chunks_of(kinds.kind_name(self.request.kind))
        has_some = np.bincount(self.corpus.file_of_chunk[of_kind], minlength=self.corpus.file_count) > 0
        filters[f"kind {self.request.kind!r}"] = has_some
        return of_kind

    async def _evidence(
        self, query: Query, allowed: NDArray[np.bool_] | None, of_kind: NDArray[np.bool_] | None
    ) -> Evidence:
        corpus = self.corpus
        ids = [repository.id for repository in corpus.repositories]
        postings = await search_store.term_postings(self.connection, self.schema, ids, list(query.weights))
        names = [fold_name(identifier) for identifier in query.identifiers]
        symbols = await search_store.symbols_named(self.connection, ids, names) if names else []
        named = definitions.named_definitions(corpus, query, symbols)
        if allowed is not None:
            named = [item for item in named if allowed[item.file]]
        if self.request.kind is not None:
            named = kinds.of_that_kind(named, kinds.kind_name(self.request.kind))
        scores, shares = await asyncio.to_thread(_score, corpus, query, postings, allowed, of_kind)
        pushed_down = scope.pushed_down_files(corpus, self.request, query)
        files = mentioned.mentioned_files(mentioned.mentions(query.text), corpus.paths, corpus.stems)
        return Evidence(corpus, query, scores, shares, named, pushed_down, files)

    async def _quoted(self, evidence: Evidence, candidates: Sequence[int]) -> dict[int, float]:
        """For a query that looks pasted, how much of it stands word by word in chunks, by position of the chunk."""
        if not candidates or not quoted.looks_pasted(evidence.query.text):
            return {}
        places = rank.likeliest_chunks(evidence, candidates, quoted.MOST_CHUNKS)
        ids = self.corpus.chunk_ids(places).tolist()
        rows = await search_store.chunks_by_id(self.connection, ids)
        contents = {place: rows[i].content for place, i in zip(places.tolist(), ids, strict=True) if i in rows}
        return quoted.shares_of_runs(evidence.query.text, contents)

    async def _nearest(
        self, evidence: Evidence, allowed: NDArray[np.bool_] | None, of_kind: NDArray[np.bool_] | None
    ) -> dense.Nearest:
        if self.vector is None:
            return dense.Nearest([], [])
        return await dense.nearest_files(
            self.connection, self.schema, self.corpus, self.vector,
            allowed=allowed, is_whole_project=self.coverage.is_whole_project,
            plausible=lambda: rank.plausible_files(evidence), of_kind=of_kind,
        )  # fmt: skip

    async def _has_replacements(self, file_ids: Sequence[int], chunk_ids: NDArray[np.int64]) -> bool:
        """True when one of these, which the corpus does not have, took the place of a file that it has."""
        if self.corpus.repositories == tuple(self.coverage.repositories):
            return False
        owners = await search_store.owners_of_chunks(
            self.connection, chunk_ids[:NEWER_CHUNKS_LOOKED_AT].tolist()
        ) if len(chunk_ids) else []  # fmt: skip
        unknown = [*file_ids, *owners]
        if not unknown:
            return False
        existing = await search_store.existing_files(self.connection, unknown)
        mine = {repository.id: place for place, repository in enumerate(self.corpus.repositories)}
        paths = {(mine[owner], path) for owner, path in existing.values() if owner in mine}
        known = zip(self.corpus.repository_of.tolist(), self.corpus.paths, strict=True)
        return not paths.isdisjoint(known)

    async def _cosines(self, candidates: Sequence[int], of_kind: NDArray[np.bool_] | None) -> HeaderCosines:
        if self.vector is None or not candidates:
            return NO_COSINES
        return await dense.header_cosines(
            self.connection, self.schema, self.corpus, self.vector, candidates, of_kind=of_kind
        )

    async def _chunks(
        self, evidence: Evidence, cosines: HeaderCosines, files: Sequence[int], of_kind: NDArray[np.bool_] | None
    ) -> list[ChunkRow] | None:
        corpus = self.corpus
        wanted = set(files)
        places = [(item.symbol.file_id, item.symbol.start_line) for item in evidence.named if item.file in wanted]
        spelled = {file: item for file, item in evidence.mentioned.items() if file in wanted}
        places += [(int(corpus.file_ids[file]), line) for file, item in spelled.items() for line in item.lines]
        lines = await search_store.chunks_with_lines(self.connection, self.schema, places) if places else []
        positions = corpus.chunk_positions(np.array([line.id for line in lines], dtype=np.int64)).tolist()
        by_position = {place: line for place, line in zip(positions, lines, strict=True) if place >= 0}
        best = rank.best_chunks(evidence, cosines, files, by_position, of_kind)
        ids = corpus.chunk_ids(np.array([best[file] for file in files], dtype=np.int64)).tolist()
        rows = await search_store.chunks_by_id(self.connection, ids)
        if len(rows) < len(ids):
            return None
        named = evidence.named
        shown = [definitions.under_the_asked_name(named, file, rows[i]) for file, i in zip(files, ids, strict=True)]
        if self.request.kind is None:
            return shown
        owners = corpus.file_ids[list(files)].tolist()
        kind = kinds.kind_name(self.request.kind)
        return await kinds.called_by_kind(self.connection, kind, evidence.query, shown, owners)


def _score(
    corpus: Corpus,
    query: Query,
    postings: Sequence[tuple[str, bytes, bytes]],
    allowed: NDArray[np.bool_] | None,
    of_kind: NDArray[np.bool_] | None,
) -> tuple[lexical.LexicalScores, NDArray[np.float64]]:
    shares = stems.explained_share(corpus.stems, query)
    if allowed is not None:
        shares = np.where(allowed, shares, 0.0)
    return lexical.score_chunks(corpus, postings, query.weights, allowed, of_kind), shares


def once_per_path(corpus: Corpus, ranked: Sequence[RankedFile]) -> list[RankedFile]:
    """Repositories may lie within one another: the same file counts once, where it ranks best."""
    by_place: dict[tuple[str | None, str], RankedFile] = {}
    for item in ranked:
        by_place.setdefault(corpus.place(item.file), item)
    return list(by_place.values())


async def _answer(
    request: SearchRequest,
    coverage: Coverage,
    corpus: Corpus,
    found: Found,
    *,
    warnings: Sequence[str],
) -> SearchAnswer:
    paths = [corpus.absolute_path(item.file) for item in found.files]
    shown = snippets.fit(found.chunks, paths, found.query, request.max_tokens)
    hits = [
        hit_of(corpus, item, path, chunk, snippet, own=request.host)
        for item, path, chunk, snippet in zip(found.files, paths, found.chunks, shown, strict=False)
    ]
    return SearchAnswer(
        results=hits,
        total_count=found.candidate_count,
        next_offset=_next_offset(request.offset + len(hits), found),
        truncated=len(shown) < len(found.files) or any(snippet.form != "full" for snippet in shown),
        freshness=await freshness_of(coverage),
        warnings=list(warnings),
        latency_ms=0.0,
        explanation=[explained(item.parts) for item in found.files[: len(hits)]] if request.explain else None,
    )


def hit_of(
    corpus: Corpus, item: RankedFile, path: str, chunk: ChunkRow, snippet: snippets.Snippet, *, own: Host | None
) -> SearchHit:
    return SearchHit(
        file_path=path,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        symbol=chunk.symbol,
        kind=chunk.kind,
        language=str(corpus.languages[item.file]),
        content=snippet.content,
        content_form=snippet.form,
        content_start_line=snippet.start_line,
        score=item.score,
        repository=corpus.repository(item.file).name,
        host=corpus.host_of(item.file, own),
    )


def _next_offset(after: int, found: Found) -> int | None:
    """Counts what is shown: a hit that the budget left out comes first on the next page."""
    return after if found.files and after < found.candidate_count else None
