"""The trail of events tells the whole story: folded, it gives the job's row, whatever happened to the job."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from codebase_mcp.domain import FileOutcome, FileState, Job, JobEvent, JobPhase, JobStatus
from codebase_mcp.errors import CodebaseMcpError, LeaseLostError
from codebase_mcp.jobs import records, store
from codebase_mcp.jobs.store import FRUITLESS_LIMIT, BatchCounts
from codebase_mcp.service import Service
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.audit import differences, fold_events
from tests.support.runs import SHOP, Bench, counts

PATHS = ("a.py", "b.py", "c.py", "d.py", "e.py")
STEPS = 14


async def trail(database: Database, job: Job) -> list[JobEvent]:
    async with database.transaction("writers") as connection:
        return await store.events(connection, job.id)


class Walk:
    """One job on a random way through the engine's statements; `held` is the claim that its worker believes in."""

    def __init__(self, database: Database, job: Job, dice: random.Random) -> None:
        self._database = database
        self._dice = dice
        self._held = job
        self._worker_id = uuid4()

    @property
    def job_id(self) -> UUID:
        return self._held.id

    async def step(self) -> str:
        step = self._dice.choice(
            [
                self.claim, self.claim, self.capture, self.capture, self.commit, self.commit, self.commit, self.fence,
                self.renew, self.block, self.release, self.lapse, self.make_due, self.finish, self.fail, self.cancel,
            ]
        )  # fmt: skip
        await _unless_refused(step)
        return step.__name__

    async def claim(self) -> None:
        worker_id = self._dice.choice([self._worker_id, uuid4()])
        claimed = await jobs.try_claim(self._database, worker_id=worker_id)
        self._held = claimed or self._held

    async def capture(self) -> None:
        await jobs.capture(self._database, self._held, PATHS[: self._dice.randint(1, len(PATHS))])

    async def commit(self) -> None:
        ordinal = (await jobs.current(self._database, self._held.id)).files_done
        state = self._dice.choice([FileState.INDEXED, FileState.SKIPPED, FileState.FAILED])
        counted = BatchCounts(**{state.value: 1}, chunks=3 * (state is FileState.INDEXED), bytes=jobs.FILE_BYTES)
        reason = None if state is FileState.INDEXED else f"no good ({self._dice.randint(1, 99)} bytes)"
        async with self._database.transaction("writers") as connection:
            is_checkpoint = self._dice.random() < 0.5
            await store.commit_batch(connection, jobs.claim_of(self._held), counted, is_checkpoint=is_checkpoint)
            outcome = FileOutcome(f"file {ordinal}", state, reason)
            await store.mark_files(connection, jobs.claim_of(self._held), {ordinal: outcome})

    async def fence(self) -> None:
        async with self._database.transaction("writers") as connection:
            await store.fence(connection, jobs.claim_of(self._held), JobPhase.FINISHING, "tidying")

    async def renew(self) -> None:
        await store.renew(self._database, jobs.claim_of(self._held), files_scanned=3)

    async def block(self) -> None:
        await store.block(self._database, jobs.claim_of(self._held), error_type="StorageFullError", message="no room")

    async def release(self) -> None:
        await store.release(self._database, jobs.claim_of(self._held))

    async def lapse(self) -> None:
        ago = "lease_expires_at - interval '2 minutes'"
        await jobs.set_column(self._database, self._held.id, f"lease_expires_at = {ago}")

    async def make_due(self) -> None:
        due = "CASE WHEN retry_at IS NULL THEN NULL ELSE clock_timestamp() END"
        await jobs.set_column(self._database, self._held.id, f"retry_at = {due}")
        await self.claim()

    async def finish(self) -> None:
        await jobs.finish(self._database, self._held)

    async def fail(self) -> None:
        if self._dice.random() < 0.4:
            await jobs.fail(self._database, self._held)

    async def cancel(self) -> None:
        if self._dice.random() < 0.4:
            await store.cancel(self._database, self._held.id)


async def _unless_refused(step: Callable[[], Awaitable[None]]) -> None:
    """A statement that the fence or a constraint refuses is part of a walk: it must leave no event behind."""
    try:
        await step()
    except (LeaseLostError, CodebaseMcpError, AssertionError):
        return


