"""Blocking calls that may never return, such as those on a file system that does not answer.

Nobody can end a thread that hangs in the system. So each of these calls has a thread of its own: it takes no place in
the pool that everything else needs, whoever waits for it can stop waiting, and the process can end without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def run_detached(call: Callable[[], T], *, timeout_seconds: float | None = None) -> T:
    """Like `asyncio.to_thread`, in a thread that nothing waits for. Raises TimeoutError after so many seconds."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            settle(functools.partial(outcome.set_exception, error))
        else:
            settle(functools.partial(outcome.set_result, result))

    def settle(set_outcome: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if outcome.done() else set_outcome())

    threading.Thread(target=run, name="detached", daemon=True).start()
    async with asyncio.timeout(timeout_seconds):
        return await outcome
