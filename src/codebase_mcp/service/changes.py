"""What became of a repository's files since they were indexed, told by names, sizes and times alone.

Git's own answer (`git status`, `git diff`) is not asked for: it compares with a commit where the index may show none,
counts what `.mcpignore` leaves out, and runs the filters that a repository's configuration names.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.listing import Look
from codebase_mcp.jobs import records
from codebase_mcp.search.models import FileChanges
from codebase_mcp.storage import index_store, projects
from codebase_mcp.storage.tables import schema_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codebase_mcp.domain import DiscoveredFile
    from codebase_mcp.storage.database import Database

LISTING_SECONDS, LOOKING_SECONDS = 2.0, 3.0
"""From the beginning of a look; a tree that takes longer is not counted."""
MOST_FILES = 200_000
"""An index of more files takes too long to be compared."""

Stat = tuple[int, int]
"""Size in bytes and time of modification in nanoseconds."""


class NotComparableError(Exception):
    """There is nothing to compare, or too much for the time; the message says which."""

    def __init__(self, message: str, indexed_at: datetime | None = None) -> None:
        self.indexed_at = indexed_at
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found, and which index it compared with; without changes it says why they are not known.

    `error` says that no job could list the root either.
    """

    indexed_at: datetime | None
    changes: FileChanges | None = None
    unknown: str | None = None
    error: RepositoryUnreadableError | None = None

    @property
    def is_unchanged(self) -> bool:
        changes = self.changes
        return changes is not None and (changes.modified, changes.added, changes.deleted) == (0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Indexed:
    files: Mapping[str, Stat]
    indexed_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A tree beside its index. `strangers` could be indexed and are not."""

    modified: int
    deleted: int
    strangers: Mapping[str, Stat]


def new_look() -> Look:
    """Its deadlines count from now."""
    now = time.monotonic()
    return Look(list_deadline=now + LISTING_SECONDS, deadline=now + LOOKING_SECONDS)


async def look_at(database: Database, project_id: str, path: str, max_file_bytes: int, look: Look) -> Looked:
    """Compares a tree with its index. Raises DatabaseError only; what is wrong with the tree is an answer."""
    indexed_at = None
    try:
        indexed = await _indexed(database, project_id, path)
        indexed_at = indexed.indexed_at
        checked_at = datetime.now(UTC)
        seen = await asyncio.to_thread(_seen, Path(path), indexed.files, max_file_bytes, look)
        left_out = await _left_out(database, project_id, path, seen.strangers)
    except NotComparableError as error:
        return Looked(error.indexed_at or indexed_at, unknown=str(error))
    except RepositoryUnreadableError as error:
        return Looked(indexed_at, unknown=error.message, error=error)
    return Looked(indexed_at, _changes(seen, left_out, checked_at))


async def _indexed(database: Database, project_id: str, path: str) -> _Indexed:
    schema = schema_name(project_id)
    async with database.transaction("search", schema) as connection:
        known = await projects.list_repositories(connection) if await projects.schema_exists(connection, schema) else []
        repository = next((one for one in known if one.path == path), None)
        if repository is None:
            raise NotComparableError(f"Nothing of {path} is indexed yet.")
        if repository.file_count > MOST_FILES:
            size = f"An index of {repository.file_count:,} files takes too long to be compared."
            raise NotComparableError(size, repository.last_indexed_at)
        files = await index_store.file_stats(connection, schema, repository.id)
    return _Indexed(files, repository.last_indexed_at)


def _seen(root: Path, indexed: Mapping[str, Stat], max_file_bytes: int, look: Look) -> _Seen:
    """Blocking, until the look's deadline at most."""
    discovery = discover(root, max_file_bytes=max_file_bytes, look=look)
    found = {file.relative_path: file for file in discovery}
    if look.is_list_cut or look.is_cut:
        raise NotComparableError(f"The tree is too large to be looked through within {LOOKING_SECONDS:g} s.")
    kept = {path for path in indexed if discovery.is_unreadable(path)} if discovery.unreadable_paths else set()
    known = indexed.keys() - kept
    return _Seen(
        modified=sum(path in found and not _is_as_indexed(found[path], indexed[path]) for path in known),
        deleted=len(known - found.keys()),
        strangers={
            path: (file.size_bytes, file.mtime_ns)
            for path, file in found.items()
            if path not in indexed and file.skip_reason is None
        },
    )


def _is_as_indexed(file: DiscoveredFile, indexed: Stat) -> bool:
    return file.skip_reason is None and (file.size_bytes, file.mtime_ns) == indexed


async def _left_out(
    database: Database, project_id: str, path: str, strangers: Mapping[str, Stat]
) -> Mapping[str, Stat] | None:
    """Which of the files the last completed job read and left out; None when no such job is on record."""
    if not strangers:
        return {}
    async with database.transaction("search") as connection:
        return await records.left_out_by_last_job(connection, project_id, path, list(strangers))


def _changes(seen: _Seen, left_out: Mapping[str, Stat] | None, checked_at: datetime) -> FileChanges:
    """Without the record, a new file cannot be told from one that was left out when it was read."""
    if left_out is None:
        return FileChanges(modified=seen.modified, added=None, deleted=seen.deleted, checked_at=checked_at)
    rewritten = sum(left_out.get(path, stat) != stat for path, stat in seen.strangers.items())
    return FileChanges(
        modified=seen.modified + rewritten,
        added=len(seen.strangers.keys() - left_out.keys()),
        deleted=seen.deleted,
        checked_at=checked_at,
    )
