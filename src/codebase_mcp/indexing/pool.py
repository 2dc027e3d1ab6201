"""The processes that parse, so that the event loop stays free for renewals and cancels, and so that they may die.

Each process does one piece of work at a time, within bounds of time and memory that the system enforces: a file that
exceeds one kills the process that parses it, and nobody else notices. What was being worked on then is known, because
the work names each of its items.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Given = TypeVar("Given")
Made = TypeVar("Made")

WORK_SECONDS = 120.0
"""Longest that one piece of work may take before its process is killed."""
ITEM_SECONDS = 10.0
"""Processor time for one item, so that a busy machine gives the same answer. Sources take up to 3 s per megabyte."""
POOL_BYTES = 400_000_000
"""What all processes together may take on top of what they started with. Ordinary sources take up to 40 MB each."""
LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES = 32_000_000, 128_000_000
"""Bounds of what one process may take of it."""
ISOLATED_MEMORY_BYTES = 256_000_000
"""The same for isolated work: it decides whether an item exceeds its bound, so it begins in a fresh process."""
WATCH_SECONDS = 0.1
NICENESS = 5
"""Who searches comes before those who index."""

_SPAWN = multiprocessing.get_context("spawn")  # a forked child would inherit locks, sockets and the host lock

# In a pool process: where it reports to, and what an item may take.
_parent: Connection | None = None
_item_seconds = ITEM_SECONDS


class Cause(Enum):
    """Why work broke."""

    DIED = "its process died"
    TOO_LARGE = "it exceeded its memory"
    TOO_SLOW = "it exceeded its time"


class PoolBrokenError(Exception):
    """The process that did the work died. `item` is what it was at, if it was at any."""

    def __init__(self, cause: Cause = Cause.DIED, item: str | None = None) -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.item = item


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one process: memory on top of what it started with, processor time per item, time per piece of work."""

    memory_bytes: int
    item_seconds: float = ITEM_SECONDS
    work_seconds: float = WORK_SECONDS

    @classmethod
    def shared_by(cls, processes: int) -> Bounds:
        return cls(max(LEAST_MEMORY_BYTES, min(MOST_MEMORY_BYTES, POOL_BYTES // processes)))


class ParsingPool:
    """Runs picklable functions in other processes. One per worker, shared by its jobs."""

    def __init__(
        self, processes: int, bounds: Bounds | None = None, isolated_memory_bytes: int = ISOLATED_MEMORY_BYTES
    ) -> None:
        self._bounds = bounds or Bounds.shared_by(processes)
        self._isolated_bounds = replace(self._bounds, memory_bytes=isolated_memory_bytes)
        self._processes = processes
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="parsing-pool")
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._living: set[_Process] = set()
        self._is_closed = False
        self._isolation = asyncio.Lock()

    def start(self, warm_up: Callable[[], object]) -> None:
        """Starts the processes ahead of the first work, each with a first call that loads what it will need."""
        for _ in range(self._processes):
            self._threads.submit(self._warm, warm_up)

    async def run(self, function: Callable[[Given], Made], given: Given) -> Made:
        """Raises `PoolBrokenError` when the process of this work died, of it or of something else."""
        return await _outcome(self._threads.submit(self._work, function, given))

    async def run_isolated(self, function: Callable[[Given], Made], given: Given) -> Made:
        """Like `run`, in a fresh process with more memory; one at a time, so that the sum stays bounded."""
        async with self._isolation:
            return await _outcome(self._threads.submit(self._work_isolated, function, given))

    async def can_start(self) -> bool:
        """Whether a process that has nothing to do comes up."""
        try:
            await self.run_isolated(_do_nothing, None)
        except PoolBrokenError:
            return False
        return True

    def process_ids(self) -> list[int]:
        with self._lock:
            return [process.pid for process in self._living]

    def close(self) -> None:
        """Work in flight breaks."""
        with self._lock:
            self._is_closed = True
            living, self._living = self._living, set()
        for process in living:
            process.kill()
        self._threads.shutdown(wait=False)

    # --- in threads ---

    def _warm(self, warm_up: Callable[[], object]) -> None:
        with contextlib.suppress(PoolBrokenError):
            process = self._opened(self._bounds)
            process.call(_without_argument, warm_up)
            self._give_back(process)

    def _work(self, function: Callable[[Given], Made], given: Given) -> Made:
        process = self._taken() or self._opened(self._bounds)
        try:
            made: Made = process.call(function, given)
        except _DiedIdleError:
            self._discard(process)
            return self._work(function, given)
        except PoolBrokenError:
            self._discard(process)
            raise
        except BaseException:
            self._give_back(process)
            raise
        self._give_back(process)
        return made

    def _work_isolated(self, function: Callable[[Given], Made], given: Given) -> Made:
        process = self._opened(self._isolated_bounds)
        try:
            made: Made = process.call(function, given)
            return made
        finally:
            self._discard(process)

    def _taken(self) -> _Process | None:
        """An idle process that lives."""
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None or process.is_alive():
                return process
            self._discard(process)

    def _opened(self, bounds: Bounds) -> _Process:
        try:
            process = _Process(bounds)
        except OSError as error:
            raise PoolBrokenError from error  # no memory, or the program was removed
        with self._lock:
            if not self._is_closed:
                self._living.add(process)
                return process
        process.kill()
        raise PoolBrokenError

    def _give_back(self, process: _Process) -> None:
        if process.has_grown():
            self._discard(process)
            return
        with self._lock:
            self._idle.append(process)

    def _discard(self, process: _Process) -> None:
        process.kill()
        with self._lock:
            self._living.discard(process)


async def _outcome(future: Future[Made]) -> Made:
    try:
        return await asyncio.wrap_future(future)
    finally:
        # Whoever was cancelled or gave up no longer asks for the outcome; that is no reason to complain about it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())


class _Process:
    """One process, seen from its parent; used by one thread at a time, but for `kill`."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._connection, connection = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(connection, os.getpid(), bounds), daemon=True)
        self._process.start()
        connection.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._watched = psutil.Process(self.pid)
        self._first_bytes: int | None = None

    def call(self, function: Callable[[Given], Made], given: Given) -> Made:
        deadline = time.monotonic() + self._bounds.work_seconds
        item: str | None = None
        is_first, has_begun = self._first_bytes is None, False
        try:
            self._connection.send((function, given))
            while True:
                kind, value = self._receive(deadline)
                has_begun = True
                match kind:
                    case "at":
                        item = value
                    case "raised":
                        raise value
                    case _:
                        made: Made = value
                        return made
        except (EOFError, ConnectionError, _Exceeded) as error:
            self.kill()
            cause = error.cause if isinstance(error, _Exceeded) else self._cause_of_death()
            if cause is Cause.DIED and not is_first and not has_begun:
                raise _DiedIdleError from error
            raise PoolBrokenError(cause, item) from error

    def _receive(self, deadline: float) -> Any:
        while not self._connection.poll(WATCH_SECONDS):
            if time.monotonic() > deadline:
                raise _Exceeded(Cause.TOO_SLOW)
            if self._grown_bytes() > self._bounds.memory_bytes:
                raise _Exceeded(Cause.TOO_LARGE)
        message = self._connection.recv()
        if self._first_bytes is None:
            self._first_bytes = self._private_bytes()
        return message

    def has_grown(self) -> bool:
        """Whether it should be replaced: what is left of its memory may be too little for the next work."""
        return self._grown_bytes() > self._bounds.memory_bytes // 2

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        with contextlib.suppress(ValueError, AttributeError):  # another thread was faster
            self._process.kill()
            self._process.join()

    def _grown_bytes(self) -> int:
        return 0 if self._first_bytes is None else self._private_bytes() - self._first_bytes

    def _private_bytes(self) -> int:
        """Without the grammars and libraries that all processes share, where the system tells them apart."""
        try:
            memory = self._watched.memory_info()
        except psutil.Error:
            return 0
        return int(memory.rss - getattr(memory, "shared", 0))

    def _cause_of_death(self) -> Cause:
        return Cause.TOO_SLOW if self._process.exitcode == -signal.SIGPROF else Cause.DIED


class _DiedIdleError(PoolBrokenError):
    """Before it began with the work, so not because of it."""


class _Exceeded(Exception):
    def __init__(self, cause: Cause) -> None:
        self.cause = cause
        super().__init__(cause.value)


# --- in a pool process ---


@contextlib.contextmanager
def working_on(item: str) -> Iterator[None]:
    """Names what a death is the fault of, and bounds its time. Outside of a pool process it does nothing."""
    if _parent is None:
        yield
        return
    _parent.send(("at", item))
    signal.setitimer(signal.ITIMER_PROF, _item_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _serve(connection: Connection, parent: int, bounds: Bounds) -> None:
    global _parent, _item_seconds
    _parent, _item_seconds = connection, bounds.item_seconds
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; it is the parent that decides
    threading.Thread(target=_leave_with, args=(parent,), name="parent-watch", daemon=True).start()
    is_bounded = False
    while True:
        try:
            function, given = connection.recv()
        except (EOFError, ConnectionError):
            os._exit(0)
        connection.send(("at", None))
        if not is_bounded:
            # What the work needs is imported now, and counts as what the process started with.
            _bound_memory(bounds.memory_bytes)
            is_bounded = True
        _answer(connection, function, given)


def _answer(connection: Connection, function: Callable[[Any], Any], given: Any) -> None:
    try:
        connection.send(("made", function(given)))
    except MemoryError:
        os._exit(1)
    except Exception as error:
        connection.send(("raised", error))


def _bound_memory(more_bytes: int) -> None:
    """Has the system refuse what is beyond that, of which the process dies. Elsewhere its parent watches it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            data_bytes = int(file.read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes + more_bytes,) * 2)


def _do_nothing(_given: None) -> None:
    pass


def _without_argument(function: Callable[[], object]) -> None:
    function()


def _leave_with(parent: int) -> None:
    """Leaves when the parent is gone: nobody else ends the children of a killed worker."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
