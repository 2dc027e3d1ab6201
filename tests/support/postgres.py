"""A PostgreSQL of the tests' own, in a temporary directory, that cannot outlive them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa

from codebase_mcp.storage import embedded
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.embedded_install import CURRENT_MAJOR
from codebase_mcp.storage.migrate import migrate_control

T = TypeVar("T")

# Nobody needs these databases after a power loss.
FAST_AND_LOOSE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "shared_buffers": "64MB"}
TEMPLATE = "migrated_template"

_WATCH = """
trap '' HUP INT TERM
while kill -0 "$1" 2>/dev/null; do sleep 1; done
[ -e "$2/database/postmaster.pid" ] && kill -QUIT "$(head -n 1 "$2/database/postmaster.pid")"
sleep 1
rm -rf "$2"
"""


@dataclass(frozen=True, slots=True)
class TestServer:
    """A running server; `url` names its default database."""

    __test__ = False

    data_dir: Path
    url: str

    def url_of(self, database: str) -> str:
        return sa.make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction; for tests that are not coroutines as well."""
        in_new_loop(self._execute(statement, database))

    async def _execute(self, statement: str, database: str) -> None:
        host = embedded.Layout(self.data_dir).socket_dir
        connection = await asyncpg.connect(host=str(host), port=5432, user="postgres", database=database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @contextlib.contextmanager
    def fresh_database(self, template: str = TEMPLATE) -> Iterator[str]:
        """The address of a new copy of a template database, dropped afterwards."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url_of(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


def in_new_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end beside whatever loop the caller is in."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _fast_folder() -> Path:
    """Memory if there is plenty: creating, syncing and deleting a database takes seconds on a busy disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2_000_000_000 else Path("/tmp")


@contextlib.contextmanager
def temporary_data_dir() -> Iterator[Path]:
    """A directory that PostgreSQL's user can enter, which pytest's own are not when root runs the tests."""
    data_dir = Path(tempfile.mkdtemp(prefix="codebase-mcp-test-", dir=_fast_folder())).resolve()
    data_dir.chmod(0o711)
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "watch", str(os.getpid()), str(data_dir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield data_dir
    finally:
        embedded.stop(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)
        watcher.kill()
        watcher.wait()


@contextlib.contextmanager
def running_server() -> Iterator[TestServer]:
    """A server with an empty default database; TEST_POSTGRES_MAJOR=16 chooses the older one of the wheel."""
    with temporary_data_dir() as data_dir:
        yield start_server(data_dir)


def start_server(data_dir: Path) -> TestServer:
    major = int(os.environ.get("TEST_POSTGRES_MAJOR", CURRENT_MAJOR))
    return TestServer(data_dir, embedded.ensure_running(data_dir, overrides=FAST_AND_LOOSE, major=major))


def make_template(server: TestServer) -> None:
    """Create the template database with the control schema in it."""
    server.execute(f"CREATE DATABASE {TEMPLATE}")
    in_new_loop(_migrate(server.url_of(TEMPLATE)))


async def _migrate(url: str) -> None:
    database = Database(url, application_name="tests", control_seconds=10)
    try:
        await migrate_control(database)
    finally:
        await database.close()