@pytest.mark.parametrize("seed", range(4))
async def test_the_fold_of_the_events_is_the_row_after_every_step(database: Database, seed: int) -> None:
    dice, ends = random.Random(seed), set()
    for number in range(10):
        walk = Walk(database, await jobs.start(database, f"/src/{number}"), dice)
        taken = []
        for _ in range(STEPS):
            taken.append(await walk.step())
            job = await jobs.current(database, walk.job_id)
            assert differences(job, await trail(database, job)) == [], taken
        ends.add(job.status)
        await store.cancel(database, walk.job_id)
    assert len(ends) >= 3, "the walks lead nowhere"


async def test_a_job_given_up_for_its_dying_workers_tells_the_same_story(database: Database) -> None:
    job = await jobs.running(database)
    await jobs.capture(database, job)
    for _ in range(FRUITLESS_LIMIT):
        await jobs.lapse(database, job.id)
        job = await jobs.claim(database)
    await jobs.lapse(database, job.id)
    assert await jobs.try_claim(database) is None
    failed = await jobs.current(database, job.id)
    assert failed.status is JobStatus.FAILED
    assert differences(failed, await trail(database, job)) == []


@pytest.mark.parametrize(
    ("types", "complaint"),
    [
        (["started"], "not that of the creation"),
        (["created", "progress"], "progress while pending"),
        (["created", "started", "completed", "failed"], "failed after the job was completed"),
        (["created", "started", "completed", "progress"], "progress after"),
        (["created", "created"], "created once"),
    ],
)
def test_a_trail_that_no_job_leaves_is_refused(types: list[str], complaint: str) -> None:
    data = {
        "attempt": 1, "after": "pending", "slot": 1, "worker_id": str(uuid4()), "files_total": 0, "files_indexed": 0,
        "files_unchanged": 0, "files_skipped": 0, "files_failed": 0, "chunks_created": 0,
    }  # fmt: skip
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    with pytest.raises(ValueError, match=complaint):
        fold_events([JobEvent(event_type=name, event_data=data, created_at=moment) for name in types])


async def test_the_trail_of_a_real_job_adds_up(bench: Bench) -> None:
    (bench.root / "logo.bin").write_bytes(b"\0")
    job = await bench.run()
    events = await trail(bench.database, job)
    assert differences(job, events) == []
    captured = next(event.event_data for event in events if event.event_type == "captured")
    assert (captured["files_total"], captured["files_unchanged"]) == (len(SHOP) + 1, 0)


async def test_the_end_of_a_job_tells_why_files_were_left_out(service: Service, bench: Bench) -> None:
    bench.configure(max_file_bytes=2_000)
    for n in range(3):
        (bench.root / f"b{n}.bin").write_bytes(b"\0")
        bench.write({f"large{n}.py": "x = 1\n" * (400 + n)})
    job = await bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 6, 0))
    reasons = [
        {"state": "skipped", "reason": "binary", "files": 3},
        {"state": "skipped", "reason": "too large", "files": 3},
    ]
    completed = (await trail(bench.database, job))[-1]
    assert completed.event_data["left_out"] == reasons
    report = await service.job_status(job.id)
    assert [reason.model_dump() for reason in report.left_out_reasons] == reasons
    assert "6 skipped (3 binary, 3 too large) of 11 files" in report.progress_message


async def test_very_many_reasons_are_told_in_bounded_length_and_still_add_up(service: Service, bench: Bench) -> None:
    job = await jobs.running(bench.database)
    names = [f"f{n}.py" for n in range(60)]
    await jobs.capture(bench.database, job, names)
    async with bench.database.transaction("writers") as connection:
        await store.commit_batch(connection, jobs.claim_of(job), BatchCounts(failed=60), is_checkpoint=False)
        outcomes = {
            n: FileOutcome(name, FileState.FAILED, f"reason {name} {'x' * 500}") for n, name in enumerate(names)
        }
        await store.mark_files(connection, jobs.claim_of(job), outcomes)
    reasons = (await service.job_status(job.id)).left_out_reasons
    assert (len(reasons), sum(reason.files for reason in reasons)) == (records.REASONS_TOLD + 1, 60)
    assert (reasons[-1].reason, reasons[-1].files) == ("other reasons", 40)
    assert max(len(reason.reason) for reason in reasons) <= 120
