"""What tests do to an embedded server from outside."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil

from codebase_mcp.storage.embedded import Layout, ensure_running
from codebase_mcp.storage.file_lock import is_held
from tests.support.postgres import FAST_AND_LOOSE, TestServer, in_new_loop

IS_ROOT = os.geteuid() == 0

STARTER = """
import sys, time
from pathlib import Path
from codebase_mcp.storage.embedded import ClientPresence, ensure_running
data_dir = Path(sys.argv[1])
presence = ClientPresence(data_dir) if "present" in sys.argv else None
print(ensure_running(data_dir, overrides={"fsync": "off"}), flush=True)
if presence:
    time.sleep(600)
"""


def start(data_dir: Path, *, start_seconds: float = 60) -> TestServer:
    return TestServer(data_dir, ensure_running(data_dir, overrides=FAST_AND_LOOSE, start_seconds=start_seconds))


def ask(data_dir: Path, query: str) -> object:
    async def fetch() -> object:
        host = str(Layout(data_dir).socket_dir)
        connection = await asyncpg.connect(host=host, port=5432, user="postgres", database="codebase_mcp")
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return in_new_loop(fetch())


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "database" / "postmaster.pid").read_text().split()[0]))


def kill_server(data_dir: Path) -> None:
    process = postmaster(data_dir)
    for victim in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    wait_until(lambda: not is_held(data_dir / "alive.lock"))


def wait_until(is_true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def starter(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STARTER, str(data_dir), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
