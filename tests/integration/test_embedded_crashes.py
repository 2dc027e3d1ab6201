"""The embedded server heals after crashes, and what it cannot heal it explains."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from codebase_mcp.errors import (
    DatabaseStartingError,
    DatabaseUnavailableError,
    SchemaMismatchError,
    StorageFullError,
)
from codebase_mcp.storage.embedded import Layout, ensure_running, stop
from codebase_mcp.storage.file_lock import FileLock, is_held
from tests.support.embedded_server import IS_ROOT, ask, kill_server, postmaster, start, starter, wait_until
from tests.support.postgres import FAST_AND_LOOSE, TestServer


def test_a_killed_server_recovers_its_data(data_dir: Path) -> None:
    start(data_dir).execute("CREATE TABLE kept AS SELECT 42 AS answer", "codebase_mcp")
    kill_server(data_dir)
    start(data_dir)
    assert ask(data_dir, "SELECT answer FROM kept") == 42


def test_a_pid_that_was_reused_after_a_crash_does_not_count_as_the_server(data_dir: Path) -> None:
    start(data_dir)
    owner = (data_dir / "database").stat().st_uid
    kill_server(data_dir)
    stranger = subprocess.Popen(["sleep", "600"], user=owner if IS_ROOT else None)
    try:
        for leftover in (data_dir / "database" / "postmaster.pid", Layout(data_dir).socket_dir / ".s.PGSQL.5432.lock"):
            lines = leftover.read_text().splitlines()
            leftover.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        start(data_dir)
        assert postmaster(data_dir).pid != stranger.pid
        assert stop(data_dir)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_directory_half_made_by_a_crash_is_made_anew(empty_dir: Path) -> None:
    leftover = empty_dir / ".database.unfinished"
    leftover.mkdir()
    (leftover / "PG_VERSION").write_text("18\n")
    start(empty_dir)
    assert ask(empty_dir, "SELECT 1") == 1
    assert not leftover.exists()


def test_a_starter_killed_while_it_makes_the_database_does_no_harm(empty_dir: Path) -> None:
    process = starter(empty_dir)
    wait_until((empty_dir / ".database.unfinished" / "PG_VERSION").exists)
    process.kill()
    process.communicate()
    start(empty_dir)
    assert ask(empty_dir, "SELECT 1") == 1


def test_a_server_on_its_way_down_is_waited_for_and_started_again(data_dir: Path) -> None:
    start(data_dir)
    before = postmaster(data_dir)
    before.send_signal(signal.SIGINT)
    start(data_dir)
    assert postmaster(data_dir) != before
    assert ask(data_dir, "SELECT 1") == 1


def test_a_server_that_is_silent_is_waited_for_and_not_doubled(data_dir: Path) -> None:
    start(data_dir)
    process = postmaster(data_dir)
    process.suspend()
    try:
        with pytest.raises(DatabaseStartingError, match="does not answer yet"):
            start(data_dir, start_seconds=0.5)
    finally:
        process.resume()
    start(data_dir)
    assert postmaster(data_dir) == process


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="invalid value for parameter"):
        ensure_running(data_dir, overrides={"shared_buffers": "plenty"})
    start(data_dir)  # the settings are written at each start, so a bad one does not last
    assert ask(data_dir, "SHOW shared_buffers") == FAST_AND_LOOSE["shared_buffers"]


def test_a_full_disk_at_the_start_is_told_from_other_failures(data_dir: Path) -> None:
    with pytest.raises(StorageFullError):  # the log repeats the bad value
        ensure_running(data_dir, overrides={"shared_buffers": "No space left on device"})


def test_a_disk_without_room_for_the_settings_is_told_from_other_failures(data_dir: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full, the file that never has room")
    (data_dir / "database" / ".postgresql.conf.unfinished").symlink_to(full)
    with pytest.raises(StorageFullError):
        start(data_dir)
    assert not is_held(data_dir / "alive.lock")


def test_a_folder_that_cannot_be_written_is_waited_out(data_dir: Path) -> None:
    (data_dir / "logs").write_text("no folder")
    with pytest.raises(DatabaseUnavailableError, match=r"could not be started: .*logs"):
        start(data_dir)
    (data_dir / "logs").unlink()
    start(data_dir)
    assert ask(data_dir, "SELECT 1") == 1


def test_a_server_that_does_not_stop_is_an_error(data_dir: Path) -> None:
    start(data_dir)
    process = postmaster(data_dir)
    process.suspend()
    try:
        with pytest.raises(DatabaseUnavailableError, match="does not stop"):
            stop(data_dir, stop_seconds=0.2)
    finally:
        process.resume()
    wait_until(lambda: not is_held(data_dir / "alive.lock"))


def test_a_process_that_only_holds_the_lock_is_not_signalled(data_dir: Path) -> None:
    with FileLock(data_dir / "alive.lock") as lock:
        assert lock.try_acquire("exclusive")
        with pytest.raises(DatabaseUnavailableError, match="does not stop"):
            stop(data_dir, stop_seconds=0.1)


def test_data_of_an_older_version_that_is_carried_are_served_by_it(empty_dir: Path) -> None:
    ensure_running(empty_dir, overrides=FAST_AND_LOOSE, new_major=16)
    TestServer(empty_dir, "").execute("CREATE TABLE kept AS SELECT 42 AS answer", "codebase_mcp")
    stop(empty_dir)
    start(empty_dir)
    assert str(ask(empty_dir, "SHOW server_version")).startswith("16.")
    assert ask(empty_dir, "SELECT answer FROM kept") == 42
    assert (empty_dir / "database" / "PG_VERSION").read_text() == "16\n"


def test_data_of_a_version_that_is_not_carried_are_refused_and_left_alone(data_dir: Path) -> None:
    (data_dir / "database" / "PG_VERSION").write_text("15\n")
    with pytest.raises(SchemaMismatchError, match=r"PostgreSQL 15, this program brings 18 and 16\. Move that folder"):
        start(data_dir)
    assert (data_dir / "database" / "PG_VERSION").read_text() == "15\n"
    assert not is_held(data_dir / "alive.lock")
