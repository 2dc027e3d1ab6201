"""Find a definition by its name: exact, but for case and underscores, by prefix, and the nearest of a misspelt one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.indexing.terms import fold_name
from codebase_mcp.search import scope, snippets, spelling, symbol_names
from codebase_mcp.search.catalogue import Catalogue, Corpus
from codebase_mcp.search.coverage import coverage_of, freshness_of, nothing_indexed
from codebase_mcp.search.kinds import DEFINITION_KINDS, definition_kinds, kind_name
from codebase_mcp.search.models import SearchRequest, SymbolAnswer, SymbolHit, SymbolMatch
from codebase_mcp.search.query import analyse
from codebase_mcp.search.spelling import Vocabulary
from codebase_mcp.search.symbol_names import AskedName, asked_name
from codebase_mcp.storage import search_store, symbol_store, tables
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.search_store import ChunkRow
from codebase_mcp.storage.symbol_store import DefinitionRow, Which

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import Embedder
    from codebase_mcp.storage.projects import Repository

LEAST_PREFIX = 2
SUGGESTIONS = 5
KEPT_VOCABULARIES = 8
SIGNATURE_WITHIN = 30
"""Lines from the first decorator or comment of a definition in which its name must come."""


@dataclass(frozen=True, slots=True)
class Matched:
    match: SymbolMatch
    file: int
    row: DefinitionRow


class SymbolService:
    """Finds definitions by name. Keeps the names of the repositories in which one was misspelt lately."""

    def __init__(self, database: Database, embedder: Embedder, catalogue: Catalogue) -> None:
        self._database = database
        self._embedder = embedder
        self._catalogue = catalogue
        self._vocabularies: OrderedDict[tuple[str, tuple[Repository, ...]], Vocabulary] = OrderedDict()

    async def find(self, request: SearchRequest) -> SymbolAnswer:
        """The definitions of the name that the request has for a query."""
        started = time.perf_counter()
        asked = check(request)
        schema = tables.schema_name(request.project_id)
        async with self._database.snapshot("search", schema) as connection:
            coverage = await coverage_of(connection, schema, request, self._embedder.identity)
            corpus = await self._catalogue.corpus(connection, schema, coverage.repositories)
            finding = _Finding(connection, schema, corpus, request, asked, self)
            matched, warnings = await finding.matched()
            chunks = await finding.signatures(matched[: request.limit])
        answer = _answer(request, corpus, matched, chunks)
        seconds = time.perf_counter() - started
        fresh = await freshness_of(coverage)
        warnings = [
            *coverage.notes,
            *request.notes,
            *nothing_indexed(coverage, request.project_id),
            *warnings,
        ]
        return answer.model_copy(
            update={"freshness": fresh, "warnings": warnings, "latency_ms": round(seconds * 1000, 1)}
        )

    async def vocabulary(self, connection: AsyncConnection, schema: str, corpus: Corpus) -> Vocabulary:
        key = (schema, corpus.repositories)
        if key not in self._vocabularies:
            ids = [repository.id for repository in corpus.repositories]
            names = await symbol_store.folded_names(connection, schema, ids)
            self._vocabularies[key] = await asyncio.to_thread(spelling.build_vocabulary, names)
        self._vocabularies.move_to_end(key)
        while len(self._vocabularies) > KEPT_VOCABULARIES:
            self._vocabularies.popitem(last=False)
        return self._vocabularies[key]


def check(request: SearchRequest) -> AskedName:
    """The name of a request; InvalidInputError says what is wrong with it or with the rest."""
    asked = asked_name(request.query)
    scope.check_request(request)
    if request.kind is not None:
        kind_name(request.kind, tuple(sorted(DEFINITION_KINDS)))
    return asked


@dataclass(frozen=True, slots=True)
class _Finding:
    connection: AsyncConnection
    schema: str
    corpus: Corpus
    request: SearchRequest
    asked: AskedName
    service: SymbolService

    async def matched(self) -> tuple[list[Matched], list[str]]:
        """Every definition found, best first, and what is to be said when there is none."""
        filters = await asyncio.to_thread(scope.file_filters, self.corpus, self.request)
        allowed = scope.all_of(filters)
        if not self.corpus.file_count:
            return [], []
        if allowed is not None and not allowed.any():
            return [], [scope.nothing_matches(self.corpus, filters)]
        files = None if allowed is None else self.corpus.file_ids[allowed].tolist()
        which = Which(self._kinds(), files)
        found = [*await self._named(which), *await self._beginning(which)]
        return (self._sorted(found), []) if found else await self._misspelt(which)

    def _kinds(self) -> frozenset[str]:
        kind = self.request.kind
        return DEFINITION_KINDS - {"section"} if kind is None else definition_kinds(kind_name(kind))

    @property
    def _ids(self) -> list[int]:
        return [repository.id for repository in self.corpus.repositories]

    async def _named(self, which: Which) -> list[Matched]:
        names = {fold_name(self.asked.whole), self.asked.folded}
        rows = await symbol_store.definitions_named(self.connection, self._ids, sorted(names), which)
        return self._placed((self.asked.spells(row.name) or "folded", row) for row in rows)

    async def _beginning(self, which: Which) -> list[Matched]:
        if len(self.asked.folded) < LEAST_PREFIX:
            return []
        rows = await symbol_store.definitions_beginning(self.connection, self._ids, self.asked.folded, which)
        return self._placed(("prefix", row) for row in rows)

    async def _misspelt(self, which: Which) -> tuple[list[Matched], list[str]]:
        vocabulary = await self.service.vocabulary(self.connection, self.schema, self.corpus)
        alike = await asyncio.to_thread(spelling.most_alike, vocabulary, self.asked.folded)
        near = [one.name for one in alike if one.is_misspelt(self.asked.folded)]
        rows = await symbol_store.definitions_named(self.connection, self._ids, near, which) if near else []
        if found := self._placed(("fuzzy", row) for row in rows):
            return sorted(self._sorted(found), key=lambda item: near.index(item.row.folded_name)), []
        nearest = [one.name for one in alike if one.share >= spelling.SUGGESTED]
        return [], [await self._how_to_go_on(which, nearest)]

    async def _how_to_go_on(self, which: Which, nearest: Sequence[str]) -> str:
        """What to say of a name that nothing has: where else it is defined, what is spelt like it, and what to ask."""
        everywhere = Which(DEFINITION_KINDS, None)
        names = [self.asked.folded]
        if others := await symbol_store.definitions_named(self.connection, self._ids, names, everywhere):
            kinds = ", ".join(sorted({row.kind for row in others}))
            called = f"No definition of {self.asked.whole!r} passes the filters"
            return f"{called}; without them there are {len(others):,} ({kinds})."
        rows = await symbol_store.definitions_named(self.connection, self._ids, list(nearest), everywhere)
        spelt = {row.folded_name: row.name for row in rows}
        like = [spelt[name] for name in nearest if name in spelt][:SUGGESTIONS]
        hint = f" The nearest names are {', '.join(like)}." if like else ""
        return (
            f"Nothing called {self.asked.whole!r} is defined in what was searched.{hint} It may come from a library, "
            "or be made at run time: search_code finds where it is used."
        )

    def _placed(self, rows: Iterable[tuple[SymbolMatch, DefinitionRow]]) -> list[Matched]:
        pairs = list(rows)
        files = self.corpus.file_positions([row.file_id for _, row in pairs]).tolist()
        return [Matched(match, file, row) for (match, row), file in zip(pairs, files, strict=True) if file >= 0]

    def _sorted(self, found: Iterable[Matched]) -> list[Matched]:
        """Best first; a definition of a file that several repositories hold counts once."""
        once = {(self._place(item), item.row.start_line, item.row.name): item for item in found}
        return [once[key] for key in sorted(once, key=lambda key: (self._order(once[key]), key))]

    def _place(self, item: Matched) -> tuple[str, str]:
        host_id, path = self.corpus.place(item.file)
        return path, host_id or ""

    def _order(self, item: Matched) -> tuple[int, ...]:
        owner = symbol_names.owner_value(self.asked, item.row, self.corpus.paths[item.file])
        return symbol_names.order(item.match, owner, item.row, str(self.corpus.roles[item.file]))

    async def signatures(self, matched: Sequence[Matched]) -> list[ChunkRow]:
        """For each definition its first lines, as a chunk of their own."""
        if not matched:
            return []
        places = [(item.row.file_id, item.row.start_line) for item in matched]
        lines = await search_store.chunks_with_lines(self.connection, self.schema, places)
        rows = await search_store.chunks_by_id(self.connection, [line.id for line in lines])
        positions = self.corpus.chunk_positions(np.array([line.id for line in lines], dtype=np.int64)).tolist()
        owners = [int(self.corpus.file_of_chunk[place]) for place in positions]
        return [
            _first_lines(
                item.row, [rows[line.id] for line, file in zip(lines, owners, strict=True) if file == item.file]
            )
            for item in matched
        ]


def _first_lines(row: DefinitionRow, chunks: Sequence[ChunkRow]) -> ChunkRow:
    chunk = next((one for one in chunks if one.start_line <= row.start_line <= one.end_line), None)
    text = "" if chunk is None else chunk.content
    first = 0 if chunk is None else row.start_line - chunk.start_line
    end = min(row.end_line - row.start_line + 1, SIGNATURE_WITHIN)
    lines = "\n".join(text.split("\n")[first : first + end])
    whole = ChunkRow(0, row.start_line, row.end_line, row.kind, row.name, lines)
    shown = snippets.signature(whole, analyse(""))
    return whole._replace(content=shown.content.strip())


def _answer(
    request: SearchRequest, corpus: Corpus, matched: Sequence[Matched], chunks: Sequence[ChunkRow]
) -> SymbolAnswer:
    asked = matched[: request.limit]
    paths = [corpus.absolute_path(item.file) for item in asked]
    shown = snippets.fit(chunks, paths, analyse(request.query), request.max_tokens)
    return SymbolAnswer(
        results=[
            _hit(request, corpus, item, path, snippet.content or None)
            for item, path, snippet in zip(asked, paths, shown, strict=False)
        ],
        total_count=len(matched),
        truncated=len(shown) < len(asked) or any(snippet.form == "location" for snippet in shown),
        freshness=[],
        warnings=[],
        latency_ms=0.0,
    )


def _hit(request: SearchRequest, corpus: Corpus, item: Matched, path: str, signature: str | None) -> SymbolHit:
    row, language = item.row, str(corpus.languages[item.file])
    return SymbolHit(
        name=row.name,
        qualified_name=symbol_names.qualified(row, language),
        match=item.match,
        kind=row.kind,
        file_path=path,
        start_line=row.start_line,
        end_line=row.end_line,
        depth=row.depth,
        is_declaration=row.is_declaration,
        signature=signature,
        language=language,
        repository=corpus.repository(item.file).name,
        host=corpus.host_of(item.file, request.host),
    )
