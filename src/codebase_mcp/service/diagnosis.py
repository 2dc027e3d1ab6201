"""`doctor` and `stop`: what state the installation is in, what to do about it, and how to end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import sys
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp import __version__
from codebase_mcp.answers import Check
from codebase_mcp.config_file import VARIABLE, config_path
from codebase_mcp.domain import host_label
from codebase_mcp.errors import CodebaseMcpError, DatabaseStartingError
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.jobs import records, store
from codebase_mcp.jobs.registry import living_workers
from codebase_mcp.jobs.spawn import living_worker
from codebase_mcp.service import reports
from codebase_mcp.service.application_database import check_application_database
from codebase_mcp.service.distribution import check_distribution, installed_versions
from codebase_mcp.service.settings_check import check_clients, check_settings
from codebase_mcp.storage import disk, embedded, hosts
from codebase_mcp.storage.migrate import check_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codebase_mcp.jobs.registry import LivingWorker
    from codebase_mcp.service.life import Life
    from codebase_mcp.settings import Settings

DATABASE_SECONDS = 30.0
JOBS_NAMED = 5
SERVICE_SECONDS = 10.0
"""An embedding service may have to load its model first."""
WORKER_STOP_SECONDS = 5.0
_PARTS = ("fastmcp", "mcp", "sqlalchemy", "asyncpg", "tree-sitter", "tree-sitter-language-pack", "tokenizers", "numpy")


async def examine(settings: Settings, life: Life) -> list[Check]:
    """All checks, in the order in which things depend on each other."""
    database_fix = "External: start the server or correct database_url. Embedded: see logs/postgresql.log."
    model_fix = (
        "Install codebase-mcp again: its model files are damaged."
        if settings.embedding_provider == "local"
        else "Start the embedding service, or correct the settings embedding_url and embedding_model. Until then jobs "
        "wait, and searches rank by keywords only."
    )
    database = await _tried("database", lambda: _database_check(settings, life), database_fix)
    return [
        _versions(),
        check_distribution(),
        await _tried("settings", lambda: asyncio.to_thread(check_settings, settings), "Correct the settings file."),
        await _tried(
            "settings of MCP clients",
            lambda: asyncio.to_thread(check_clients, settings),
            f"Correct that, or put {VARIABLE}={config_path()} into the client's configuration.",
        ),
        *filter(None, [await check_application_database(settings)]),
        database,
        *(await _checks_in(settings, life) if database.is_ok else []),
        await _tried("embedding model", lambda: _model_check(settings), model_fix),
        _disk(settings),
        _logs(settings),
    ]


async def _checks_in(settings: Settings, life: Life) -> list[Check]:
    """What can only be looked at in a database that answers."""
    extension_fix = "Install pgvector 0.8 or newer on the server."
    return [
        await _tried("vector extension", lambda: _extension_check(life), extension_fix),
        await _tried("host", lambda: _host_check(settings, life), "Give this user write access to the data directory."),
        await _tried("worker", lambda: _worker_check(settings, life), "Look at logs/worker.log."),
        await _tried("jobs", lambda: _jobs_check(life), "Look at logs/worker.log."),
    ]


async def _database_check(settings: Settings, life: Life) -> Check:
    await _ready(life)
    facts = await check_server(life.database)
    where = f"embedded in {settings.data_dir}" if settings.is_embedded else "external"
    return Check(name="database", is_ok=True, detail=f"PostgreSQL {facts.server_version}, {where}")


async def _ready(life: Life) -> None:
    """Waits for a database that is starting; any other reason is known at once."""
    deadline = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            return await life.ready(1.0)
        except DatabaseStartingError:
            if time.monotonic() > deadline:
                raise


async def _extension_check(life: Life) -> Check:
    facts = await check_server(life.database)
    return Check(name="vector extension", is_ok=True, detail=f"pgvector {facts.vector_version}")


async def _model_check(settings: Settings) -> Check:
    async with contextlib.aclosing(open_embedder(settings)) as embedder:
        await embedder.prepare(seconds=SERVICE_SECONDS)
        vector = await embedder.embed_query("find the parser")
    identity = embedder.identity
    where = f" at {settings.embedding_url}" if embedder.is_service else ""
    detail = f"{identity.provider} {identity.model}{where}, {identity.revision}, {len(vector)} dimensions"
    return Check(name="embedding model", is_ok=True, detail=detail)


async def _tried(name: str, check: Callable[[], Awaitable[Check]], fix: str) -> Check:
    try:
        return await check()
    except CodebaseMcpError as error:
        return Check(name=name, is_ok=False, detail=str(error), fix=fix)
    except Exception as error:
        # A doctor that dies of what it finds helps nobody.
        return Check(name=name, is_ok=False, detail=f"{type(error).__name__}: {error}", fix=fix)


def _versions() -> Check:
    detail = f"codebase-mcp {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    is_ok = sys.platform != "win32"
    fix = None if is_ok else "Windows is not supported yet; use WSL."
    return Check(name="versions", is_ok=is_ok, detail=detail, fix=fix, facts=dict(installed_versions(_PARTS)))


async def _host_check(settings: Settings, life: Life) -> Check:
    """Which host this is to the database; a warning when the data directory is a copy of another machine's."""
    identity = life.identity
    async with life.database.transaction() as connection:
        known = await hosts.known_hosts(connection)
        nobodys = await hosts.unowned(connection)
    origin = "set by CODEBASE_MCP_HOST_ID or host_id" if settings.host_id else f"kept in {settings.data_dir}"
    others = sorted(host_label(host_id, host.name, identity.host) or "" for host_id, host in known.items())
    detail = f"{identity.host.id} ({identity.host.name}), {origin}"
    detail += f"; other hosts in this database: {', '.join(filter(None, others))}" if any(others) else ""
    fixes = []
    if identity.copied_from is not None and not settings.is_embedded:
        detail += f"; this data directory was made on another machine, which is host {identity.copied_from}"
        fixes.append(
            "If this machine replaces that one, `codebase-mcp config set host_id"
            f" {identity.copied_from}` makes it the same host; if both live, nothing has to be done."
        )
    if paths := sorted({one.path for one in nobodys if one.repository_id is not None}):
        detail += f"; of no known host, because an older version indexed them: {', '.join(paths[:JOBS_NAMED])}"
        fixes.append("`codebase-mcp repos adopt PATH` on the host that has the tree makes such a repository its own.")
    return Check(name="host", is_ok=True, is_warning=bool(fixes), detail=detail, fix=" ".join(fixes) or None)


