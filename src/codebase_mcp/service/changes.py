"""What became of a repository's files since they were indexed, told by names and stats; hashes where those differ.

A file of the same size with another time, inode or status change may have its old content: a checkout, a copy, chmod
and hard links change nothing else. Such files are read, and what was found of them is recorded, so that each is read
once.

Git's own answer (`git status`, `git diff`) is not asked for: it compares with a commit where the index may show none,
counts what `.mcpignore` leaves out, and runs the filters that a repository's configuration names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from codebase_mcp.detached_threads import run_detached
from codebase_mcp.errors import DatabaseError, RepositoryUnreadableError
from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.listing import Look
from codebase_mcp.indexing.verify import Verification, verify_contents
from codebase_mcp.jobs import records
from codebase_mcp.jobs.progress import counted
from codebase_mcp.logs import get_logger
from codebase_mcp.search.models import FileChanges
from codebase_mcp.storage import index_store, projects
from codebase_mcp.storage.not_indexed import not_indexed_files, refresh_stats
from codebase_mcp.storage.tables import schema_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from codebase_mcp.domain import DiscoveredFile, FileStat
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.not_indexed import NotIndexedFile

log = get_logger(__name__)
T = TypeVar("T")

LISTING_SECONDS, LOOKING_SECONDS = 2.0, 3.0
"""From the beginning of a look; a tree that takes longer is not counted."""
HANGING_SECONDS = 3.0
"""After its deadline, a look that has not ended is taken to hang."""
MOST_FILES = 200_000
"""An index of more files takes too long to be compared."""


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
    files: Mapping[str, FileStat]
    indexed_at: datetime | None
    repository_id: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """A tree beside its index. `suspects` have the size but not the stat of what is indexed; `strangers` could be
    indexed and are not."""

    modified: int
    deleted: int
    suspects: tuple[str, ...]
    strangers: Mapping[str, FileStat]


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What is on record of the strangers. `by_job` is None when the last job is not on record, and it is needed."""

    by_content: Mapping[str, NotIndexedFile]
    by_job: Mapping[str, FileStat] | None

    def suspects(self, strangers: Mapping[str, FileStat]) -> dict[str, bytes]:
        """Hashes of those whose size is as recorded and whose stat is not."""
        return {
            path: known.content_hash
            for path, known in self.by_content.items()
            if known.stat.size_bytes == strangers[path].size_bytes and not known.stat.matches(strangers[path])
        }


def new_look() -> Look:
    """Its deadlines count from now."""
    now = time.monotonic()
    return Look(list_deadline=now + LISTING_SECONDS, deadline=now + LOOKING_SECONDS)


async def look_at(
    database: Database, project_id: str, place: tuple[str, str], max_file_bytes: int, look: Look
) -> Looked:
    """Compares the tree at a place, which is this host and a path, with its index.

    Raises DatabaseError only; what is wrong with the tree is an answer.
    """
    host_id, path = place
    indexed_at = None
    try:
        indexed = await _indexed(database, project_id, host_id, path)
        indexed_at = indexed.indexed_at
        checked_at = datetime.now(UTC)
        seen = await _within(look, lambda: _seen(Path(path), indexed.files, max_file_bytes, look))
        left_out = await _left_out(database, project_id, place, indexed.repository_id, seen.strangers)
        suspects = await _hashes(database, project_id, indexed.repository_id, seen.suspects)
        suspects |= left_out.suspects(seen.strangers)
        verification = await _verified(Path(path), suspects, max_file_bytes, look)
        await _record(database, project_id, indexed.repository_id, verification.equal)
        _require_whole(verification, len(suspects))
    except NotComparableError as error:
        return Looked(error.indexed_at or indexed_at, unknown=str(error))
    except RepositoryUnreadableError as error:
        return Looked(indexed_at, unknown=error.message, error=error)
    return Looked(indexed_at, _changes(seen, left_out, verification.equal.keys(), checked_at))


async def _indexed(database: Database, project_id: str, host_id: str, path: str) -> _Indexed:
    schema = schema_name(project_id)
    async with database.transaction("search", schema) as connection:
        known = await projects.list_repositories(connection) if await projects.schema_exists(connection, schema) else []
        repository = next((one for one in known if one.place == (host_id, path)), None)
        if repository is None:
            raise NotComparableError(f"Nothing of {path} is indexed yet.")
        if repository.file_count > MOST_FILES:
            size = f"An index of {repository.file_count:,} files takes too long to be compared."
            raise NotComparableError(size, repository.last_indexed_at)
        files = await index_store.file_stats(connection, schema, repository.id)
    return _Indexed(files, repository.last_indexed_at, repository.id)


