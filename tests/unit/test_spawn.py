"""Starting the detached worker: when there is work and nobody does it, and not twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from codebase_mcp.domain import MAX_RUNNING_JOBS
from codebase_mcp.jobs import registry, spawn
from codebase_mcp.jobs.registry import Registration
from codebase_mcp.jobs.spawn import HostLock, Spawner, living_worker, lock_path
from codebase_mcp.jobs.store import WaitingWork
from codebase_mcp.settings import Settings

SOME_WORK = WaitingWork(1, 0, 1, 0.0)
NO_WORK = WaitingWork(0, 0, 0, 0.0)
LAPSED_WORK = WaitingWork(1, 0, 1, 5.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", worker="spawn", database_url=SecretStr("postgresql://u:p@h/d"))


@dataclass
class FakeProcess:
    arguments: list[str]
    options: dict[str, Any]
    pid: int = 4711
    code: int | None = None

    def poll(self) -> int | None:
        return self.code


@dataclass
class FakePopen:
    started: list[FakeProcess] = field(default_factory=list)

    def __call__(self, arguments: list[str], **options: Any) -> FakeProcess:
        self.started.append(FakeProcess(arguments, options))
        return self.started[-1]


@pytest.fixture
def popen(monkeypatch: pytest.MonkeyPatch) -> FakePopen:
    fake = FakePopen()
    monkeypatch.setattr(subprocess, "Popen", fake)
    return fake


@dataclass
class Clock:
    """What the spawner takes for the time."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(spawn.time, "monotonic", clock)
    return clock


@contextlib.contextmanager
def held_lock(settings: Settings) -> Iterator[None]:
    lock = HostLock(settings)
    assert lock.take()
    yield
    lock.free()


@contextlib.contextmanager
def registered(settings: Settings) -> Iterator[None]:
    """A worker that lives, as others see it."""
    registration = Registration(settings, is_spawned=True)
    registration.enter()
    yield
    registration.leave()


def test_the_host_lock_has_one_holder(settings: Settings) -> None:
    first, second = HostLock(settings), HostLock(settings)
    assert living_worker(settings) is None
    assert first.take()
    assert not second.take()
    assert living_worker(settings) == os.getpid()
    first.free()
    assert living_worker(settings) is None
    assert second.take()
    second.free()
    second.free()


def test_looking_for_the_worker_leaves_no_lock_behind(settings: Settings) -> None:
    with held_lock(settings):
        pass
    assert living_worker(settings) is None
    assert HostLock(settings).take()


def test_a_holder_that_left_no_number_is_a_worker_all_the_same(settings: Settings) -> None:
    with held_lock(settings):
        lock_path(settings).write_text("not a number")
        assert living_worker(settings) == 0


def test_each_database_has_a_lock_of_its_own(settings: Settings) -> None:
    other = settings.model_copy(update={"database_url": SecretStr("postgresql://u:p@h/other")})
    embedded = settings.model_copy(update={"database_url": None})
    assert len({lock_path(one) for one in (settings, other, embedded)}) == 3


def test_a_worker_is_started_when_there_is_work_and_none_lives(settings: Settings, popen: FakePopen) -> None:
    assert Spawner(settings).ensure_worker(SOME_WORK)
    (process,) = popen.started
    assert process.arguments[1:] == ["-m", "codebase_mcp", "worker", "--spawned"]
    assert process.options["start_new_session"] is True
    assert process.options["env"]["CODEBASE_MCP_DATABASE_URL"] == "postgresql://u:p@h/d"
    assert process.options["env"]["CODEBASE_MCP_DATA_DIR"] == str(settings.data_dir)
    assert (settings.log_dir / "worker-output.log").exists()


def test_without_work_no_worker_is_started(settings: Settings, popen: FakePopen) -> None:
    assert not Spawner(settings).ensure_worker(NO_WORK)
    assert popen.started == []


@pytest.mark.parametrize("kind", ["inline", "external"])
def test_where_somebody_else_runs_the_worker_none_is_started(settings: Settings, popen: FakePopen, kind: str) -> None:
    assert not Spawner(settings.model_copy(update={"worker": kind})).ensure_worker(SOME_WORK)
    assert popen.started == []


