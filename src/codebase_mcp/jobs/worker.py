"""The worker: claim, run up to three jobs as tasks, prune, and give everything back on a graceful stop.

Every worker runs the same loop and none is special: no leader, no rescuer. An orphaned job is taken over by the same
statement that takes a fresh one. The loop is supervised: whatever a turn raises is logged and the next turn comes; when
the database is away, renewals fail, jobs give themselves up, their leases lapse, and the first turn after its return
claims them again. A worker takes the jobs of its own host only: the trees of others are elsewhere. One that was started
automatically leaves after an idle period, but never while a job of its host is active, because then it may be the one
that has to take it over. It also leaves when its database has been away for so long that it may never come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job
from codebase_mcp.errors import CodebaseMcpError, DatabaseRemovedError, SchemaMismatchError
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.indexing.pipeline import warm_up
from codebase_mcp.indexing.pool import ParsingPool
from codebase_mcp.jobs import store
from codebase_mcp.jobs.ownership import settle
from codebase_mcp.jobs.registry import Registration
from codebase_mcp.jobs.retention import Retention
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.jobs.spawn import LEAVE_AFTER_BATCH, LOOK_SECONDS, HostLock, Spawner, retire_older_workers
from codebase_mcp.jobs.tools import Tools
from codebase_mcp.leaving import Departure, told_to_stop
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import hosts, projects, tables, vector_index
from codebase_mcp.storage.migrate import installed_revision, require_known
from codebase_mcp.storage.opening import OpenedDatabase

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from codebase_mcp.settings import Settings

log = get_logger(__name__)

SCHEMA_CHECK_SECONDS = 10.0
PROGRAM_CHECK_SECONDS = 2.0
INDEX_CHECK_SECONDS = 60.0
GIVE_UP_SECONDS = 600.0
"""A worker that was started automatically leaves when it has had no database for so long."""
TURN_SECONDS = 0.3
"""How long a turn that is under way may take to end when the worker is told to stop."""
STOP_SECONDS = 1.1
BATCH_SECONDS = 10.0
"""How long a worker that was replaced by another version waits for the batches under way."""
EXIT_REPLACED = 75
"""Tells a supervisor to start the worker again, which is then the new version."""


class Worker:
    """The claim loop over one set of tools. `run` ends when told to, or when idle if that is allowed."""

    def __init__(
        self,
        opened: OpenedDatabase,
        tools: Tools,
        host_lock: HostLock | None = None,
        replaced: asyncio.Event | None = None,
    ) -> None:
        """`replaced` is set when another version wants to take over; without it, this worker does not mind versions."""
        self._opened = opened
        self._tools = tools
        self._host_lock = host_lock
        self._spawner = Spawner(tools.settings)
        self._worker_id = uuid4()
        self._running: dict[UUID, tuple[JobRunner, asyncio.Task[None]]] = {}
        self._upkeep: set[asyncio.Task[None]] = set()
        self._check_schema_at = self._check_indexes_at = float("-inf")
        self._retention = Retention(tools.settings.retention_days)
        self._look_for_suspects_at = float("-inf")
        self._busy_until = self._answered_at = time.monotonic()
        self._replaced = replaced
        self._check_program_at = float("-inf")
        self._is_retiring = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Works until `stop` is set; with a host lock also until there has been nothing to do for long enough.

        True when it ended because another version of the program has taken over.
        """
        log.info("worker ready", worker_id=str(self._worker_id))
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if not await self._turn_until(stopping):
                    break
                await asyncio.wait({stopping}, timeout=self._tools.settings.poll_seconds)
        finally:
            if self._is_retiring:
                await self._finish_batches(stopping)
            await self._give_everything_back()
            stopping.cancel()
        return self._is_retiring

    async def _turn_until(self, stopping: asyncio.Task[Any]) -> bool:
        """A turn, cut short when the worker is told to stop: a database that hangs must not keep it."""
        turn = asyncio.create_task(self._turn())
        try:
            await asyncio.wait({turn, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # A claim that is about to be recorded is better waited for than lost until its lease lapses.
            await asyncio.wait({turn}, timeout=TURN_SECONDS)
            return turn.done() and turn.result()
        finally:
            turn.cancel()

    async def _turn(self) -> bool:
        """One round of the loop; False when it is time to leave. What ends a worker that is not idle: another version
        of the program, on the disk or in the database's schema, and a database that was deleted or is away for good."""
        try:
            if self._must_retire():
                return False
            await self._check_schema()
            await self._claim_jobs()
            if self._retention.is_due:
                self._keep_up(self._retention.prune(self._tools.database))
            self._check_vector_indexes()
            await self._call_for_help()
            self._answered_at = time.monotonic()
            return not await self._may_leave()
        except SchemaMismatchError as error:
            log.warning("worker leaves", reason=error.message)
            self._is_retiring = True
            return False
        except CodebaseMcpError as error:
            log.warning("turn failed", error=str(error))
            return await self._revive_database() and not self._gives_up()
        except Exception:
            log.exception("turn failed")
        return True

    def _gives_up(self) -> bool:
        """Prevents: workers that nobody knows of and that wait for ever for a database that is gone for good."""
        if self._host_lock is None or time.monotonic() - self._answered_at < GIVE_UP_SECONDS:
            return False
        log.warning("worker leaves", reason="no database for too long", seconds=GIVE_UP_SECONDS)
        return True

    def _must_retire(self) -> bool:
        """Prevents: a worker that is half old and half new after an upgrade, or that fails jobs after a removal."""
        if self._replaced is None or self._is_retiring:
            return self._is_retiring
        if self._replaced.is_set():
            log.warning("worker leaves", reason="another version takes over")
            self._is_retiring = True
        elif time.monotonic() >= self._check_program_at:
            self._check_program_at = time.monotonic() + PROGRAM_CHECK_SECONDS
            if changed := self._tools.program_files.find_change():
                log.warning("worker leaves", reason="the program's files were replaced or removed", path=changed)
                self._is_retiring = True
        return self._is_retiring

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
        """Prevents: an old worker from writing into a schema that a newer program has migrated. Also says that the host
        lives, so that others do not take its jobs for abandoned."""
        if time.monotonic() >= self._check_schema_at:
            require_known(tables.CONTROL_SCHEMA, await installed_revision(self._tools.database))
            async with self._tools.database.transaction() as connection:
                await hosts.sign(connection, self._opened.identity.host)
            self._check_schema_at = time.monotonic() + SCHEMA_CHECK_SECONDS

    async def _claim_jobs(self) -> None:
        while len(self._running) < MAX_RUNNING_JOBS:
            job = await store.claim(
                self._tools.database,
                worker_id=self._worker_id,
                host=self._opened.identity.host,
                lease_seconds=self._tools.settings.lease_seconds,
            )
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        log.info("job claimed", job_id=str(job.id), attempt=job.attempt, repo_path=job.repo_path)
        # A job that this worker had lost and took over again: its old task can no longer write, but should not linger.
        if old := self._running.pop(job.id, None):
            old[1].cancel()
        runner = JobRunner(job, self._tools)
        task = asyncio.create_task(runner.run(), name=f"job {job.id}")
        self._running[job.id] = runner, task
        task.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        if job.id in self._running and self._running[job.id][1] is task:
            del self._running[job.id]
        self._busy_until = time.monotonic()
        self._check_program_at = float("-inf")  # a job that was given back because of a change is not for this worker
        if not task.cancelled():
            self._keep_up(self._build_vector_index(job.project_id))

    async def _call_for_help(self) -> None:
        """A suspect runs alone: while this worker is busy, another has to be started for it, as a server would."""
        if self._host_lock is None or not self._running or time.monotonic() < self._look_for_suspects_at:
            return
        self._look_for_suspects_at = time.monotonic() + self._tools.settings.watch_seconds
        work = await store.waiting_work(self._tools.database, self._opened.identity.host.id)
        await asyncio.to_thread(self._spawner.ensure_worker, work)

    # --- the vector indexes ---

    def _keep_up(self, work: Coroutine[Any, Any, None]) -> None:
        upkeep = asyncio.create_task(work)
        self._upkeep.add(upkeep)
        upkeep.add_done_callback(self._upkeep.discard)

    def _check_vector_indexes(self) -> None:
        """While idle. An index whose build was lost with its worker would else be missing until the next job ends."""
        if not self._running and not self._upkeep and time.monotonic() >= self._check_indexes_at:
            self._check_indexes_at = time.monotonic() + INDEX_CHECK_SECONDS
            self._keep_up(self._build_missing_indexes())

    async def _build_missing_indexes(self) -> None:
        try:
            async with self._tools.database.transaction("writers") as connection:
                candidates = await vector_index.projects_without(connection, self._tools.settings.vector_index_rows)
        except CodebaseMcpError as error:
            log.warning("vector indexes not looked at", error=str(error))
            return
        for project_id in candidates:
            await self._build_vector_index(project_id)

    async def _build_vector_index(self, project_id: str) -> None:
        """After the last active job of a project, or a build would slow the others' COPY and be out of date at once."""
        database, embedder = self._tools.database, self._tools.embedder
        try:
            async with database.transaction("writers") as connection:
                if await store.active_jobs(connection, project_id):
                    return
            await embedder.prepare()
            async with database.transaction("writers") as connection:
                model_id = await projects.known_model(connection, embedder.identity)
            if model_id is None:
                return  # it was refused, or nothing was stored with it
            await self._tools.require_free_disk()
            index = vector_index.VectorIndex(tables.schema_name(project_id), model_id, embedder.dimensions)
            if await vector_index.build(database, index, least_rows=self._tools.settings.vector_index_rows):
                log.info("vector index built", project_id=project_id)
        except CodebaseMcpError as error:
            log.warning("vector index not built; search scans exactly", error=str(error))

    # --- leaving ---

    async def _may_leave(self) -> bool:
        if self._host_lock is None:
            return False
        if self._running:
            self._busy_until = time.monotonic()
        # Upkeep is waited for, but is no work: the look after the vector indexes would keep the worker here for ever.
        if self._upkeep or time.monotonic() - self._busy_until < self._tools.settings.worker_idle_seconds:
            return False
        # Whoever starts a job looks at the lock after its row is committed. So the lock goes first, then one more look:
        # either this worker sees the job, or the starter sees that there is no worker.
        self._host_lock.free()
        work = await store.waiting_work(self._tools.database, self._opened.identity.host.id)
        if work.active and await asyncio.to_thread(self._host_lock.take):
            self._busy_until = time.monotonic()
            return False
        log.info("worker leaves", reason="idle")
        return True

    async def _finish_batches(self, stopping: asyncio.Task[Any]) -> None:
        """Lets each job commit the batch it is at, unless the worker is told to stop meanwhile."""
        for runner, _ in self._running.values():
            runner.stop_after_batch()
        deadline = time.monotonic() + BATCH_SECONDS
        while self._running and not stopping.done() and (left := deadline - time.monotonic()) > 0:
            tasks: set[asyncio.Task[Any]] = {stopping, *(task for _, task in self._running.values())}
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _give_everything_back(self) -> None:
        tasks = [*(task for _, task in self._running.values()), *self._upkeep]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)


def work_until_told(settings: Settings, *, is_spawned: bool, ignore_host_lock: bool = False) -> int:
    """The `worker` command: once it is told to stop, the process is gone in time even if a thread hangs."""
    departure = Departure()
    return asyncio.run(
        run_worker(settings, is_spawned=is_spawned, ignore_host_lock=ignore_host_lock, departure=departure)
    )


async def run_worker(
    settings: Settings, *, is_spawned: bool, ignore_host_lock: bool = False, departure: Departure | None = None
) -> int:
    """Runs until SIGTERM, SIGINT or SIGHUP; spawned, also until idle. Returns the exit code."""
    host_lock = HostLock(settings)
    if is_spawned and not ignore_host_lock:
        patience = BATCH_SECONDS + STOP_SECONDS if retire_older_workers(settings) else LOOK_SECONDS
        if not await asyncio.to_thread(host_lock.take, patience):
            log.info("another worker has the host lock")
            return 0
    stop, replaced = asyncio.Event(), asyncio.Event()
    with told_to_stop((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), stop.set, departure):
        asyncio.get_running_loop().add_signal_handler(LEAVE_AFTER_BATCH, replaced.set)
        # Known only now: before, the signal of somebody who finds it would kill it.
        registration = Registration(settings, is_spawned=is_spawned)
        registration.enter()
        try:
            code = await _open_and_work(settings, stop, replaced, host_lock if is_spawned else None)
        finally:
            registration.leave()
        if departure is not None:
            departure.begin(code)  # the database is closed; only threads that hang are left
    return code


async def _open_and_work(
    settings: Settings, stop: asyncio.Event, replaced: asyncio.Event, host_lock: HostLock | None
) -> int:
    opened = OpenedDatabase(settings, f"codebase-mcp worker {os.getpid()}", control_seconds=1.0)
    patience = float("inf") if host_lock is None else GIVE_UP_SECONDS
    try:
        if not await _open_patiently(opened, (stop, replaced), patience):
            return 0
        is_replaced = await _work(opened, settings, stop, host_lock, replaced)
    except CodebaseMcpError:
        log.exception("worker cannot work")
        return 1
    finally:
        if host_lock is not None:
            host_lock.free()
        await opened.close()
    return EXIT_REPLACED if is_replaced and host_lock is None else 0


async def _open_patiently(opened: OpenedDatabase, ends: tuple[asyncio.Event, ...], patience_seconds: float) -> bool:
    """Waits for a database that is away; what waiting cannot cure is raised. False when it is time to leave."""
    deadline = time.monotonic() + patience_seconds
    while not any(end.is_set() for end in ends):
        try:
            await settle(await opened.open(), opened.identity, is_embedded=opened.is_embedded)
        except CodebaseMcpError as error:
            if not error.is_transient:
                raise
            log.warning("waiting for the database", error=str(error))
            if time.monotonic() > deadline:
                log.warning("worker leaves", reason="no database for too long", seconds=patience_seconds)
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ends[0].wait(), 1)
        else:
            return True
    return False


async def _work(
    opened: OpenedDatabase,
    settings: Settings,
    stop: asyncio.Event,
    host_lock: HostLock | None,
    replaced: asyncio.Event | None,
) -> bool:
    pool = ParsingPool(settings.pool_processes)
    try:
        pool.start(warm_up)
        async with contextlib.aclosing(open_embedder(settings)) as embedder:
            tools = Tools(opened.database, embedder, pool, settings)
            return await Worker(opened, tools, host_lock, replaced).run(stop)
    finally:
        pool.close()


async def run_inline(opened: OpenedDatabase, settings: Settings, stop: asyncio.Event) -> None:
    """The same loop inside another process, for tests and debugging."""
    await _work(opened, settings, stop, None, None)