def _seen(root: Path, indexed: Mapping[str, FileStat], max_file_bytes: int, look: Look) -> _Seen:
    """Blocking, until the look's deadline at most."""
    discovery = discover(root, max_file_bytes=max_file_bytes, look=look)
    found = {file.relative_path: file for file in discovery}
    if look.is_list_cut or look.is_cut:
        raise NotComparableError(f"The tree is too large to be looked through within {LOOKING_SECONDS:g} s.")
    kept = {path for path in indexed if discovery.is_unreadable(path)} if discovery.unreadable_paths else set()
    known = indexed.keys() - kept
    differing = [path for path in known if path in found and not _is_as_indexed(found[path], indexed[path])]
    suspects = tuple(path for path in differing if _may_have_same_content(found[path], indexed[path]))
    return _Seen(
        modified=len(differing) - len(suspects),
        deleted=len(known - found.keys()),
        suspects=suspects,
        strangers={path: file.stat for path, file in found.items() if path not in indexed and file.skip_reason is None},
    )


def _is_as_indexed(file: DiscoveredFile, indexed: FileStat) -> bool:
    return file.skip_reason is None and indexed.matches(file.stat)


def _may_have_same_content(file: DiscoveredFile, indexed: FileStat) -> bool:
    return file.skip_reason is None and file.size_bytes == indexed.size_bytes


async def _within(look: Look, call: Callable[[], T]) -> T:
    """What the call finds. It keeps to the look's deadline by itself, unless the file system hangs."""
    try:
        return await run_detached(call, timeout_seconds=LOOKING_SECONDS + HANGING_SECONDS)
    except TimeoutError as error:
        place = look.place or "the folder"
        raise NotComparableError(f"The file system has not answered for {HANGING_SECONDS:g} s, at {place}.") from error


async def _left_out(
    database: Database,
    project_id: str,
    place: tuple[str, str],
    repository_id: int,
    strangers: Mapping[str, FileStat],
) -> _LeftOut:
    """Which of the files were read and left out because of their content, and which the last completed job left out."""
    if not strangers:
        return _LeftOut({}, {})
    async with database.transaction("search", schema_name(project_id)) as connection:
        by_content = await not_indexed_files(connection, repository_id, list(strangers))
        others = [stranger for stranger in strangers if stranger not in by_content]
        if not others:
            return _LeftOut(by_content, {})
        return _LeftOut(by_content, await records.left_out_by_last_job(connection, project_id, *place, others))


async def _hashes(database: Database, project_id: str, repository_id: int, suspects: Sequence[str]) -> dict[str, bytes]:
    if not suspects:
        return {}
    async with database.transaction("search", schema_name(project_id)) as connection:
        known = await index_store.known_files(connection, repository_id, suspects)
    return {path: file.content_hash for path, file in known.items()}


async def _verified(root: Path, suspects: Mapping[str, bytes], max_file_bytes: int, look: Look) -> Verification:
    """Which of them have their old content, as far as there is time to read them."""
    if not suspects:
        return Verification()
    return await _within(
        look, lambda: verify_contents(root, suspects, max_file_bytes=max_file_bytes, deadline=look.deadline)
    )


def _require_whole(verification: Verification, suspects: int) -> None:
    """What was read is recorded, so that the next look gets further."""
    if verification.not_read:
        raise NotComparableError(
            f"{counted(suspects, 'file')} with a new time or inode could not all be read within"
            f" {LOOKING_SECONDS:g} s; search again, or with require_fresh, to know whether their content changed."
        )


async def _record(
    database: Database, project_id: str, repository_id: int, equal: Mapping[str, tuple[bytes, FileStat]]
) -> None:
    """So that they need not be read again. Where this cannot be written they are, which costs time only."""
    if not equal:
        return
    try:
        async with database.transaction("control", schema_name(project_id)) as connection:
            await refresh_stats(connection, repository_id, equal)
    except DatabaseError as error:
        log.info("stats of unchanged files not recorded", reason=error.message)


def _changes(seen: _Seen, left_out: _LeftOut, equal: Collection[str], checked_at: datetime) -> FileChanges:
    """Without the record, a new file cannot be told from one that was left out when it was read."""
    modified = seen.modified + sum(path not in equal for path in seen.suspects)
    modified += sum(
        path not in equal and not known.stat.matches(seen.strangers[path])
        for path, known in left_out.by_content.items()
    )
    others = seen.strangers.keys() - left_out.by_content.keys()
    added = None
    if left_out.by_job is not None:
        modified += sum(not stat.matches(seen.strangers[path]) for path, stat in left_out.by_job.items())
        added = len(others - left_out.by_job.keys())
    return FileChanges(modified=modified, added=added, deleted=seen.deleted, checked_at=checked_at)
