"""What a chunk is called: its kind and the symbol that it is mainly about.

A chunk's kind is one of

- `function`, `method`, `class` (any type), `module` (a namespace or module): most of it is one such definition, or a
  part of one;
- `section`: a section of prose;
- `block`: several small definitions, or statements outside of any;
- `config`, `text`: data, and everything in which nothing is defined and which is not code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codebase_mcp.domain import Chunk, Definition
from codebase_mcp.indexing.languages import Language

CHUNK_KINDS = frozenset({"function", "method", "class", "module", "section", "block", "config", "text"})

_CLASS = ("class", "struct", "interface", "trait", "enum", "extension", "type")
CHUNK_KIND_OF = {
    "function": "function",
    "macro": "function",
    "method": "method",
    "constructor": "method",
    "module": "module",
    "namespace": "module",
    "section": "section",
    **dict.fromkeys(_CLASS, "class"),
}


@dataclass(frozen=True, slots=True)
class _Span:
    start_line: int
    end_line: int

    def lines_of(self, definition: Definition) -> int:
        return min(definition.end_line, self.end_line) - max(definition.start_line, self.start_line) + 1

    def importance_of(self, definition: Definition) -> tuple[bool, bool, int, int]:
        """Real definitions before announcements, what things are before where they live, then by size and depth."""
        is_real = not definition.is_declaration and definition.kind != "extension"
        is_place = definition.kind in ("module", "namespace")
        return is_real, not is_place, self.lines_of(definition), -definition.depth

    def kind(self, definition: Definition | None, otherwise: str) -> str:
        if definition is None or definition.kind not in CHUNK_KIND_OF:
            return otherwise
        fills_it = 2 * self.lines_of(definition) >= self.end_line - self.start_line + 1
        return CHUNK_KIND_OF[definition.kind] if fills_it else otherwise


def named_chunks(
    contents: Sequence[str], definitions: Sequence[Definition], language: Language, *, is_parsed: bool
) -> tuple[Chunk, ...]:
    """Number the chunks of a file, given as their texts in order, and name them by the definitions in them."""
    otherwise = _kind_without_definitions(language, is_parsed)
    chunks: list[Chunk] = []
    spans = list(_spans(contents))
    for span, content, (starting, around) in zip(spans, contents, _definitions_of(spans, definitions), strict=True):
        main = max(starting, key=span.importance_of, default=None)
        kind = span.kind(main or around, otherwise)
        symbol = qualified_name(main) if main else None
        chunks.append(Chunk(len(chunks), span.start_line, span.end_line, kind, symbol, content))
    return tuple(chunks)


def qualified_name(definition: Definition) -> str:
    """`CookieParser.parse`: a definition's name behind that of what it is defined in."""
    if definition.parent is None or definition.kind == "section":
        return definition.name
    return f"{definition.parent}.{definition.name}"


def _spans(contents: Sequence[str]) -> Iterator[_Span]:
    line = 1
    for content in contents:
        line_count = content.count("\n") + (not content.endswith("\n"))
        yield _Span(line, line + line_count - 1)
        line += line_count


def _definitions_of(
    spans: Sequence[_Span], definitions: Sequence[Definition]
) -> Iterator[tuple[list[Definition], Definition | None]]:
    """For each span the definitions that start in it, and the innermost that started before and reaches into it."""
    position = 0
    around: list[Definition] = []
    for span in spans:
        while around and around[-1].end_line < span.start_line:
            around.pop()
        outer = around[-1] if around else None
        starting = []
        while position < len(definitions) and definitions[position].start_line <= span.end_line:
            starting.append(definitions[position])
            position += 1
        around.extend(d for d in starting if d.end_line > span.end_line)
        yield starting, outer


def _kind_without_definitions(language: Language, is_parsed: bool) -> str:
    if language.category == "config":
        return "config"
    return "block" if language.category == "code" and is_parsed else "text"
