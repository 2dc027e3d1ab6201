"""The state that a job's events tell, and where it differs from the job's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from codebase_mcp.domain import Job, JobEvent, JobStatus

COUNTS = (
    "files_total", "files_indexed", "files_unchanged", "files_skipped", "files_failed", "chunks_created",
)  # fmt: skip
SAME_STATEMENT = timedelta(seconds=1)
"""A row and its event are written by one statement, each with the clock of its own moment."""


@dataclass(frozen=True)
class FoldedJob:
    """What is known of a job from its events alone."""

    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    slot: int | None = None
    worker_id: UUID | None = None
    retry_at: datetime | None = None
    error: tuple[str | None, str | None] = (None, None)
    counts: dict[str, int] = field(default_factory=dict)
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def fold_events(events: Sequence[JobEvent]) -> FoldedJob:
    """The events in order, one after the other; ValueError for a trail that no job can leave."""
    if not events or events[0].event_type != "created":
        raise ValueError("the first event is not that of the creation")
    state = FoldedJob(created_at=events[0].created_at)
    for event in events[1:]:
        # Whose job it is is no part of its state; one whose worker was dead is released before.
        state = state if event.event_type == "adopted" else _after(state, event)
    return state


def _after(state: FoldedJob, event: JobEvent) -> FoldedJob:
    if state.status.is_terminal:
        raise ValueError(f"{event.event_type} after the job was {state.status}")
    match event.event_type:
        case "started" | "resumed" | "unblocked":
            return _claimed(state, event)
        case "captured" | "progress":
            return _requires(state, JobStatus.RUNNING, event)
        case "released":
            state = _requires(state, JobStatus.RUNNING, event)
            return replace(state, status=JobStatus.PENDING, slot=None, worker_id=None)
        case "blocked":
            state = _requires(state, JobStatus.RUNNING, event)
            return _blocked(state, event.event_data)
        case "completed" | "failed" | "cancelled":
            return _ended(state, event)
        case "created":
            raise ValueError("a job is created once")
        case unknown:
            raise ValueError(f"unknown event {unknown}")


def _requires(state: FoldedJob, status: JobStatus, event: JobEvent) -> FoldedJob:
    if state.status is not status:
        raise ValueError(f"{event.event_type} while {state.status}")
    return state


def _claimed(state: FoldedJob, event: JobEvent) -> FoldedJob:
    data = event.event_data
    if data["after"] != state.status:
        raise ValueError(f"a claim of a {data['after']} job that was {state.status}")
    if data["attempt"] != state.attempt + 1:
        raise ValueError(f"attempt {data['attempt']} after {state.attempt}")
    if (event.event_type == "started") != (data["attempt"] == 1):
        raise ValueError(f"attempt {data['attempt']} is told as {event.event_type}")
    return replace(
        state,
        status=JobStatus.RUNNING,
        attempt=data["attempt"],
        slot=data["slot"],
        worker_id=UUID(data["worker_id"]),
        retry_at=None,
        error=(None, None),
        started_at=state.started_at or event.created_at,
    )


def _blocked(state: FoldedJob, data: dict[str, Any]) -> FoldedJob:
    return replace(
        state,
        status=JobStatus.BLOCKED,
        slot=None,
        worker_id=None,
        retry_at=datetime.fromisoformat(data["retry_at"]),
        error=(data["error_type"], data["reason"]),
    )


def _ended(state: FoldedJob, event: JobEvent) -> FoldedJob:
    data, status = event.event_data, JobStatus(event.event_type)
    if status is JobStatus.COMPLETED:
        _requires(state, JobStatus.RUNNING, event)
    error = state.error
    if status is JobStatus.FAILED:
        error = (data["error_type"], data["error_message"])
    return replace(
        state,
        status=status,
        slot=None,
        worker_id=None,
        retry_at=None,
        error=error,
        counts={name: data[name] for name in COUNTS},
        finished_at=event.created_at,
    )


def differences(job: Job, events: Sequence[JobEvent]) -> list[str]:
    """Where the fold of the events is not the row."""
    told = fold_events(events)
    exact = {
        "status": (told.status, job.status),
        "attempt": (told.attempt, job.attempt),
        "slot": (told.slot, job.slot),
        "worker_id": (told.worker_id, job.worker_id),
        "retry_at": (told.retry_at, job.retry_at),
        "error": (told.error, (job.error_type, job.error_message)),
        "counts": (told.counts, {name: getattr(job, name) for name in COUNTS} if job.status.is_terminal else {}),
    }
    found = [f"{name}: events {ours!r}, row {theirs!r}" for name, (ours, theirs) in exact.items() if ours != theirs]
    for name in ("created_at", "started_at", "finished_at"):
        ours, theirs = getattr(told, name), getattr(job, name)
        if (ours is None) != (theirs is None) or (ours and abs(ours - theirs) > SAME_STATEMENT):
            found.append(f"{name}: events {ours}, row {theirs}")
    if job.status.is_terminal and [job.completed_at, job.cancelled_at] != _moments_of(job):
        found.append(f"completed_at {job.completed_at}, cancelled_at {job.cancelled_at} of a {job.status} job")
    moments = [event.created_at for event in events]
    if moments != sorted(moments):
        found.append("the events are not in the order of their times")
    return found


def _moments_of(job: Job) -> list[datetime | None]:
    match job.status:
        case JobStatus.COMPLETED:
            return [job.completed_at or job.finished_at, None]
        case JobStatus.CANCELLED:
            return [None, job.cancelled_at or job.finished_at]
        case JobStatus.FAILED:
            return [None, None]
        case JobStatus.PENDING | JobStatus.RUNNING | JobStatus.BLOCKED:
            raise ValueError(f"a {job.status} job has not ended")
        case _:
            assert_never(job.status)
