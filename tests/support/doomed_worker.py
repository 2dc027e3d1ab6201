"""A worker that sends itself a signal at a named point: `python -m tests.support.doomed_worker POINT TIMES SIGNAL`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.indexing.pool import ParsingPool
from codebase_mcp.jobs.tools import Tools
from codebase_mcp.jobs.worker import Worker
from codebase_mcp.logs import configure_logging
from codebase_mcp.settings import Settings
from codebase_mcp.storage.opening import OpenedDatabase


def signals_itself(point: str, times: int, number: int) -> Callable[[str], None]:
    reached = 0

    def on_point(here: str) -> None:
        nonlocal reached
        reached += here == point
        if here == point and reached == times:
            os.kill(os.getpid(), number)

    return on_point


def careless_settings() -> Settings:
    """The settings, but for a lease that no real worker would accept with such late renewals."""
    names = ("lease_seconds", "renew_seconds")
    given = {name: os.environ.get(f"CODEBASE_MCP_CARELESS_{name.upper()}") for name in names}
    return Settings().model_copy(update={name: float(value) for name, value in given.items() if value})


async def run(on_point: Callable[[str], None]) -> None:
    settings = careless_settings()
    configure_logging(settings, "worker")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    opened = OpenedDatabase(settings, f"doomed worker {os.getpid()}", control_seconds=1.0)
    pool = ParsingPool(settings.pool_processes)
    try:
        tools = Tools(await opened.open(), open_embedder(settings), pool, settings, on_point)
        await Worker(opened, tools).run(stop)
    finally:
        pool.close()
        await opened.close()


if __name__ == "__main__":
    asyncio.run(run(signals_itself(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
