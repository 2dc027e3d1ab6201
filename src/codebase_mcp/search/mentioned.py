"""Files that a query names by their paths, with line numbers if it gives them: `src/shop/cart.py:120`, stack traces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

MOST_MENTIONS = 50
_PATH = re.compile(
    r"(?<![\w./\\@+~-])(?P<path>[\w./\\@+~-]*[\w+-]\.[A-Za-z]\w{0,9})(?![\w/\\]|\.\w)"
    r"(?:(?::|\((?=\d)|\"?[,:]? ?line )(?P<line>\d{1,7}))?"
)
_SEPARATOR = re.compile(r"[/\\]+")


@dataclass(frozen=True, slots=True)
class Mention:
    """`parts` are the lower-case directories and the name, the name last; `line` is 0 where none is given."""

    parts: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class MentionedFile:
    """`share` is 1 for the file that shares most of a path with the query, less for others of its name."""

    share: float
    lines: tuple[int, ...]


def mentions(text: str) -> list[Mention]:
    """The paths in a text; a name without directories counts, a dotted name without an extension's looks does not."""
    found = (_mention(match) for match in _PATH.finditer(text))
    return list(dict.fromkeys(item for item in found if item.parts))[:MOST_MENTIONS]


def _mention(match: re.Match[str]) -> Mention:
    return Mention(_parts(match["path"]), int(match["line"] or 0))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in _SEPARATOR.split(path.lower()) if part not in {"", ".", ".."})


def mentioned_files(asked: Sequence[Mention], paths: Sequence[str]) -> dict[int, MentionedFile]:
    """Positions of the files with the name that ends a mentioned path, by how many directories they share with it."""
    names = tuple({item.parts[-1] for item in asked})
    if not names:
        return {}
    by_name: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for place, path in enumerate(paths):
        if path.lower().endswith(names):
            parts = _parts(path)
            by_name[parts[-1]].append((place, parts))
    shares: dict[int, float] = {}
    lines: dict[int, list[int]] = defaultdict(list)
    for item in asked:
        shared = {place: _shared(item.parts, parts) for place, parts in by_name[item.parts[-1]]}
        most = max(shared.values(), default=0)
        for place, count in shared.items():
            shares[place] = max(shares.get(place, 0.0), count / most)
            if count == most and item.line:
                lines[place].append(item.line)
    return {place: MentionedFile(share, tuple(lines[place])) for place, share in shares.items()}


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many parts two paths share, from the name upwards."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
