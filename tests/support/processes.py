"""Real processes on a data directory of their own: servers, workers and PostgreSQL, and how to look at them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import sqlalchemy as sa
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from codebase_mcp.domain import Job, JobEvent
from codebase_mcp.errors import DatabaseError
from codebase_mcp.jobs import store
from codebase_mcp.service import Service
from codebase_mcp.settings import Settings
from codebase_mcp.storage import embedded
from codebase_mcp.storage.digest import canonical_digest
from codebase_mcp.storage.file_lock import is_held
from codebase_mcp.storage.tables import schema_name
from tests.support import guard
from tests.support.databases import PatientDatabase
from tests.support.postgres import temporary_data_dir, tested_major
from tests.support.waiting import until

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
"""Longest wait for what takes a second or two on a quiet machine."""
SLACK = timedelta(seconds=3)
"""What a busy machine may add to a time that is promised."""
LEAVE_SECONDS = 10.0
"""Longest that processes which were told to stop may take on a busy machine."""


def environment(data_dir: Path, knobs: dict[str, object]) -> dict[str, str]:
    """The environment of a process that works on `data_dir`; knobs are settings by their names, in lower case."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CODEBASE_MCP_")}
    inherited.pop("DATABASE_URL", None)
    ours = {"config": os.devnull, "data_dir": data_dir, "pool_processes": 1, "min_free_disk_bytes": 0}
    ours |= {"answers": "structured"} | knobs
    return inherited | {f"CODEBASE_MCP_{name.upper()}": str(value) for name, value in ours.items()}


