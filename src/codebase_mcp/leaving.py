"""Leaving in time: a process that was told to stop ends at its deadline, whatever still hangs in it.

What is cut short then is safe to lose: the system frees file locks, leases lapse, and PostgreSQL ends by itself once it
was told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from codebase_mcp.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

log = get_logger(__name__)

LEAVE_SECONDS = 1.7
"""From the first word to stop until the process is gone."""


class Departure:
    """Ends this process some seconds after `begin`, unless it has ended by then. Cannot be called off."""

    def __init__(self, seconds: float = LEAVE_SECONDS) -> None:
        self._seconds = seconds
        self._exit_code = 0
        self._told, self._tell = os.pipe()
        # A thread that is there already: a signal may arrive where no thread can be started and no lock be taken.
        threading.Thread(target=self._watch, name="departure", daemon=True).start()

    def begin(self, exit_code: int = 0) -> None:
        """May be called from a signal handler and any thread, any number of times; the clock starts once."""
        self._exit_code = exit_code
        os.write(self._tell, b".")

    def _watch(self) -> None:
        os.read(self._told, 1)
        time.sleep(self._seconds)
        # Even the log may hang, on a disk that does.
        last_word = threading.Thread(target=log.warning, args=("leaving without waiting any longer",), daemon=True)
        last_word.start()
        last_word.join(0.1)
        os._exit(self._exit_code)


@contextlib.contextmanager
def told_to_stop(
    signals: Sequence[signal.Signals], stop: Callable[[], None], departure: Departure | None
) -> Iterator[None]:
    """Within the block, the first of these signals calls `stop` in the running loop; the next ends the process at once.

    The departure begins even when the loop is blocked. Without one, only `stop` is called. Signals that whoever started
    us has switched off (nohup) stay so.
    """
    loop = asyncio.get_running_loop()
    is_told = False

    def hear(number: int, _frame: FrameType | None) -> None:
        nonlocal is_told
        if departure is not None:
            if is_told:
                os._exit(128 + number)
            departure.begin()
        is_told = True
        loop.call_soon_threadsafe(stop)

    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
