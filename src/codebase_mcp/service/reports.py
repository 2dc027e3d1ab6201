"""Rows → answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from codebase_mcp.answers import CancelledJob, JobReport, JobSummary, LeftOutFile, ReasonCount, StartedJob
from codebase_mcp.domain import NO_HOST, Host, Job, JobEvent, JobStatus, host_label
from codebase_mcp.jobs import progress
from codebase_mcp.jobs.records import LeftOut
from codebase_mcp.storage.hosts import KnownHost
from codebase_mcp.storage.tables import schema_name

OVERDUE = timedelta(days=7)
FILES_SHOWN = 20

_SHARED = (
    "status", "phase", "progress_percentage", "repo_path", "repo_name", "project_id", "files_total",
    "files_indexed", "chunks_created", "created_at", "started_at", "finished_at", "error_message",
)  # fmt: skip
_FULL = (
    *_SHARED, "force_reindex", "files_scanned", "files_unchanged", "files_skipped", "files_failed", "attempt",
    "completed_at", "cancelled_at", "error_type", "error_traceback",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owner:
    """The host of a job as this one sees it: without a label it is this one."""

    label: str | None = None
    seen_at: datetime | None = None

    def is_waited_for(self, job: Job, now: datetime) -> bool:
        """Whether nothing but a worker of another host can go on with a job, and none does."""
        is_due = job.status is JobStatus.BLOCKED and job.retry_at is not None and job.retry_at < now
        return self.label is not None and (job.status is JobStatus.PENDING or is_due or progress.is_orphaned(job, now))


def owner_of(job: Job, host: Host, known: Mapping[str, KnownHost]) -> Owner:
    """Whose job it is."""
    of_job = known.get(job.host_id or "")
    label = host_label(job.host_id, None if of_job is None else of_job.name, host)
    return Owner(label, None if of_job is None else of_job.seen_at)


def _message(job: Job, now: datetime, owner: Owner) -> str:
    if not owner.is_waited_for(job, now):
        return progress.message(job, now)
    seen = ""
    if owner.seen_at is not None:
        seen = f", last seen {progress.roughly((now - owner.seen_at).total_seconds())} ago"
    adopt = f"`codebase-mcp jobs adopt {job.id}` on a host that has its tree moves it there"
    if owner.label == NO_HOST:
        return f"belongs to no known host, because an older version started it; {adopt}"
    return f"waiting for a worker on host {owner.label}{seen}; if that host is gone, {adopt}"


def started(job: Job, *, is_new: bool, estimated_seconds: float | None, ignored: Sequence[str] = ()) -> StartedJob:
    """`ignored` are the arguments of a start that the active job knows nothing of."""
    warnings = [_ignored(ignored)] if ignored else []
    if is_new:
        message = "Indexing was queued and starts in the background. Poll get_job_status with this job_id."
    else:
        message = " ".join(
            [
                f"This repository has an active job already ({job.status}); it goes on as it was started.",
                *warnings,
                "Poll get_job_status with its id.",
            ]
        )
    return StartedJob(
        job_id=job.id,
        status=job.status,
        message=message,
        estimated_duration_seconds=estimated_seconds,
        project_id=job.project_id,
        database_name=schema_name(job.project_id),
        already_running=not is_new,
        warnings=warnings,
    )


def _ignored(arguments: Sequence[str]) -> str:
    named = " and ".join(arguments)
    return (
        f"{named} had no effect: the active job was started without. To have it, start again when that job has ended."
    )


def report(
    job: Job,
    now: datetime,
    left_out: Sequence[Any],
    reasons: Sequence[LeftOut],
    events: list[JobEvent] | None,
    *,
    owner: Owner,
) -> JobReport:
    """`left_out` are rows of job_files; `now` is the database's clock."""
    stalled_reason = progress.stalled_reason(job, now)
    return JobReport(
        job_id=job.id,
        **{field: getattr(job, field) for field in _FULL},
        database_name=schema_name(job.project_id),
        next_retry_at=job.retry_at,
        progress_message=_message(job, now, owner),
        estimated_time_remaining_seconds=progress.remaining_seconds(job, now),
        is_waiting_for_worker=progress.is_orphaned(job, now),
        host=owner.label,
        is_waiting_for_host=owner.is_waited_for(job, now),
        is_stalled=stalled_reason is not None,
        stalled_reason=stalled_reason,
        left_out_files=[LeftOutFile(**row) for row in left_out],
        left_out_reasons=[
            ReasonCount(state=one.state.value, reason=one.reason, files=one.files)
            for one in progress.complete_reasons(job, reasons)
        ],
        warnings=job.metadata.get("warnings", []),
        events=events,
    )


def summary(job: Job, now: datetime, owner: Owner) -> JobSummary:
    return JobSummary(
        job_id=job.id,
        **{field: getattr(job, field) for field in _SHARED},
        progress_message=_message(job, now, owner),
        host=owner.label,
        is_waiting_for_host=owner.is_waited_for(job, now),
        is_stalled=progress.stalled_reason(job, now) is not None,
        is_overdue=is_overdue(job, now),
    )


def is_overdue(job: Job, now: datetime) -> bool:
    """Never deleted, and worth a look."""
    return job.status in (JobStatus.RUNNING, JobStatus.BLOCKED) and now - job.created_at > OVERDUE


def trouble(job: Job, now: datetime, owner: Owner) -> str | None:
    """What is wrong with an active job, naming it; None when nothing is."""
    if owner.is_waited_for(job, now):
        return f"job {job.id} ({job.repo_path}): {_message(job, now, owner)}"
    what = [f"{job.status} for {(now - job.created_at).days} days"] if is_overdue(job, now) else []
    stalled = progress.stalled_reason(job, now)
    what += [stalled] if stalled else []
    return f"job {job.id} ({job.repo_path}): {', '.join(what)}" if what else None


def cancelled(job: Job, message: str) -> CancelledJob:
    assert job.cancelled_at is not None
    return CancelledJob(
        job_id=job.id,
        status=job.status,
        message=message,
        files_indexed=job.files_indexed,
        chunks_created=job.chunks_created,
        cancelled_at=job.cancelled_at,
    )
