"""A throw-away installation: a data directory of its own, real servers over stdio, a real worker, a real database."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from benchmarks.corpora import BenchmarkError
from benchmarks.memory import family
from codebase_mcp.jobs.spawn import lock_path
from codebase_mcp.logs import log_file
from codebase_mcp.settings import Settings
from codebase_mcp.storage import embedded
from codebase_mcp.storage.opening import OpenedDatabase

T = TypeVar("T")

POLL_SECONDS = 0.02
START_SECONDS = 60.0
LEAVE_SECONDS = 8.0


class Refusal(Exception):
    """A tool answered with an error; `code` is the first word of it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Server:
    """One `codebase-mcp serve` and the client that talks to it."""

    client: Client[Any]

    async def ask(self, tool: str, **arguments: object) -> dict[str, Any]:
        """What the tool answers; raises Refusal when that is an error."""
        return (await self.timed(tool, **arguments))[0]

    async def timed(self, tool: str, **arguments: object) -> tuple[dict[str, Any], float]:
        """The answer, and the seconds it took as the client sees it."""
        started = time.perf_counter()
        answer = await self.client.call_tool(tool, arguments, raise_on_error=False)
        seconds = time.perf_counter() - started
        if answer.is_error or answer.structured_content is None:
            raise Refusal(" ".join(str(getattr(part, "text", part)) for part in answer.content))
        return answer.structured_content, seconds

    async def ready(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Like `ask`, repeated while the database is starting."""

        async def answered() -> dict[str, Any] | None:
            try:
                return await self.ask(tool, **arguments)
            except Refusal as refusal:
                if refusal.code != "DATABASE_STARTING":
                    raise
                return None

        return await until(answered, f"{tool} answers", START_SECONDS)


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that runs on one data directory."""

    folder: Path
    settings: Settings

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator[Server]:
        """A server process, which ends with the block; the worker it started goes on."""
        transport = StdioTransport(
            sys.executable,
            ["-m", "codebase_mcp", "serve", "--answers", "structured"],
            env=self._environment(),
            cwd=str(self.folder),
            keep_alive=False,
            log_file=self.folder / "serve-output.log",
        )
        async with Client(transport, timeout=60, init_timeout=60) as client:
            yield Server(client)

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[OpenedDatabase]:
        """The same database, for looking at sizes and for running stages in this process."""
        opened = OpenedDatabase(self.settings, "codebase-mcp benchmark", control_seconds=10)
        try:
            await opened.open()
            yield opened
        finally:
            await opened.close()

    def worker(self) -> psutil.Process | None:
        """The worker that holds the host's lock. The file is only read: trying the lock could keep a worker out."""
        try:
            process = psutil.Process(int(lock_path(self.settings).read_text()))
            return process if "worker" in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def worker_family(self) -> list[psutil.Process]:
        """The worker and the processes of its pool."""
        return family(self.worker())

    def postgres_family(self) -> list[psutil.Process]:
        """The database server with its backends."""
        pid_file = embedded.Layout(self.settings.data_dir).database / "postmaster.pid"
        try:
            return family(psutil.Process(int(pid_file.read_text().split()[0])))
        except (OSError, ValueError, IndexError, psutil.Error):
            return []

    async def some_worker(self) -> psutil.Process:
        """The worker, as soon as there is one."""

        async def living() -> psutil.Process | None:
            return self.worker()

        return await until(living, "a worker lives", START_SECONDS)

    async def no_worker(self) -> None:
        """Tells the worker to stop and waits until it did."""
        worker = await self.some_worker()
        worker.terminate()
        try:
            await asyncio.to_thread(worker.wait, LEAVE_SECONDS)
        except psutil.TimeoutExpired as error:
            raise BenchmarkError(f"The worker ({worker.pid}) did not stop within {LEAVE_SECONDS:g} s.") from error

    def log_size(self) -> int:
        """Where the worker's log ends now."""
        path = log_file(self.settings, "worker")
        return path.stat().st_size if path.exists() else 0

    def log_has(self, *words: str, since: int) -> bool:
        """Whether a line that the worker logged after `since` has all these words."""
        with log_file(self.settings, "worker").open(encoding="utf-8", errors="replace") as file:
            file.seek(since)
            return any(all(word in line for word in words) for line in file)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        return inherited | self.settings.as_environment()

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.environ().get("CODEBASE_MCP_DATA_DIR") == str(self.settings.data_dir)
                if is_ours and "codebase_mcp" in process.cmdline():
                    found.append(process)
        return found

    def stop(self) -> None:
        """Ends every process of the installation: servers and workers first, then the database."""
        living = self._processes()
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, stubborn = psutil.wait_procs(living, timeout=LEAVE_SECONDS)
        for process in [*stubborn, *self._processes()]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        embedded.stop(self.settings.data_dir)


@contextlib.contextmanager
def temporary_installation() -> Iterator[Installation]:
    """An installation that is stopped and deleted at the end, whatever happened.

    Settings of the environment count, but for the place of the data, the project and who runs the worker.
    """
    folder = Path(tempfile.mkdtemp(prefix="codebase-mcp-bench-")).resolve()
    # PostgreSQL runs as another user when root measures, and must be able to enter.
    folder.chmod(0o755)
    try:
        with kept_installation(folder) as installation:
            yield installation
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def kept_installation(folder: Path) -> Iterator[Installation]:
    """An installation below `folder` that is stopped at the end; what it indexed stays."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        database_url=None,
        data_dir=folder.resolve() / "data",
        project_id="default",
        worker="spawn",
        log_level="info",
    )
    installation = Installation(folder.resolve(), settings)
    try:
        yield installation
    finally:
        installation.stop()


async def until(condition: Callable[[], Awaitable[T | None]], what: str, seconds: float) -> T:
    """The first true answer of `condition`; raises BenchmarkError naming `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"Waited {seconds:g} s in vain: {what}.")
        await asyncio.sleep(POLL_SECONDS)
    return answer
