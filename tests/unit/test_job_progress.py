"""What is made of a job's row: the pace of late, the time left, stalls, and sentences true when they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from codebase_mcp.domain import FileState, Job, JobPhase, JobStatus
from codebase_mcp.jobs import progress
from codebase_mcp.jobs.progress import Activity
from codebase_mcp.jobs.records import LeftOut
from codebase_mcp.jobs.store import PendingFile

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def a_row(**changes: Any) -> Job:
    """A running job: 400 of 1,000 files and 4 of 10 MB done, of late at 0.1 MB and 10 files a second."""
    values: dict[str, Any] = dict.fromkeys(Job.model_fields) | {
        "id": uuid4(), "repo_path": "/src/shop", "repo_name": "shop", "project_id": "default", "force_reindex": False,
        "status": JobStatus.RUNNING, "phase": JobPhase.INDEXING, "progress_percentage": 40,
        "progress_message": "indexing", "files_total": 1_000, "files_scanned": 1_000, "files_indexed": 300,
        "files_unchanged": 50, "files_skipped": 40, "files_failed": 10, "chunks_created": 900,
        "bytes_total": 10_000_000, "bytes_done": 4_000_000, "attempt": 1, "fruitless_attempts": 0, "metadata": {},
        "created_at": NOON - timedelta(hours=1), "started_at": NOON - timedelta(hours=1), "slot": 1,
        "worker_id": UUID(int=1), "lease_expires_at": NOON + timedelta(seconds=5), "progressed_at": NOON,
        "measured_at": NOON, "recent_seconds": 20.0, "recent_bytes": 2_000_000.0, "recent_files": 200.0,
    }  # fmt: skip
    return Job(**values | changes)


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


# --- the time left ---


def test_the_time_left_follows_the_pace_of_late_not_the_average_since_the_start() -> None:
    left = progress.remaining_seconds(a_row(), NOON)
    assert left == pytest.approx((6_000_000 + progress.FINISHING_SHARE * 10_000_000) / 100_000)


def test_time_without_a_batch_makes_the_time_left_grow() -> None:
    waits = [progress.remaining_seconds(a_row(measured_at=ago(seconds)), NOON) for seconds in (0, 5, 20, 50)]
    assert waits == sorted(waits, key=lambda wait: wait or 0)
    assert waits[-1] is not None
    assert waits[0] is not None
    assert waits[-1] > 3 * waits[0]


@pytest.mark.parametrize(
    "unknown",
    [
        {"recent_seconds": 0.0, "recent_bytes": 0.0},
        {"recent_seconds": 0.2, "recent_bytes": 50_000.0},
        {"recent_bytes": 0.0},
        {"bytes_done": 100_000, "recent_seconds": 19.0},
        {"status": JobStatus.PENDING},
        {"status": JobStatus.BLOCKED, "retry_at": NOON},
        {"status": JobStatus.COMPLETED},
        {"phase": JobPhase.DISCOVERING},
        {"lease_expires_at": ago(1)},
        {"progressed_at": ago(61)},
    ],
)
def test_the_time_left_is_unknown_when_nothing_tells_it(unknown: dict[str, Any]) -> None:
    assert progress.remaining_seconds(a_row(**unknown), NOON) is None


def test_the_end_of_a_job_has_a_time_left_too_and_never_says_that_none_is_left() -> None:
    finishing = {"phase": JobPhase.FINISHING, "bytes_done": 10_000_000}
    full = progress.FINISHING_SHARE * 10_000_000 / 100_000
    assert progress.remaining_seconds(a_row(**finishing), NOON) == pytest.approx(full)
    assert progress.remaining_seconds(a_row(**finishing, measured_at=ago(4)), NOON) == pytest.approx(full - 4)
    assert progress.remaining_seconds(a_row(**finishing, measured_at=ago(300)), NOON) == 1.0


# --- stalls ---


@pytest.mark.parametrize("phase", [JobPhase.DISCOVERING, JobPhase.INDEXING, JobPhase.FINISHING])
def test_a_job_stands_still_when_nothing_got_on_for_a_minute_in_any_phase(phase: JobPhase) -> None:
    assert progress.stalled_reason(a_row(phase=phase, progressed_at=ago(59)), NOON) is None
    reason = progress.stalled_reason(a_row(phase=phase, progressed_at=ago(75), progress_message="doing this"), NOON)
    assert reason == "no progress for 1 min: doing this"


def test_a_stall_is_put_down_to_the_worker_when_it_fell_silent() -> None:
    job = a_row(progressed_at=ago(7_300), lease_expires_at=ago(7_290))
    assert progress.stalled_reason(job, NOON) == "no progress for 2 h 2 min: its worker stopped responding"


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.BLOCKED, JobStatus.COMPLETED])
def test_only_a_running_job_stands_still(status: JobStatus) -> None:
    assert progress.stalled_reason(a_row(status=status, progressed_at=ago(9_999)), NOON) is None


def test_a_row_of_before_the_times_were_kept_does_not_stand_still() -> None:
    job = a_row(progressed_at=None, measured_at=None, recent_seconds=0.0, recent_bytes=0.0, recent_files=0.0)
    assert progress.stalled_reason(job, NOON) is None
    assert progress.message(job, NOON) == "indexing, 400 of 1,000 files"


# --- sentences ---


def test_a_running_job_says_what_goes_on_how_fast_and_how_long() -> None:
    assert progress.message(a_row(), NOON) == "indexing, 400 of 1,000 files, 10 files/s, about 1 min left"
    slow = a_row(recent_files=31.0, files_total=15_003, progress_message="embedding")
    assert progress.message(slow, NOON).startswith("embedding, 400 of 15,003 files, 1.6 files/s, about")


def test_other_phases_say_what_they_do() -> None:
    listing = a_row(phase=JobPhase.DISCOVERING, progress_message="listing files, 12,000 so far")
    assert progress.message(listing, NOON) == "listing files, 12,000 so far"
    finishing = a_row(phase=JobPhase.FINISHING, progress_message="merging the text index", measured_at=ago(4))
    assert progress.message(finishing, NOON) == "merging the text index, about 6 s left"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(7.2, "the disk is full, next try in 8 s"), (-1, "the disk is full, next try now")],
)
def test_a_blocked_job_says_when_it_is_tried_again(seconds: float, expected: str) -> None:
    retry_at = NOON + timedelta(seconds=seconds)
    blocked = a_row(status=JobStatus.BLOCKED, progress_message="the disk is full", retry_at=retry_at)
    assert progress.message(blocked, NOON) == expected


def test_an_orphan_does_not_claim_to_be_worked_on() -> None:
    told = progress.message(a_row(lease_expires_at=ago(1)), NOON)
    assert told.startswith("waiting for a worker to take over")
    assert "left" not in told


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (480, "8 min"), (3_599, "1 h 0 min"), (11_400, "3 h 10 min")],
)
def test_durations_are_told_roughly(seconds: float, expected: str) -> None:
    assert progress.roughly(seconds) == expected


# --- outcomes ---


def test_the_outcome_names_the_reasons_of_what_was_left_out() -> None:
    reasons = [
        LeftOut(FileState.FAILED, "it died", 10),
        LeftOut(FileState.SKIPPED, "binary", 20),
        LeftOut(FileState.SKIPPED, "secret", 10),
        LeftOut(FileState.SKIPPED, "minified", 4),
        LeftOut(FileState.SKIPPED, "too large", 2),
        LeftOut(FileState.SKIPPED, "symlink", 1),
        *(LeftOut(FileState.SKIPPED, reason, 1) for reason in ("one", "two", "three")),
    ]
    assert progress.outcome(a_row(), reasons) == (
        "300 indexed, 50 unchanged, 40 skipped (20 binary, 10 secret, 4 minified, 2 too large, 1 symlink, "
        "3 for other reasons), 10 failed (10 it died) of 1,000 files, 900 chunks"
    )
    assert progress.outcome(a_row(files_skipped=0, files_failed=0, files_total=1, chunks_created=1), []) == (
        "300 indexed, 50 unchanged of 1 file, 1 chunk"
    )


def test_reasons_that_are_not_told_are_counted() -> None:
    told = [LeftOut(FileState.SKIPPED, "binary", 25)]
    assert progress.complete_reasons(a_row(), told) == [
        *told,
        LeftOut(FileState.FAILED, "other reasons", 10),
        LeftOut(FileState.SKIPPED, "other reasons", 15),
    ]


# --- what a worker says of its own doing ---


def pending(ordinal: int, path: str, size_bytes: int) -> PendingFile:
    return PendingFile(ordinal, path, size_bytes, 1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([pending(0, "a.py", 100), pending(1, "b.py", 200)], "parsing 2 files"),
        ([pending(0, "a.py", 100)], "parsing 1 file"),
        ([pending(0, "a.py", 100), pending(1, "web/big.js", 900_000)], "parsing a 900 KB file (web/big.js)"),
        ([pending(n, f"{n}.js", 300_000) for n in range(3)], "parsing 3 files"),
        ([pending(0, "x" * 500, 900_000)], f"parsing a 900 KB file (…{'x' * 80})"),
    ],
)
def test_a_group_that_is_parsed_is_named_after_its_largest_file(files: list[PendingFile], expected: str) -> None:
    assert progress.parsing(files) == expected


def test_only_the_step_that_all_wait_for_is_named_and_only_when_it_is_slow() -> None:
    now = 100.0
    activity = Activity(clock=lambda: now)
    activity.advance("indexing")
    with activity.step("parsing the second group", turn=5):
        now += 10
        with activity.step("embedding the first group", turn=1):
            assert activity.text() == "indexing"
            now += 4
            assert activity.text() == "embedding the first group"
            with activity.step("writing"):
                now += 4
                assert activity.text() == "writing"
        assert activity.text() == "parsing the second group"
    assert (activity.text(), activity.advances) == ("indexing", 1)


def test_a_step_that_fails_is_over() -> None:
    activity = Activity(clock=lambda: 0.0)
    with pytest.raises(OSError, match="gone"), activity.step("reading"):
        raise OSError("gone")
    activity.clock = lambda: 99.0
    assert activity.text() is None