async def _worker_check(settings: Settings, life: Life) -> Check:
    work = await store.waiting_work(life.database, life.identity.host.id)
    pid = living_worker(settings)
    worker = f"worker {pid} lives" if pid else "no automatically started worker lives"
    detail = f"{worker}; {work.running} jobs running, {work.claimable} waiting, {work.active} active"
    is_ok = pid is not None or not work.active or settings.worker != "spawn" or work.running > 0
    fix = None if is_ok else "Run `codebase-mcp worker`, and see logs/worker.log for why none was started."
    return Check(name="worker", is_ok=is_ok, detail=detail, fix=fix)


async def _jobs_check(life: Life) -> Check:
    """Jobs that take suspiciously long; nothing but a person ends them."""
    async with life.database.transaction() as connection:
        now = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        active = await records.all_active_jobs(connection)
        known = await hosts.known_hosts(connection)
    owners = [reports.owner_of(job, life.identity.host, known) for job in active]
    told = (reports.trouble(job, now, owner) for job, owner in zip(active, owners, strict=True))
    slow = [words for words in told if words is not None]
    detail = (
        "; ".join(slow[:JOBS_NAMED]) if slow else f"{len(active)} active, all making progress or waiting their turn"
    )
    if len(slow) > JOBS_NAMED:
        detail += f"; and {len(slow) - JOBS_NAMED} more"
    fix = "`codebase-mcp jobs show ID --events` tells more; `codebase-mcp jobs cancel ID` ends one and keeps its work."
    return Check(name="jobs", is_ok=not slow, detail=detail, fix=fix if slow else None)


def _disk(settings: Settings) -> Check:
    free_bytes = disk.free_bytes(settings)
    needed = settings.min_free_disk_bytes
    is_ok = free_bytes >= needed
    detail = f"{free_bytes / 1e9:,.1f} GB free for {settings.data_dir} (at least {needed / 1e9:,.1f} GB wanted)"
    fix = None if is_ok else "Free some space, or move the data directory and run `codebase-mcp config set data_dir`."
    return Check(name="disk", is_ok=is_ok, detail=detail, fix=fix)


def _logs(settings: Settings) -> Check:
    is_ok = os.access(settings.log_dir, os.W_OK)
    fix = None if is_ok else "Give this user write access to the folder."
    return Check(name="logs", is_ok=is_ok, detail=str(settings.log_dir), fix=fix)


def stop_everything(settings: Settings) -> list[str]:
    """Blocking. Ends this host's workers, then the embedded database; returns sentences about what was done."""
    # The last worker may be the last one out, and stops the database itself then.
    was_running = settings.is_embedded and embedded.is_answering(settings.data_dir)
    said = stop_workers(settings)
    if settings.is_embedded:
        embedded.stop(settings.data_dir)
        said.append("The embedded database was stopped." if was_running else "The embedded database was not running.")
    return said


def stop_workers(settings: Settings) -> list[str]:
    """Blocking. Ends all workers of this database on this host that the user may end, however they were started."""
    workers = living_workers(settings)
    if not workers:
        return ["No worker was running on this host."]
    refused = [worker for worker in workers if not _send(worker, signal.SIGTERM)]
    told = [worker for worker in workers if worker not in refused]
    deadline = time.monotonic() + WORKER_STOP_SECONDS
    while (left := _still_living(settings, told)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for worker in left:
        _send(worker, signal.SIGKILL)
    return [_fate(worker, was_refused=worker in refused, was_killed=worker in left) for worker in workers]


def _still_living(settings: Settings, workers: list[LivingWorker]) -> list[LivingWorker]:
    living = living_workers(settings)
    return [worker for worker in workers if worker in living]


def _send(worker: LivingWorker, number: signal.Signals) -> bool:
    """False when this user may not."""
    try:
        os.kill(worker.pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def _fate(worker: LivingWorker, *, was_refused: bool, was_killed: bool) -> str:
    if was_refused:
        return f"The worker ({worker.pid}) belongs to another user and was not stopped."
    if was_killed:
        return (
            f"The worker ({worker.pid}) did not stop in {WORKER_STOP_SECONDS:.0f} s and was killed;"
            " its jobs go on later."
        )
    return f"The worker ({worker.pid}) was stopped; its jobs go on when one starts again."
