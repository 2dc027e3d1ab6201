"""What a job says of itself: its pace, the time it still needs, whether it stands still, and what it leaves out.

A worker writes down counters, times and a few words about what it is doing; everything else is worked out from the row
when somebody asks, against the database's clock. So no message can outlive the state it tells of.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from codebase_mcp.domain import FileState, Job, JobPhase, JobStatus
from codebase_mcp.jobs.records import LeftOut
from codebase_mcp.jobs.store import PendingFile

STALLED_SECONDS = 60.0
"""A running job without progress for so long is called stalled."""
PACE_SECONDS = 25.0
"""Work done so long ago counts for 1/e in the pace; the same number as in commit_batch."""
LEAST_MEASURED_SECONDS = 1.0
"""A pace measured over less tells nothing."""
LEAST_SHARE, LEAST_SHARE_SECONDS = 0.02, 20.0
"""The time left is not told before so much is done or so long was measured: the first batch waits for the pool."""
FINISHING_SHARE = 0.1
"""What the end of a job takes, as a share of the time in which its files were indexed."""
SLOW_SECONDS = 3.0
"""A step that takes longer is named."""
LARGE_FILE_BYTES = 100_000
REASONS_IN_A_SUMMARY = 5


# --- told by the job's parts ---


@dataclass(frozen=True, slots=True)
class _Step:
    text: str
    turn: int
    since: float


@dataclass
class Activity:
    """What a job's parts are doing, in this process only; its renewals write it down."""

    clock: Callable[[], float] = time.monotonic
    label: str | None = None
    """What to say while no step is slow; None leaves the message as it is."""
    advances: int = 0
    """Grows whenever something got on that is not committed."""
    _steps: dict[int, _Step] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def step(self, text: str, *, turn: int = -1) -> Iterator[None]:
        """A part of the work that may take long. Of several, the one with the least turn holds up the others."""
        number = next(self._numbers)
        self._steps[number] = _Step(text, turn, self.clock())
        try:
            yield
        finally:
            del self._steps[number]

    def advance(self, label: str | None) -> None:
        self.label = label
        self.advances += 1

    def text(self) -> str | None:
        """The step that everything waits for, when it is slow."""
        first = min(self._steps.values(), key=lambda step: step.turn, default=None)
        if first is not None and self.clock() - first.since > SLOW_SECONDS:
            return first.text
        return self.label


def parsing(files: Sequence[PendingFile]) -> str:
    """What a group of files is called while it is read and parsed."""
    largest = max(files, key=lambda file: file.size_bytes)
    if largest.size_bytes >= LARGE_FILE_BYTES and 2 * largest.size_bytes >= sum(file.size_bytes for file in files):
        return f"parsing a {largest.size_bytes / 1000:,.0f} KB file ({_shortened(largest.relative_path)})"
    return f"parsing {counted(len(files), 'file')}"


# --- read from the row ---


def message(job: Job, now: datetime) -> str:
    """What goes on, in a sentence that is true at `now`."""
    if job.status is JobStatus.BLOCKED and job.retry_at is not None:
        return _waiting(job.progress_message, (job.retry_at - now).total_seconds())
    if job.status is not JobStatus.RUNNING:
        return job.progress_message
    if is_orphaned(job, now):
        return f"waiting for a worker to take over: the last one stopped responding while {_doing(job)}"
    parts = [_doing(job)]
    if job.phase is JobPhase.INDEXING:
        pace = files_per_second(job, now)
        parts += [] if pace is None else [f"{pace:,.0f} files/s" if pace >= 10 else f"{pace:.1f} files/s"]
    left = remaining_seconds(job, now)
    parts += [] if left is None else [f"about {roughly(left)} left"]
    return ", ".join(parts)


def _waiting(message: str, seconds: float) -> str:
    """The reason and when the job is tried again, which draws nearer while nobody writes the row."""
    when = "next try now" if seconds <= 0 else f"next try in {roughly(math.ceil(seconds))}"
    return f"{message} {when.capitalize()}." if message.endswith(".") else f"{message}, {when}"


def _doing(job: Job) -> str:
    if job.phase is not JobPhase.INDEXING:
        return job.progress_message
    return f"{job.progress_message}, {job.files_done:,} of {counted(job.files_total, 'file')}"


def is_orphaned(job: Job, now: datetime) -> bool:
    return job.status is JobStatus.RUNNING and job.lease_expires_at is not None and job.lease_expires_at < now


