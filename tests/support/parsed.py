"""Parsed files without a parser: a chunk for each text given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from codebase_mcp.domain import Chunk, Definition, ParsedFile, Role
from codebase_mcp.indexing.terms import header


def parsed_file(
    relative_path: str,
    *texts: str,
    definitions: Sequence[Definition] = (),
    language: str = "python",
    role: Role = Role.SOURCE,
) -> ParsedFile:
    """A file whose chunks are `texts`; a definition belongs to the chunk in which it starts."""
    chunks: list[Chunk] = []
    line = 1
    for ordinal, text in enumerate(texts):
        last = line + text.count("\n") - (1 if text.endswith("\n") else 0)
        symbol = next((item.name for item in definitions if line <= item.start_line <= last), None)
        chunks.append(Chunk(ordinal, line, last, "function" if symbol else "text", symbol, text))
        line = last + 1
    content = "".join(texts).encode()
    return ParsedFile(
        relative_path=relative_path,
        size_bytes=len(content),
        mtime_ns=1,
        content_hash=hashlib.sha256(content).digest(),
        language=language,
        role=role,
        chunks=tuple(chunks),
        headers=tuple(
            header(relative_path, [d.name for d in definitions if c.start_line <= d.start_line <= c.end_line])
            for c in chunks
        ),
        definitions=tuple(definitions),
    )


def defined(
    name: str, kind: str = "function", line: int = 1, *, end: int | None = None, depth: int = 0, declared: bool = False
) -> Definition:
    return Definition(name, kind, line, line if end is None else end, depth, None, declared)
