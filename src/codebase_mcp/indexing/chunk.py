"""One file's text into chunks that tile it, and the definitions in it.

A file is split where its syntax tree allows, top down, until each piece fits the budget; then neighbours of one level
are joined again as long as they fit. A chunk is therefore a whole function or class, a run of small siblings, or a
part of something too large, whose head stays with its first part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from tree_sitter import Node

from codebase_mcp.domain import Chunk, Definition
from codebase_mcp.indexing.chunk_names import named_chunks
from codebase_mcp.indexing.definitions import definitions_in
from codebase_mcp.indexing.languages import Language
from codebase_mcp.indexing.prose import sections_in
from codebase_mcp.indexing.syntax import SyntaxTree, belongs_to_next, last_row_of, parse_text

CHUNKER_VERSION = "3"

BUDGET = 1_200
"""Most non-blank characters of a chunk; a blank line counts as one."""

_LONGEST_HEAD = BUDGET // 2
_CRUMB = 200
"""A piece this small in which nothing is defined (closing brackets, a stray statement) joins a neighbour."""
_BUDGET_WITH_CRUMBS = BUDGET + 2 * _CRUMB


@dataclass(frozen=True, slots=True)
class ParsedText:
    """What one file consists of. `parser_gave_up` says that it was cut as text although its language has a grammar."""

    chunks: tuple[Chunk, ...]
    definitions: tuple[Definition, ...]
    parser_gave_up: bool = False


@dataclass(frozen=True, slots=True)
class _Lines:
    """Row `i` is `rows[i]`, its line feed included. Rows end at line feeds and nowhere else."""

    rows: tuple[str, ...]
    weights: tuple[int, ...]

    def weight(self, first: int, end: int) -> int:
        return self.weights[end] - self.weights[first]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows `first` to `end` (exclusive). Pieces of one group are siblings; `nodes` are what one can be split into."""

    first: int
    end: int
    group: int
    nodes: tuple[Node, ...] = ()


def chunk_file(text: str, language: Language, *, as_text: bool = False) -> ParsedText:
    """Split a text into chunks and find its definitions; the same text always gives the same answer.

    Prose is cut at its headings. A language without a grammar, and a text in which the grammar gets lost, is cut at
    blank lines; with `as_text`, any text.
    """
    lines = _lines(text)
    if not lines.rows:
        return ParsedText((), ())
    tree = parse_text(text, language.grammar) if language.grammar and not as_text else None
    if tree is not None:
        definitions = definitions_in(tree)
        pieces = _split(tree, lines, definitions)
    else:
        definitions = sections_in(lines.rows, language.name)
        pieces = _split_prose(lines, definitions)
    joined = _without_crumbs(_joined(pieces, lines), lines, definitions)
    contents = ["".join(lines.rows[piece.first : piece.end]) for piece in joined]
    chunks = named_chunks(contents, definitions, language, is_parsed=tree is not None)
    return ParsedText(chunks, definitions, parser_gave_up=tree is None and language.grammar is not None)


def _lines(text: str) -> _Lines:
    rows = [row + "\n" for row in text.split("\n")]
    last = rows.pop()[:-1]
    if last:
        rows.append(last)
    weights = accumulate((len("".join(row.split())) or 1 for row in rows), initial=0)
    return _Lines(tuple(rows), tuple(weights))


def _split(tree: SyntaxTree, lines: _Lines, definitions: Sequence[Definition]) -> Iterator[_Piece]:
    """Pieces that fit the budget, in order. A stack, not recursion: sources nest deeper than Python may."""
    last_row_by_start = {d.start_line - 1: d.end_line - 1 for d in reversed(definitions)}
    group = 0
    waiting = [_Piece(0, len(lines.rows), group, (tree.root,))]
    while waiting:
        piece = waiting.pop()
        if lines.weight(piece.first, piece.end) <= BUDGET or piece.end - piece.first == 1:
            yield piece
            continue
        group += 1
        parts = _siblings(tree, piece, group, lines)
        if not parts:
            yield from _paragraphs(piece.first, piece.end, group, lines)
            continue
        if piece.nodes[0] != tree.root:
            parts = _with_heads(parts, lines, last_row_by_start)
        waiting.extend(reversed(parts))


