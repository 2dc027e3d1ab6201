"""Turn the pinned packages into training material: headers as the product makes them, and what people say about them.

    python training/mine.py [PACKAGE ...]

Writes one file of JSON lines per package below training/.cache/mined/, a line per source file:
`path`, `headers` (one per chunk), and `queries`, each `[chunk, kind, text]`. Kinds: `comment` (above a definition, or
its docstring), `head` (of the file; chunk 0), `inside` (a remark between the lines), `body` (a chunk's words that its
header lacks).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from codebase_mcp.domain import Chunk, Role
from codebase_mcp.indexing.chunk import chunk_file
from codebase_mcp.indexing.definitions import header_names
from codebase_mcp.indexing.languages import detect_language
from codebase_mcp.indexing.roles import role_of
from codebase_mcp.indexing.terms import header, split_identifier, words
from comments import Commented
from fetch import CACHE, Source, archive_of, sources

MINED = CACHE / "mined"
LEFT_OUT = re.compile(
    r"(^|/)(vendor(ed)?|third[-_]?party|extern(al)?([-_]libs)?|vendored-[^/]*|contrib|deps|node_modules|_vendor|tests?|testing|testdata|specs?|__tests__|"
    r"examples?|samples?|generated|dist|debian|benchmarks?|fixtures|locale)/",
    re.IGNORECASE,
)
PLACE = re.compile(
    r"^(?:usr/(?:share/(?:rubygems-integration/all/gems/[^/]+|cargo/registry/[^/]+|php|lua/[^/]+)|lib/ruby/vendor_ruby|bin|lib|share)"
    r"|[^/]+)/"
)
"""Directories above a package's own: the one of its archive, or where a system keeps the sources of a language."""
LARGEST_FILE = 200_000
MOST_DEFINITIONS = 4_000
"""Of one package, so that no single one decides what words mean."""
INSIDE_PER_CHUNK = 2
BODY_WORDS = 64


def main() -> None:
    MINED.mkdir(parents=True, exist_ok=True)
    for source in sources():
        target = MINED / f"{source.slug}.jsonl"
        if (not sys.argv[1:] or source.name in sys.argv[1:]) and not target.exists():
            lines = [json.dumps(file, ensure_ascii=False) for file in mined_files(source)]
            target.write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"{source.name}: {len(lines)} files", flush=True)


def mined_files(source: Source) -> Iterator[dict[str, Any]]:
    """Files in an order that depends on their paths alone, until enough is defined in them."""
    definitions = 0
    for path, text in sorted(source_files(source), key=lambda file: hashlib.sha256(file[0].encode()).digest()):
        mined, count = mine(path, text)
        definitions += count
        if mined:
            yield mined
        if definitions >= MOST_DEFINITIONS:
            return


def source_files(source: Source) -> Iterator[tuple[str, str]]:
    """Path below the package's root and text of each file of code that is the package's own."""
    with opened(archive_of(source)) as archive:
        for member in archive:
            path = PLACE.sub("", PurePosixPath(member.name).as_posix())
            is_wanted = member.isfile() and member.size <= LARGEST_FILE and _is_own_code(path)
            if is_wanted and (content := archive.extractfile(member)):
                yield path, content.read().decode("utf-8", "replace")


def _is_own_code(path: str) -> bool:
    return not LEFT_OUT.search(path) and detect_language(path, "").category == "code"


def opened(path: Path) -> tarfile.TarFile:
    if path.suffix != ".deb":
        return tarfile.open(path)
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True).stdout
    return tarfile.open(fileobj=io.BytesIO(unpacked))


def mine(path: str, text: str) -> tuple[dict[str, Any] | None, int]:
    language = detect_language(path, text[:2000])
    if language.category != "code" or role_of(path, text[:2000]) is not Role.SOURCE:
        return None, 0
    parsed = chunk_file(text, language)
    if parsed.parser_gave_up or not parsed.definitions:
        return None, 0
    headers = [header(path, header_names(parsed.definitions, chunk)) for chunk in parsed.chunks]
    said = Commented(text.split("\n"), language.name)
    starts = [chunk.start_line for chunk in parsed.chunks]
    queries: list[list[Any]] = []
    if sentence := said.head():
        queries.append([0, "head", sentence])
    for definition in parsed.definitions:
        row = definition.start_line - 1
        sentence = said.above(row) or (said.docstring(row) if language.name == "python" else None)
        if sentence:
            queries.append([bisect_right(starts, definition.start_line) - 1, "comment", sentence])
    for number, chunk in enumerate(parsed.chunks):
        queries += chunk_queries(number, chunk, headers[number], said)
    return {"path": path, "language": language.name, "headers": headers, "queries": queries}, len(parsed.definitions)


def chunk_queries(number: int, chunk: Chunk, text: str, said: Commented) -> Iterator[list[Any]]:
    remarks = list(said.inside(chunk.start_line - 1, chunk.end_line))
    yield from ([number, "inside", remark] for remark in remarks[:INSIDE_PER_CHUNK])
    known = set(text.split())
    parts = dict.fromkeys(part for word in words(chunk.content) for part in split_identifier(word))
    body = [part for part in parts if part not in known and len(part) > 1 and not part.isdigit()]
    if len(body) >= 4:
        yield [number, "body", " ".join(body[:BODY_WORDS])]


if __name__ == "__main__":
    main()
