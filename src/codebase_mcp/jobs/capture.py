"""Takes the list of a repository's files, once, at the start of a job, and decides what is left to do."""

from __future__ import annotations

import asyncio
import math
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from codebase_mcp.detached_threads import run_detached
from codebase_mcp.domain import DiscoveredFile, FileOutcome, FileState
from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.discover import discover, head_commit
from codebase_mcp.indexing.listing import Look
from codebase_mcp.indexing.pipeline import rules_fingerprint
from codebase_mcp.indexing.survey import by_language
from codebase_mcp.jobs.store import CapturedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from codebase_mcp.storage.index_store import KnownFile
    from codebase_mcp.storage.not_indexed import NotIndexedFile


T = TypeVar("T")

STALLED_SECONDS = 20.0
"""A listing that looks at nothing new for so long stands still."""
WATCH_SECONDS = 0.5


@dataclass
class Listing:
    """Filled by a thread while others watch `len(files)` grow."""

    files: list[DiscoveredFile] = field(default_factory=list)
    unreadable_paths: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    head_commit: str | None = None
    look: Look = field(default_factory=Look)

    def abandon(self) -> None:
        """Has the thread end soon; what it still finds is of no use to anybody."""
        self.look.list_deadline = self.look.deadline = -math.inf


async def list_files_watched(root: Path, max_file_bytes: int, listing: Listing) -> None:
    """Lists in a thread, and raises RepositoryUnreadableError when that stands still.

    Prevents: a folder on a file system that does not answer from holding a slot for as long as it does not.
    """
    listing_task = asyncio.ensure_future(run_detached(lambda: list_files(root, max_file_bytes, listing)))
    steps, progressed_at = -1, time.monotonic()
    try:
        while not (await asyncio.wait({listing_task}, timeout=WATCH_SECONDS))[0]:
            look = listing.look
            if look.is_asking_git or look.steps != steps:
                steps, progressed_at = look.steps, time.monotonic()
            elif time.monotonic() - progressed_at >= STALLED_SECONDS:
                raise not_answering(root / look.place, STALLED_SECONDS)
        listing_task.result()
    finally:
        listing_task.cancel()


def not_answering(place: object, seconds: float) -> RepositoryUnreadableError:
    return RepositoryUnreadableError(
        f"{place} has not answered for {seconds:g} s: its file system hangs, as a network drive does whose server is"
        " away. What is indexed is kept. Make it available again, or unmount it, then start again."
    )


def list_files(root: Path, max_file_bytes: int, listing: Listing) -> None:
    """Blocking; raises RepositoryUnreadableError when the root cannot be listed honestly."""
    discovery = discover(root, max_file_bytes=max_file_bytes, look=listing.look)
    with listing.look.asking_git():
        listing.head_commit = head_commit(root)
    listing.files.extend(discovery)
    listing.unreadable_paths.extend(sorted(discovery.unreadable_paths))
    listing.warnings.extend(discovery.warnings)


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
    not_indexed: Mapping[str, NotIndexedFile] = field(default_factory=dict)
    """Files that were read and left out because of their content."""

    def decide(self, found: DiscoveredFile) -> CapturedFile:
        """A file whose stat differs in anything is read; its hash then says whether it changed."""
        if found.skip_reason is not None:
            return CapturedFile(found, FileState.SKIPPED, found.skip_reason)
        if self._must_read(found):
            return CapturedFile(found, FileState.PENDING, None)
        return self._without_reading(found) or CapturedFile(found, FileState.PENDING, None)

    def _without_reading(self, found: DiscoveredFile) -> CapturedFile | None:
        known = self._known_of_this_index(found)
        if known is not None and known.stat.matches(found.stat):
            return CapturedFile(found, FileState.UNCHANGED, None)
        left_out = self._left_out_by_these_rules(found)
        if left_out is not None and left_out.stat.matches(found.stat):
            return CapturedFile(found, FileState.SKIPPED, left_out.reason)
        failure = self.failed.get(found.relative_path)
        if failure is not None and failure.stat.matches(found.stat):
            return CapturedFile(found, FileState.FAILED, failure.reason)
        return None

    def suspects(self, captured: Iterable[CapturedFile]) -> dict[str, bytes]:
        """Of the files to read, those that may have kept their content, which had this hash (by relative path)."""
        pending = (file.found for file in captured if file.state is FileState.PENDING)
        hashes = ((found.relative_path, self._hash_of_its_size(found)) for found in pending)
        return {path: content_hash for path, content_hash in hashes if content_hash is not None}

    def fate_with_old_content(self, found: DiscoveredFile) -> CapturedFile:
        """Of a suspect, once its content was found to be what it was."""
        known = self._known_of_this_index(found)
        if known is not None and known.size_bytes == found.size_bytes:
            return CapturedFile(found, FileState.UNCHANGED, None)
        return CapturedFile(found, FileState.SKIPPED, self.not_indexed[found.relative_path].reason)

    def _hash_of_its_size(self, found: DiscoveredFile) -> bytes | None:
        if self._must_read(found):
            return None
        known = self._known_of_this_index(found)
        if known is not None and known.size_bytes == found.size_bytes:
            return known.content_hash
        left_out = self._left_out_by_these_rules(found)
        return left_out.content_hash if left_out is not None and left_out.stat.size_bytes == found.size_bytes else None

    def _must_read(self, found: DiscoveredFile) -> bool:
        return self.force_reindex or found.relative_path in self.retry_paths

    def _known_of_this_index(self, found: DiscoveredFile) -> KnownFile | None:
        known = self.known.get(found.relative_path)
        return known if known is not None and known.index_fingerprint == self.index_fingerprint else None

    def _left_out_by_these_rules(self, found: DiscoveredFile) -> NotIndexedFile | None:
        left_out = self.not_indexed.get(found.relative_path)
        is_of_these = left_out is not None and left_out.rules_fingerprint == rules_fingerprint(self.index_fingerprint)
        return left_out if is_of_these else None


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


async def run_on_root(repo_path: str, call: Callable[[], T]) -> T:
    """A short blocking call on the root's file system. Raises RepositoryUnreadableError when it does not return."""
    try:
        return await run_detached(call, timeout_seconds=STALLED_SECONDS)
    except TimeoutError as error:
        raise not_answering(repo_path, STALLED_SECONDS) from error
