"""Who gets a job: starting, claiming and taking over, and the races that the engine's statements decide."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa

from codebase_mcp.domain import MAX_RUNNING_JOBS, Job, JobPhase, JobStatus
from codebase_mcp.errors import ConstraintViolatedError
from codebase_mcp.jobs import store
from codebase_mcp.jobs.store import FRUITLESS_LIMIT
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.databases import several
from tests.support.jobs import together

# --- start ---


async def test_twenty_starts_of_one_repository_at_once_give_one_job(database_url: str) -> None:
    async with several(database_url, 4) as databases:
        answers = await together(*(jobs.try_start(databases[n % 4]) for n in range(20)))
    assert len({job.id for job, _ in answers}) == 1
    assert [is_new for _, is_new in answers].count(True) == 1


async def test_a_start_that_races_the_end_of_the_active_job_gets_a_job_that_exists(database_url: str) -> None:
    async with several(database_url, 3) as (first, second, third):
        for _ in range(15):
            job = await jobs.start(first)
            results = await together(store.cancel(second, job.id), jobs.try_start(first), jobs.try_start(third))
            answered = [result[0] for result in results[1:]]
            active = await jobs.execute(
                first, "SELECT id FROM codebase_mcp.indexing_jobs WHERE status IN ('pending', 'running', 'blocked')"
            )
            assert len(active) <= 1
            assert {one.id for one in answered} <= {job.id, *(row.id for row in active)}
            for row in active:
                await store.cancel(first, row.id)


async def test_a_start_that_never_sees_the_job_it_collides_with_gives_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(store, "_job", nothing)
    with pytest.raises(ConstraintViolatedError, match="come and go too fast; try again"):
        await jobs.try_start(database)


async def test_two_projects_may_index_the_same_path(database: Database) -> None:
    one = await jobs.start(database, project_id="one")
    other = await jobs.start(database, project_id="other")
    assert one.id != other.id
    async with database.transaction() as connection:
        assert [job.id for job in await store.active_jobs(connection, "other")] == [other.id]


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_a_repository_whose_job_has_ended_can_be_started_again(database: Database, status: JobStatus) -> None:
    ended = await jobs.in_state(database, status)
    assert (await jobs.start(database)).id != ended.id


# --- claim ---


async def test_jobs_are_claimed_in_the_order_in_which_they_were_started(database: Database) -> None:
    started = [(await jobs.start(database, f"/src/{name}")).id for name in "zyx"]
    assert [(await jobs.claim(database)).id for _ in range(3)] == started


async def test_a_job_does_not_overtake_an_older_one_that_somebody_is_just_claiming(database: Database) -> None:
    first, _ = [await jobs.running(database, f"/src/{name}") for name in ("first", "second")]
    older, newer = [(await jobs.start(database, f"/src/{name}")).id for name in ("older", "newer")]
    claiming = sa.text("SELECT id FROM codebase_mcp.indexing_jobs WHERE id = :id FOR UPDATE")
    async with database.transaction("writers") as connection:
        await connection.execute(claiming, {"id": older})
        assert await jobs.try_claim(database) is None, "the last slot is the older one's"
        await jobs.finish(database, first)
        assert (await jobs.claim(database)).id == newer, "of two free slots, one is the newer one's"
    assert (await jobs.claim(database)).id == older


async def test_a_fourth_job_waits_until_a_slot_is_free(database: Database) -> None:
    claimed = [await jobs.running(database, f"/src/{n}") for n in range(MAX_RUNNING_JOBS)]
    fourth = await jobs.start(database, "/src/fourth")
    assert await jobs.try_claim(database) is None
    assert {job.slot for job in claimed} == {1, 2, 3}
    await jobs.finish(database, claimed[1])
    taken = await jobs.claim(database)
    assert (taken.id, taken.slot) == (fourth.id, claimed[1].slot)


async def test_an_orphan_goes_before_older_work_and_keeps_its_slot(database: Database) -> None:
    held = await jobs.running(database)
    early = await jobs.start(database, "/src/early")
    await jobs.set_column(database, early.id, "created_at = created_at - interval '1 hour'")
    await jobs.lapse(database, held.id)
    taken = await jobs.claim(database)
    assert (taken.id, taken.slot, taken.attempt) == (held.id, held.slot, held.attempt + 1)
    assert (await jobs.claim(database)).id == early.id


async def test_many_claimers_never_run_more_than_three_jobs(database_url: str, database: Database) -> None:
    async with several(database_url, 6) as databases:
        for round_number in range(12):
            await together(*(jobs.start(database, f"/src/{round_number}/{n}") for n in range(6)))
            claims = await together(*(jobs.try_claim(one) for one in databases for _ in range(2)))
            claimed = [job for job in claims if job is not None]
            count = await jobs.scalar(
                database, "SELECT count(*) FROM codebase_mcp.indexing_jobs WHERE status = 'running'"
            )
            assert 1 <= len(claimed) == count <= MAX_RUNNING_JOBS
            assert len({job.id for job in claimed}) == len(claimed)
            await jobs.execute(database, "DELETE FROM codebase_mcp.indexing_jobs")


async def test_another_violation_than_that_of_the_slot_is_no_lost_race(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def violated(*_: object) -> None:
        raise ConstraintViolatedError("one_active_job_per_repository")

    monkeypatch.setattr(store, "_rows", violated)
    with pytest.raises(ConstraintViolatedError):
        await jobs.try_claim(database)


async def test_a_lease_far_in_the_future_counts_as_lapsed(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.set_column(database, job.id, "lease_expires_at = clock_timestamp() + interval '115 seconds'")
    assert await jobs.try_claim(database) is None
    await jobs.set_column(database, job.id, "lease_expires_at = clock_timestamp() + interval '125 seconds'")
    assert (await jobs.claim(database)).attempt == job.attempt + 1


async def test_a_blocked_job_is_claimable_when_its_time_has_come(database: Database) -> None:
    job = await jobs.in_state(database, JobStatus.BLOCKED)
    assert job.retry_at is not None
    await jobs.set_column(database, job.id, "retry_at = clock_timestamp() + interval '1 hour'")
    assert await jobs.try_claim(database) is None
    await jobs.set_column(database, job.id, "retry_at = clock_timestamp()")
    taken = await jobs.claim(database)
    assert (taken.retry_at, taken.error_message, taken.error_type) == (None, None, None)


async def test_a_claim_goes_on_where_the_list_of_files_was_left(database: Database) -> None:
    job = await jobs.running(database)
    assert job.phase is JobPhase.DISCOVERING
    await jobs.capture(database, job)
    await jobs.commit(database, job, 0)
    await jobs.lapse(database, job.id)
    assert (await jobs.claim(database)).phase is JobPhase.INDEXING
    async with database.transaction() as connection:
        left = await store.pending_files(connection, job.id, after=-1, limit=10)
        rest = await store.pending_files(connection, job.id, after=1, limit=10)
    assert [file.ordinal for file in left] == [1, 2]
    assert [file.ordinal for file in rest] == [2]


# --- hopeless jobs ---


async def taken_over(database: Database, times: int) -> Job:
    """A job whose worker died that often."""
    job = await jobs.running(database)
    for _ in range(times):
        await jobs.lapse(database, job.id)
        job = await jobs.claim(database)
    return job


async def test_a_job_is_given_up_after_five_fruitless_take_overs(database: Database) -> None:
    job = await taken_over(database, FRUITLESS_LIMIT)
    assert job.fruitless_attempts == FRUITLESS_LIMIT
    await jobs.lapse(database, job.id)
    assert await jobs.try_claim(database) is None
    given_up = await jobs.current(database, job.id)
    assert (given_up.status, given_up.phase, given_up.error_type) == (JobStatus.FAILED, JobPhase.DONE, "WorkerDied")
    assert "died 6 times in a row" in str(given_up.error_message)
    assert "before the files were listed" in str(given_up.error_message)
    assert (await jobs.event_types(database, job.id))[-1] == "failed"


async def test_a_job_that_is_given_up_names_the_file_it_died_at(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job, ["fine.py", "it's poison.py"])
    await jobs.commit(database, job, 0)
    await jobs.set_column(database, job.id, f"fruitless_attempts = {FRUITLESS_LIMIT}")
    await jobs.lapse(database, job.id)
    assert await jobs.try_claim(database) is None
    assert "'it''s poison.py'" in str((await jobs.current(database, job.id)).error_message)


async def test_a_hopeless_job_whose_worker_lives_is_left_alone(database: Database) -> None:
    job = await taken_over(database, FRUITLESS_LIMIT)
    assert await jobs.try_claim(database) is None
    assert (await jobs.current(database, job.id)).status is JobStatus.RUNNING


async def test_a_job_that_is_given_up_makes_room_for_the_next(database: Database) -> None:
    job = await taken_over(database, FRUITLESS_LIMIT)
    await jobs.lapse(database, job.id)
    waiting = await jobs.start(database, "/src/next")
    assert (await jobs.claim(database)).id == waiting.id


async def test_waiting_and_being_released_count_as_no_fruitless_take_over(database: Database) -> None:
    job = await jobs.running(database)
    for _ in range(FRUITLESS_LIMIT + 1):
        await store.release(database, jobs.claim_of(job))
        job = await jobs.claim(database)
        await jobs.block(database, job)
        await jobs.set_column(database, job.id, "retry_at = clock_timestamp()")
        job = await jobs.claim(database)
    assert job.fruitless_attempts == 0


async def test_a_worker_that_takes_back_its_own_job_has_not_died(database: Database) -> None:
    await jobs.start(database)
    worker_id = uuid4()
    for attempt in range(1, FRUITLESS_LIMIT + 3):
        job = await jobs.claim(database, worker_id=worker_id)
        assert (job.attempt, job.fruitless_attempts) == (attempt, 0)
        await jobs.lapse(database, job.id)
    assert (await jobs.claim(database)).fruitless_attempts == 1


async def test_a_captured_list_or_a_committed_batch_resets_the_fruitless_take_overs(database: Database) -> None:
    job = await taken_over(database, 2)
    await jobs.capture(database, job)
    assert (await jobs.current(database, job.id)).fruitless_attempts == 0
    await jobs.lapse(database, job.id)
    job = await jobs.claim(database)
    assert job.fruitless_attempts == 1
    assert (await jobs.commit(database, job, 0)).fruitless_attempts == 0
