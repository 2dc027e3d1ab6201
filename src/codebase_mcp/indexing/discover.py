"""From a root to its files, with what path and stat alone say about each. Contents are not read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from codebase_mcp.domain import DiscoveredFile
from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.file_stat import found_stat
from codebase_mcp.indexing.git import head_commit
from codebase_mcp.indexing.listing import Listing, Look, is_real_directory, list_files
from codebase_mcp.indexing.skip_rules import MAX_PATH_BYTES, skip_reason, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Discovery", "discover", "head_commit"]

NAME_NOT_UTF8 = "file name is not UTF-8"
NOT_REGULAR = "not a regular file"
PATH_TOO_LONG = f"path too long (more than {MAX_PATH_BYTES:,} bytes)"
SYMLINK_BROKEN = "broken symlink"
SYMLINK_LEAVING = "symlink leaving the root"
SYMLINK_UNREADABLE = "symlink whose target cannot be read"
SYMLINK_TO_DIRECTORY = "symlink to a directory"
SYMLINK_TO_FILE = "symlink to a file of the repository"
UNREADABLE = "cannot be read; what is indexed of it is kept"
_NO_TARGET = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def discover(root: Path, *, max_file_bytes: int, look: Look | None = None) -> Discovery:
    """The files below `root`, to be iterated once; both this call and the iteration block.

    With a `look` the iteration ends, perhaps before the last file, at its deadline.

    Raises RepositoryUnreadableError, now or while iterating, when the root is missing, unreadable or without a single
    file, or when git refuses it: none of that may ever look like a deletion.
    """
    try:
        os.scandir(root).close()
        return Discovery(root, max_file_bytes, look)
    except FileNotFoundError as error:
        raise _unusable(root, "does not exist") from error
    except NotADirectoryError as error:
        raise _unusable(root, "is not a directory") from error
    except OSError as error:
        raise _unusable(root, f"cannot be read ({error.strerror})") from error


class Discovery:
    """One look at a root, as an iterable of DiscoveredFile in path order; no path comes twice.

    `unreadable_paths` fills while iterating: posix paths of the directories (rarely, of single files) that could not be
    looked into. Each also comes as a skipped entry, last. What an index holds at or below them must be kept: ask
    `is_unreadable`, after the last file.
    """

    def __init__(self, root: Path, max_file_bytes: int, look: Look | None = None) -> None:
        self.root = root
        self.unreadable_paths: set[str] = set()
        self.warnings: list[str] = []
        self.files_listed = 0
        self._look = look or Look()
        self._max_file_bytes = max_file_bytes
        self._root_text = os.fspath(root)
        self._real_root = os.path.realpath(root)
        self._directories: dict[str, bool] = {"": True}

    def __iter__(self) -> Iterator[DiscoveredFile]:
        listing = self._list()
        self.unreadable_paths.update(map(_storable, listing.unreadable))
        self.warnings.extend(map(_storable, listing.warnings))
        self.files_listed = len(listing.files | listing.remarks.keys())
        is_empty = not self._look.is_list_cut
        for path in sorted(listing.files | listing.remarks.keys()):
            if self._look.must_end():
                return
            file = _remark(path, listing.remarks[path]) if path in listing.remarks else self._examine(path)
            # The escaped form of one name can be the true form of another.
            if file is not None and (file.relative_path == path or file.relative_path not in listing.files):
                is_empty = False
                yield file
        yield from (
            _remark(path, UNREADABLE) for path in sorted(self.unreadable_paths - listing.remarks.keys()) if path
        )
        if is_empty:
            readable = "that can be read" if self.unreadable_paths else "(ignored ones aside)"
            raise _unusable(self.root, f"contains no files {readable}")

    def is_unreadable(self, relative_path: str) -> bool:
        """Whether the path, or a directory above it, could not be looked into."""
        if not self.unreadable_paths:
            return False
        parents = map(str, Path(relative_path).parents)
        return relative_path in self.unreadable_paths or not self.unreadable_paths.isdisjoint(parents)

    def _list(self) -> Listing:
        try:
            return list_files(self.root, self._look)
        except OSError as error:
            raise _unusable(self.root, f"cannot be read any more ({error.strerror})") from error

    def _examine(self, path: str) -> DiscoveredFile | None:
        """What there is at `path` now; None when it is gone, or when only its directory can be reported."""
        folder = path.rpartition("/")[0]
        self._look.step(path)
        try:
            if not self._is_real_directory(folder):
                return None
            status = os.lstat(f"{self._root_text}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.unreadable_paths.add(_storable(folder if isinstance(error, PermissionError) and folder else path))
            return None
        if stat.S_ISDIR(status.st_mode):
            return None
        size_bytes, mtime_ns, ctime_ns, inode = found_stat(status)
        reason = self._skip_reason(path, status)
        return DiscoveredFile(_storable(path), size_bytes, mtime_ns, reason, ctime_ns, inode)

    def _is_real_directory(self, folder: str) -> bool:
        known = self._directories.get(folder)
        if known is None:
            known = self._directories[folder] = is_real_directory(self.root, folder)
        return known

    def _skip_reason(self, path: str, status: os.stat_result) -> str | None:
        if _storable(path) is not path:
            return NAME_NOT_UTF8
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            return PATH_TOO_LONG
        if stat.S_ISLNK(status.st_mode):
            return self._symlink_reason(path)
        if not stat.S_ISREG(status.st_mode):
            return NOT_REGULAR
        if (reason := skip_reason(path)) is not None:
            return reason
        return too_large(status.st_size, self._max_file_bytes) if status.st_size > self._max_file_bytes else None

    def _symlink_reason(self, path: str) -> str:
        """A link is never followed: what it points to inside the root is listed under its own path."""
        try:
            target = os.path.realpath(f"{self._root_text}/{path}")
            if os.path.commonpath([self._real_root, target]) != self._real_root:
                return SYMLINK_LEAVING
            mode = os.stat(target).st_mode
        except OSError as error:
            return SYMLINK_BROKEN if error.errno in _NO_TARGET else f"{SYMLINK_UNREADABLE} ({error.strerror})"
        if stat.S_ISDIR(mode):
            return SYMLINK_TO_DIRECTORY
        return SYMLINK_TO_FILE if stat.S_ISREG(mode) else NOT_REGULAR


def _remark(path: str, reason: str) -> DiscoveredFile:
    return DiscoveredFile(_storable(path), 0, 0, reason)


def _storable(path: str) -> str:
    """The path itself, or, where its bytes are not UTF-8, a form of it that a database takes, such as `caf\\xe9.py`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


def _unusable(root: Path, what: str) -> RepositoryUnreadableError:
    return RepositoryUnreadableError(f"{root} {what}. Its index is kept as it was. Check the path, then start again.")
