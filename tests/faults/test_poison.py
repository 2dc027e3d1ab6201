"""A file that kills the worker itself, each time: its job fails and names it, and no other job fails with it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.jobs.store import FRUITLESS_LIMIT
from tests.faults.checks import completed
from tests.support.processes import PATIENCE_SECONDS, Site

pytestmark = pytest.mark.faults

MOST_DEATHS = 12
"""Five for the poison alone, and a few until it is known which file of which job it is."""


def repository(root: Path, *names: str) -> Path:
    root.mkdir()
    for name in names:
        (root / name).write_text(f"def {name.removesuffix('.py')}(value):\n    return value + 1\n")
    return root


async def lapse(site: Site) -> None:
    """The leases of a dead worker, before their time."""
    await site.execute(
        "UPDATE codebase_mcp.indexing_jobs SET lease_expires_at = clock_timestamp() - interval '1 second'"
        " WHERE status = 'running'"
    )


async def deaths_until_failed(site: Site, job_id: UUID) -> int:
    """Starts a worker whenever one has died, until the job failed; that worker lives on."""
    for deaths in range(MOST_DEATHS):
        worker = site.run("tests.support.poisoned_worker", batch_files=32)
        died = asyncio.create_task(asyncio.to_thread(worker.wait, PATIENCE_SECONDS))
        while not died.done():
            if (await site.job(job_id)).status.is_terminal:
                return deaths
            await asyncio.sleep(0.05)
        assert await died == -signal.SIGKILL
        await lapse(site)
    raise AssertionError(f"the job still runs after {MOST_DEATHS} deaths")


async def test_a_file_that_kills_the_worker_fails_its_job_by_name_and_no_other_job(site: Site, tmp_path: Path) -> None:
    poisoned = repository(tmp_path / "a", "aaa.py", "bbb.py", "poison.py", "zzz.py")
    innocent = [repository(tmp_path / name, "one.py", "two.py") for name in ("b", "c")]
    async with site.service() as service:
        job_id = (await service.start_indexing(str(poisoned))).job_id
        others = [(await service.start_indexing(str(root))).job_id for root in innocent]
        deaths = await deaths_until_failed(site, job_id)
        jobs = [await completed(site, other) for other in others]
        job = await site.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error_type == "WorkerDied"
    assert job.error_message is not None
    assert "'poison.py'" in job.error_message
    assert job.files_indexed == 2, "what comes before the poison is kept"
    assert FRUITLESS_LIMIT < deaths < MOST_DEATHS
    assert [one.files_indexed for one in jobs] == [2, 2]
