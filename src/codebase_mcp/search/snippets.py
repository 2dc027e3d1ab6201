"""Fits the texts of an answer into a token budget: best lines instead of all, then one line, then only the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from codebase_mcp.indexing.terms import content_terms
from codebase_mcp.search.models import ContentForm
from codebase_mcp.search.query import Query
from codebase_mcp.storage.search_store import ChunkRow

CHARACTERS_PER_TOKEN = 3.5
PLACE_CHARACTERS = 60
"""What a hit costs in a text answer besides path and text: its lines, kind and symbol."""
BEST_LINES = 12
LINE_CHARACTERS = 300
_NOT_A_SIGNATURE = re.compile(r"\s*(?:$|#|//|/\*|\*|--|;|@|\"\"\"|''')")


@dataclass(frozen=True, slots=True)
class Snippet:
    """Text of a hit; `start_line` is the line of the file at which it starts."""

    content: str
    form: ContentForm
    start_line: int


def fit(chunks: Sequence[ChunkRow], paths: Sequence[str], query: Query, max_tokens: int) -> list[Snippet]:
    """One snippet for each chunk, best first, within `max_tokens`.

    Over the budget the last hits shrink first, and all of them to one form before any to the next. When not even the
    places fit, the last hits are left out.
    """
    snippets = [Snippet(chunk.content, "full", chunk.start_line) for chunk in chunks]
    room = max_tokens * CHARACTERS_PER_TOKEN - sum(PLACE_CHARACTERS + len(path) for path in paths)
    excess = sum(len(snippet.content) for snippet in snippets) - room
    for shrink in (best_lines, signature, location):
        for place in range(len(snippets) - 1, -1, -1):
            if excess <= 0:
                return snippets
            shrunk = shrink(chunks[place], query)
            if len(shrunk.content) < len(snippets[place].content) or not shrunk.content:
                excess -= len(snippets[place].content) - len(shrunk.content)
                snippets[place] = shrunk
    while excess > 0 and len(snippets) > 1:
        excess -= PLACE_CHARACTERS + len(paths[len(snippets) - 1])
        snippets.pop()
    return snippets


def best_lines(chunk: ChunkRow, query: Query) -> Snippet:
    """The run of a dozen lines in which most of the query occurs."""
    lines = chunk.content.split("\n")
    values = [sum(query.weights.get(term, 0.0) for term in content_terms(line)) for line in lines]
    sums = np.convolve(values, np.ones(min(BEST_LINES, len(lines))), mode="valid")
    first = int(np.argmax(sums))
    return _shown(chunk, lines, first, first + BEST_LINES, "lines")


def signature(chunk: ChunkRow, _query: Query) -> Snippet:
    """The line that names the chunk's symbol, else the first that is not blank, comment or decorator."""
    lines = chunk.content.split("\n")
    name = re.split(r"\W+", chunk.symbol)[-1] if chunk.symbol else ""
    is_named = re.compile(rf"\b{re.escape(name)}\b").search if name else lambda _line: None
    place = _first(lines, lambda line: is_named(line) is not None and not _NOT_A_SIGNATURE.match(line))
    place = _first(lines, lambda line: not _NOT_A_SIGNATURE.match(line)) if place is None else place
    return _shown(chunk, lines, place or 0, (place or 0) + 1, "signature")


def location(chunk: ChunkRow, _query: Query) -> Snippet:
    """No text at all."""
    return Snippet("", "location", chunk.start_line)


def _first(lines: Sequence[str], is_wanted: Callable[[str], bool]) -> int | None:
    return next((place for place, line in enumerate(lines) if is_wanted(line)), None)


def _shown(chunk: ChunkRow, lines: Sequence[str], first: int, last: int, form: ContentForm) -> Snippet:
    return Snippet("\n".join(_short(line) for line in lines[first:last]), form, chunk.start_line + first)


def _short(line: str) -> str:
    return line if len(line) <= LINE_CHARACTERS else line[:LINE_CHARACTERS] + "…"
