"""Several databases with pools of their own, as other processes have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from codebase_mcp.storage.database import Database


@asynccontextmanager
async def several(url: str, count: int) -> AsyncIterator[list[Database]]:
    async with AsyncExitStack() as stack:
        opened = [Database(url, application_name=f"test {n}", control_seconds=10) for n in range(count)]
        for database in opened:
            stack.push_async_callback(database.close)
        yield opened
