"""Reads and rewrites files that other programs rewrite too."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from codebase_mcp.clients.errors import ClientConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BYTES = 50_000_000
ATTEMPTS = 10
LOCK_WAIT_SECONDS = 3.0
LOCK_POLL_SECONDS = 0.02


def read(path: Path) -> bytes | None:
    """The file's bytes, or None when there is none. Raises ClientConfigError for what is no readable regular file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ClientConfigError(f"{path} is not a regular file")
        if status.st_size > MAX_BYTES:
            raise ClientConfigError(f"{path} is larger than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            target = path.parent / path.readlink()
            raise ClientConfigError(
                f"{path} is a symbolic link to {target}, which does not exist. Restore it or remove the link."
            ) from None
        return None
    except OSError as error:
        raise ClientConfigError(f"{path} cannot be read ({error.strerror})") from None


def check_writable(path: Path) -> None:
    """Raises ClientConfigError when the file, or the folder that would take it, is read-only.

    Replacing a file needs no permission on the file itself, and root needs none at all; whoever made it read-only meant
    it nevertheless.
    """
    target = Path(os.path.realpath(path))
    folder = next(parent for parent in target.parents if parent.exists())
    for place in (target, folder):
        if place.exists() and not (place.stat().st_mode & 0o222 and os.access(place, os.W_OK)):
            raise ClientConfigError(f"{place} is read-only. Make it writable, then run this again.")


def rewrite(
    path: Path,
    edit: Callable[[bytes | None], bytes | None],
    *,
    is_private: bool = False,
    lock: Path | None = None,
    before_rename: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Replace the file's content by `edit(content)`, atomically; answers the folders that had to be made for it.

    None stands for a file that does not exist, before and after. The content is read again just before the rename; when
    another program has changed it, the edit is made anew on what stands there then. Mode, owner and symbolic links are
    kept; a new file is readable by its owner only if `is_private`. `lock` is a folder whose existence keeps the other
    program from writing.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    try:
        made = _make_folders(target.parent)
        with _held(lock):
            for _ in range(ATTEMPTS):
                if _replaced(target, edit, is_private, before_rename):
                    return made
    except OSError as error:
        raise ClientConfigError(f"{target} cannot be written ({error.strerror})") from None
    raise ClientConfigError(
        f"{path} kept changing while it was edited. Close the program that writes it and try again."
    )


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders that are empty, the innermost first."""
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _replaced(
    target: Path, edit: Callable[[bytes | None], bytes | None], is_private: bool, before_rename: Callable[[], None]
) -> bool:
    """One attempt; False when the file changed meanwhile."""
    before = read(target)
    after = edit(before)
    if after == before:
        return True
    if after is None:
        before_rename()
        if read(target) != before:
            return False
        target.unlink()
        return True
    temporary = _temporary_copy(target, after, is_new=before is None, is_private=is_private)
    try:
        before_rename()
        if read(target) != before:
            return False
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return True


def _temporary_copy(target: Path, content: bytes, *, is_new: bool, is_private: bool) -> Path:
    """A file beside the target that holds the content and has the target's mode, owner and attributes."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            temporary.chmod(0o600 if is_private else 0o666 & ~_umask())
            _give_to_owner_of(target.parent, temporary)
        else:
            _copy_attributes(target, temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _copy_attributes(target: Path, temporary: Path) -> None:
    status = target.stat()
    own = temporary.stat()
    if (status.st_uid, status.st_gid) != (own.st_uid, own.st_gid):
        os.chown(temporary, status.st_uid, status.st_gid)
    shutil.copystat(target, temporary)
    os.utime(temporary)


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """Prevents: files of root in the home of the user who called sudo."""
    if os.geteuid() == 0:
        status = folder.stat()
        os.chown(path, status.st_uid, status.st_gid)


def missing_folders(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist, the innermost first."""
    return [parent for parent in (folder, *folder.parents) if not parent.exists()]


def _make_folders(folder: Path) -> list[Path]:
    missing = missing_folders(folder)
    for parent in reversed(missing):
        parent.mkdir()
        _give_to_owner_of(parent.parent, parent)
    return missing


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _held(lock: Path | None) -> Iterator[None]:
    """Hold the lock folder. One that stays is stale, or its owner hangs: comparing before the rename has to do then."""
    is_ours = lock is not None and _taken(lock)
    try:
        yield
    finally:
        if lock is not None and is_ours:
            with contextlib.suppress(OSError):
                lock.rmdir()


def _taken(lock: Path) -> bool:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            lock.mkdir()
        except FileExistsError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOCK_POLL_SECONDS)
        except OSError:
            return False
        else:
            return True
