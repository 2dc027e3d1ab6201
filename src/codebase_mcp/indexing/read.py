"""One file: its bytes, their hash and its text, or the reason why it has none."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import charset_normalizer

from codebase_mcp.indexing.file_stat import recorded_stat
from codebase_mcp.indexing.secret_files import text_without_secrets
from codebase_mcp.indexing.skip_rules import SECRET, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codebase_mcp.domain import FileStat

READING_RULES_VERSION = "1"
"""Raised when the rules below change, so that files which the old ones left out are read again."""

BINARY = "binary"
DELETED = "deleted while indexing"
MINIFIED = "minified or generated"
NOT_REGULAR = "not a regular file"
PERMISSION_DENIED = "permission denied"
REPLACED = "replaced by a symlink while indexing"
UNDECODABLE = "undecodable: no known text encoding"

DETECTION_SAMPLE_BYTES = 64_000
MAX_LINE_CHARACTERS = 20_000
MAX_MEAN_LINE_CHARACTERS = 500
# Below this size a long line is a small data file, not a bundle.
MIN_MINIFIED_CHARACTERS = 5_000
# The detector's share of implausible characters; what it calls readable goes up to 0.2, which lets nonsense through.
MAX_IMPLAUSIBLE_SHARE = 0.1

# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Only what editors have really written; without the limit the detector also offers EBCDIC and its kind.
_WESTERN = "cp1252"
_LEGACY_ENCODINGS = [
    *(_WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "iso8859_2"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]
_HIGH_RUNS = re.compile(rb"[\x80-\xff]+")
_PROSE_SUFFIXES = frozenset(
    {".adoc", ".asciidoc", ".csv", ".htm", ".html", ".markdown", ".md", ".mdx", ".org", ".po", ".rst", ".rtf", ".tex"}
    | {".text", ".textile", ".tsv", ".txt"}
)
"""Where a paragraph or a record is one line, so that long lines say nothing about who wrote them."""

_REASONS = {
    errno.EACCES: PERMISSION_DENIED,
    errno.EPERM: PERMISSION_DENIED,
    errno.ENOENT: DELETED,
    errno.ELOOP: REPLACED,
    errno.ENOTDIR: "its directory was replaced while indexing",
    errno.ENXIO: NOT_REGULAR,
}
# macOS has no O_PATH; there a directory must be readable, not merely searchable.
_DIRECTORY_FLAGS = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# O_NONBLOCK: a file that became a pipe after it was looked at must not hold the reader.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnreadableFile(Exception):
    """A file that cannot be indexed; `reason` is what its user is told. Never leaves the indexing package.

    `raw` is what was read of it, when it is its content that rules it out.
    """

    def __init__(self, reason: str, raw: RawSource | None = None) -> None:
        self.reason = reason
        self.raw = raw
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class RawSource:
    """A file's bytes and their SHA-256. The stat dates from before the reading, so a later write is a change."""

    content: bytes
    content_hash: bytes
    stat: FileStat

    @property
    def size_bytes(self) -> int:
        return self.stat.size_bytes

    @property
    def mtime_ns(self) -> int:
        return self.stat.mtime_ns


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file's text, free of NUL and lone surrogates; a byte order mark stays in it as U+FEFF.

    With `is_redacted` private keys were taken out of it.
    """

    text: str
    encoding: str
    content_hash: bytes
    stat: FileStat
    is_redacted: bool = False

    @property
    def size_bytes(self) -> int:
        return self.stat.size_bytes

    @property
    def mtime_ns(self) -> int:
        return self.stat.mtime_ns


def read_source(root: Path, relative_path: str, max_file_bytes: int) -> SourceText:
    """The text of one regular file of at most `max_file_bytes`; raises UnreadableFile with the reason otherwise."""
    raw = read_bytes(root, relative_path, max_file_bytes)
    try:
        text, encoding = _text_of(relative_path, raw.content)
        indexed = _without_secrets(relative_path, text)
    except UnreadableFile as error:
        error.raw = raw
        raise
    return SourceText(indexed, encoding, raw.content_hash, raw.stat, is_redacted=indexed != text)


def _text_of(relative_path: str, content: bytes) -> tuple[str, str]:
    text, encoding = decode(content)
    if is_minified(relative_path, text):
        raise UnreadableFile(MINIFIED)
    return text, encoding


def _without_secrets(relative_path: str, text: str) -> str:
    cleaned = text_without_secrets(relative_path, text)
    if cleaned is None:
        raise UnreadableFile(SECRET)
    return cleaned


def read_bytes(root: Path, relative_path: str, max_file_bytes: int) -> RawSource:
    """The bytes of one regular file; no component of `relative_path` may be a symlink. Raises UnreadableFile."""
    try:
        status, content = _read(root, relative_path, max_file_bytes + 1)
    except OSError as error:
        raise UnreadableFile(_REASONS.get(error.errno or 0, f"cannot be read: {error.strerror}")) from error
    size_bytes = max(status.st_size, len(content))
    if size_bytes > max_file_bytes:
        raise UnreadableFile(too_large(size_bytes, max_file_bytes))
    return RawSource(content, hashlib.sha256(content).digest(), recorded_stat(status))


def _read(root: Path, relative_path: str, limit_bytes: int) -> tuple[os.stat_result, bytes]:
    descriptor = _open(root, relative_path)
    try:
        status = os.fstat(descriptor)
        _refuse_irregular(status)
        with open(descriptor, "rb", closefd=False) as file:
            return status, file.read(limit_bytes)
    finally:
        os.close(descriptor)


def _open(root: Path, relative_path: str) -> int:
    *folders, name = _components(relative_path)
    folder = os.open(root, _DIRECTORY_FLAGS)
    try:
        for component in folders:
            parent, folder = folder, os.open(component, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            os.close(parent)
        # Opening a device can have effects of its own, hence the look before.
        _refuse_irregular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        return os.open(name, _FILE_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _components(relative_path: str) -> tuple[str, ...]:
    path = PurePosixPath(relative_path)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UnreadableFile("path leaves the root")
    return path.parts


def _refuse_irregular(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise UnreadableFile(REPLACED)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFile(NOT_REGULAR)


def decode(content: bytes) -> tuple[str, str]:
    """The text and its encoding: by byte order mark, else UTF-8, else a confident guess. Raises UnreadableFile."""
    for encoding in _candidate_encodings(content):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise UnreadableFile(BINARY)
        return text, encoding
    raise UnreadableFile(UNDECODABLE)


def _candidate_encodings(content: bytes) -> Iterator[str]:
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if marked is not None:
        yield marked
    if b"\0" in content:
        raise UnreadableFile(BINARY)
    yield "utf-8"
    if (guessed := _guess_encoding(content)) is not None:
        yield guessed


def _guess_encoding(content: bytes) -> str | None:
    sample = content[:DETECTION_SAMPLE_BYTES]
    if len(sample) < len(content):
        # Ends at a line, so that no character of several bytes is cut in two.
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    if _is_damaged_utf8(sample):
        return None
    matches = charset_normalizer.from_bytes(sample, cp_isolation=_LEGACY_ENCODINGS, enable_fallback=False)
    best = matches.best()
    if best is None or best.chaos > MAX_IMPLAUSIBLE_SHARE:
        return None
    return _WESTERN if _WESTERN in best.could_be_from_charset else best.encoding


def _is_damaged_utf8(sample: bytes) -> bool:
    """Text in a legacy encoding is hardly ever valid UTF-8; where most of it is, a guess would garble it."""
    high_bytes = sum(map(len, _HIGH_RUNS.findall(sample)))
    valid_bytes = sum(map(len, _HIGH_RUNS.findall(sample.decode("utf-8", "ignore").encode())))
    return valid_bytes * 2 > high_bytes


def is_minified(relative_path: str, text: str) -> bool:
    """Lines too long to have been typed, in anything but prose."""
    if len(text) < MIN_MINIFIED_CHARACTERS or PurePosixPath(relative_path).suffix.lower() in _PROSE_SUFFIXES:
        return False
    line_count = text.count("\n") + (not text.endswith("\n"))
    if len(text) > MAX_MEAN_LINE_CHARACTERS * line_count:
        return True
    return len(text) > MAX_LINE_CHARACTERS and max(map(len, text.split("\n"))) > MAX_LINE_CHARACTERS