@dataclass
class Site:
    """A data directory and every process that works on it.

    `hold` keeps PostgreSQL running while no process of the product lives; `observer` looks at the database.
    """

    data_dir: Path
    knobs: dict[str, object] = field(default_factory=dict)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _presence: embedded.ClientPresence | None = None
    _stayed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout = embedded.Layout(self.data_dir)
        self.observer = PatientDatabase(self.layout.url, application_name="observer")

    # --- processes ---

    def client(self, **knobs: object) -> Client[StdioTransport]:
        """A client with a server of its own, which ends with it."""
        transport = StdioTransport(
            sys.executable,
            ["-m", "codebase_mcp", "serve"],
            env=environment(self.data_dir, self.knobs | knobs),
            keep_alive=False,
            log_file=self.data_dir / "serve-output.log",
        )
        return Client(transport, timeout=30, init_timeout=60)

    def run(self, *command: str, **knobs: object) -> subprocess.Popen[bytes]:
        """`python -m <command>` in the background."""
        with (self.data_dir / "output.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=CHECKOUT,
                env=environment(self.data_dir, self.knobs | knobs),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def worker(self, *flags: str, **knobs: object) -> subprocess.Popen[bytes]:
        return self.run("codebase_mcp", "worker", *flags, **knobs)

    def doomed_worker(self, point: str, times: int, number: signal.Signals, **knobs: object) -> subprocess.Popen[bytes]:
        """A worker that sends itself a signal when it comes to a point for the n-th time."""
        return self.run("tests.support.doomed_worker", point, str(times), str(int(number)), **knobs)

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Living processes of this data directory (PostgreSQL's aside) whose command line has that word."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.environ().get("CODEBASE_MCP_DATA_DIR") == str(self.data_dir)
                if is_ours and (not word or word in process.cmdline()):
                    found.append(process)
        return found

    async def no_process(self, word: str = "") -> None:
        what = f"the end of every {word or 'process'}"
        await until(lambda: not self.processes(word), what=what, seconds=PATIENCE_SECONDS)

    # --- PostgreSQL ---

    def hold(self) -> None:
        self._presence = embedded.ClientPresence(self.data_dir)
        embedded.ensure_running(self.data_dir)

    def crash_postgres(self) -> None:
        """An immediate shutdown, after which the next start has to recover."""
        postmaster = self.postgres_processes()[0]
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(LEAVE_SECONDS)

    def postgres_processes(self) -> list[psutil.Process]:
        """The first is the one that starts and ends the others."""
        postmaster = psutil.Process(int((self.layout.database / "postmaster.pid").read_text().split()[0]))
        return [postmaster, *postmaster.children()]

    # --- looking ---

    def settings(self, **knobs: Any) -> Settings:
        return Settings(**{"database_url": None, "data_dir": self.data_dir, "min_free_disk_bytes": 0} | knobs)

    @contextlib.asynccontextmanager
    async def service(self, **knobs: Any) -> AsyncIterator[Service]:
        """The product's verbs in this process, with nobody to run jobs unless `worker` says who."""
        service = Service(self.settings(**{"worker": "external"} | knobs))
        try:
            await service.launch()
            await service.ready(30)
            yield service
        finally:
            await service.close()

    async def execute(self, statement: str) -> None:
        async with self.observer.transaction() as connection:
            await connection.execute(sa.text(statement))

    async def rows(self, statement: str, **arguments: object) -> list[sa.RowMapping]:
        async with self.observer.transaction() as connection:
            return list((await connection.execute(sa.text(statement), arguments)).mappings())

    async def clock(self) -> datetime:
        now: datetime = (await self.rows("SELECT clock_timestamp() AS now"))[0]["now"]
        return now

    async def job(self, job_id: UUID) -> Job:
        async with self.observer.transaction() as connection:
            job = await store.job(connection, job_id)
        assert job is not None
        return job

    async def ended(self, job_id: UUID, patience_seconds: float = PATIENCE_SECONDS) -> Job:
        async def terminal() -> Job | None:
            try:
                job = await self.job(job_id)
            except DatabaseError:
                return None
            return job if job.status.is_terminal else None

        return await until(terminal, what=f"the end of job {job_id}", seconds=patience_seconds)

    async def committed(self, job_id: UUID, files: int) -> int:
        """Waits until that many files are committed; how many are."""

        async def enough() -> int:
            try:
                job = await self.job(job_id)
            except DatabaseError:
                return 0
            assert not job.status.is_terminal, f"the job was {job.status} before {files} files were committed"
            return job.files_indexed if job.files_indexed >= files else 0

        return await until(enough, what=f"{files} committed files", seconds=PATIENCE_SECONDS)

    async def events(self, job_id: UUID, event_type: str = "") -> list[JobEvent]:
        async with self.observer.transaction() as connection:
            found = await store.events(connection, job_id)
        return [event for event in found if event.event_type == event_type or not event_type]

    async def event(self, job_id: UUID, event_type: str, number: int = 1) -> JobEvent:
        """Waits for the n-th event of a kind."""

        async def it() -> JobEvent | None:
            try:
                found = await self.events(job_id, event_type)
            except DatabaseError:
                return None
            return found[number - 1] if len(found) >= number else None

        return await until(it, what=f"event {event_type!r} number {number}", seconds=PATIENCE_SECONDS)

    async def digest(self, job: Job) -> str:
        assert job.repository_id is not None
        schema = schema_name(job.project_id)
        async with self.observer.transaction("search", schema) as connection:
            return await canonical_digest(connection, schema, job.repository_id)

    # --- the end ---

    async def dismiss(self) -> None:
        """Tells every process but PostgreSQL to stop, and ends those that do not."""
        self._stayed += await asyncio.to_thread(self._dismiss)

    async def end(self) -> None:
        """Stops everything and fails when somebody did not leave; nothing is left afterwards in any case."""
        await self.dismiss()
        await self.observer.close()
        if self._presence is not None:
            self._presence.release(stop_if_last=False)
        await asyncio.to_thread(embedded.stop, self.data_dir)
        assert not self._stayed, f"these did not stop when told to: {self._stayed}"
        assert not is_held(self.layout.lock("alive")), "a process of PostgreSQL is left"

    def _dismiss(self) -> list[str]:
        living = self.processes()
        pids = {process.pid for process in living}
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.resume()
                if process.ppid() not in pids:  # the children of a worker leave with it
                    process.terminate()
        for started in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(LEAVE_SECONDS)
        _, left = psutil.wait_procs(living, timeout=LEAVE_SECONDS)
        told = [_description(process) for process in left]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=LEAVE_SECONDS)
        return told


def _description(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {process.status()} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)


def copy_packages(target: Path, *packages: str) -> Path:
    """Real source: packages of the running interpreter's own library."""
    library = Path(sysconfig.get_path("stdlib"))
    for package in packages:
        shutil.copytree(library / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "test*"))
    return target


