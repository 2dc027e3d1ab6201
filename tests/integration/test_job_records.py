"""What is written down of a job: its trail of events, its progress, its retries, its retention and its listing."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from codebase_mcp.domain import MAX_RUNNING_JOBS, FileState, Job, JobPhase, JobStatus
from codebase_mcp.jobs import records, store
from codebase_mcp.jobs.records import JobFilter, LeftOut
from codebase_mcp.jobs.statements import statements
from codebase_mcp.jobs.store import BatchCounts, CapturedFile
from codebase_mcp.storage.database import Database
from tests.support import jobs

STATUS_AFTER = {
    "created": "pending",
    "started": "running",
    "captured": "running",
    "resumed": "running",
    "unblocked": "running",
    "progress": "running",
    "released": "pending",
    "blocked": "blocked",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
TERMINAL = {"completed", "failed", "cancelled"}


async def unblocked(database: Database, job: Job) -> Job:
    await jobs.set_column(database, job.id, "retry_at = clock_timestamp()")
    return await jobs.claim(database)


# --- events ---


async def test_every_transition_leaves_its_event(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    await jobs.commit(database, job, 0)
    await jobs.commit(database, job, 1, is_checkpoint=True)
    await store.release(database, jobs.claim_of(job))
    job = await jobs.claim(database)
    await jobs.block(database, job)
    job = await unblocked(database, job)
    await jobs.lapse(database, job.id)
    job = await jobs.claim(database)
    await jobs.commit(database, job, 2)
    await jobs.finish(database, job)
    assert await jobs.event_types(database, job.id) == [
        "created", "started", "captured", "progress", "released", "resumed", "blocked", "unblocked", "resumed",
        "completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "state",
    [*JobStatus, "orphaned"],
)
async def test_folding_the_events_gives_the_status(database: Database, state: str) -> None:
    job = await jobs.in_state(database, state)
    types = await jobs.event_types(database, job.id)
    assert STATUS_AFTER[types[-1]] == job.status
    assert sum(one in TERMINAL for one in types) == job.status.is_terminal


async def test_events_say_what_happened(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    await jobs.commit(database, job, 0, is_checkpoint=True)
    blocked = await jobs.block(database, job)
    job = await unblocked(database, job)
    await jobs.fail(database, job)
    async with database.transaction() as connection:
        events = {event.event_type: event.event_data for event in await store.events(connection, job.id)}
    assert events["created"] == {"repo_path": "/src/shop", "force_reindex": False}
    assert events["started"]["attempt"] == 1
    assert events["started"]["after"] == "pending"
    assert events["progress"]["files_done"] == 1
    assert events["progress"]["progress_percentage"] == 33
    assert events["blocked"]["reason"] == "the disk is full"
    assert blocked.retry_at is not None
    assert events["blocked"]["retry_at"][:19] == blocked.retry_at.isoformat()[:19]
    assert events["unblocked"]["attempt"] == 2
    assert events["captured"]["files_total"] == 3
    assert (events["failed"]["error_type"], events["failed"]["error_message"]) == ("ValueError", "no good")
    assert (events["failed"]["files_total"], events["failed"]["files_indexed"]) == (3, 1)


async def test_the_summary_of_the_checkpoint_is_kept_on_the_job(database: Database) -> None:
    job = await jobs.running(database, metadata={"asked_by": "test"})
    await jobs.capture(database, job)
    await jobs.commit(database, job, 0)
    assert "checkpoint" not in (await jobs.current(database, job.id)).metadata
    committed = await jobs.commit(database, job, 1, is_checkpoint=True)
    assert committed.metadata["asked_by"] == "test"
    assert {key: committed.metadata["checkpoint"][key] for key in ("files_done", "files_total", "chunks_created")} == {
        "files_done": 2, "files_total": 3, "chunks_created": 2,
    }  # fmt: skip


# --- progress ---


async def test_progress_follows_the_bytes_and_reaches_the_end_only_when_completed(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    assert [(await jobs.commit(database, job, n)).progress_percentage for n in range(3)] == [33, 66, 99]
    assert (await jobs.finish(database, job)).progress_percentage == 100


async def test_progress_never_falls(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    await jobs.set_column(database, job.id, "progress_percentage = 80")
    assert (await jobs.commit(database, job, 0)).progress_percentage == 80
    await jobs.lapse(database, job.id)
    assert (await jobs.claim(database)).progress_percentage == 80


async def test_upkeep_at_the_end_shows_its_phase(database: Database) -> None:
    job = await jobs.running(database)
    for phase, progress in ((JobPhase.INDEXING, 0), (JobPhase.FINISHING, 99)):
        async with database.transaction() as connection:
            await store.fence(connection, jobs.claim_of(job), phase, "tidying")
        current = await jobs.current(database, job.id)
        assert (current.phase, current.progress_percentage, current.progress_message) == (phase, progress, "tidying")


async def test_files_seen_while_listing_never_fall(database: Database) -> None:
    job = await jobs.running(database)
    for seen in (40, 30):
        assert await store.renew(database, jobs.claim_of(job), files_scanned=seen)
    current = await jobs.current(database, job.id)
    assert (current.files_scanned, current.progress_message) == (40, "listing files")


async def test_a_captured_list_is_counted_by_fate(database: Database) -> None:
    job = await jobs.running(database)
    files = [
        CapturedFile(jobs.found("a.py", 10), FileState.PENDING, None),
        CapturedFile(jobs.found("b.py", 500), FileState.UNCHANGED, None),
        CapturedFile(jobs.found("c.png", 900, "binary"), FileState.SKIPPED, "binary"),
        CapturedFile(jobs.found("d.py", 20), FileState.PENDING, None),
    ]
    async with database.transaction("writers") as connection:
        await store.capture(connection, jobs.claim_of(job), files, {"head_commit": "abc"})
    listed = await jobs.current(database, job.id)
    assert (listed.files_total, listed.files_scanned, listed.files_unchanged, listed.files_skipped) == (4, 4, 1, 1)
    assert (listed.bytes_total, listed.metadata, listed.phase) == (30, {"head_commit": "abc"}, JobPhase.INDEXING)
    async with database.transaction() as connection:
        reasons = await records.reasons_left_out(connection, job.id)
        assert [file.relative_path for file in await store.pending_files(connection, job.id, after=-1, limit=9)] == [
            "a.py", "d.py",
        ]  # fmt: skip
    assert reasons == [LeftOut(FileState.SKIPPED, "binary", 1)]


async def test_files_that_failed_are_shown_before_skipped_ones(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job, ["a.py", "b.py"])
    async with database.transaction("writers") as connection:
        await store.mark_files(
            connection,
            jobs.claim_of(job),
            {
                0: store.FileOutcome("a.py", FileState.SKIPPED, "binary"),
                1: store.FileOutcome("b.py", FileState.FAILED, "it died"),
            },
        )
    assert await jobs.reasons(database, job.id) == {"b.py": "it died", "a.py": "binary"}
    assert list(await jobs.reasons(database, job.id)) == ["b.py", "a.py"]


# --- blocked ---


async def retry_delay_seconds(database: Database, job: Job) -> float:
    return float(
        await jobs.scalar(
            database,
            "SELECT extract(epoch FROM retry_at - (SELECT max(created_at) FROM codebase_mcp.job_events))"
            " FROM codebase_mcp.indexing_jobs WHERE id = :id",
            id=job.id,
        )
    )


async def test_the_delay_doubles_up_to_a_minute_and_a_batch_resets_it(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    for expected in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        await jobs.block(database, job)
        assert 0.79 * expected <= await retry_delay_seconds(database, job) <= 1.21 * expected
        job = await unblocked(database, job)
    await jobs.commit(database, job, 0)
    await jobs.block(database, job)
    assert await retry_delay_seconds(database, job) <= 1.21


async def test_a_blocked_job_holds_no_slot_and_says_why(database: Database) -> None:
    job = await jobs.in_state(database, JobStatus.BLOCKED)
    assert (job.slot, job.worker_id, job.lease_expires_at) == (None, None, None)
    assert (job.error_type, job.error_message, job.progress_message) == (
        "StorageFullError", "the disk is full", "the disk is full",
    )  # fmt: skip


# --- retention ---


async def ended_long_ago(database: Database, path: str, days: float) -> Job:
    job = await jobs.running(database, path)
    await jobs.capture(database, job, ["a.py"])
    await jobs.commit(database, job, 0)
    await jobs.finish(database, job)
    ago = f"clock_timestamp() - interval '{days} days'"
    await jobs.set_column(database, job.id, f"finished_at = {ago}, completed_at = {ago}")
    return job


async def job_ids(database: Database, table: str, column: str) -> set[object]:
    return {row[0] for row in await jobs.execute(database, f"SELECT DISTINCT {column} FROM codebase_mcp.{table}")}


async def test_jobs_that_ended_long_ago_go_with_their_files_and_events(database: Database) -> None:
    await ended_long_ago(database, "/src/old", 7.01)
    recent = await ended_long_ago(database, "/src/recent", 6.99)
    assert await store.prune(database, 7) == 1
    for table, column in (("indexing_jobs", "id"), ("job_files", "job_id"), ("job_events", "job_id")):
        assert await job_ids(database, table, column) == {recent.id}


@pytest.mark.parametrize("state", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.BLOCKED, "orphaned"])
async def test_an_active_job_is_never_pruned(database: Database, state: str) -> None:
    job = await jobs.in_state(database, state)
    await jobs.set_column(database, job.id, "created_at = created_at - interval '30 days'")
    assert await store.prune(database, 1) == 0
    assert (await jobs.current(database, job.id)).status == job.status


async def test_pruning_takes_more_than_one_round_of_jobs(database: Database) -> None:
    await jobs.execute(
        database,
        "INSERT INTO codebase_mcp.indexing_jobs (id, repo_path, repo_name, project_id, status, finished_at,"
        " completed_at) SELECT gen_random_uuid(), '/src/x', 'x', 'default', 'completed',"
        " clock_timestamp() - interval '9 days', clock_timestamp() FROM generate_series(1, 1003)",
    )
    assert await store.prune(database, 7) == 1003
    assert await store.prune(database, 7) == 0


# --- reading ---


async def test_an_unknown_job_is_none(database: Database) -> None:
    async with database.transaction() as connection:
        assert await store.job(connection, uuid4()) is None


async def listed(database: Database, which: JobFilter, limit: int = 20, offset: int = 0) -> tuple[list[str], int]:
    async with database.transaction() as connection:
        page, total = await records.list_jobs(connection, which, limit=limit, offset=offset)
    return [job.repo_path for job in page], total


async def test_a_page_of_jobs_is_newest_first_and_counts_all(database: Database) -> None:
    for name in "abcde":
        await jobs.start(database, f"/src/{name}")
    assert await listed(database, JobFilter(), limit=2, offset=1) == (["/src/d", "/src/c"], 5)
    assert await listed(database, JobFilter(), limit=2, offset=9) == ([], 5)


async def test_jobs_are_filtered_by_each_of_their_marks(database: Database) -> None:
    await jobs.in_state(database, JobStatus.COMPLETED, "/src/100%_done")
    middle = await jobs.start(database, "/src/1000_done", project_id="other")
    await jobs.start(database, "/src/last")
    assert await listed(database, JobFilter(status=JobStatus.COMPLETED)) == (["/src/100%_done"], 1)
    assert await listed(database, JobFilter(project_id="other")) == (["/src/1000_done"], 1)
    assert await listed(database, JobFilter(repo_path_part="0%_d")) == (["/src/100%_done"], 1)
    assert await listed(database, JobFilter(created_after=middle.created_at)) == (["/src/last"], 1)
    just_before = JobFilter(created_after=middle.created_at - timedelta(microseconds=1), repo_path_part="/src")
    assert await listed(database, just_before) == (["/src/last", "/src/1000_done"], 2)


async def test_waiting_work_tells_what_could_be_claimed_from_what_runs(database: Database) -> None:
    assert await store.waiting_work(database, jobs.HOST.id) == store.WaitingWork(0, 0, 0, 0.0)
    orphan = await jobs.in_state(database, "orphaned", "/src/orphan")
    await jobs.set_column(database, orphan.id, "created_at = created_at - interval '1 minute'")
    await jobs.start(database, "/src/pending")
    work = await store.waiting_work(database, jobs.HOST.id)
    assert (work.claimable, work.running, work.active) == (2, 0, 2)
    assert 0.9 < work.longest_lapse_seconds < 20
    await jobs.claim(database)
    blocked = await jobs.block(database, await jobs.claim(database))
    await jobs.set_column(database, blocked.id, "retry_at = clock_timestamp() + interval '1 hour'")
    work = await store.waiting_work(database, jobs.HOST.id)
    assert (work.claimable, work.running, work.active, work.longest_lapse_seconds) == (0, 1, 2, 0.0)
    await jobs.execute(
        database, "UPDATE codebase_mcp.indexing_jobs SET retry_at = clock_timestamp() WHERE status = 'blocked'"
    )
    assert (await store.waiting_work(database, jobs.HOST.id)).claimable == 1


async def test_work_that_waits_although_a_slot_is_free_counts_as_lapsed(database: Database) -> None:
    waiting = await jobs.start(database, "/src/waiting")
    await jobs.set_column(database, waiting.id, "created_at = created_at - interval '1 minute'")
    assert 45 < (await store.waiting_work(database, jobs.HOST.id)).longest_lapse_seconds < 70
    running = [await jobs.start(database, f"/src/{n}") for n in range(3)]
    await jobs.set_column(database, waiting.id, "status = 'cancelled', finished_at = now(), cancelled_at = now()")
    for _ in running:
        await jobs.claim(database)
    late = await jobs.start(database, "/src/late")
    await jobs.set_column(database, late.id, "created_at = created_at - interval '1 minute'")
    assert (await store.waiting_work(database, jobs.HOST.id)).longest_lapse_seconds == 0


async def test_work_that_waited_for_a_slot_waits_for_a_worker_only_since_one_is_free(database: Database) -> None:
    first, *_ = [await jobs.running(database, f"/src/{n}") for n in range(MAX_RUNNING_JOBS)]
    waiting = await jobs.start(database, "/src/waiting")
    await jobs.set_column(database, waiting.id, "created_at = clock_timestamp() - interval '1 hour'")
    await store.cancel(database, first.id)
    assert (await store.waiting_work(database, jobs.HOST.id)).longest_lapse_seconds == 0
    await jobs.set_column(database, first.id, "finished_at = clock_timestamp() - interval '1 minute'")
    assert 45 < (await store.waiting_work(database, jobs.HOST.id)).longest_lapse_seconds < 70


async def test_failed_files_are_those_of_the_last_completed_job(database: Database) -> None:
    for name in ("older.py", "newer.py"):
        job = await jobs.running(database)
        await jobs.capture(database, job, [name])
        async with database.transaction("writers") as connection:
            await store.commit_batch(connection, jobs.claim_of(job), BatchCounts(failed=1), is_checkpoint=False)
            outcome = store.FileOutcome(name, FileState.FAILED, "it died")
            await store.mark_files(connection, jobs.claim_of(job), {0: outcome})
        await jobs.finish(database, job)
    await jobs.in_state(database, JobStatus.FAILED)
    async with database.transaction() as connection:
        failed = await store.failed_files(connection, "default", jobs.HOST.id, "/src/shop")
        assert [(file.relative_path, file.reason) for file in failed] == [("newer.py", "it died")]
        assert (
            await store.failed_files(connection, "default", jobs.HOST.id, "/src/shop", index_fingerprint="another")
            == []
        )
        assert await store.failed_files(connection, "other", jobs.HOST.id, "/src/shop") == []


async def test_the_claim_reads_its_candidates_from_an_index(database: Database) -> None:
    await jobs.execute(
        database,
        "INSERT INTO codebase_mcp.indexing_jobs (id, repo_path, repo_name, project_id, status, finished_at,"
        " completed_at) SELECT gen_random_uuid(), '/src/' || n, 'x', 'default', 'completed', clock_timestamp(),"
        " clock_timestamp() FROM generate_series(1, 3000) n",
    )
    await jobs.start(database)
    await jobs.execute(database, "ANALYZE codebase_mcp.indexing_jobs")
    claim = statements()["claim"]
    async with database.transaction() as connection:
        arguments = {
            "worker_id": uuid4(), "host_id": "h", "host": "h", "lease_seconds": 8.0, "suspect_from": store.SUSPECT_FROM,
            "suspect_wait_seconds": store.SUSPECT_WAIT_SECONDS,
        }  # fmt: skip
        plan = (await connection.execute(sa.text(f"EXPLAIN {claim.text}"), arguments)).scalars().all()
    assert not any("Seq Scan on indexing_jobs" in line for line in plan), "\n".join(plan)
