"""What people wrote about code: the comments above, inside and at the head of it, as plain sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HASH = frozenset({
    "python", "cython", "ruby", "bash", "elixir", "perl", "r", "cmake", "make", "nix", "tcl", "fish", "julia",
})  # fmt: skip
_DASHES = frozenset({"haskell", "lua", "sql", "luau", "elm", "ada"})
_MARKERS = {
    "hash": re.compile(r"^\s*#+(?!!)\s?(.*)$"),
    "dashes": re.compile(r"^\s*--+\s?[|^]?(.*)$"),
    "slashes": re.compile(r"^\s*(?://+[!/]?|\*(?!/)|/\*+)\s?(.*?)(?:\*+/)?\s*$"),
}
_TRAILING = {
    "hash": re.compile(r"(?:^|\s)#\s+(\S.*)$"),
    "dashes": re.compile(r"(?:^|\s)--\s+(\S.*)$"),
    "slashes": re.compile(r"(?:^|\s)//+\s+(\S.*)$"),
}
_BLOCKS = (("*/", "/*"), ("-}", "{-"), ("]]", "--[["), ('"""', 'doc """'))
_BETWEEN = re.compile(r"^\s*(?:@\w|#\[|\[\w|\{-#|pragma|template\b|export\b\s*$)")
_DOCSTRING = re.compile(r'^\s*[rRuU]?("""|\'\'\')(.*)$')
_TAG_LINE = re.compile(
    r"^\s*(?:[@\\](?!brief|summary)\w|:param|:return|:rtype|Args:|Returns:|Parameters\b|>>>|```|---|===)"
)
_NOISE = re.compile(r"</?\w[^>]*>|\{@\w+\s+([^}]*)\}|https?://\S+|[@\\](?:brief|summary)\b|\[([^\]]*)\]\([^)]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(])")
_NOT_PROSE = re.compile(
    r"copyright|licen[sc]e|spdx|all rights reserved|eslint|noqa|pylint|nolint|generated|\btodo\b|\bfixme\b|@flow|"
    r"warranty|vim:|-\*-|inheritdoc|see also$",
    re.IGNORECASE,
)
HEAD_LINES = 60
FEWEST_WORDS = 3
MOST_WORDS = 40
LONGEST_COMMENT = 60
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Commented:
    """The lines of one file and how its language writes comments."""

    lines: Sequence[str]
    language: str

    @property
    def style(self) -> str:
        if self.language in _HASH:
            return "hash"
        return "dashes" if self.language in _DASHES else "slashes"

    def above(self, row: int) -> str | None:
        """The comment that ends right above row `row` (0-based), attributes and decorators in between left out."""
        end = row
        while end > 0 and row - end < 8 and _BETWEEN.match(self.lines[end - 1]):
            end -= 1
        first = self._first_row_above(end)
        return self._sentence(first, end) if first < end else None

    def docstring(self, row: int) -> str | None:
        """The string that opens the body of a Python definition at row `row` (0-based)."""
        for at in range(row, min(row + 8, len(self.lines))):
            opening = _DOCSTRING.match(self.lines[at])
            if opening:
                return first_sentence(self._until_closed(at, opening[1], opening[2]))
        return None

    def head(self) -> str | None:
        """What the first comment of a file that is neither a licence nor a remark for tools says."""
        if self.language == "python":
            return self.docstring(0) if any(map(_DOCSTRING.match, self.lines[:30])) else None
        for first, end in self._blocks():
            if sentence := self._sentence(first, end):
                return sentence
        return None

    def inside(self, first: int, end: int) -> Iterator[str]:
        """Sentences of the remarks that stand in rows `first` to `end` (0-based, exclusive)."""
        for line in self.lines[first:end]:
            found = _TRAILING[self.style].search(line)
            sentence = first_sentence([found[1]]) if found else None
            if sentence:
                yield sentence

    def _blocks(self) -> Iterator[tuple[int, int]]:
        marker, first = _MARKERS[self.style], None
        for row, line in enumerate(self.lines[:HEAD_LINES]):
            is_comment = bool(marker.match(line))
            if is_comment and first is None:
                first = row
            elif not is_comment and first is not None:
                yield first, row
                first = None

    def _first_row_above(self, end: int) -> int:
        last = self.lines[end - 1].rstrip() if end else ""
        for closing, opening in _BLOCKS:
            if last.endswith(closing) and opening not in last:
                return self._opened_at(end, opening)
        first = end
        while first > 0 and end - first < LONGEST_COMMENT and _MARKERS[self.style].match(self.lines[first - 1]):
            first -= 1
        return first

    def _opened_at(self, end: int, opening: str) -> int:
        lowest = max(0, end - LONGEST_COMMENT)
        return next((row for row in range(end - 2, lowest - 1, -1) if opening in self.lines[row]), end)

    def _sentence(self, first: int, end: int) -> str | None:
        marker = _MARKERS[self.style]
        matches = ((line, marker.match(line)) for line in self.lines[first:end])
        return first_sentence([match[1] if match else line for line, match in matches])

    def _until_closed(self, row: int, quotes: str, rest: str) -> list[str]:
        text: list[str] = []
        for line in (rest, *self.lines[row + 1 : row + 20]):
            before, closed, _ = line.partition(quotes)
            text.append(before)
            if closed:
                break
        return text


def first_sentence(lines: Sequence[str]) -> str | None:
    """The first sentence of a comment without its markup; None when it is too short or not about the code."""
    paragraph: list[str] = []
    for line in lines:
        plain = _NOISE.sub(lambda match: match[1] or match[2] or " ", line).strip(" \t*/-{}|=~#\"'")
        if paragraph and (not plain or _TAG_LINE.match(line)):
            break
        if plain and not _TAG_LINE.match(line) and not plain.startswith("doc"):
            paragraph.append(plain)
    sentence = _SENTENCE_END.split(" ".join(paragraph), maxsplit=1)[0]
    count = len(_WORD.findall(sentence))
    usable = FEWEST_WORDS <= count <= MOST_WORDS and not _NOT_PROSE.search(" ".join(paragraph))
    return sentence if usable else None
