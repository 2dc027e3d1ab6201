"""A service's database and background work, its doctor, and how everything is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.domain import JobStatus
from codebase_mcp.errors import CodebaseMcpError, DatabaseStartingError, DatabaseUnavailableError, EmbeddingError
from codebase_mcp.indexing.embed import MODEL_DIRECTORY, Embedder, LocalEmbedder
from codebase_mcp.indexing.static_table import StaticTable
from codebase_mcp.jobs.registry import living_workers
from codebase_mcp.jobs.spawn import Spawner
from codebase_mcp.service import Service, diagnosis, facade, life, rehearsal
from codebase_mcp.service.life import Life
from codebase_mcp.settings import Settings
from codebase_mcp.storage import embedded, search_store
from codebase_mcp.storage.opening import OpenedDatabase
from codebase_mcp.storage.search_store import FileColumns
from tests.support import jobs
from tests.support.postgres import temporary_data_dir
from tests.support.runs import SHOP, Bench
from tests.support.settings import without_settings
from tests.support.waiting import until, until_now

HOLDER = """
import signal, sys, time
from pathlib import Path
from pydantic import SecretStr
from codebase_mcp.jobs.registry import Registration
from codebase_mcp.settings import Settings

if sys.argv[3] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
settings = Settings(data_dir=Path(sys.argv[1]), database_url=SecretStr(sys.argv[2]))
Registration(settings, is_spawned=False).enter()
time.sleep(60)
"""


# --- life ---


async def test_a_service_is_needed_as_long_as_it_may_have_to_look_after_a_job(bench: Bench) -> None:
    service = Service(bench.settings.model_copy(update={"worker": "external"}))
    assert await service.is_needed(), "before the database is known"
    await service.ready(10)
    assert not await service.is_needed()
    started = await service.start_indexing(str(bench.root))
    assert await service.is_needed()
    await service.cancel_job(started.job_id, confirmed=True)
    assert not await service.is_needed()
    await service.close()
    inline = Service(bench.settings.model_copy(update={"worker": "inline"}))
    assert await inline.is_needed()


async def test_an_inline_worker_indexes_and_stops_with_the_service(bench: Bench) -> None:
    service = Service(bench.settings.model_copy(update={"worker": "inline", "poll_seconds": 0.05}))
    await service.ready(10)
    started = await service.start_indexing(str(bench.root))
    report = await service.wait_for_job(started.job_id, seconds=60)
    assert (report.status, report.files_indexed) == (JobStatus.COMPLETED, len(SHOP))
    found = await service.search("ShoppingCart")
    assert found.results[0].file_path == str(bench.root / "shop" / "cart.py")
    await service.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "inline worker"]


async def test_a_service_that_is_not_ready_says_that_the_database_starts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def slowly(_self: OpenedDatabase) -> None:
        await gate.wait()

    monkeypatch.setattr(OpenedDatabase, "open", slowly)
    service = Service(bench.settings)
    with pytest.raises(DatabaseStartingError) as caught:
        await service.ready(0.05)
    assert caught.value.code == "DATABASE_STARTING"
    await service.close()


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (DatabaseUnavailableError("it is away"), "it is away"),
        (RuntimeError("a bug"), r"could not be prepared \(RuntimeError: a bug\)"),
    ],
)
async def test_a_database_that_comes_late_is_told_of_and_then_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, shown: str
) -> None:
    open_database, errors = OpenedDatabase.open, [error]

    async def open_later(self: OpenedDatabase) -> Any:
        if errors:
            raise errors[0]
        return await open_database(self)

    monkeypatch.setattr(OpenedDatabase, "open", open_later)
    monkeypatch.setattr(life, "REOPEN_SECONDS", 0.02)
    service = Service(bench.settings.model_copy(update={"worker": "external"}))
    with pytest.raises(CodebaseMcpError, match=shown):
        await service.ready(0.2)
    errors.clear()
    await service.ready(10)
    assert (await service.list_jobs()).total_count == 0
    await service.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The repositories whose files were read into memory."""
    read_columns, found = search_store.file_columns, []

    async def counted(connection: AsyncConnection, schema: str, repository_id: int) -> FileColumns:
        found.append(repository_id)
        return await read_columns(connection, schema, repository_id)

    monkeypatch.setattr(search_store, "file_columns", counted)
    return found


async def test_a_rehearsed_service_has_read_what_the_first_search_needs(bench: Bench, reads: list[int]) -> None:
    await bench.run()
    service = Service(bench.settings)
    await service.launch()
    service.rehearse()
    await until(lambda: len(reads) == 1, what="the rehearsal to read the repository")
    assert (await service.search("ShoppingCart")).results
    assert len(reads) == 1
    await service.close()


def test_a_model_that_cannot_be_loaded_ahead_is_complained_of_by_who_searches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(MODEL_DIRECTORY / "config.json", tmp_path)
    monkeypatch.setattr(rehearsal, "open_embedder", lambda _settings: LocalEmbedder(tmp_path))
    Service(bench.settings).preload()
    with pytest.raises(EmbeddingError, match="Reinstall"):
        LocalEmbedder(tmp_path).load()