def test_a_living_worker_is_enough(settings: Settings, popen: FakePopen) -> None:
    with held_lock(settings):
        assert not Spawner(settings).ensure_worker(SOME_WORK)
    assert popen.started == []


def test_a_worker_that_lets_leases_lapse_gets_a_second_beside_it(settings: Settings, popen: FakePopen) -> None:
    with held_lock(settings):
        assert Spawner(settings).ensure_worker(LAPSED_WORK)
    assert popen.started[0].arguments[-1] == "--ignore-host-lock"


@pytest.fixture
def older_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that holds the lock and is of a version before this one."""
    monkeypatch.setattr(registry, "__version__", "0.0.1")
    with registered(settings), held_lock(settings):
        yield


@pytest.mark.usefixtures("older_worker")
def test_a_worker_of_an_older_version_is_replaced_and_given_time_to_leave(
    settings: Settings, popen: FakePopen, clock: Clock
) -> None:
    spawner = Spawner(settings)
    assert spawner.ensure_worker(SOME_WORK)
    assert popen.started[0].arguments[-1] == "--spawned"
    clock.now += spawn.HELPER_SECONDS - 0.1
    assert not spawner.ensure_worker(SOME_WORK)


@pytest.mark.usefixtures("older_worker")
def test_a_worker_of_an_older_version_that_is_frozen_as_well_gets_a_second_beside_it(
    settings: Settings, popen: FakePopen
) -> None:
    assert Spawner(settings).ensure_worker(LAPSED_WORK)
    assert popen.started[0].arguments[-1] == "--ignore-host-lock"


def test_a_worker_that_freezes_soon_after_its_start_is_helped_as_soon_as_any(
    settings: Settings, popen: FakePopen, clock: Clock
) -> None:
    spawner = Spawner(settings)
    assert spawner.ensure_worker(SOME_WORK)
    with held_lock(settings):
        clock.now += spawn.RESPAWN_SECONDS + 0.1
        assert spawner.ensure_worker(LAPSED_WORK)
    assert popen.started[1].arguments[-1] == "--ignore-host-lock"


def test_while_a_helper_lives_the_process_that_started_it_starts_no_other_for_half_a_minute(
    settings: Settings, popen: FakePopen, clock: Clock
) -> None:
    spawner = Spawner(settings)
    with held_lock(settings):
        assert spawner.ensure_worker(LAPSED_WORK)
        clock.now += spawn.HELPER_SECONDS - 0.1
        assert not spawner.ensure_worker(LAPSED_WORK)
        popen.started[0].code = 1
        assert spawner.ensure_worker(LAPSED_WORK), "a helper that died is no help"
        clock.now += spawn.HELPER_SECONDS + 0.1
        assert spawner.ensure_worker(LAPSED_WORK)


def test_many_processes_that_see_a_lapse_start_no_more_helpers_than_jobs_can_run(
    settings: Settings, popen: FakePopen
) -> None:
    with held_lock(settings), contextlib.ExitStack() as living:
        living.enter_context(registered(settings))
        for _ in range(MAX_RUNNING_JOBS):
            assert Spawner(settings).ensure_worker(LAPSED_WORK)
            living.enter_context(registered(settings))
        assert not Spawner(settings).ensure_worker(LAPSED_WORK)


def test_a_worker_that_is_just_starting_is_not_started_twice(
    settings: Settings, popen: FakePopen, clock: Clock
) -> None:
    spawner = Spawner(settings)
    assert spawner.ensure_worker(SOME_WORK)
    clock.now += spawn.RESPAWN_SECONDS - 0.1
    assert not spawner.ensure_worker(SOME_WORK)
    clock.now += 0.2
    assert spawner.ensure_worker(SOME_WORK)


def test_a_worker_that_died_at_once_is_replaced_at_once(settings: Settings, popen: FakePopen) -> None:
    spawner = Spawner(settings)
    assert spawner.ensure_worker(SOME_WORK)
    popen.started[0].code = 1
    assert spawner.ensure_worker(SOME_WORK)
    assert len(popen.started) == 2
