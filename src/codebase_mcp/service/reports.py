"""Rows → answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from codebase_mcp.answers import CancelledJob, JobReport, JobSummary, LeftOutFile, ReasonCount, StartedJob
from codebase_mcp.domain import Job, JobEvent, JobStatus
from codebase_mcp.storage.tables import schema_name

OVERDUE = timedelta(days=7)
FILES_SHOWN = 20

_SHARED = (
    "status", "phase", "progress_percentage", "progress_message", "repo_path", "repo_name", "project_id", "files_total",
    "files_indexed", "chunks_created", "created_at", "started_at", "finished_at", "error_message",
)  # fmt: skip
_FULL = (
    *_SHARED, "force_reindex", "files_scanned", "files_unchanged", "files_skipped", "files_failed", "attempt",
    "completed_at", "cancelled_at", "error_type", "error_traceback",
)  # fmt: skip


def started(job: Job, *, is_new: bool, estimated_seconds: float | None) -> StartedJob:
    if is_new:
        message = "Indexing was queued and starts in the background. Poll get_job_status with this job_id."
    else:
        message = (
            f"This repository has an active job already ({job.status}); it goes on. Poll get_job_status with its id."
        )
    return StartedJob(
        job_id=job.id,
        status=job.status,
        message=message,
        estimated_duration_seconds=estimated_seconds,
        project_id=job.project_id,
        database_name=schema_name(job.project_id),
        already_running=not is_new,
    )


def report(
    job: Job,
    now: datetime,
    left_out: Sequence[Any],
    reasons: Sequence[Any],
    events: list[JobEvent] | None,
) -> JobReport:
    """`left_out` and `reasons` are rows of job_files; `now` is the database's clock."""
    return JobReport(
        job_id=job.id,
        **{field: getattr(job, field) for field in _FULL},
        database_name=schema_name(job.project_id),
        next_retry_at=job.retry_at,
        estimated_time_remaining_seconds=_remaining_seconds(job, now),
        is_waiting_for_worker=_is_orphaned(job, now),
        left_out_files=[LeftOutFile(**row) for row in left_out],
        left_out_reasons=[ReasonCount(**row) for row in reasons],
        events=events,
    )


def summary(job: Job, now: datetime) -> JobSummary:
    is_overdue = job.status in (JobStatus.RUNNING, JobStatus.BLOCKED) and now - job.created_at > OVERDUE
    return JobSummary(job_id=job.id, **{field: getattr(job, field) for field in _SHARED}, is_overdue=is_overdue)


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


def _is_orphaned(job: Job, now: datetime) -> bool:
    return job.status is JobStatus.RUNNING and job.lease_expires_at is not None and job.lease_expires_at < now


def _remaining_seconds(job: Job, now: datetime) -> float | None:
    if job.status is not JobStatus.RUNNING or job.started_at is None or not job.bytes_done:
        return None
    rate = job.bytes_done / max((now - job.started_at).total_seconds(), 0.001)
    return round((job.bytes_total - job.bytes_done) / rate, 1)
