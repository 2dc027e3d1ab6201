"""Waiting for a condition, with a deadline, in place of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.01


async def until(condition: Callable[[], T | Awaitable[T]], *, seconds: float = 20, what: str = "it to be so") -> T:
    """The first true value of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        answer = await value if inspect.isawaitable(value) else value
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}; the last answer was {answer!r}")
        await asyncio.sleep(PAUSE_SECONDS)


def until_now(condition: Callable[[], T], *, seconds: float = 20, what: str = "it to be so") -> T:
    """The same for code that is no coroutine."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}; the last answer was {answer!r}")
        time.sleep(PAUSE_SECONDS)
    return answer