@contextlib.contextmanager
def prepared_data_dir(furnish: Callable[[str], Awaitable[None]] | None = None) -> Iterator[Path]:
    """A data directory with a database that was migrated and stopped, to be copied from.

    `furnish` gets the database's address and may add to it.
    """
    with temporary_data_dir() as data_dir:
        embedded.ensure_running(data_dir, new_major=tested_major())
        asyncio.run(_prepare(Site(data_dir), furnish))
        yield data_dir


async def _prepare(site: Site, furnish: Callable[[str], Awaitable[None]] | None) -> None:
    async with site.service():
        if furnish is not None:
            await furnish(site.layout.url)


@contextlib.asynccontextmanager
async def site_like(
    prepared: Path,
    *,
    hold: bool = True,
    check: Callable[[Site], Awaitable[None]] | None = None,
    disk_bytes: int | None = None,
    **knobs: object,
) -> AsyncIterator[Site]:
    """A site with a copy of a prepared database; everything is stopped and gone afterwards.

    `check` looks at what the processes left behind, once they have all been told to stop. With `disk_bytes` it has a
    disk of that size for itself.
    """
    with temporary_data_dir(disk_bytes) as data_dir:
        await asyncio.to_thread(_copy, prepared, data_dir)
        site = Site(data_dir, knobs)
        with _guarded(data_dir):
            if hold:
                site.hold()
            try:
                yield site
                if check is not None:
                    await site.dismiss()
                    await check(site)
            finally:
                await site.end()


@contextlib.contextmanager
def _guarded(data_dir: Path) -> Iterator[None]:
    """Even tests that are killed leave no process behind."""
    command = [sys.executable, str(Path(guard.__file__)), str(os.getpid()), str(data_dir)]
    watching = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        watching.kill()
        watching.wait()


def _copy(prepared: Path, data_dir: Path) -> None:
    for name in ("database", *(path.name for path in prepared.glob("postgresql-*"))):
        subprocess.run(["cp", "-Rp", str(prepared / name), str(data_dir)], check=True)


# --- asking a server ---

NOT_YET = ("DATABASE_STARTING", "DATABASE_ERROR: The database cannot be reached")
"""How what a server says begins while its database comes up, or is slow."""


async def ask(client: Client[Any], tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool answers; fails on an error."""
    answer = await client.call_tool(tool, _plain(arguments), raise_on_error=False)
    assert not answer.is_error, f"{tool}: {answer.content}"
    assert answer.structured_content is not None
    return answer.structured_content


async def answering(client: Client[Any]) -> None:
    """Waits until this server has opened the database: ten that start at once take turns."""

    async def answers() -> bool:
        return not (await client.call_tool("list_background_jobs", {}, raise_on_error=False)).is_error

    await until(answers, what="a server that answers", seconds=PATIENCE_SECONDS)


async def refusal(client: Client[Any], tool: str, **arguments: object) -> str:
    """The error that a tool answers with; fails when it succeeds."""
    answer = await client.call_tool(tool, _plain(arguments), raise_on_error=False)
    assert answer.is_error, f"{tool} succeeded: {answer.structured_content}"
    return str(answer.content[0].text)


async def start(client: Client[Any], repository: Path, **arguments: object) -> UUID:
    """Starts a job as soon as the database is there; its id."""

    async def started() -> str | None:
        arguments_now = _plain({"repo_path": repository, **arguments})
        answer = await client.call_tool("start_indexing_background", arguments_now, raise_on_error=False)
        if answer.is_error:
            assert str(answer.content[0].text).startswith(NOT_YET), answer.content
            return None
        return str(answer.structured_content["job_id"])

    return UUID(await until(started, what="the start of a job", seconds=PATIENCE_SECONDS))


def _plain(arguments: dict[str, object]) -> dict[str, object]:
    return {name: str(value) if isinstance(value, (UUID, Path)) else value for name, value in arguments.items()}
