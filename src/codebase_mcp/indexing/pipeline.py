"""A group of files → everything the index keeps of them. Pure of SQL and of jobs; runs inside the process pool."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from codebase_mcp.domain import FileOutcome, FileState, ParsedFile, PreparedBatch
from codebase_mcp.indexing.chunk import CHUNKER_VERSION, chunk_file
from codebase_mcp.indexing.definitions import header_names
from codebase_mcp.indexing.languages import detect_language
from codebase_mcp.indexing.pool import working_on
from codebase_mcp.indexing.postings import build_postings
from codebase_mcp.indexing.read import READING_RULES_VERSION, UnreadableFile, read_source
from codebase_mcp.indexing.roles import role_of
from codebase_mcp.indexing.terms import TOKENISER_VERSION, header

if TYPE_CHECKING:
    from pathlib import Path

    from codebase_mcp.indexing.embed import EmbedderIdentity
    from codebase_mcp.indexing.read import RawSource, SourceText

HEAD_CHARACTERS = 4_000
"""How much of a file is looked at for its language and role."""
# Read once: it names the grammars that this process runs, also while an upgrade replaces the package on the disk.
GRAMMARS_VERSION = version("tree-sitter-language-pack")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A group of captured files. `known_hashes` are the contents that need no new index (relative path → SHA-256).

    With `as_text` no grammar is used.
    """

    root: Path
    relative_paths: tuple[str, ...]
    known_hashes: Mapping[str, bytes]
    max_file_bytes: int
    as_text: bool = False

    def halves(self) -> tuple[BatchRequest, BatchRequest]:
        middle = len(self.relative_paths) // 2
        return self._of(self.relative_paths[:middle]), self._of(self.relative_paths[middle:])

    def around(self, relative_path: str) -> tuple[BatchRequest, BatchRequest, BatchRequest]:
        """What comes before one of the files, that file, and what comes after it."""
        index = self.relative_paths.index(relative_path)
        paths = self.relative_paths
        return self._of(paths[:index]), self._of(paths[index : index + 1]), self._of(paths[index + 1 :])

    def _of(self, paths: Sequence[str]) -> BatchRequest:
        return replace(self, relative_paths=tuple(paths))


def prepare_batch(request: BatchRequest) -> PreparedBatch:
    """Read, detect, chunk and tokenise each file; what cannot be indexed becomes an outcome with its reason."""
    parsed: list[ParsedFile] = []
    outcomes: list[FileOutcome] = []
    for relative_path in request.relative_paths:
        with working_on(relative_path):
            prepared = _prepare_file(request, relative_path)
        match prepared:
            case ParsedFile() as file:
                parsed.append(file)
            case FileOutcome() as outcome:
                outcomes.append(outcome)
    return PreparedBatch(tuple(parsed), tuple(outcomes), build_postings(parsed))


def _prepare_file(request: BatchRequest, relative_path: str) -> ParsedFile | FileOutcome:
    try:
        source = read_source(request.root, relative_path, max_file_bytes=request.max_file_bytes)
    except UnreadableFile as error:
        return _outcome(relative_path, FileState.SKIPPED, error.raw, error.reason)
    # What an earlier version indexed of a source with a private key has the key in it.
    if request.known_hashes.get(relative_path) == source.content_hash and not source.is_redacted:
        return _outcome(relative_path, FileState.UNCHANGED, source)
    try:
        return _parse(relative_path, source, as_text=request.as_text)
    except (ValueError, RuntimeError, RecursionError) as error:
        reason = f"the parser failed: {type(error).__name__}: {error}"
        return _outcome(relative_path, FileState.SKIPPED, source, reason)


def _outcome(
    relative_path: str, state: FileState, read: RawSource | SourceText | None, reason: str | None = None
) -> FileOutcome:
    if read is None:
        return FileOutcome(relative_path, state, reason)
    return FileOutcome(relative_path, state, reason, *read.stat, content_hash=read.content_hash)


def _parse(relative_path: str, source: SourceText, *, as_text: bool) -> ParsedFile:
    head = source.text[:HEAD_CHARACTERS]
    language = detect_language(relative_path, head)
    parsed = chunk_file(source.text, language, as_text=as_text)
    return ParsedFile(
        relative_path=relative_path,
        size_bytes=source.size_bytes,
        mtime_ns=source.mtime_ns,
        content_hash=source.content_hash,
        language=language.name,
        role=role_of(relative_path, head),
        chunks=parsed.chunks,
        headers=tuple(header(relative_path, header_names(parsed.definitions, chunk)) for chunk in parsed.chunks),
        definitions=parsed.definitions,
        parser_gave_up=parsed.parser_gave_up,
        ctime_ns=source.stat.ctime_ns,
        inode=source.stat.inode,
    )


def warm_up() -> None:
    """Loads the parser and the tables of the tokeniser, so that the first batch does not wait for them."""
    chunk_file("x = 1\n", detect_language("x.py", ""))


def index_fingerprint(identity: EmbedderIdentity) -> str:
    """Changes whenever a file would be indexed differently, so that an upgrade reads it again."""
    parts = (CHUNKER_VERSION, GRAMMARS_VERSION, TOKENISER_VERSION, identity.provider, identity.model, identity.revision)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def rules_fingerprint(index_fingerprint: str) -> str:
    """Changes whenever a file that was left out because of its content might be indexed."""
    return f"{index_fingerprint}-{READING_RULES_VERSION}"
