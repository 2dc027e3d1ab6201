"""Pipes where git looks for files, and drives that do not answer: jobs end in time, slots are free, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.errors import RepositoryUnreadableError
from tests.support.dead_mount import dead_mount
from tests.support.freezing import given_back
from tests.support.processes import PATIENCE_SECONDS, Site, copy_packages
from tests.support.repositories import git
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

ENDS_WITHIN_SECONDS = 45.0
"""The 20 s after which a listing is taken to stand still, and what a busy machine adds."""


def gits(folder: Path) -> list[psutil.Process]:
    """Processes of git that were sent to `folder`, with the shells around them."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if "git" in " ".join(line) and os.fspath(folder) in line:
            found.append(process)
    return found


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[list[Path]]:
    """They go with the test: whoever looks through the folder afterwards must not wait for them."""
    made: list[Path] = []
    yield made
    for pipe in made:
        pipe.unlink()


def work_tree(folder: Path) -> Path:
    copy_packages(folder, "json")
    git(folder, "init", "-q")
    return folder


def put_pipe(pipe: Path, pipes: list[Path]) -> str:
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    pipes.append(pipe)
    return os.fspath(pipe)


async def test_folders_that_hang_fail_within_seconds_and_leave_their_slots_to_others(
    site: Site, tmp_path: Path, pipes: list[Path]
) -> None:
    """Three of them held all slots for ten minutes."""
    ignore, included, drive = work_tree(tmp_path / "ignore"), work_tree(tmp_path / "included"), tmp_path / "drive"
    copy_packages(drive, "json")
    (drive / "away").mkdir()
    places = {
        ignore: put_pipe(ignore / "json/.gitignore", pipes),
        included: put_pipe(tmp_path / "pipe", pipes),
        drive: os.fspath(drive / "away"),
    }
    git(included, "config", "include.path", places[included])
    healthy = copy_packages(tmp_path / "healthy", "email")
    with dead_mount(drive / "away"):
        async with site.service() as service:
            site.worker()
            hanging = {root: (await service.start_indexing(str(root))).job_id for root in places}
            waiting = (await service.start_indexing(str(healthy))).job_id
            for root, job_id in hanging.items():
                job = await site.ended(job_id, ENDS_WITHIN_SECONDS)
                assert job.status is JobStatus.FAILED
                assert places[root] in (job.error_message or "")
            assert (await site.ended(waiting, PATIENCE_SECONDS)).status is JobStatus.COMPLETED
            with pytest.raises(RepositoryUnreadableError, match="has not answered for 5 s"):
                await service.start_indexing(str(drive / "away"))
        assert [process for root in places for process in gits(root)] == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_git_that_hangs_ends_with_its_worker(
    site: Site, tmp_path: Path, pipes: list[Path], end: signal.Signals
) -> None:
    root = work_tree(tmp_path / "repository")
    put_pipe(root / ".git/HEAD", pipes)
    async with site.service() as service:
        worker = site.worker()
        job_id = (await service.start_indexing(str(root))).job_id
        await until(lambda: gits(root), what="git hangs", seconds=PATIENCE_SECONDS)
        worker.send_signal(end)
        await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
        await until(lambda: not gits(root), what="the end of git", seconds=5)
        await service.cancel_job(job_id, confirmed=True)


async def test_a_worker_whose_listing_hangs_in_the_system_leaves_when_told(site: Site, tmp_path: Path) -> None:
    drive = copy_packages(tmp_path / "drive", "json")
    (drive / "away").mkdir()
    with dead_mount(drive / "away"):
        async with site.service() as service:
            worker = site.worker()
            job_id = (await service.start_indexing(str(drive))).job_id
            await site.event(job_id, "started")
            worker.terminate()
            await asyncio.to_thread(worker.wait, 5)
            assert await given_back(site, job_id)
            await service.cancel_job(job_id, confirmed=True)
