"""What the symbols table says about the identifiers of a query: where each is defined, and how much that counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from codebase_mcp.indexing.terms import fold_name
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.search.query import Query
from codebase_mcp.storage.search_store import ChunkRow, SymbolRow

TYPE_KINDS = frozenset({"class", "struct", "interface", "trait", "enum", "type", "module"})
FUNCTION_KINDS = frozenset({"function", "method", "constructor", "macro"})
# A heading names a topic and an extension reopens what is defined elsewhere: neither is the thing itself.
_NEVER_MAIN = frozenset({"extension", "section"})
MAX_MAIN_DEFINITIONS = 2.0


@dataclass(frozen=True, slots=True)
class Named:
    """A definition whose name an identifier of the query spells, exactly or but for case and underscores."""

    file: int
    identifier: str
    is_exact: bool
    symbol: SymbolRow


def named_definitions(corpus: Corpus, query: Query, rows: Sequence[SymbolRow]) -> list[Named]:
    """Pair each definition with the identifier of the query that it answers; files not in the corpus are left out."""
    identifiers: dict[str, list[str]] = defaultdict(list)
    for identifier in query.identifiers:
        identifiers[fold_name(identifier)].append(identifier)
    positions = corpus.file_positions([row.file_id for row in rows]).tolist()
    return [
        Named(file, identifier, row.name == identifier, row)
        for row, file in zip(rows, positions, strict=True)
        if file >= 0 and row.kind != "section"
        for identifier in identifiers[row.folded_name]
    ]


def main_definitions(named: Sequence[Named]) -> dict[int, float]:
    """For each file, how many of the identifiers have their main definition there, at most 2."""
    votes: dict[int, float] = defaultdict(float)
    by_identifier: dict[str, list[Named]] = defaultdict(list)
    for item in named:
        if not item.symbol.is_declaration and item.symbol.kind not in _NEVER_MAIN:
            by_identifier[item.symbol.folded_name].append(item)
    for items in by_identifier.values():
        votes[min(items, key=_main_order).file] += 1.0
    return {file: min(count, MAX_MAIN_DEFINITIONS) for file, count in votes.items()}


def _main_order(item: Named) -> tuple[bool, bool, int, int, int]:
    symbol = item.symbol
    length = symbol.end_line - symbol.start_line
    return (not item.is_exact, symbol.kind not in TYPE_KINDS, symbol.depth, -length, item.file)


def single_word_values(query: Query, named: Sequence[Named]) -> dict[int, float]:
    """For a query of one word: how strongly each file defines it, from 0 to 1. Empty for sentences."""
    values: dict[int, float] = {}
    if query.is_single_word:
        for item in named:
            values[item.file] = max(_definition_value(item), values.get(item.file, 0.0))
    return values


def _definition_value(item: Named) -> float:
    value = _kind_value(item.symbol)
    if item.symbol.depth > 0:
        value *= 0.7
    return value if item.is_exact else value * 0.8


def _kind_value(symbol: SymbolRow) -> float:
    if symbol.is_declaration or symbol.kind in _NEVER_MAIN:
        return 0.5
    if symbol.kind in TYPE_KINDS:
        return 1.0
    return 0.9 if symbol.kind in FUNCTION_KINDS else 0.5


def as_spelled(named: Sequence[Named]) -> list[Named]:
    """Those that spell their identifier exactly, and all of an identifier that nothing spells exactly."""
    exact = {item.identifier for item in named if item.is_exact}
    return [item for item in named if item.is_exact or item.identifier not in exact]


def start_bonus(symbol: SymbolRow) -> float:
    """What it adds to a chunk that an asked definition starts in it."""
    if symbol.is_declaration:
        return 0.1
    return 0.8 if symbol.kind in TYPE_KINDS | FUNCTION_KINDS else 0.4


def under_the_asked_name(named: Sequence[Named], file: int, chunk: ChunkRow) -> ChunkRow:
    """The chunk, called by the definition in it that the query names: a run of small classes goes by its first one."""
    for item in as_spelled([item for item in named if item.file == file]):
        if chunk.start_line <= item.symbol.start_line <= chunk.end_line:
            own_name = (chunk.symbol or "").rpartition(".")[2]
            return chunk if own_name == item.symbol.name else chunk._replace(symbol=item.symbol.name)
    return chunk
