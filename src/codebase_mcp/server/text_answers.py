"""Answers of the search tools as plain text: a line for each hit, the code as it is, then only what must be known.

Lines that are not indexed text begin with a marker of equals signs and a space, `=== `. The first line of an answer
shows the marker. It is as long as it takes for no line of the indexed text to begin with it, so that no file can fake a
hit or a note; names and paths are escaped, so that none can begin a line of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from codebase_mcp.domain import NO_HOST
from codebase_mcp.server.freshness_notes import freshness_notes
from codebase_mcp.visible_text import INVISIBLE

if TYPE_CHECKING:
    from codebase_mcp.search.models import (
        RelatedAnswer,
        RepositoryFreshness,
        SearchAnswer,
        SearchHit,
        SymbolAnswer,
        SymbolHit,
    )

SHORTEST_MARKER = 3
NEARBY_LINES = 3
"""Definitions of a file with at most so many lines between them are one place."""

_LIKE_A_MARKER = re.compile(f"[\\s{INVISIBLE}]*(={{3,}})[\\s{INVISIBLE}]")
_INEXACT = {
    "prefix": "no definition of exactly that name; these begin with it",
    "fuzzy": "no definition of that name; these are spelt most like it",
}


def _refresh_this_call(_stale: object) -> str:
    return "require_fresh=true updates it first"


def _refresh_by_search(_stale: object) -> str:
    return "search_code with require_fresh=true updates it"


def render_search(answer: SearchAnswer) -> str:
    """The hits, best first, and the offset that continues them."""
    roots = _Roots(answer.results, answer.freshness)
    parts = [*roots.parts(), *_hits(answer.results, roots, answer.explanation)]
    more = [] if answer.next_offset is None else [f"more: offset={answer.next_offset}"]
    return _written([*parts, *_notes(answer, [*more, *freshness_notes(answer.freshness, _refresh_this_call)])])


def render_related(answer: RelatedAnswer) -> str:
    """What was asked about, and the hits, best first."""
    roots = _Roots([answer.origin, *answer.results], answer.freshness)
    origin = answer.origin
    place = f"{roots.path_of(origin)}:{_range(origin.start_line, origin.end_line)}"
    parts = [*roots.parts(), _Part(f"related to {place} {_called(origin.kind, origin.symbol)}")]
    parts += _hits(answer.results, roots)
    return _written([*parts, *_notes(answer, freshness_notes(answer.freshness, _refresh_by_search))])


def render_symbols(answer: SymbolAnswer) -> str:
    """The definitions, best first; those that lie together, or share a name in one file, under one line."""
    roots = _Roots(answer.results, answer.freshness)
    inexact = _INEXACT.get(answer.results[0].match) if answer.results else None
    parts = [*roots.parts(), *([_Part(inexact)] if inexact else [])]
    parts += [_definitions(group, roots) for group in _by_place(answer.results)]
    hidden = answer.total_count - len(answer.results)
    more = [f"{hidden:,} more: raise limit, or narrow by kind, language or path_glob"] if hidden > 0 else []
    return _written([*parts, *_notes(answer, [*more, *freshness_notes(answer.freshness, _refresh_by_search)])])


class _Part(NamedTuple):
    """One line of ours, and the indexed text below it."""

    line: str
    text: str = ""


def _written(parts: Sequence[_Part]) -> str:
    marker = _marker(part.text for part in parts)
    return "\n".join(f"{marker} {_one_line(part.line)}" + (f"\n{part.text}\n" if part.text else "") for part in parts)


def _marker(texts: Iterable[str]) -> str:
    """The shortest that begins no line of the texts. Lines end wherever a reader may see them end."""
    lines = itertools.chain.from_iterable(text.splitlines() for text in texts)
    taken = {len(found[1]) for line in lines if (found := _LIKE_A_MARKER.match(line))}
    return "=" * next(length for length in itertools.count(SHORTEST_MARKER) if length not in taken)


def _one_line(text: str) -> str:
    """Line ends, control characters and what turns the direction of writing are shown as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


