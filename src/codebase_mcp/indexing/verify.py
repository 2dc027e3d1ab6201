"""Whether files whose stat differs from the recorded one still have the content that they had."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codebase_mcp.indexing.read import UnreadableFile, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codebase_mcp.domain import FileStat


@dataclass(slots=True)
class Verification:
    """`equal` maps the paths of files with unchanged content to that content's SHA-256 and the stat to record."""

    equal: dict[str, tuple[bytes, FileStat]] = field(default_factory=dict)
    not_read: int = 0
    """Files that there was no time for."""


def verify_contents(root: Path, expected: Mapping[str, bytes], *, max_file_bytes: int, deadline: float) -> Verification:
    """Reads each file of `expected` (relative path → SHA-256) until the deadline of time.monotonic(). Blocking."""
    found = Verification()
    for position, (path, content_hash) in enumerate(expected.items()):
        if time.monotonic() > deadline:
            found.not_read = len(expected) - position
            break
        try:
            raw = read_bytes(root, path, max_file_bytes)
        except UnreadableFile:
            continue
        if raw.content_hash == content_hash:
            found.equal[path] = content_hash, raw.stat
    return found
