"""Several databases with pools of their own, as other processes have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from codebase_mcp.storage.database import Database

PATIENCE_SECONDS = 30
"""Longest that a test on a busy machine stands still in a transaction, or that others keep it waiting."""


class PatientDatabase(Database):
    """One whose transactions lose neither their connection nor a lock because the machine is busy."""

    def __init__(self, url: str, *, application_name: str) -> None:
        super().__init__(url, application_name=application_name, control_seconds=PATIENCE_SECONDS)
        milliseconds = 1_000 * PATIENCE_SECONDS
        self._limits = {
            name: replace(
                limits,
                checkout_seconds=PATIENCE_SECONDS,
                lock_milliseconds=milliseconds,
                idle_in_transaction_milliseconds=milliseconds,
            )
            for name, limits in self._limits.items()
        }


@asynccontextmanager
async def several(url: str, count: int) -> AsyncIterator[list[Database]]:
    async with AsyncExitStack() as stack:
        opened = [PatientDatabase(url, application_name=f"test {n}") for n in range(count)]
        for database in opened:
            stack.push_async_callback(database.close)
        yield opened
