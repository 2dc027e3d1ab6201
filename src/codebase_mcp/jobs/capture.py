"""Takes the list of a repository's files, once, at the start of a job, and decides what is left to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codebase_mcp.domain import DiscoveredFile, FileState
from codebase_mcp.indexing.discover import discover, head_commit
from codebase_mcp.jobs.store import CapturedFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codebase_mcp.storage.index_store import KnownFile


@dataclass
class Listing:
    """Filled by a thread while others watch `len(files)` grow."""

    files: list[DiscoveredFile] = field(default_factory=list)
    unreadable_paths: list[str] = field(default_factory=list)
    head_commit: str | None = None


def list_files(root: Path, max_file_bytes: int, listing: Listing) -> None:
    """Blocking; raises RepositoryUnreadableError when the root cannot be listed honestly."""
    discovery = discover(root, max_file_bytes=max_file_bytes)
    listing.head_commit = head_commit(root)
    listing.files.extend(discovery)
    listing.unreadable_paths.extend(sorted(discovery.unreadable_paths))


@dataclass(frozen=True, slots=True)
class Staleness:
    """What makes a captured file worth reading again."""

    known: Mapping[str, KnownFile]
    index_fingerprint: str
    force_reindex: bool
    retry_paths: frozenset[str] = frozenset()
    """Files to read again whatever is known of them."""

    def decide(self, found: DiscoveredFile) -> CapturedFile:
        if found.skip_reason is not None:
            return CapturedFile(found, FileState.SKIPPED, found.skip_reason)
        must_read = self.force_reindex or found.relative_path in self.retry_paths
        if not must_read and self._is_as_indexed(found):
            return CapturedFile(found, FileState.UNCHANGED, None)
        return CapturedFile(found, FileState.PENDING, None)

    def _is_as_indexed(self, found: DiscoveredFile) -> bool:
        known = self.known.get(found.relative_path)
        return (
            known is not None
            and known.index_fingerprint == self.index_fingerprint
            and (known.size_bytes, known.mtime_ns) == (found.size_bytes, found.mtime_ns)
        )
