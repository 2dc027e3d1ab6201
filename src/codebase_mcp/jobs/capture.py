"""Takes the list of a repository's files, once, at the start of a job, and decides what is left to do."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codebase_mcp.domain import DiscoveredFile, FileOutcome, FileState
from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.discover import discover, head_commit
from codebase_mcp.indexing.listing import Look
from codebase_mcp.indexing.survey import by_language
from codebase_mcp.jobs.store import CapturedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from codebase_mcp.storage.index_store import KnownFile


@dataclass
class Listing:
    """Filled by a thread while others watch `len(files)` grow."""

    files: list[DiscoveredFile] = field(default_factory=list)
    unreadable_paths: list[str] = field(default_factory=list)
    head_commit: str | None = None
    look: Look = field(default_factory=Look)

    def abandon(self) -> None:
        """Has the thread end soon; what it still finds is of no use to anybody."""
        self.look.list_deadline = self.look.deadline = -math.inf


def list_files(root: Path, max_file_bytes: int, listing: Listing) -> None:
    """Blocking; raises RepositoryUnreadableError when the root cannot be listed honestly."""
    discovery = discover(root, max_file_bytes=max_file_bytes, look=listing.look)
    listing.head_commit = head_commit(root)
    listing.files.extend(discovery)
    listing.unreadable_paths.extend(sorted(discovery.unreadable_paths))


@dataclass(frozen=True, slots=True)
class Staleness:
    """What makes a captured file worth reading again."""

    known: Mapping[str, KnownFile]
    index_fingerprint: str
    force_reindex: bool
    failed: Mapping[str, FileOutcome] = field(default_factory=dict)
    """Files that failed in the last completed job; one that did not change would only fail again."""
    retry_paths: frozenset[str] = frozenset()
    """Files to read again whatever is known of them."""

    def decide(self, found: DiscoveredFile) -> CapturedFile:
        if found.skip_reason is not None:
            return CapturedFile(found, FileState.SKIPPED, found.skip_reason)
        must_read = self.force_reindex or found.relative_path in self.retry_paths
        if not must_read and self._is_as_indexed(found):
            return CapturedFile(found, FileState.UNCHANGED, None)
        if not must_read and (failure := self._same_failure(found)) is not None:
            return CapturedFile(found, FileState.FAILED, failure.reason)
        return CapturedFile(found, FileState.PENDING, None)

    def _same_failure(self, found: DiscoveredFile) -> FileOutcome | None:
        failure = self.failed.get(found.relative_path)
        if failure is None or (failure.size_bytes, failure.mtime_ns) != (found.size_bytes, found.mtime_ns):
            return None
        return failure

    def _is_as_indexed(self, found: DiscoveredFile) -> bool:
        known = self.known.get(found.relative_path)
        return (
            known is not None
            and known.index_fingerprint == self.index_fingerprint
            and (known.size_bytes, known.mtime_ns) == (found.size_bytes, found.mtime_ns)
        )


def amounts_to_index(captured: Iterable[CapturedFile]) -> dict[str, tuple[int, int]]:
    """(files, bytes) that are left to do, by language: what later estimates compare this job's time with."""
    pending = (file.found for file in captured if file.state is FileState.PENDING)
    return {language: (amount.files, amount.size_bytes) for language, amount in by_language(pending).items()}


def refuse_an_empty_root(repo_path: str) -> None:
    """Prevents: an unmounted or emptied root from being read as the deletion of every file."""
    try:
        with os.scandir(repo_path) as entries:
            if next(entries, None) is not None:
                return
    except OSError:
        pass
    raise RepositoryUnreadableError(
        f"{repo_path} became unreadable or empty while it was being indexed; its index is kept. "
        "Make the folder available again and start anew."
    )
