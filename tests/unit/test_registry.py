"""Which workers live on this host, and which version they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

import codebase_mcp
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
    assert (worker.pid, worker.version, worker.is_spawned) == (os.getpid(), codebase_mcp.__version__, True)
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


def test_a_package_is_replaced_when_its_source_names_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not upgrade.is_replaced()
    source = tmp_path / "__init__.py"
    monkeypatch.setattr(upgrade, "_SOURCE", source)
    assert not upgrade.is_replaced(), "the moment in which the old files are gone and the new ones not there yet"
    source.write_text('"""Half written')
    assert not upgrade.is_replaced()
    source.write_text('"""Doc."""\n\n__version__ = "99.0.0"\n')
    assert upgrade.version_on_disk() == "99.0.0"
    assert upgrade.is_replaced()


SOME_WORK = WaitingWork(1, 0, 1, 0.0)


def test_a_newer_program_has_an_older_worker_leave(
    settings: Settings, registered: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "is_older", lambda version: version == codebase_mcp.__version__)
    assert spawn.retire_older_workers(settings)
    assert registered.wait(30) == -LEAVE_AFTER_BATCH
    assert not spawn.retire_older_workers(settings)


def test_a_worker_is_started_in_place_of_an_older_one(
    settings: Settings, registered: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[tuple[str, ...]] = []
    monkeypatch.setattr(spawn, "is_older", lambda version: version == codebase_mcp.__version__)
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
