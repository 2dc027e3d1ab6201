"""Fixtures that several test packages share."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from pydantic import SecretStr

from codebase_mcp.settings import Settings
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.embedded import ensure_running, stop
from tests.support.databases import PatientDatabase
from tests.support.jobs import HOST
from tests.support.postgres import (
    FAST_AND_LOOSE,
    TestServer,
    make_template,
    running_server,
    temporary_data_dir,
    tested_major,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="Also run the long forms of the fault tests.")


def pytest_configure(config: pytest.Config) -> None:
    # The settings of whoever runs the tests must not reach them, nor any process that they start.
    os.environ["CODEBASE_MCP_CONFIG"] = os.devnull
    config.addinivalue_line("markers", "unchecked(reason): the invariants do not hold after this fault test, and why")
    # Tests in the background of a shell, or under nohup, ignore a signal, and so would every process that they start.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    too_long = pytest.mark.skip(reason="takes minutes: a part of `make soak`")
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(too_long)


# How long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """What a test does to the environment ends with it."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """One server per test process, with a template database that is migrated already."""
    with running_server() as server:
        make_template(server)
        yield server


@pytest.fixture
def empty_dir() -> Iterator[Path]:
    """A data directory for an embedded server of the test's own."""
    with temporary_data_dir() as path:
        yield path


@pytest.fixture(scope="session")
def stopped_database() -> Iterator[Path]:
    with temporary_data_dir() as path:
        ensure_running(path, overrides=FAST_AND_LOOSE, new_major=tested_major())
        stop(path)
        yield path / "database"


@pytest.fixture
def data_dir(stopped_database: Path, empty_dir: Path) -> Path:
    """The same with the database made already; the server does not run."""
    subprocess.run(["cp", "-a", str(stopped_database), str(empty_dir)], check=True)
    return empty_dir


@pytest.fixture
def database_url(postgres: TestServer) -> Iterator[str]:
    """A database of the test's own, with the control schema."""
    with postgres.fresh_database() as url:
        yield url


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(database_url), data_dir=tmp_path / "data", min_free_disk_bytes=0, host_id=HOST.id
    )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = PatientDatabase(database_url, application_name="tests")
    yield opened
    await opened.close()