async def test_a_preloaded_model_is_not_loaded_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = LocalEmbedder()
    monkeypatch.setattr(rehearsal, "open_embedder", lambda _settings: embedder)
    Service(bench.settings).preload()
    monkeypatch.setattr(StaticTable, "load", None)
    assert (await embedder.embed_query("parse")).any()


async def test_a_model_that_cannot_be_read_keeps_no_service_from_starting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_settings: Settings) -> Embedder:
        raise EmbeddingError("The model is damaged.")

    monkeypatch.setattr(rehearsal, "open_embedder", broken)
    monkeypatch.setattr(facade, "open_embedder", broken)
    service = Service(bench.settings)
    service.preload()
    await service.launch()
    service.rehearse()
    await service.ready(10)
    assert (await service.list_jobs()).total_count == 0
    await bench.run()
    with pytest.raises(EmbeddingError, match="damaged"):
        await service.search("cart")
    await service.close()


async def test_a_rehearsal_that_cannot_be_held_troubles_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    async def away(_self: OpenedDatabase) -> None:
        raise DatabaseUnavailableError

    monkeypatch.setattr(OpenedDatabase, "open", away)
    monkeypatch.setattr(rehearsal, "WITHIN_SECONDS", 0.05)
    service = Service(bench.settings)
    await service.launch()
    service.rehearse()
    with pytest.raises(DatabaseUnavailableError):
        await service.ready(0.2)
    await service.close()
    assert not reads
    assert len(asyncio.all_tasks()) == 1


async def test_a_service_that_is_closed_stops_trying_even_if_a_cancellation_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def deaf(_self: OpenedDatabase) -> None:
        nonlocal tries
        tries += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        raise DatabaseUnavailableError

    monkeypatch.setattr(OpenedDatabase, "open", deaf)
    monkeypatch.setattr(life, "REOPEN_SECONDS", 0.01)
    service = Service(bench.settings)
    await service.launch()
    await until(lambda: tries == 2, what="a second try to begin")
    await service.close()
    assert len(asyncio.all_tasks()) == 1
    assert tries <= 3


async def test_every_server_looks_for_jobs_without_a_worker_and_survives_trouble(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [DatabaseUnavailableError(), RuntimeError("a bug"), DatabaseUnavailableError()]
    looked, revived = asyncio.Event(), []

    async def look(_self: Life) -> None:
        if errors:
            raise errors.pop()
        looked.set()

    async def revive(_self: OpenedDatabase) -> None:
        revived.append(True)
        if len(revived) == 1:
            raise DatabaseUnavailableError

    monkeypatch.setattr(Life, "ensure_worker", look)
    monkeypatch.setattr(OpenedDatabase, "revive", revive)
    service = Service(bench.settings.model_copy(update={"worker": "external", "watch_seconds": 0.01}))
    await service.ready(10)
    await asyncio.wait_for(looked.wait(), 10)
    assert len(revived) == 2
    await service.close()


async def test_a_status_call_gets_an_orphan_its_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Spawner, "ensure_worker", lambda _self, work: asked.append(work.active))
    service = Service(bench.settings.model_copy(update={"worker": "external", "watch_seconds": 60.0}))
    await service.ready(10)
    await until(lambda: asked == [0], what="the first look")
    job = await jobs.start(bench.database)
    await service.job_status(job.id)
    await service.cancel_job(job.id, confirmed=True)
    await service.job_status(job.id)
    await service.close()
    assert asked == [0, 1]


