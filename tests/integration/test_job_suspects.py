"""Jobs that workers died with: which of them is to blame is found out without failing the others."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.jobs import store
from codebase_mcp.jobs.store import FRUITLESS_LIMIT, SUSPECT_FROM, SUSPECT_WAIT_SECONDS
from codebase_mcp.storage.database import Database
from tests.support import jobs


async def claimed_by(database: Database, worker_id: UUID) -> list[str]:
    """What a worker takes when it takes all it can get."""
    taken: list[Job] = []
    while job := await jobs.try_claim(database, worker_id=worker_id):
        taken.append(job)
    return [job.repo_name for job in taken]


async def dies(database: Database, *names: str) -> None:
    for name in names:
        await jobs.execute(
            database,
            "UPDATE codebase_mcp.indexing_jobs SET lease_expires_at = clock_timestamp() - interval '1 second'"
            " WHERE repo_name = :name AND status = 'running'",
            name=name,
        )


async def three_jobs(database: Database) -> list[Job]:
    return [await jobs.start(database, f"/src/{name}") for name in "abc"]


async def test_after_one_death_all_jobs_are_taken_together_and_after_two_each_alone(database: Database) -> None:
    started = await three_jobs(database)
    assert await claimed_by(database, uuid4()) == ["a", "b", "c"]
    await dies(database, "a", "b", "c")
    assert await claimed_by(database, uuid4()) == ["a", "b", "c"]
    await dies(database, "a", "b", "c")
    alone = uuid4()
    assert await claimed_by(database, alone) == ["a"]
    assert await claimed_by(database, uuid4()) == ["b"], "another worker may have another suspect"
    assert [(await jobs.current(database, job.id)).fruitless_attempts for job in started] == [2, 2, 1]


async def test_a_poisoned_job_is_given_up_and_those_that_died_with_it_are_not(database: Database) -> None:
    started = await three_jobs(database)
    for _ in range(FRUITLESS_LIMIT + 2):
        taken = await claimed_by(database, uuid4())
        if "a" not in taken:
            break
        await dies(database, *taken)
    states = [await jobs.current(database, job.id) for job in started]
    assert [job.status for job in states] == [JobStatus.FAILED, JobStatus.RUNNING, JobStatus.RUNNING]
    assert max(job.fruitless_attempts for job in states[1:]) <= 2


async def test_a_suspect_that_commits_is_none_any_more(database: Database) -> None:
    await three_jobs(database)
    for _ in range(2):
        await claimed_by(database, uuid4())
        await dies(database, "a", "b", "c")
    worker_id = uuid4()
    suspect = await jobs.claim(database, worker_id=worker_id)
    await jobs.start(database, "/src/d")
    assert await claimed_by(database, worker_id) == []
    await jobs.capture(database, suspect)
    assert await claimed_by(database, uuid4()) == ["b"]
    await jobs.execute(
        database, "UPDATE codebase_mcp.indexing_jobs SET status = 'failed', slot = NULL, worker_id = NULL,"
        " lease_expires_at = NULL, finished_at = clock_timestamp() WHERE repo_name = 'c'"
    )  # fmt: skip
    assert await claimed_by(database, worker_id) == ["d"]


async def test_a_suspect_that_nobody_could_take_alone_for_a_while_is_taken_by_a_busy_worker(database: Database) -> None:
    busy = uuid4()
    await jobs.start(database, "/src/other")
    assert await claimed_by(database, busy) == ["other"]
    await jobs.start(database, "/src/suspect")
    for _ in range(2):
        assert await claimed_by(database, uuid4()) == ["suspect"]
        await dies(database, "suspect")
    assert await claimed_by(database, busy) == []
    await jobs.execute(
        database,
        "UPDATE codebase_mcp.indexing_jobs SET lease_expires_at = clock_timestamp()"
        f" - interval '{SUSPECT_WAIT_SECONDS + 1} seconds' WHERE repo_name = 'suspect'",
    )
    assert await claimed_by(database, busy) == ["suspect"]


async def test_a_suspect_that_was_given_back_waits_to_be_alone_as_well(database: Database) -> None:
    busy, other = uuid4(), uuid4()
    await jobs.start(database, "/src/suspect")
    for _ in range(2):
        assert await claimed_by(database, uuid4()) == ["suspect"]
        await dies(database, "suspect")
    suspect = await jobs.claim(database, worker_id=other)
    await jobs.set_column(database, suspect.id, "created_at = created_at - interval '1 hour'")
    await jobs.start(database, "/src/other")
    assert await claimed_by(database, busy) == ["other"]
    released = await store.release(database, jobs.claim_of(suspect))
    assert released is not None
    assert released.fruitless_attempts == SUSPECT_FROM, "a stop undoes no death"
    assert await claimed_by(database, busy) == []
    assert await claimed_by(database, other) == ["suspect"]


@pytest.mark.parametrize("has_files", [True, False])
async def test_a_job_that_is_given_up_says_before_what_its_worker_died(database: Database, has_files: bool) -> None:
    job = await jobs.running(database)
    if has_files:
        await jobs.capture(database, job, ["only.py"])
        await jobs.commit(database, job, 0)
    await jobs.set_column(database, job.id, f"fruitless_attempts = {FRUITLESS_LIMIT}")
    await jobs.lapse(database, job.id)
    assert await jobs.try_claim(database) is None
    message = (await jobs.current(database, job.id)).error_message or ""
    assert ("before the index was finished" if has_files else "before the files were listed") in message
