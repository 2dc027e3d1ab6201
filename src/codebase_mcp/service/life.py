"""The service's database and background work: opened without making anybody wait, kept alive, closed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from codebase_mcp.errors import CodebaseMcpError, DatabaseStartingError
from codebase_mcp.jobs import store
from codebase_mcp.jobs.ownership import settle
from codebase_mcp.jobs.retention import Retention
from codebase_mcp.jobs.spawn import Spawner
from codebase_mcp.jobs.worker import run_inline
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import hosts
from codebase_mcp.storage.opening import OpenedDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from codebase_mcp.settings import Settings
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.host_identity import HostIdentity

log = get_logger(__name__)

REOPEN_SECONDS = 1.0

P = ParamSpec("P")
R = TypeVar("R")


class Life:
    """Prepares the database in the background, watches for jobs without a worker, ends both."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = OpenedDatabase(settings, f"codebase-mcp {os.getpid()}", control_seconds=3.0)
        self._spawner = Spawner(settings)
        self._retention = Retention(settings.retention_days)
        self._is_ready = asyncio.Event()
        self._trouble: CodebaseMcpError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    @property
    def database(self) -> Database:
        return self._opened.database

    @property
    def identity(self) -> HostIdentity:
        return self._opened.identity

    def launch(self) -> None:
        self._go(self._prepare())

    async def ready(self, within_seconds: float) -> None:
        """Waits for the database; raises why it is not there."""
        if not self._tasks:
            self.launch()
        # Trouble that is known is waited out as well: the next attempt comes within a second and may succeed.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._is_ready.wait()
        if not self._is_ready.is_set():
            raise self._trouble or DatabaseStartingError()

    def while_it_answers(self) -> contextlib.AbstractAsyncContextManager[None]:
        """See `Database.while_it_answers`; before the database was opened there is nothing to watch."""
        return self._opened.database.while_it_answers() if self._is_ready.is_set() else contextlib.nullcontext()

    async def ensure_worker(self) -> None:
        """Starts a worker when active jobs have none."""
        work = await store.waiting_work(self.database, self.identity.host.id)
        if work.active:
            async with self.database.transaction() as connection:
                await hosts.sign(connection, self.identity.host)
        await asyncio.to_thread(self._spawner.ensure_worker, work)

    async def look_after_jobs(self) -> None:
        """`ensure_worker` for those who have done their work already and must not fail for the lack of a worker."""
        try:
            await self.ensure_worker()
        except (CodebaseMcpError, OSError) as error:
            log.warning("no worker could be started", error=str(error))

    async def close(self) -> None:
        self._stop.set()
        inline = {task for task in self._tasks if task.get_name() == "inline worker"}
        if inline:
            await asyncio.wait(inline, timeout=3)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        await self._opened.close()

    def _go(self, work: Coroutine[Any, Any, None], name: str = "") -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)

    async def _prepare(self) -> None:
        while not await self._open():
            await self._pause(REOPEN_SECONDS)
            # A driver can swallow the cancellation by which a closing service ends this task.
            if self._stop.is_set():
                return
        self._is_ready.set()
        self._go(self._watch())
        if self._settings.worker == "inline":
            self._go(run_inline(self._opened, self._settings, self._stop), "inline worker")

    async def _open(self) -> bool:
        started = time.monotonic()
        try:
            database = await self._opened.open()
            await settle(database, self.identity, is_embedded=self._settings.is_embedded)
        except CodebaseMcpError as error:
            self._trouble = error
            log.warning("database not ready", error=str(error))
            return False
        except Exception as error:
            self._trouble = CodebaseMcpError(f"The database could not be prepared ({type(error).__name__}: {error}).")
            log.exception("database not ready")
            return False
        log.info("database ready", seconds=round(time.monotonic() - started, 3))
        return True

    async def _watch(self) -> None:
        """Every server does this, so that the death of a worker is noticed as long as anything lives."""
        while not self._stop.is_set():
            try:
                await self.ensure_worker()
                if self._retention.is_due:
                    self._go(self._retention.prune(self.database))
            except CodebaseMcpError as error:
                log.warning("watching failed", error=str(error))
                await self._revive()
            except Exception:
                log.exception("watching failed")
            await self._pause(self._settings.watch_seconds)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _revive(self) -> None:
        try:
            await self._opened.revive()
        except CodebaseMcpError as error:
            log.warning("database not revived", error=str(error))


class _Living(Protocol):
    @property
    def _life(self) -> Life: ...


Living = TypeVar("Living", bound=_Living)


def promptly(
    verb: Callable[Concatenate[Living, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Living, P], Coroutine[Any, Any, R]]:
    """The same verb, but ended with an error within seconds when the database goes away."""

    @functools.wraps(verb)
    async def prompt(self: Living, /, *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._life.while_it_answers():
            return await verb(self, *args, **kwargs)

    return prompt
