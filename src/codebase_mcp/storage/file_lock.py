"""Locks on files, freed by the kernel however their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from codebase_mcp.errors import DatabaseError, DatabaseStartingError

_POLL_SECONDS = 0.02


class FileLock:
    """An open lock file. The lock belongs to the open file: a child that inherits it holds the same lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.fileno: int = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseError(
                f"The lock {path} cannot be opened ({error.strerror})."
                " Set CODEBASE_MCP_DATA_DIR to a directory of your own."
            ) from error

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go, unless a child process has inherited the lock."""
        os.close(self.fileno)

    def try_acquire(self, how: Literal["shared", "exclusive"]) -> bool:
        """Take the lock if it is free, or turn the one already held into another kind (losing it on failure)."""
        try:
            fcntl.flock(self.fileno, (fcntl.LOCK_SH if how == "shared" else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, how: Literal["shared", "exclusive"], *, wait_seconds: float, waiting_for: str) -> None:
        """Wait for the lock; DatabaseStartingError naming what was waited for when it takes too long."""
        deadline = time.monotonic() + wait_seconds
        while not self.try_acquire(how):
            if time.monotonic() > deadline:
                raise DatabaseStartingError(
                    f"{self._path} stayed locked for {wait_seconds:g} s: {waiting_for}. Try again in a few seconds."
                )
            time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def locked(path: Path, *, wait_seconds: float, waiting_for: str) -> Iterator[None]:
    """Hold a file's lock alone."""
    with FileLock(path) as lock:
        lock.acquire("exclusive", wait_seconds=wait_seconds, waiting_for=waiting_for)
        yield


def is_held(path: Path) -> bool:
    """Whether any process holds the lock."""
    with FileLock(path) as lock:
        return not lock.try_acquire("exclusive")
