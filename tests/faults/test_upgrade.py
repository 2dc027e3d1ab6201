"""A new version is installed while an old worker runs: that one commits its batch and leaves, the new one goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import types
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import structlog

import codebase_mcp
from codebase_mcp import __version__
from codebase_mcp.jobs.registry import living_workers
from codebase_mcp.jobs.worker import EXIT_REPLACED
from tests.faults.checks import completed, watched
from tests.support.freezing import log_lines, parsers_of
from tests.support.processes import PATIENCE_SECONDS, Site, start
from tests.support.waiting import until

pytestmark = pytest.mark.faults

OLDER, NEWER = "0.0.1", "99.0.0"


class Installation:
    """The package in a folder of its own, with a version of its own; while it is active, processes start from it."""

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self._package = folder / "codebase_mcp"
        self._package.mkdir(parents=True)
        for part in Path(codebase_mcp.__file__).parent.iterdir():
            if part.name not in ("__init__.py", "__pycache__"):
                (self._package / part.name).symlink_to(part)
        self.install(version)

    def install(self, version: str) -> None:
        unfinished = self._package / ".unfinished"
        unfinished.write_text(f'__version__ = "{version}"\n')
        unfinished.rename(self._package / "__init__.py")

    def remove(self) -> None:
        self._package.rename(self.folder / "removed")

    def add_library(self, library: types.ModuleType) -> Path:
        """A copy of a library, which is then imported from here; its first file."""
        source = Path(str(library.__file__)).parent
        shutil.copytree(source, self.folder / source.name)
        return self.folder / source.name / "__init__.py"

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(self.folder))
        # Coverage would look for the sources of a package that is gone when it reports.
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    installation = Installation(tmp_path / "installation", OLDER)
    with monkeypatch.context() as patched:
        installation.activate(patched)
        yield installation


async def versions_at_work(site: Site) -> list[str]:
    return [worker.version for worker in living_workers(site.settings())]


async def hang_parsers(site: Site, pid: int) -> list[psutil.Process]:
    """As soon as a worker is ready, so that it holds whatever job it takes until they are resumed."""
    await log_lines(site, "worker ready", pid=pid)
    parsers = await parsers_of(pid)
    for parser in parsers:
        parser.suspend()
    return parsers


async def test_a_worker_whose_package_is_replaced_commits_its_batch_and_the_new_version_goes_on(
    site: Site, corpus: Path, calm_digest: str, outdated: Installation
) -> None:
    old = site.worker("--spawned", batch_files=32)
    parsers = await hang_parsers(site, old.pid)
    async with site.client(batch_files=32, watch_seconds=0.5) as client, watched(site) as watch:
        job_id = await start(client, corpus)
        await site.event(job_id, "captured")
        outdated.install(NEWER)
        await log_lines(site, "worker leaves", pid=old.pid)
        assert (await site.job(job_id)).files_indexed == 0
        for parser in parsers:
            parser.resume()
        released = await site.event(job_id, "released")
        assert await asyncio.to_thread(old.wait, PATIENCE_SECONDS) == 0
        job = await completed(site, job_id)
        assert await versions_at_work(site) == [NEWER]
        (resumed,) = await site.events(job_id, "resumed")
    assert released.created_at < resumed.created_at
    assert (job.attempt, watch.most_fruitless) == (2, 0)
    batches = await site.rows(
        "SELECT count(DISTINCT files_indexed) AS n FROM ledger.transitions"
        " WHERE writer LIKE :old AND files_indexed > 0",
        old=f"%{old.pid}%",
    )
    assert batches[0]["n"] == 1, "the batch that it was at"
    assert await site.digest(job) == calm_digest


async def test_a_newer_program_beside_the_old_one_puts_its_worker_in_place_of_the_older(
    site: Site, corpus: Path, calm_digest: str, outdated: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = site.worker("--spawned", batch_files=32)
    parsers = await hang_parsers(site, old.pid)
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus))).job_id
        await site.event(job_id, "started")
    old_client = site.client(watch_seconds=0.5)
    monkeypatch.delenv("PYTHONPATH")
    async with old_client, site.client(batch_files=32, watch_seconds=0.5):
        await log_lines(site, "worker leaves", pid=old.pid)
        for parser in parsers:
            parser.resume()
        assert await asyncio.to_thread(old.wait, PATIENCE_SECONDS) == 0
        job = await completed(site, job_id)
        assert await versions_at_work(site) == [__version__]
    assert (job.attempt, job.fruitless_attempts) == (2, 0)
    assert await site.digest(job) == calm_digest


async def test_a_worker_that_somebody_else_runs_asks_to_be_started_again(site: Site, outdated: Installation) -> None:
    worker = site.worker()
    await log_lines(site, "worker ready", pid=worker.pid)
    assert await versions_at_work(site) == [OLDER]
    outdated.install(NEWER)
    assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == EXIT_REPLACED
    site.worker()
    await until(lambda: living_workers(site.settings()), what="the new worker", seconds=PATIENCE_SECONDS)
    assert await versions_at_work(site) == [NEWER]


async def test_a_worker_whose_program_is_removed_gives_its_jobs_back(
    site: Site, corpus: Path, calm_digest: str, outdated: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the environment that it was started from is deleted, and the program was installed in another one."""
    outdated.install(__version__)
    old = site.worker("--spawned", batch_files=32)
    parsers = await hang_parsers(site, old.pid)
    monkeypatch.delenv("PYTHONPATH")
    async with site.client(batch_files=32, watch_seconds=0.5) as client, watched(site) as watch:
        job_id = await start(client, corpus)
        await site.event(job_id, "captured")
        outdated.remove()
        await log_lines(site, "worker leaves", pid=old.pid)
        for parser in parsers:
            parser.kill()
        assert await asyncio.to_thread(old.wait, PATIENCE_SECONDS) == 0
        job = await completed(site, job_id)
    assert (job.files_failed, watch.most_fruitless) == (0, 0)
    assert await site.digest(job) == calm_digest


async def test_a_worker_that_cannot_parse_any_more_gives_up_no_file(
    site: Site, corpus: Path, calm_digest: str, outdated: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a job before it sees that its program is gone, and its parsing processes cannot be started again."""
    outdated.install(__version__)
    old = site.worker("--spawned", batch_files=32)
    await log_lines(site, "worker ready", pid=old.pid)
    parsers = await parsers_of(old.pid)
    monkeypatch.delenv("PYTHONPATH")
    async with site.client(batch_files=32, watch_seconds=0.5) as client:
        outdated.remove()
        for parser in parsers:
            parser.kill()
        job = await completed(site, await start(client, corpus))
    assert job.files_failed == 0
    assert await site.digest(job) == calm_digest


async def test_a_worker_whose_library_is_replaced_leaves(site: Site, tmp_path: Path, outdated: Installation) -> None:
    library = outdated.add_library(structlog)
    worker = site.worker("--spawned")
    await log_lines(site, "worker ready", pid=worker.pid)
    os.utime(library)
    (leaves,) = await log_lines(site, "worker leaves", pid=worker.pid)
    assert leaves["path"] == str(library)
    assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 0
