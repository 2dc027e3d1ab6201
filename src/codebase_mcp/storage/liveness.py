"""Tells a slow database from one that is away, sooner than the deadlines of its statements would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from codebase_mcp.errors import DatabaseUnavailableError

PATIENCE_SECONDS = 0.5
"""What is done by then is not watched."""
PROBE_SECONDS = 2.0
"""A living server takes a new connection within this, however busy it is."""

Probe = Callable[[float], Awaitable[None]]


class Liveness:
    """Watches calls that take long. `probe` raises DatabaseUnavailableError when the database does not answer."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._probing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Ends the block with DatabaseUnavailableError once the database is found to be away.

        The block may take as long as it likes while the database answers others; a quick one costs no probe.
        """
        watch = _Watch(self)
        try:
            async with asyncio.timeout(None) as scope:
                watch.begin(scope)
                yield
        except TimeoutError as error:
            if watch.trouble is None or not scope.expired():
                raise
            raise watch.trouble from error
        finally:
            watch.end()

    async def require_answer(self) -> None:
        """One probe at a time, whose outcome all who wait share."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._ask())
            self._probing.add_done_callback(_retrieve)
        await asyncio.shield(self._probing)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probe(PROBE_SECONDS)
        except TimeoutError as error:
            raise DatabaseUnavailableError(
                f"The database cannot be reached: it took no new connection within {PROBE_SECONDS:g} s. Check that it"
                " is running (`codebase-mcp doctor`), then try again."
            ) from error


class _Watch:
    """Of one block: begins when that has taken a while, and probes until it ends."""

    def __init__(self, liveness: Liveness) -> None:
        self.trouble: DatabaseUnavailableError | None = None
        self._liveness = liveness
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, scope: asyncio.Timeout) -> None:
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._start, scope)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self, scope: asyncio.Timeout) -> None:
        self._task = asyncio.create_task(self._look(scope))

    async def _look(self, scope: asyncio.Timeout) -> None:
        while self.trouble is None:
            try:
                await self._liveness.require_answer()
            except DatabaseUnavailableError as error:
                self.trouble = error
                scope.reschedule(asyncio.get_running_loop().time())
            else:
                await asyncio.sleep(PATIENCE_SECONDS)


def _retrieve(probing: asyncio.Task[None]) -> None:
    """Prevents: a complaint about an outcome that nobody was left to see."""
    if not probing.cancelled():
        probing.exception()
