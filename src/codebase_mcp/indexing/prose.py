"""Sections of prose, told from its headings line by line; also for code without a grammar: none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from codebase_mcp.domain import Definition

MAX_TITLE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Heading:
    row: int
    level: int
    title: str


def sections_in(rows: Sequence[str], language: str) -> tuple[Definition, ...]:
    """The sections of a text given as rows, in order; a section holds the deeper ones that follow it."""
    find = _HEADINGS_OF.get(language)
    if find is None:
        return ()
    return _nested([heading for heading in find(rows) if heading.title], len(rows))


def _nested(headings: Sequence[_Heading], row_count: int) -> tuple[Definition, ...]:
    sections: list[Definition] = []
    around: list[_Heading] = []
    ends = _ends(headings, row_count)
    for heading, end in zip(headings, ends, strict=True):
        while around and around[-1].level >= heading.level:
            around.pop()
        sections.append(
            Definition(
                name=heading.title,
                kind="section",
                start_line=heading.row + 1,
                end_line=end,
                depth=len(around),
                parent=around[-1].title if around else None,
                is_declaration=False,
            )
        )
        around.append(heading)
    return tuple(sections)


def _ends(headings: Sequence[_Heading], row_count: int) -> list[int]:
    """The last line of each section: the one before the next heading that is not deeper."""
    ends = [row_count] * len(headings)
    open_ones: list[int] = []
    for index, heading in enumerate(headings):
        while open_ones and headings[open_ones[-1]].level >= heading.level:
            ends[open_ones.pop()] = heading.row
        open_ones.append(index)
    return ends


_HASHES = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t\r]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t\r]*$")
_STARS = re.compile(r"(\*+) (.+)")
_EQUAL_SIGNS = re.compile(r"(={1,6}) (\S.*)")
_ADORNMENT = re.compile(r"([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[`*]|<[^<>]*>")


def _markdown(rows: Sequence[str]) -> Iterator[_Heading]:
    fence = ""
    for row, line in enumerate(rows):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        if fence or mark:
            continue
        if hashes := _HASHES.match(line):
            yield _Heading(row, len(hashes[1]), _title(hashes[2] or ""))
        elif (under := _UNDERLINE.match(line)) and row and _may_be_underlined(rows[row - 1]):
            yield _Heading(row - 1, 1 if under[1][0] == "=" else 2, _title(rows[row - 1]))


def _may_be_underlined(line: str) -> bool:
    starts_block = line.lstrip().startswith(("#", ">", "- ", "* ", "+ ", "|", "---", "===", "```"))
    return bool(line.strip()) and not starts_block and not line.startswith("    ")


def _title(text: str) -> str:
    return " ".join(_MARKUP.sub(r"\1", text).split())[:MAX_TITLE_LENGTH]


def _restructured_text(rows: Sequence[str]) -> Iterator[_Heading]:
    """Levels are whatever order the adornments appear in."""
    levels: dict[tuple[str, bool], int] = {}
    for row in range(1, len(rows)):
        title, under = rows[row - 1].strip(), _ADORNMENT.match(rows[row])
        if not under or not title or _ADORNMENT.match(title) or len(rows[row].rstrip()) < len(title):
            continue
        above = row >= 2 and rows[row - 2].strip() == rows[row].strip()
        level = levels.setdefault((under[1], above), len(levels) + 1)
        yield _Heading(row - 2 if above else row - 1, level, _title(title))


def _marked(pattern: re.Pattern[str]) -> Callable[[Sequence[str]], Iterator[_Heading]]:
    def find(rows: Sequence[str]) -> Iterator[_Heading]:
        for row, line in enumerate(rows):
            if heading := pattern.match(line):
                yield _Heading(row, len(heading[1]), _title(heading[2]))

    return find


_HEADINGS_OF = {
    "markdown": _markdown,
    "restructuredtext": _restructured_text,
    "asciidoc": _marked(_EQUAL_SIGNS),
    "org": _marked(_STARS),
    "typst": _marked(_EQUAL_SIGNS),
}
