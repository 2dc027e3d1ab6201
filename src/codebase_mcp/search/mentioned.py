"""Files that a query names by their paths, with line numbers if it gives them: `src/shop/cart.py:120`, stack traces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from codebase_mcp.indexing.terms import file_stem_terms
from codebase_mcp.search.stems import StemIndex, files_with

MOST_MENTIONS = 50
_PATH = re.compile(
    r"(?<![\w./\\@+~-])(?P<path>[\w./\\@+~-]*[\w+-]\.[A-Za-z]\w{0,9})(?![\w/\\]|\.\w)"
    r"(?:(?::|\((?=\d)|\"?[,:]? ?line )(?P<line>\d{1,7}))?"
)
_SEPARATOR = re.compile(r"[/\\]+")


@dataclass(frozen=True, slots=True)
class Mention:
    """`parts` are the directories and the name, the name last; `line` is 0 where none is given."""

    parts: tuple[str, ...]
    line: int

    @property
    def spellings(self) -> tuple[str, str]:
        """As a path below some root: `src/mod.rs` goes by its directory's name where that is indexed too."""
        return "/".join(self.parts), self.parts[-1]


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
    return tuple(part for part in _SEPARATOR.split(path) if part not in {"", ".", ".."})


def mentioned_files(asked: Sequence[Mention], paths: Sequence[str], index: StemIndex) -> dict[int, MentionedFile]:
    """Positions of the files with the name that ends a mentioned path, by how many directories they share with it."""
    shares: dict[int, float] = defaultdict(float)
    lines: dict[int, list[int]] = defaultdict(list)
    for item in asked:
        likely = {file for path in item.spellings for file in files_with(index, file_stem_terms(path))}
        shared = {file: _shared(item.parts, _parts(paths[file])) for file in likely}
        most = max(shared.values(), default=0)
        for file in sorted(file for file, count in shared.items() if count):
            shares[file] = max(shares[file], shared[file] / most)
            if shared[file] == most and item.line:
                lines[file].append(item.line)
    return {file: MentionedFile(share, tuple(lines[file])) for file, share in shares.items()}


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many parts two paths share, from the name upwards."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one.lower() != other.lower():
            break
        count += 1
    return count