def _siblings(tree: SyntaxTree, piece: _Piece, group: int, lines: _Lines) -> list[_Piece]:
    """Cut a piece before each child that starts on a line of its own and does not belong to the child before it."""
    starts: list[int] = []
    members: list[list[Node]] = []
    reach, leads = piece.first - 1, False
    for child in (child for node in piece.nodes for child in tree.children(node)):
        first_row, last_row = child.start_point[0], last_row_of(child)
        opens_line = reach < first_row < piece.end
        leads_on = belongs_to_next(child)
        is_led = leads and first_row == reach + 1
        if is_led and not leads_on:
            is_led = lines.weight(starts[-1], first_row) <= _LONGEST_HEAD
        if not starts or (opens_line and not is_led):
            starts.append(first_row if starts else piece.first)
            members.append([])
        if last_row > first_row:
            members[-1].append(child)
        leads = (opens_line or leads) and leads_on
        reach = max(reach, last_row)
    spans = pairwise((*starts, piece.end))
    return [_Piece(first, end, group, tuple(nodes)) for (first, end), nodes in zip(spans, members, strict=True)]


def _with_heads(parts: list[_Piece], lines: _Lines, last_row_by_start: dict[int, int]) -> list[_Piece]:
    """Keep the head of a class or function with the large body after it, so that its first part says what it is."""
    kept: list[_Piece] = []
    for part in parts:
        head = kept[-1] if kept else None
        if head and lines.weight(head.first, part.end) > BUDGET and _is_head(head, part, lines, last_row_by_start):
            kept[-1] = replace(part, first=head.first)
        else:
            kept.append(part)
    return kept


def _is_head(head: _Piece, part: _Piece, lines: _Lines, last_row_by_start: dict[int, int]) -> bool:
    """True for the few lines before a body: of a definition, or of any block that is split anyway."""
    if lines.weight(head.first, head.end) > _LONGEST_HEAD:
        return False
    last_rows = [last_row_by_start[row] for row in range(head.first, head.end) if row in last_row_by_start]
    is_split_anyway = lines.weight(part.first, part.end) > BUDGET
    return all(last_row >= head.end for last_row in last_rows) and (bool(last_rows) or is_split_anyway)


def _split_prose(lines: _Lines, sections: Sequence[Definition]) -> Iterator[_Piece]:
    starts = dict.fromkeys((0, *(section.start_line - 1 for section in sections)))
    for group, (first, end) in enumerate(pairwise((*starts, len(lines.rows))), start=1):
        if lines.weight(first, end) <= BUDGET:
            yield _Piece(first, end, 0)
        else:
            yield from _paragraphs(first, end, group, lines)


def _paragraphs(first: int, end: int, group: int, lines: _Lines) -> Iterator[_Piece]:
    """Cut rows behind blank ones, and where the budget is reached."""
    start = row = first
    while row < end:
        if row > start and lines.rows[row - 1].isspace() and not lines.rows[row].isspace():
            yield _Piece(start, row, group)
            start = row
        elif row > start and lines.weight(start, row + 1) > BUDGET:
            cut = _shallowest_row(start, row, lines)
            yield _Piece(start, cut, group)
            start = cut
            continue
        row += 1
    yield _Piece(start, end, group)


def _shallowest_row(start: int, last: int, lines: _Lines) -> int:
    """The least indented row of the second half, the last of several: there a new item is most likely to begin."""
    candidates = range(last, (start + last) // 2, -1)
    return min(candidates, key=lambda row: len(lines.rows[row]) - len(lines.rows[row].lstrip()))


def _joined(pieces: Iterable[_Piece], lines: _Lines) -> list[_Piece]:
    """Join neighbouring siblings as long as they fit the budget together."""
    joined: list[_Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last and last.group == piece.group and lines.weight(last.first, piece.end) <= BUDGET:
            joined[-1] = replace(last, end=piece.end)
        else:
            joined.append(piece)
    return joined


def _without_crumbs(pieces: Sequence[_Piece], lines: _Lines, definitions: Sequence[Definition]) -> list[_Piece]:
    """Join each crumb to the piece before it, the first one to the piece after it."""
    defining_rows = {definition.start_line - 1 for definition in definitions}
    kept: list[_Piece] = []
    first_is_crumb = False
    for piece in pieces:
        is_crumb = _is_crumb(piece, lines, defining_rows)
        fits = bool(kept) and lines.weight(kept[-1].first, piece.end) <= _BUDGET_WITH_CRUMBS
        if fits and (is_crumb or (first_is_crumb and len(kept) == 1)):
            kept[-1] = replace(kept[-1], end=piece.end)
            first_is_crumb = first_is_crumb and is_crumb
        else:
            first_is_crumb = not kept and is_crumb
            kept.append(piece)
    return kept


def _is_crumb(piece: _Piece, lines: _Lines, defining_rows: set[int]) -> bool:
    if lines.weight(piece.first, piece.end) > _CRUMB:
        return False
    return defining_rows.isdisjoint(range(piece.first, piece.end))
