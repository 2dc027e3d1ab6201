"""The filter by kind: which chunks are of a kind, and what such a chunk is called in an answer.

A chunk is of a kind when it was cut as such (a function, a class, a section of prose) or when a definition of that
kind begins in it: small functions share one chunk, and small methods lie in the chunk of their class.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.complaints import unknown_value
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.indexing.chunk_names import CHUNK_KIND_OF, CHUNK_KINDS
from codebase_mcp.indexing.terms import word_terms
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.search.definitions import Named
from codebase_mcp.search.query import Query
from codebase_mcp.storage import symbol_store
from codebase_mcp.storage.search_store import ChunkRow
from codebase_mcp.storage.symbol_store import DefinitionRow, Kinds

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.projects import Repository

DEFINITION_KINDS = frozenset({*CHUNK_KIND_OF, "variable", "constant"})
KNOWN_KINDS = tuple(sorted(CHUNK_KINDS | DEFINITION_KINDS))
KEPT_CORPORA = 4
_LONGEST_FILE = np.int64(2**31)


def kind_name(kind: str, known: Sequence[str] = KNOWN_KINDS) -> str:
    """The kind of that name; InvalidInputError with the known ones when there is none."""
    word = kind.strip().lower()
    if word in known:
        return word
    raise InvalidInputError(unknown_value("kind", kind, known))


def definition_kinds(kind: str) -> frozenset[str]:
    """The kinds of definitions that count as this one: a class is any type, a method any constructor as well."""
    return frozenset(own for own, chunk_kind in CHUNK_KIND_OF.items() if chunk_kind == kind) or frozenset({kind})


@dataclass(frozen=True, slots=True)
class KindIndex:
    """The chunks of a corpus by kind: `own` is what each was cut as, `defining` has those where definitions begin."""

    own: NDArray[np.str_]
    defining: dict[str, NDArray[np.int64]]

    def chunks_of(self, kind: str) -> NDArray[np.bool_]:
        """Which chunks are of this kind, by position."""
        mask: NDArray[np.bool_] = np.asarray(self.own == kind)
        for one in definition_kinds(kind):
            mask[self.defining.get(one, [])] = True
        return mask


def build_kind_index(corpus: Corpus, chunks: Kinds, definitions: Kinds) -> KindIndex:
    """Find for each definition the chunk in which it begins: the last of its file that starts no later."""
    own = np.zeros(corpus.chunk_count, dtype=chunks.kinds.dtype if len(chunks.kinds) else np.dtype("U1"))
    keys = np.zeros(corpus.chunk_count, dtype=np.int64)
    places = corpus.chunk_positions(chunks.ids)
    is_live = places >= 0
    own[places[is_live]] = chunks.kinds[is_live]
    keys[places[is_live]] = chunks.start_lines[is_live]
    keys += corpus.file_of_chunk * _LONGEST_FILE
    files = corpus.file_positions(definitions.ids)
    is_known = files >= 0
    wanted = files[is_known] * _LONGEST_FILE + definitions.start_lines[is_known]
    begins_in = np.searchsorted(keys, wanted, side="right") - 1
    kinds = definitions.kinds[is_known]
    return KindIndex(own, {str(kind): np.unique(begins_in[kinds == kind]) for kind in np.unique(kinds)})


class KindCatalogue:
    """Keeps the kind indexes of the corpora searched by kind lately."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, tuple[Repository, ...]], KindIndex] = OrderedDict()

    async def index(self, connection: AsyncConnection, schema: str, corpus: Corpus) -> KindIndex:
        key = (schema, corpus.repositories)
        if key not in self._kept:
            ids = [repository.id for repository in corpus.repositories]
            chunks = await symbol_store.chunk_kinds(connection, schema, ids)
            definitions = await symbol_store.definition_kinds(connection, schema, ids)
            self._kept[key] = await asyncio.to_thread(build_kind_index, corpus, chunks, definitions)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_CORPORA:
            self._kept.popitem(last=False)
        return self._kept[key]


def of_that_kind(named: Sequence[Named], kind: str) -> list[Named]:
    """Those of the definitions that count as this kind; all of them for a kind that no definition has."""
    wanted = definition_kinds(kind)
    return [item for item in named if item.symbol.kind in wanted or wanted.isdisjoint(DEFINITION_KINDS)]


async def called_by_kind(
    connection: AsyncConnection, kind: str, query: Query, chunks: Sequence[ChunkRow], file_ids: Sequence[int]
) -> list[ChunkRow]:
    """The chunks, each with the kind that was asked for and called by a definition of that kind that begins in it."""
    others = [file_id for file_id, chunk in zip(file_ids, chunks, strict=True) if chunk.kind != kind]
    if not others:
        return list(chunks)
    found = await symbol_store.definitions_of_files(connection, others, definition_kinds(kind))
    return [
        chunk if chunk.kind == kind else _called(chunk, kind, query, [row for row in found if row.file_id == file_id])
        for file_id, chunk in zip(file_ids, chunks, strict=True)
    ]


def _called(chunk: ChunkRow, kind: str, query: Query, definitions: Sequence[DefinitionRow]) -> ChunkRow:
    inside = [row for row in definitions if chunk.start_line <= row.start_line <= chunk.end_line]
    if not inside:
        return chunk
    best = max(inside, key=lambda row: (_share(row, query), -row.start_line))
    symbol = best.name if best.parent is None or best.kind == "section" else f"{best.parent}.{best.name}"
    return chunk._replace(kind=kind, symbol=symbol)


def _share(row: DefinitionRow, query: Query) -> float:
    is_asked = row.name in query.identifiers
    return is_asked + sum(query.weights.get(term, 0.0) for term in word_terms(row.name))