def stalled_reason(job: Job, now: datetime) -> str | None:
    """Why a running job has not got on for too long, as far as it is known; None while it gets on."""
    if job.status is not JobStatus.RUNNING or job.progressed_at is None:
        return None
    idle_seconds = (now - job.progressed_at).total_seconds()
    if idle_seconds <= STALLED_SECONDS:
        return None
    what = "its worker stopped responding" if is_orphaned(job, now) else job.progress_message
    return f"no progress for {roughly(idle_seconds)}: {what}"


def files_per_second(job: Job, now: datetime) -> float | None:
    """Files done of late per second; None when too little is known."""
    return _pace(job, job.recent_files, _since_measured(job, now))


def remaining_seconds(job: Job, now: datetime) -> float | None:
    """From the pace of late; None while it is not known, and for a job that stands still."""
    if job.status is not JobStatus.RUNNING or is_orphaned(job, now) or stalled_reason(job, now) is not None:
        return None
    if job.bytes_done < LEAST_SHARE * job.bytes_total and job.recent_seconds < LEAST_SHARE_SECONDS:
        return None
    since = _since_measured(job, now)
    match job.phase:
        case JobPhase.INDEXING:
            pace = _pace(job, job.recent_bytes, since)
            left_bytes = max(0, job.bytes_total - job.bytes_done) + FINISHING_SHARE * job.bytes_total
            return round(left_bytes / pace, 1) if pace else None
        case JobPhase.FINISHING:
            pace = _pace(job, job.recent_bytes, 0.0)
            # Nobody believes in a job that needs no more time and is not done.
            return round(max(1.0, FINISHING_SHARE * job.bytes_total / pace - since), 1) if pace else None
        case _:
            return None


def _pace(job: Job, amount: float, since_seconds: float) -> float | None:
    """`amount` per second, both fading over the time since the last batch, which counts as time without work."""
    fading = math.exp(-since_seconds / PACE_SECONDS)
    seconds = job.recent_seconds * fading + since_seconds
    return amount * fading / seconds if seconds >= LEAST_MEASURED_SECONDS and amount * fading > 1e-6 else None


def _since_measured(job: Job, now: datetime) -> float:
    return 0.0 if job.measured_at is None else max(0.0, (now - job.measured_at).total_seconds())


# --- what was left out ---


def complete_reasons(job: Job, told: Sequence[LeftOut]) -> list[LeftOut]:
    """The reasons told, and for each state the rest as one, so that the numbers add up to the job's."""
    reasons = list(told)
    for state, files in ((FileState.FAILED, job.files_failed), (FileState.SKIPPED, job.files_skipped)):
        rest = files - sum(reason.files for reason in told if reason.state is state)
        if rest > 0:
            reasons.append(LeftOut(state, "other reasons", rest))
    return reasons


def outcome(job: Job, reasons: Sequence[LeftOut]) -> str:
    """`9 indexed, 1 unchanged, 25 skipped (20 binary, 5 too large) of 35 files, 1,234 chunks`."""
    as_text = int(job.metadata.get("files_as_text", 0))
    how = f" ({as_text:,} as plain text: too complex to parse)" if as_text else ""
    parts = [f"{job.files_indexed:,} indexed{how}", f"{job.files_unchanged:,} unchanged"]
    for state, files in ((FileState.SKIPPED, job.files_skipped), (FileState.FAILED, job.files_failed)):
        if files:
            parts.append(f"{files:,} {state}{_in_brackets([one for one in reasons if one.state is state])}")
    return f"{', '.join(parts)} of {counted(job.files_total, 'file')}, {counted(job.chunks_created, 'chunk')}"


def _in_brackets(reasons: Sequence[LeftOut]) -> str:
    shown = [f"{one.files:,} {one.reason}" for one in reasons[:REASONS_IN_A_SUMMARY]]
    rest = sum(one.files for one in reasons[REASONS_IN_A_SUMMARY:])
    shown += [f"{rest:,} for other reasons"] if rest else []
    return f" ({', '.join(shown)})" if shown else ""


# --- words ---


def roughly(seconds: float) -> str:
    """`12 s`, `8 min`, `3 h 10 min`."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _shortened(path: str, most: int = 80) -> str:
    return path if len(path) <= most else f"…{path[-most:]}"
