"""`python -m tests.support.fake_server [options of serve]`: the real command over a service without a database.

With FAKE_SERVER_GATE set, the service is made only once somebody has opened that named pipe for writing.

The service prints while it is launched and called, starts a process that prints, and is slow to become ready: what a
library may do, and what must not reach the protocol.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from functools import partial

from codebase_mcp.interpreter import restart_undisturbed

if __name__ == "__main__":
    restart_undisturbed()  # as the entry point does, which this replaces

from codebase_mcp.cli.session import service_factory
from codebase_mcp.entry import run
from codebase_mcp.errors import DatabaseStartingError
from codebase_mcp.leaving import Departure
from codebase_mcp.server import run as run_module
from tests.support.fake_service import FakeService, a_running_job, an_answer

LEAVE_SECONDS = 30.0


def _chatter() -> None:
    print("a library prints")  # noqa: T201
    subprocess.run([sys.executable, "-c", "print('a child prints')"], check=True)


def _search() -> object:
    _chatter()
    return an_answer()


async def _wait_long() -> object:
    await asyncio.sleep(60)
    return a_running_job(3)


def _list_repositories() -> object:
    return DatabaseStartingError()


def _close() -> None:
    sys.stderr.write("service closed\n")
    sys.stderr.flush()


def main() -> int:
    # Long enough for a busy machine to come to an end by itself, which is what the tests look at.
    run_module.Departure = partial(Departure, LEAVE_SECONDS)  # type: ignore[misc, assignment]
    service = FakeService(
        search=_search,
        wait_for_job=_wait_long,
        list_repositories=_list_repositories,
        close=_close,
        progress=[a_running_job(1), a_running_job(2)],
    )

    def make_service(_settings: object, *, is_shared: bool = False) -> FakeService:
        if is_shared:
            sys.stderr.write("The service is shared.\n")
        if gate := os.environ.get("FAKE_SERVER_GATE"):
            with open(gate, "rb") as pipe:
                pipe.read()
        return service

    service_factory.set(make_service)  # type: ignore[arg-type]
    return run(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
