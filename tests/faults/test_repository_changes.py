"""A repository that changes while it is indexed: the job says what it left out, and the next one catches up."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from codebase_mcp.answers import JobReport
from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.service import Service
from tests.support.processes import PATIENCE_SECONDS, Site, copy_packages
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PACKAGES = ("concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")
RENAMED = "email"
OUTSIDE = Path(os.devnull)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """Its pipes go with the test: whoever compares the index with the disk afterwards must not wait for them."""
    root = copy_packages(tmp_path / "repository", *PACKAGES)
    yield root
    for path in root.rglob("*"):
        if path.is_fifo():
            path.unlink()


# --- what can happen to a file ---


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\n\ndef written_meanwhile():\n    return 1\n")


def swap(path: Path) -> None:
    """What editors do: the new version takes the place of the old one at once."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("def swapped_meanwhile():\n    return 2\n")
    fresh.rename(path)


def rewrite(path: Path) -> None:
    """Other content of the same size and time, as `cp -p` and build tools leave it."""
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"e", b"a"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def make_binary(path: Path) -> None:
    path.write_bytes(b"\0" * 100)


def make_too_large(path: Path) -> None:
    path.write_text("x = 1\n" * 200_000)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside.py").write_text("def inside():\n    return 3\n")


def make_pipe(path: Path) -> None:
    """Whoever opens it without care waits for ever."""
    path.unlink()
    os.mkfifo(path)


def make_circle(path: Path) -> None:
    """No user can read it, not even root."""
    path.unlink()
    path.symlink_to(path.name)


def make_way_out(path: Path) -> None:
    path.unlink()
    path.symlink_to(OUTSIDE)


HAPPENINGS: tuple[Callable[[Path], None], ...] = (
    edit, swap, rewrite, Path.unlink, make_binary, make_too_large, make_directory, make_pipe, make_circle, make_way_out,
)  # fmt: skip
READABLE = {edit, swap, rewrite}
"""After these there still is a file to index."""


def is_text(path: Path) -> bool:
    """A file that an earlier run made binary stays so, however it is edited."""
    return path.is_file() and b"\0" not in path.read_bytes()


# --- when it happens ---


BATCH_FILES = 3
UNDER_WAY_FILES = 4 * BATCH_FILES
"""No more than these have been handed to the pool ahead of the last commit."""


async def standing_still(site: Site, batches: int) -> psutil.Process:
    """A worker that has stopped itself after so many batches; its pool may finish what it was given."""
    worker = psutil.Process(
        site.doomed_worker("committed", batches, signal.SIGSTOP, lease_seconds=60, batch_files=BATCH_FILES).pid
    )
    await until(
        lambda: worker.status() == psutil.STATUS_STOPPED, what="a worker stands still", seconds=PATIENCE_SECONDS
    )
    return worker


async def paths(site: Site, job_id: UUID, state: str) -> list[str]:
    rows = await site.rows(
        "SELECT relative_path FROM codebase_mcp.job_files WHERE job_id = :id AND state = :state"
        " AND size_bytes > 0 ORDER BY ordinal",
        id=job_id,
        state=state,
    )
    return [row["relative_path"] for row in rows]


async def disturb(site: Site, job_id: UUID, root: Path, seed: random.Random) -> dict[str, Callable[[Path], None]]:
    """Lets everything happen to a file that is still to do and to one that is done; what happened to the former."""
    todo = [
        path for path in await paths(site, job_id, "pending") if not path.startswith(RENAMED) and is_text(root / path)
    ]
    done = [path for path in await paths(site, job_id, "indexed") if not path.startswith(RENAMED)]
    for path, happen in zip(seed.sample(done, len(done)), HAPPENINGS, strict=False):
        happen(root / path)
    happened = dict(zip(seed.sample(todo[UNDER_WAY_FILES:], len(HAPPENINGS)), HAPPENINGS, strict=True))
    for path, happen in happened.items():
        happen(root / path)
    (root / "arrived.py").write_text("def arrived_meanwhile():\n    return 4\n")
    if (root / RENAMED).exists():
        (root / RENAMED).rename(root / "renamed")
    return happened


async def disturbed(site: Site, service: Service, root: Path, seed: random.Random, *, force: bool) -> JobReport:
    """A job in the middle of which everything happens; its report at the end."""
    job_id = (await service.start_indexing(str(root), force_reindex=force)).job_id
    worker = await standing_still(site, seed.randrange(4, 7))
    happened = await disturb(site, job_id, root, seed)
    worker.resume()
    job = await site.ended(job_id)
    assert job.status is JobStatus.COMPLETED, f"{job.error_type}: {job.error_message}"
    worker.terminate()
    await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
    await check_fates(site, job, happened)
    return await service.job_status(job_id)


async def check_fates(site: Site, job: Job, happened: dict[str, Callable[[Path], None]]) -> None:
    """Every captured file ended in a state; those that cannot be indexed any more were skipped with a reason."""
    assert job.files_indexed + job.files_unchanged + job.files_skipped == job.files_total
    assert await paths(site, job.id, "pending") == await paths(site, job.id, "failed") == []
    skipped = await site.rows(
        "SELECT relative_path, reason FROM codebase_mcp.job_files WHERE job_id = :id AND state = 'skipped'", id=job.id
    )
    assert all(row["reason"] for row in skipped)
    gone = {path for path, happen in happened.items() if happen not in READABLE}
    assert gone <= {row["relative_path"] for row in skipped}
    assert not {path for path, happen in happened.items() if happen in READABLE} & {
        row["relative_path"] for row in skipped
    }


async def test_a_repository_that_changes_during_a_run_is_caught_up_with_by_the_next(
    site: Site, repository: Path, seed: random.Random
) -> None:
    async with site.service() as service:
        first = await disturbed(site, service, repository, seed, force=False)
        assert "deleted while indexing" in {one.reason for one in first.left_out_reasons}
        assert len(first.left_out_files) == min(20, first.files_skipped)
        shutil.rmtree(repository / "renamed")
        copy_packages(repository, RENAMED)
        again = await disturbed(site, service, repository, seed, force=True)
        assert again.files_indexed > 0

        site.worker(batch_files=32)
        caught_up = await site.ended((await service.start_indexing(str(repository))).job_id)
        fresh = await site.ended((await service.start_indexing(str(repository), project_id="fresh")).job_id)
        unchanged = await site.ended((await service.start_indexing(str(repository))).job_id)
    assert [job.status for job in (caught_up, fresh, unchanged)] == [JobStatus.COMPLETED] * 3
    assert (unchanged.files_indexed, unchanged.files_unchanged) == (0, caught_up.files_total - caught_up.files_skipped)
    assert await site.digest(caught_up) == await site.digest(fresh)


def test_what_happens_to_files_leaves_none_of_them_as_it_was(tmp_path: Path) -> None:
    """Prevents: a disturbance that disturbs nothing, so that the test above could not fail."""
    for happen in HAPPENINGS:
        path = tmp_path / "a.py"
        path.write_text("e = 1\n")
        happen(path)
        assert not path.is_file() or path.is_symlink() or path.read_bytes() != b"e = 1\n", happen
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
