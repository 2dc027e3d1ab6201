"""The asyncio side of a stdio server: lines from the frontend's thread, and lines back to the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    from codebase_mcp.server.stdio_frontend import StdioFrontend


class ClientLines:
    """What the client sends, as an asynchronous iterator of lines. Filled from another thread, in order."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        """`on_end` is called, in the thread that noticed it, when the input ends."""
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._on_end = on_end

    def receive(self, line: bytes) -> None:
        self._put(line.decode("utf-8", errors="replace"))

    def end(self) -> None:
        self._on_end()
        self.finish()

    def finish(self) -> None:
        """End the iteration, though the client is still there."""
        self._put(None)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    def _put(self, line: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have been closed meanwhile
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


class ClientOutput:
    """Where the protocol library writes its lines. A client that reads slowly does not hold up the loop."""

    def __init__(self, frontend: StdioFrontend) -> None:
        self._frontend = frontend

    async def write(self, text: str) -> None:
        await anyio.to_thread.run_sync(self._frontend.send, text.encode())

    async def flush(self) -> None:
        """Nothing is held back."""
