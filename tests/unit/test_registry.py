"""Which workers live on this host, and which version they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from codebase_mcp import __version__
from codebase_mcp.jobs import registry, spawn, upgrade
from codebase_mcp.jobs.registry import Registration, living_workers
from codebase_mcp.jobs.spawn import LEAVE_AFTER_BATCH, HostLock, Spawner, lock_path
from codebase_mcp.jobs.store import WaitingWork
from codebase_mcp.settings import Settings
from tests.support.waiting import until_now

REGISTERED = """
import sys, time
from pathlib import Path
from codebase_mcp.jobs.registry import Registration
from codebase_mcp.settings import Settings
registration = Registration(Settings(data_dir=Path(sys.argv[1]), database_url=None), is_spawned=True)
registration.enter()
time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", worker="spawn", database_url=None)


@pytest.fixture
def registered(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is known as a worker."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen([sys.executable, "-c", REGISTERED, settings.data_dir], env=environment)
    until_now(lambda: living_workers(settings), what="a registered worker", seconds=60)
    yield process
    process.kill()
    process.wait()


def entries(settings: Settings) -> list[str]:
    return [path.name for path in (settings.data_dir / "workers").iterdir()]


def test_a_worker_is_known_from_its_entry_until_it_leaves(settings: Settings) -> None:
    assert living_workers(settings) == []
    registration = Registration(settings, is_spawned=True)
    registration.enter()
    (worker,) = living_workers(settings)
    assert (worker.pid, worker.version, worker.is_spawned) == (os.getpid(), __version__, True)
    registration.leave()
    registration.leave()
    assert living_workers(settings) == []
    assert entries(settings) == []


def test_a_worker_that_was_killed_is_forgotten(settings: Settings, registered: subprocess.Popen[bytes]) -> None:
    assert [worker.pid for worker in living_workers(settings)] == [registered.pid]
    registered.kill()
    registered.wait()
    assert living_workers(settings) == []
    assert entries(settings) == []


def test_workers_of_another_database_or_place_are_not_ours(
    settings: Settings, registered: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = settings.model_copy(update={"database_url": SecretStr("postgresql://u:p@h/other")})
    assert living_workers(other) == []
    assert "p@h" not in "".join(entries(settings))
    monkeypatch.setattr(registry, "_place", lambda: "another container")
    assert living_workers(settings) == []
    assert len(entries(settings)) == 1


def test_an_entry_that_cannot_be_read_is_no_worker(settings: Settings) -> None:
    registration = Registration(settings, is_spawned=False)
    registration.enter()
    next((settings.data_dir / "workers").iterdir()).write_text("not JSON")
    assert living_workers(settings) == []
    registration.leave()


def test_a_worker_that_cannot_register_works_all_the_same(settings: Settings) -> None:
    settings.data_dir.parent.mkdir(exist_ok=True)
    settings.data_dir.write_text("a file where the folder should be")
    registration = Registration(settings, is_spawned=False)
    registration.enter()
    registration.leave()


# --- versions ---


@pytest.mark.parametrize(
    ("version", "than", "older"),
    [("0.1.0", "0.1.1", True), ("0.9.0", "0.10.0", True), ("0.2.0", "0.2.0", False), ("1.0", "0.9.9", False)],
)
def test_versions_are_compared_by_their_numbers(version: str, than: str, older: bool) -> None:
    assert upgrade.is_older(version, than) is older


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that this process has imported."""
    module = types.ModuleType("some_library")
    module.__file__ = str(tmp_path / "some_library.py")
    Path(module.__file__).write_text("answer = 42\n")
    monkeypatch.setitem(sys.modules, "some_library", module)
    return Path(module.__file__)


def test_files_that_stay_as_they_are_are_no_change(imported: Path) -> None:
    files = upgrade.ProgramFiles()
    imported.with_name("other.py").write_text("")
    os.utime(imported, ns=(1, imported.stat().st_mtime_ns))  # it was read
    assert files.find_change() is None


@pytest.mark.parametrize("how", ["removed", "rewritten", "replaced by one of equal size and time"])
def test_a_file_that_is_gone_or_another_is_a_change(imported: Path, how: str) -> None:
    files = upgrade.ProgramFiles()
    before = imported.stat()
    if how == "removed":
        imported.unlink()
    elif how == "rewritten":
        imported.write_text("answer = 43 \n")
    else:
        other = imported.with_name("new")
        other.write_text("answer = 43\n")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.rename(imported)
    assert files.find_change() == str(imported)


def test_what_is_imported_later_is_compared_with_what_it_was_then(
    imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules.pop("some_library")
    files = upgrade.ProgramFiles()
    imported.write_text("answer = 1\n")
    sys.modules["some_library"] = module
    assert files.find_change() is None
    imported.unlink()
    assert files.find_change() == str(imported)


SOME_WORK = WaitingWork(1, 0, 1, 0.0)


def test_a_newer_program_has_an_older_worker_leave(
    settings: Settings, registered: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "is_older", lambda version: version == __version__)
    assert spawn.retire_older_workers(settings)
    assert registered.wait(30) == -LEAVE_AFTER_BATCH
    assert not spawn.retire_older_workers(settings)


def test_a_worker_is_started_in_place_of_an_older_one(
    settings: Settings, registered: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[tuple[str, ...]] = []
    monkeypatch.setattr(spawn, "is_older", lambda version: version == __version__)
    monkeypatch.setattr(Spawner, "_spawn", lambda _self, _patience_seconds, *flags: spawned.append(flags))
    lock = HostLock(settings)
    assert lock.take()
    lock_path(settings).write_text(f"{registered.pid}\n")
    assert Spawner(settings).ensure_worker(SOME_WORK)
    assert spawned == [()]
    assert registered.poll() is None
    lock.free()


def test_a_worker_of_the_same_version_is_left_alone(settings: Settings, registered: subprocess.Popen[bytes]) -> None:
    lock = HostLock(settings)
    assert lock.take()
    assert not Spawner(settings).ensure_worker(SOME_WORK)
    lock.free()
    registered.send_signal(signal.SIGTERM)
    assert registered.wait(30) == -signal.SIGTERM