# --- doctor ---


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a file, so that settings are nothing to warn of."""
    without_settings(monkeypatch, tmp_path)
    monkeypatch.delenv("CODEBASE_MCP_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))


async def checks(service: Service) -> dict[str, Any]:
    return {check.name: check for check in await service.doctor()}


@pytest.mark.usefixtures("no_settings")
async def test_the_doctor_finds_a_healthy_installation_healthy(bench: Bench) -> None:
    bench.settings.log_dir.mkdir(parents=True)
    service = Service(bench.settings.model_copy(update={"worker": "external"}))
    found = await checks(service)
    await service.close()
    assert list(found) == [
        "versions", "package", "settings", "settings of MCP clients", "database", "vector extension", "host", "worker",
        "jobs", "embedding model", "disk", "logs",
    ]  # fmt: skip
    assert [check for check in found.values() if not check.is_ok or check.fix] == []
    assert "external" in found["database"].detail
    assert "256 dimensions" in found["embedding model"].detail
    assert "fastmcp" in found["versions"].facts


@pytest.mark.usefixtures("no_settings")
async def test_the_doctor_names_a_fix_for_everything_it_finds(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_settings: Settings) -> None:
        raise EmbeddingError("the table is damaged")

    monkeypatch.setattr(diagnosis, "open_embedder", broken)
    monkeypatch.setattr(sys, "platform", "win32")
    await jobs.start(bench.database)
    settings = bench.settings.model_copy(update={"min_free_disk_bytes": 10**18, "worker": "spawn"})
    monkeypatch.setattr(Spawner, "ensure_worker", lambda *_: False)
    service = Service(settings)
    found = await checks(service)
    await service.close()
    ill = {name for name, check in found.items() if not check.is_ok}
    assert ill == {"versions", "embedding model", "worker", "disk", "logs"}
    assert all(found[name].fix for name in ill)
    assert "the table is damaged" in found["embedding model"].detail
    assert "1 waiting" in found["worker"].detail


async def test_the_doctor_answers_without_a_database(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_self: Life, _seconds: float) -> None:
        raise DatabaseUnavailableError("it is away")

    async def no_facts(_database: object) -> None:
        raise DatabaseUnavailableError("it is away")

    monkeypatch.setattr(Life, "ready", away)
    monkeypatch.setattr(Life, "database", object())
    monkeypatch.setattr(diagnosis, "check_server", no_facts)
    monkeypatch.setattr(diagnosis.store, "waiting_work", no_facts)
    found = await checks(Service(bench.settings))
    assert not found["database"].is_ok
    assert not {"vector extension", "worker"} & set(found), "nothing is said of what could not be looked at"


async def test_the_doctor_never_raises_when_the_database_was_never_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_self: OpenedDatabase) -> None:
        raise DatabaseUnavailableError("it is away")

    monkeypatch.setattr(OpenedDatabase, "open", away)
    monkeypatch.setattr(diagnosis, "DATABASE_SECONDS", 0.05)
    service = Service(bench.settings)
    found = await checks(service)
    await service.close()
    assert (found["database"].is_ok, found["embedding model"].is_ok) == (False, True)


# --- stop ---


@pytest.fixture
def holder(settings: Settings, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is registered as a worker."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    environment = os.environ | {"CODEBASE_MCP_HOST_ID": jobs.HOST.id}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, settings.data_dir, url, request.param], env=environment)
    until_now(lambda: living_workers(settings), what="a registered worker")
    yield process
    process.kill()
    process.wait()


def last_word_of(process: subprocess.Popen[bytes]) -> str:
    return f"The worker ({process.pid}) was stopped; its jobs go on when one starts again."


@pytest.mark.parametrize("holder", ["polite"], indirect=True)
def test_stopping_ends_the_worker(settings: Settings, holder: subprocess.Popen[bytes]) -> None:
    assert diagnosis.stop_everything(settings) == [last_word_of(holder)]
    assert holder.wait(5) == -15


@pytest.mark.parametrize("holder", ["stubborn"], indirect=True)
def test_a_worker_that_does_not_stop_is_killed(
    settings: Settings, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "WORKER_STOP_SECONDS", 0.2)
    assert "did not stop in 0 s and was killed" in diagnosis.stop_everything(settings)[0]
    assert holder.wait(5) == -9


def test_stopping_says_when_there_is_nothing_to_stop(settings: Settings) -> None:
    assert diagnosis.stop_everything(settings) == ["No worker was running on this host."]


@pytest.mark.parametrize("holder", ["polite"], indirect=True)
def test_a_worker_of_another_user_is_not_stopped(
    settings: Settings, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        said = diagnosis.stop_workers(settings)
    assert said == [f"The worker ({holder.pid}) belongs to another user and was not stopped."]
    assert holder.poll() is None


@pytest.mark.parametrize("holder", ["polite"], indirect=True)
def test_a_worker_that_leaves_just_now_was_stopped(
    settings: Settings, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = os.kill

    def too_late(pid: int, _number: int) -> None:
        kill(pid, signal.SIGKILL)
        holder.wait()
        raise ProcessLookupError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", too_late)
        assert diagnosis.stop_workers(settings) == [last_word_of(holder)]


async def test_stopping_ends_an_embedded_database() -> None:
    with temporary_data_dir() as data_dir:
        settings = Settings(data_dir=data_dir, database_url=None, worker="external", min_free_disk_bytes=0)
        service = Service(settings)
        await service.ready(60)
        assert (await service.list_jobs()).total_count == 0
        other = OpenedDatabase(settings, "another client", control_seconds=1)
        await other.open()
        assert (await service.stop_everything())[1] == "The embedded database was stopped."
        assert not embedded.is_answering(data_dir)
        await other.revive()
        await until(lambda: embedded.is_answering(data_dir), what="the database to be back")
        await other.close()
        assert not embedded.is_answering(data_dir)
        assert diagnosis.stop_everything(settings)[1] == "The embedded database was not running."
        commands = [one.info["cmdline"] or [""] for one in psutil.process_iter(["cmdline"])]
        assert not [command for command in commands if "postgres" in command[0] and str(data_dir) in " ".join(command)]


def test_a_folder_for_data_need_not_exist_yet(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "not" / "yet", min_free_disk_bytes=0)
    assert diagnosis._disk(settings).is_ok