class _Placed(Protocol):
    @property
    def file_path(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def host(self) -> str | None: ...


class _Root(NamedTuple):
    name: str
    path: str
    host: str | None


class _Roots:
    """Paths below the roots of their repositories, with the repository's name when there are several.

    A file without a known root, or of a repository that shares its name with another, keeps its absolute path.
    """

    def __init__(self, items: Sequence[_Placed], freshness: Sequence[RepositoryFreshness]) -> None:
        self._freshness = freshness
        found = dict.fromkeys(root for item in items if (root := self._root_of(item)))
        names = [root.name for root in found]
        self._is_single = len(found) == 1
        self._shown = [root for root in found if names.count(root.name) == 1]

    def parts(self) -> list[_Part]:
        if self._is_single:
            return [_Part(f"root: {root.path}{_elsewhere(root.host)}") for root in self._shown]
        return [_Part(f"{root.name}: {root.path}{_elsewhere(root.host)}") for root in self._shown]

    def path_of(self, item: _Placed) -> str:
        root = self._root_of(item)
        if root not in self._shown:
            return f"{item.file_path}{_elsewhere(item.host)}"
        below = item.file_path[len(root.path.rstrip("/")) + 1 :]
        return below if self._is_single else f"{root.name}: {below}"

    def _root_of(self, item: _Placed) -> _Root | None:
        own = (item.repository, item.host)
        roots = [one.path for one in self._freshness if (one.repository, one.host) == own]
        around = [path for path in roots if item.file_path.startswith(path.rstrip("/") + "/")]
        return _Root(item.repository, max(around, key=len), item.host) if around else None


def _elsewhere(host: str | None) -> str:
    """Behind a path that is not on this host."""
    return "" if host is None else f" (on {host if host == NO_HOST else f'host {host}'}, not on this one)"


def _hits(
    hits: Sequence[SearchHit], roots: _Roots, explanation: Sequence[Mapping[str, float]] | None = None
) -> list[_Part]:
    """A line for each hit and its text. Of copies of one text, as in two checkouts, only the lines are repeated."""
    copies: dict[str, list[str]] = {}
    for number, (hit, signals) in enumerate(zip(hits, explanation or [{}] * len(hits), strict=True)):
        lines = copies.setdefault(_identity(hit, number), [])
        place = f"{roots.path_of(hit)}:{_shown_range(hit)}"
        lines.append(f"also {place}" if lines else f"{place} {_called(hit.kind, hit.symbol)}")
        lines += [_explained(hit.score, signals)] if signals else []
    texts = {_identity(hit, number): hit.content for number, hit in enumerate(hits)}
    return [part for key, lines in copies.items() for part in _with_text(lines, texts[key])]


def _identity(hit: SearchHit, number: int) -> str:
    """The same for hits that show the same whole chunk; of shorter texts, equal ones may mean different things."""
    return f"text {hit.content.rstrip()}" if hit.content_form == "full" else f"hit {number}"


def _with_text(lines: Sequence[str], text: str) -> list[_Part]:
    return [*(_Part(line) for line in lines[:-1]), _Part(lines[-1], text.replace("\r\n", "\n").rstrip())]


def _shown_range(hit: SearchHit) -> str:
    whole = _range(hit.start_line, hit.end_line)
    if hit.content_form in ("full", "location"):
        return whole
    last = hit.content_start_line + hit.content.count("\n")
    return f"{_range(hit.content_start_line, last)} of {whole}"


def _range(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"


def _called(kind: str, name: str | None) -> str:
    return f"{kind} {name}" if name else kind


def _explained(score: float, signals: Mapping[str, float]) -> str:
    return f"{score:.2f} = " + ", ".join(f"{name} {value:+.2f}" for name, value in signals.items())


def _by_place(hits: Sequence[SymbolHit]) -> list[list[SymbolHit]]:
    """The definitions in groups, a group where its best one is."""
    groups: list[list[SymbolHit]] = []
    for hit in hits:
        group = next((group for group in groups if any(_is_one_place(hit, other) for other in group)), None)
        if group is None:
            groups.append([hit])
        else:
            group.append(hit)
    return groups


def _is_one_place(one: SymbolHit, other: SymbolHit) -> bool:
    if (one.file_path, one.host) != (other.file_path, other.host):
        return False
    between = max(one.start_line, other.start_line) - min(one.end_line, other.end_line) - 1
    return between <= NEARBY_LINES or _definition_name(one) == _definition_name(other)


def _definitions(group: Sequence[SymbolHit], roots: _Roots) -> _Part:
    """The ranges of each name in one line, and below it the signatures in the same order."""
    by_name: dict[str, list[SymbolHit]] = {}
    for hit in group:
        by_name.setdefault(_definition_name(hit), []).append(hit)
    places = [
        f"{','.join(_range(hit.start_line, hit.end_line) for hit in hits)} {name}" for name, hits in by_name.items()
    ]
    signatures = [hit.signature.strip() for hits in by_name.values() for hit in hits if hit.signature]
    return _Part(f"{roots.path_of(group[0])}:{', '.join(places)}", "\n".join(signatures))


def _definition_name(hit: SymbolHit) -> str:
    kind = f"{hit.kind} declaration" if hit.is_declaration else hit.kind
    return f"{kind} {hit.qualified_name or hit.name}"


def _notes(answer: SearchAnswer | RelatedAnswer | SymbolAnswer, more: Sequence[str]) -> list[_Part]:
    """What must be known beside the hits."""
    nothing = [] if answer.results else ["nothing found"]
    cut = ["cut to fit max_tokens: raise it to see more"] if answer.truncated else []
    return [_Part(note) for note in (*nothing, *answer.warnings, *cut, *more)]
