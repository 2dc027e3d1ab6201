"""A PostgreSQL of the tests' own, in a temporary directory, that cannot outlive them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
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
umount -l "$2" 2>/dev/null
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
def temporary_data_dir(disk_bytes: int | None = None) -> Iterator[Path]:
    """A directory that PostgreSQL's user can enter, which pytest's own are not when root runs the tests.

    With `disk_bytes` it is a disk of its own of that size; the test is skipped where that cannot be had.
    """
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
        if disk_bytes is not None:
            _mount(data_dir, disk_bytes)
        yield data_dir
    finally:
        embedded.stop(data_dir)
        if os.path.ismount(data_dir):
            subprocess.run(["umount", "--lazy", str(data_dir)], check=True)
        shutil.rmtree(data_dir, ignore_errors=True)
        watcher.kill()
        watcher.wait()


def _mount(folder: Path, size_bytes: int) -> None:
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None or os.geteuid() != 0:
        pytest.skip("a small disk is made by mounting a tmpfs, which needs Linux and root")
    command = [mount, "-t", "tmpfs", "-o", f"size={size_bytes},mode=0711", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")


@contextlib.contextmanager
def running_server() -> Iterator[TestServer]:
    """A server with an empty default database; TEST_POSTGRES_MAJOR=16 chooses the older one of the wheel."""
    with temporary_data_dir() as data_dir:
        yield start_server(data_dir)


def start_server(data_dir: Path) -> TestServer:
    return TestServer(data_dir, embedded.ensure_running(data_dir, overrides=FAST_AND_LOOSE, new_major=tested_major()))


def tested_major() -> int:
    """The version of PostgreSQL that makes the databases of the tests."""
    return int(os.environ.get("TEST_POSTGRES_MAJOR", CURRENT_MAJOR))


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
