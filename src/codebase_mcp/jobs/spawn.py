"""Starts the detached worker when there is work and nobody does it.

One automatically started worker per host and database is enough; a lock file says whether it lives. The lock only
saves processes: correctness rests on the statements in queries.sql, whatever number of workers there is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from codebase_mcp.domain import MAX_RUNNING_JOBS
from codebase_mcp.jobs.registry import database_key, living_workers
from codebase_mcp.jobs.upgrade import is_older
from codebase_mcp.logs import get_logger
from codebase_mcp.storage.file_lock import FileLock, is_held

if TYPE_CHECKING:
    from codebase_mcp.jobs.registry import LivingWorker
    from codebase_mcp.jobs.store import WaitingWork
    from codebase_mcp.settings import Settings

log = get_logger(__name__)

LAPSE_SECONDS = 3.0
"""A lease that lapsed this long ago proves that the holder of the host lock no longer works."""
LOOK_SECONDS = 0.2
"""To look whether the lock is held means to hold it for an instant."""
RESPAWN_SECONDS = 5.0
"""A worker takes about a second until it holds the lock; before that, another one is not started."""
HELPER_SECONDS = 30.0
"""So long a second worker may take to get a job, or an older one to leave: more of them make a busy machine busier."""
MOST_WORKERS = 1 + MAX_RUNNING_JOBS
"""One that is frozen, and one for each job that must run alone."""
LEAVE_AFTER_BATCH = signal.SIGUSR1
"""What a worker of an older version is told by a newer program."""


class HostLock:
    """Says that an automatically started worker for this database lives on this host; its death frees the lock."""

    def __init__(self, settings: Settings) -> None:
        self._path = lock_path(settings)
        self._lock: FileLock | None = None

    def take(self, wait_seconds: float = LOOK_SECONDS) -> bool:
        """False when another worker has it for that long. Waits out those who only look whether it is held."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path)
        deadline = time.monotonic() + wait_seconds
        while not lock.try_acquire("exclusive"):
            if time.monotonic() > deadline:
                lock.close()
                return False
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # a full disk takes no number, but the lock holds without one
            os.ftruncate(lock.fileno, 0)
            os.pwrite(lock.fileno, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock
        return True

    def free(self) -> None:
        if self._lock is not None:
            os.ftruncate(self._lock.fileno, 0)
            self._lock.close()
            self._lock = None


def lock_path(settings: Settings) -> Path:
    """One lock per database: a host may work for several."""
    return settings.data_dir / f"worker-{database_key(settings)}.lock"


def living_worker(settings: Settings) -> int | None:
    """The process id of the host's automatically started worker; None when there is none."""
    path = lock_path(settings)
    if not path.exists() or not is_held(path):
        return None
    try:
        return int(path.read_text())
    except ValueError:
        return 0  # it has the lock and is about to write its number


def retire_older_workers(settings: Settings) -> bool:
    """Has automatically started workers of an older version leave once their batches are committed; True if any is."""
    older = _older_workers(settings)
    for worker in older:
        log.info("older worker told to leave", worker_pid=worker.pid, worker_version=worker.version)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(worker.pid, LEAVE_AFTER_BATCH)
    return bool(older)


def _older_workers(settings: Settings) -> list[LivingWorker]:
    return [worker for worker in living_workers(settings) if worker.is_spawned and is_older(worker.version)]


class Spawner:
    """Starts workers for one process; remembers when it last did."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spawned: subprocess.Popen[bytes] | None = None
        self._patient_until = float("-inf")

    def ensure_worker(self, work: WaitingWork) -> bool:
        """Starts a worker if active jobs have none; True if it did. Returns at once."""
        self._reap()
        if self._settings.worker != "spawn" or not work.active or self._is_patient():
            return False
        holder = living_worker(self._settings)
        if holder is None:
            self._spawn(RESPAWN_SECONDS)
        elif work.longest_lapse_seconds > LAPSE_SECONDS and self._has_room():
            # The holder of the lock is frozen: a lease lapsed, or work waits although a slot is free.
            self._spawn(HELPER_SECONDS, "--ignore-host-lock")
        elif holder in {worker.pid for worker in _older_workers(self._settings)}:
            # An older worker is asked to leave by the one that takes its place: so nobody else comes in between.
            self._spawn(HELPER_SECONDS)
        else:
            return False
        return True

    def _has_room(self) -> bool:
        """Prevents: ever more workers on a machine that is too busy for those it has."""
        return sum(worker.is_spawned for worker in living_workers(self._settings)) < MOST_WORKERS

    def _is_patient(self) -> bool:
        """With the worker that it started last; one that died is as good as none."""
        return self._spawned is not None and time.monotonic() < self._patient_until

    def _reap(self) -> None:
        if self._spawned is not None and self._spawned.poll() is not None:
            self._spawned = None

    def _spawn(self, patience_seconds: float, *flags: str) -> None:
        if not os.path.exists(__file__):
            log.warning("no worker started", reason="this program was removed")
            return
        self._settings.log_dir.mkdir(parents=True, exist_ok=True)
        with (self._settings.log_dir / "worker-output.log").open("ab") as output:
            self._spawned = subprocess.Popen(
                [sys.executable, "-m", "codebase_mcp", "worker", "--spawned", *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=os.environ | self._settings.as_environment(),
                start_new_session=True,
            )
        self._patient_until = time.monotonic() + patience_seconds
        log.info("worker started", worker_pid=self._spawned.pid, flags=flags)
