"""The process pool for CPU-bound work, so that the event loop stays free for renewals and cancels.

A file can kill the process that parses it. The pool then breaks for everybody in flight; each caller repeats its work
in isolation, one at a time in a process of its own, where a second death is certainly the fault of that work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

WORK_SECONDS = 120.0
"""Longest that one piece of work may take before its process is killed."""
NICENESS = 5
"""Who searches comes before those who index."""


class PoolBrokenError(Exception):
    """The process that did the work, or one beside it, died or hung."""


class ParsingPool:
    """Runs picklable functions in other processes. One per worker, shared by its jobs."""

    def __init__(self, processes: int, work_seconds: float = WORK_SECONDS) -> None:
        self._processes = processes
        self._work_seconds = work_seconds
        self._executor: ProcessPoolExecutor | None = None
        self._isolation = asyncio.Lock()

    def start(self, warm_up: Callable[[], object]) -> None:
        """Starts the processes ahead of the first work, each with a first call that loads what it will need."""
        executor = self._started()
        for _ in range(self._processes):
            executor.submit(warm_up)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = _new_executor(self._processes)
        return self._executor

    async def run(self, function: Callable[[Given], Made], given: Given) -> Made:
        """Raises `PoolBrokenError` when any process of the pool died or this work took too long."""
        executor = self._started()
        try:
            return await _result(executor, function, given, self._work_seconds)
        except PoolBrokenError:
            if self._executor is executor:
                self._executor = None
            raise

    async def run_isolated(self, function: Callable[[Given], Made], given: Given) -> Made:
        """Like `run`, but alone in a fresh process, so that a death can only be this work's fault."""
        async with self._isolation:
            executor = _new_executor(1)
            try:
                return await _result(executor, function, given, self._work_seconds)
            finally:
                _kill(executor)

    async def can_start(self) -> bool:
        """Whether a process that has nothing to do comes up."""
        try:
            await self.run_isolated(_do_nothing, None)
        except PoolBrokenError:
            return False
        return True

    def process_ids(self) -> list[int]:
        return [] if self._executor is None else list(self._executor._processes or {})

    def close(self) -> None:
        if self._executor is not None:
            _kill(self._executor)
            self._executor = None


async def _result(
    executor: ProcessPoolExecutor, function: Callable[[Given], Made], given: Given, seconds: float
) -> Made:
    try:
        future = executor.submit(function, given)
    except (BrokenProcessPool, RuntimeError) as error:
        raise PoolBrokenError from error
    waiting = asyncio.wrap_future(future)
    # Whoever was cancelled or gave up no longer asks for the outcome; that is no reason to complain about it.
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        async with asyncio.timeout(seconds):
            # Shielded: the executor's thread dies of a cancelled future when it tells everybody of a broken process.
            return await asyncio.shield(waiting)
    except BrokenProcessPool as error:
        raise PoolBrokenError from error
    except TimeoutError as error:
        _kill(executor)
        raise PoolBrokenError from error


def _new_executor(processes: int) -> ProcessPoolExecutor:
    # spawn: a forked child would inherit held locks, open sockets and the host lock of its parent.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_start_process, initargs=(os.getpid(),))


def _do_nothing(_given: None) -> None:
    pass


def _kill(executor: ProcessPoolExecutor) -> None:
    """Everybody in flight gets `BrokenProcessPool`; cancelled futures would look as if the callers were cancelled."""
    for process in list((executor._processes or {}).values()):
        process.kill()
    executor.shutdown(wait=False)


def _start_process(parent: int) -> None:
    """Leaves when the parent is gone: nobody else ends the children of a killed worker."""
    os.nice(NICENESS)
    threading.Thread(target=_leave_with, args=(parent,), name="parent-watch", daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
