"""Which workers of a database live on this host: one file for each, locked as long as it lives.

The lock is the truth and the file's text only says more about its holder, so neither a number that the system gave to
another process nor a name in a process list can be mistaken for a worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from codebase_mcp import __version__
from codebase_mcp.errors import DatabaseError
from codebase_mcp.logs import get_logger
from codebase_mcp.storage.file_lock import FileLock

if TYPE_CHECKING:
    from codebase_mcp.settings import Settings

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LivingWorker:
    """What a worker says of itself. `place` tells hosts, and containers that share a folder, from each other."""

    pid: int
    version: str
    is_spawned: bool
    place: str


class Registration:
    """Makes this process known as a worker, from `enter` to `leave` or its death."""

    def __init__(self, settings: Settings, *, is_spawned: bool) -> None:
        self._folder = _folder(settings)
        self._path = self._folder / f"{database_key(settings)}-{uuid4().hex}"
        self._about = LivingWorker(os.getpid(), __version__, is_spawned, _place())
        self._lock: FileLock | None = None

    def enter(self) -> None:
        """A worker that cannot register works all the same, but is not found by those who want to stop it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked_file()
        except (OSError, DatabaseError) as error:
            log.warning("worker not registered", error=str(error))

    def _locked_file(self) -> FileLock:
        """Locked before it gets its name: a file that is seen and not locked is a dead worker's."""
        unfinished = self._folder / f".{self._path.name}"
        lock = FileLock(unfinished)
        lock.try_acquire("exclusive")
        os.pwrite(lock.fileno, json.dumps(asdict(self._about)).encode(), 0)
        unfinished.rename(self._path)
        return lock

    def leave(self) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            with lock:
                self._path.unlink(missing_ok=True)


def living_workers(settings: Settings) -> list[LivingWorker]:
    """The workers of this database that run here and belong to this user; forgets those that died."""
    found = (_read(path) for path in sorted(_folder(settings).glob(f"{database_key(settings)}-*")))
    return [worker for worker in found if worker is not None and worker.place == _place()]


def _read(path: Path) -> LivingWorker | None:
    # Another user's file may not be opened, and one that has just been removed is empty.
    with contextlib.suppress(OSError, DatabaseError, ValueError, TypeError), FileLock(path) as lock:
        if lock.try_acquire("shared"):  # not alone, or two who look would take each other for the worker
            path.unlink(missing_ok=True)
        else:
            return LivingWorker(**json.loads(path.read_text("utf-8")))
    return None


def database_key(settings: Settings) -> str:
    """Tells the databases from each other that this data directory's workers may work for."""
    url = settings.database_url
    identity = "embedded" if url is None else url.get_secret_value()
    if settings.host_id is not None:  # each of several hosts that share a data directory needs a worker of its own
        identity += f"\n{settings.host_id}"
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "workers"


def _place() -> str:
    namespace = ""
    with contextlib.suppress(OSError):  # only Linux has such a thing
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace}".strip()
