"""The worker: claim, run up to three jobs as tasks, prune, and give everything back on a graceful stop.

Every worker runs the same loop and none is special: no leader, no rescuer. An orphaned job is taken over by the same
statement that takes a fresh one. The loop is supervised: whatever a turn raises is logged and the next turn comes; when
the database is away, renewals fail, jobs give themselves up, their leases lapse, and the first turn after its return
claims them again. A worker that was started automatically leaves after an idle period, but never while a job is active
anywhere, because then it may be the one that has to take it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job
from codebase_mcp.errors import CodebaseMcpError, DatabaseRemovedError, SchemaMismatchError
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.indexing.pipeline import warm_up
from codebase_mcp.indexing.pool import ParsingPool
from codebase_mcp.jobs import store
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.jobs.spawn import HostLock
from codebase_mcp.jobs.tools import Tools
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import projects, tables, vector_index
from codebase_mcp.storage.migrate import installed_revision, require_known
from codebase_mcp.storage.opening import OpenedDatabase

if TYPE_CHECKING:
    from codebase_mcp.settings import Settings

log = get_logger(__name__)

PRUNE_SECONDS = 3600.0
SCHEMA_CHECK_SECONDS = 10.0
STOP_SECONDS = 1.5


class Worker:
    """The claim loop over one set of tools. `run` ends when told to, or when idle if that is allowed."""

    def __init__(self, opened: OpenedDatabase, tools: Tools, host_lock: HostLock | None = None) -> None:
        self._opened = opened
        self._tools = tools
        self._host_lock = host_lock
        self._worker_id = uuid4()
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._upkeep: set[asyncio.Task[None]] = set()
        self._prune_at = self._check_schema_at = float("-inf")
        self._busy_until = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; with a host lock also until there has been nothing to do for long enough."""
        settings = self._tools.settings
        log.info("worker ready", worker_id=str(self._worker_id))
        try:
            while not stop.is_set():
                if not await self._turn():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), settings.poll_seconds)
        finally:
            await self._give_everything_back()

    async def _turn(self) -> bool:
        """One round of the loop; False when it is time to leave. Only two things end a worker that is not idle: a
        schema that a newer program has migrated, and a database that was deleted."""
        try:
            await self._check_schema()
            await self._claim_jobs()
            await self._prune()
            return not await self._may_leave()
        except SchemaMismatchError as error:
            log.warning("worker leaves", reason=error.message)
            return False
        except CodebaseMcpError as error:
            log.warning("turn failed", error=str(error))
            return await self._revive_database()
        except Exception:
            log.exception("turn failed")
        return True

    async def _revive_database(self) -> bool:
        """False when there is nothing left to work on."""
        try:
            await self._opened.revive()
        except DatabaseRemovedError as error:
            log.warning("worker leaves", reason=error.message)
            return False
        except CodebaseMcpError as error:
            log.warning("database not revived", error=str(error))
        return True

    async def _check_schema(self) -> None:
        """Prevents: an old worker from writing into a schema that a newer program has migrated."""
        if time.monotonic() >= self._check_schema_at:
            require_known(tables.CONTROL_SCHEMA, await installed_revision(self._tools.database))
            self._check_schema_at = time.monotonic() + SCHEMA_CHECK_SECONDS

    async def _prune(self) -> None:
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_SECONDS
            deleted = await store.prune(self._tools.database, self._tools.settings.retention_days)
            if deleted:
                log.info("old jobs deleted", jobs=deleted)

    async def _claim_jobs(self) -> None:
        while len(self._running) < MAX_RUNNING_JOBS:
            job = await store.claim(
                self._tools.database,
                worker_id=self._worker_id,
                host=socket.gethostname(),
                lease_seconds=self._tools.settings.lease_seconds,
            )
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        log.info("job claimed", job_id=str(job.id), attempt=job.attempt, repo_path=job.repo_path)
        # A job that this worker had lost and took over again: its old task can no longer write, but should not linger.
        if old := self._running.pop(job.id, None):
            old.cancel()
        task = asyncio.create_task(JobRunner(job, self._tools).run(), name=f"job {job.id}")
        self._running[job.id] = task
        task.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        if self._running.get(job.id) is task:
            del self._running[job.id]
        self._busy_until = time.monotonic()
        if not task.cancelled():
            upkeep = asyncio.create_task(self._build_vector_index(job))
            self._upkeep.add(upkeep)
            upkeep.add_done_callback(self._upkeep.discard)

    async def _build_vector_index(self, job: Job) -> None:
        """After the last active job of a project, or a build would slow the others' COPY and be out of date at once."""
        database, embedder = self._tools.database, self._tools.embedder
        try:
            async with database.transaction("writers") as connection:
                if await store.active_jobs(connection, job.project_id):
                    return
                model_id = await projects.ensure_model(connection, embedder.identity, embedder.dimensions)
            index = vector_index.VectorIndex(tables.schema_name(job.project_id), model_id, embedder.dimensions)
            if await vector_index.build(database, index, least_rows=self._tools.settings.vector_index_rows):
                log.info("vector index built", project_id=job.project_id)
        except CodebaseMcpError as error:
            log.warning("vector index not built; search scans exactly", error=str(error))

    async def _may_leave(self) -> bool:
        if self._host_lock is None:
            return False
        if self._running or self._upkeep:
            self._busy_until = time.monotonic()
        if time.monotonic() - self._busy_until < self._tools.settings.worker_idle_seconds:
            return False
        # Whoever starts a job looks at the lock after its row is committed. So the lock goes first, then one more look:
        # either this worker sees the job, or the starter sees that there is no worker.
        self._host_lock.free()
        work = await store.waiting_work(self._tools.database)
        if work.active and self._host_lock.take():
            self._busy_until = time.monotonic()
            return False
        log.info("worker leaves", reason="idle")
        return True

    async def _give_everything_back(self) -> None:
        tasks = [*self._running.values(), *self._upkeep]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)


async def run_worker(settings: Settings, *, is_spawned: bool, ignore_host_lock: bool = False) -> int:
    """The `worker` command: runs until SIGTERM or SIGINT; spawned, also until idle. Returns the exit code."""
    host_lock = HostLock(settings)
    if is_spawned and not ignore_host_lock and not host_lock.take():
        log.info("another worker has the host lock")
        return 0
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    opened = OpenedDatabase(settings, f"codebase-mcp worker {os.getpid()}", control_seconds=1.0)
    try:
        if await _open_patiently(opened, stop):
            await _work(opened, settings, stop, host_lock if is_spawned else None)
    except CodebaseMcpError:
        log.exception("worker cannot work")
        return 1
    finally:
        host_lock.free()
        await opened.close()
    return 0


async def _open_patiently(opened: OpenedDatabase, stop: asyncio.Event) -> bool:
    """Waits for a database that is away; what waiting cannot cure is raised. False when told to stop."""
    while not stop.is_set():
        try:
            await opened.open()
        except CodebaseMcpError as error:
            if not error.is_transient:
                raise
            log.warning("waiting for the database", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1)
        else:
            return True
    return False


async def _work(opened: OpenedDatabase, settings: Settings, stop: asyncio.Event, host_lock: HostLock | None) -> None:
    pool = ParsingPool(settings.pool_processes)
    try:
        pool.start(warm_up)
        tools = Tools(opened.database, open_embedder(settings), pool, settings)
        await Worker(opened, tools, host_lock).run(stop)
    finally:
        pool.close()


async def run_inline(opened: OpenedDatabase, settings: Settings, stop: asyncio.Event) -> None:
    """The same loop inside another process, for tests and debugging."""
    await _work(opened, settings, stop, None)
