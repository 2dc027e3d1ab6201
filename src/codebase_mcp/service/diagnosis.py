"""`doctor` and `stop`: what state the installation is in, what to do about it, and how to end it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import sys
import time
from typing import TYPE_CHECKING

import psutil

from codebase_mcp import __version__
from codebase_mcp.answers import Check
from codebase_mcp.errors import CodebaseMcpError, DatabaseStartingError
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.jobs import store
from codebase_mcp.jobs.spawn import living_worker
from codebase_mcp.storage import disk, embedded
from codebase_mcp.storage.migrate import check_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codebase_mcp.service.life import Life
    from codebase_mcp.settings import Settings

DATABASE_SECONDS = 30.0
WORKER_STOP_SECONDS = 5.0
_PARTS = ("fastmcp", "mcp", "sqlalchemy", "asyncpg", "tree-sitter", "tree-sitter-language-pack", "model2vec", "numpy")


async def examine(settings: Settings, life: Life) -> list[Check]:
    """All checks, in the order in which things depend on each other."""
    database_fix = "External: start the server or correct DATABASE_URL. Embedded: see logs/postgresql.log."
    model_fix = "Install codebase-mcp again: its model files are damaged."
    database = await _tried("database", lambda: _database_check(settings, life), database_fix)
    return [
        _versions(),
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
        await _tried("worker", lambda: _worker_check(settings, life), "Look at logs/worker.log."),
    ]


async def _database_check(settings: Settings, life: Life) -> Check:
    await _ready(life)
    facts = await check_server(life.database)
    where = f"embedded in {settings.data_dir}" if settings.is_embedded else "external (DATABASE_URL)"
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
    embedder = open_embedder(settings)
    vector = await embedder.embed_query("find the parser")
    identity = embedder.identity
    detail = f"{identity.provider} {identity.model} {identity.revision}, {len(vector)} dimensions"
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
    parts = {part: importlib.metadata.version(part) for part in _PARTS}
    detail = f"codebase-mcp {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    is_ok = sys.platform != "win32"
    fix = None if is_ok else "Windows is not supported yet; use WSL."
    return Check(name="versions", is_ok=is_ok, detail=detail, fix=fix, facts=dict(parts))


async def _worker_check(settings: Settings, life: Life) -> Check:
    work = await store.waiting_work(life.database)
    pid = living_worker(settings)
    worker = f"worker {pid} lives" if pid else "no automatically started worker lives"
    detail = f"{worker}; {work.running} jobs running, {work.claimable} waiting, {work.active} active"
    is_ok = pid is not None or not work.active or settings.worker != "spawn" or work.running > 0
    fix = None if is_ok else "Run `codebase-mcp worker`, and see logs/worker.log for why none was started."
    return Check(name="worker", is_ok=is_ok, detail=detail, fix=fix)


def _disk(settings: Settings) -> Check:
    free_bytes = disk.free_bytes(settings)
    needed = settings.min_free_disk_bytes
    is_ok = free_bytes >= needed
    detail = f"{free_bytes / 1e9:,.1f} GB free for {settings.data_dir} (at least {needed / 1e9:,.1f} GB wanted)"
    fix = None if is_ok else "Free some space, or move the data with CODEBASE_MCP_DATA_DIR."
    return Check(name="disk", is_ok=is_ok, detail=detail, fix=fix)


def _logs(settings: Settings) -> Check:
    is_ok = os.access(settings.log_dir, os.W_OK)
    fix = None if is_ok else "Give this user write access to the folder."
    return Check(name="logs", is_ok=is_ok, detail=str(settings.log_dir), fix=fix)


def stop_everything(settings: Settings) -> list[str]:
    """Blocking. Ends the host's worker, then the embedded database; returns sentences about what was done."""
    # The worker may be the last one out, and stops the database itself then.
    was_running = settings.is_embedded and embedded.is_answering(settings.data_dir)
    said = [_stop_worker(settings)]
    if settings.is_embedded:
        embedded.stop(settings.data_dir)
        said.append("The embedded database was stopped." if was_running else "The embedded database was not running.")
    return said


def _is_worker(pid: int) -> bool:
    """The number in a lock file may be that of a process long gone, given to another one since."""
    try:
        return "worker" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _stop_worker(settings: Settings) -> str:
    pid = living_worker(settings)
    if not pid or not _is_worker(pid):
        return "No automatically started worker was running."
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + WORKER_STOP_SECONDS
    while living_worker(settings) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    if living_worker(settings) is not None:
        os.kill(pid, signal.SIGKILL)
        return f"The worker ({pid}) did not stop in {WORKER_STOP_SECONDS:.0f} s and was killed; its jobs go on later."
    return f"The worker ({pid}) was stopped; its jobs go on when one starts again."
