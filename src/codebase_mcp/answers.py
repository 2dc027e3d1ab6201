"""What tools and commands answer: frozen models whose field descriptions are the published documentation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from codebase_mcp.domain import JobEvent, JobPhase, JobStatus


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class StartedJob(Answer):
    job_id: UUID = Field(description="Poll it with get_job_status; stop it with cancel_job.")
    status: JobStatus = Field(description="pending (queued), running or blocked.")
    message: str = Field(description="What happens now, in a sentence.")
    estimated_duration_seconds: float | None = Field(
        description="From the size of the tree and earlier jobs; null when the tree is too large for a glance."
    )
    project_id: str
    database_name: str = Field(description="The schema that holds this project's index.")
    already_running: bool = Field(description="True when an active job for this repository was returned instead.")


class LeftOutFile(Answer):
    relative_path: str
    state: Literal["skipped", "failed"]
    reason: str


class ReasonCount(Answer):
    state: Literal["skipped", "failed"]
    reason: str
    files: int


class JobReport(Answer):
    job_id: UUID
    status: JobStatus = Field(description="pending, running, blocked, completed, failed or cancelled.")
    phase: JobPhase = Field(description="queued, discovering, indexing, finishing or done.")
    progress_percentage: int = Field(description="0 to 100; never falls; 100 only when completed.")
    progress_message: str = Field(description="What is going on, in a sentence.")
    repo_path: str
    repo_name: str
    project_id: str
    database_name: str
    force_reindex: bool
    files_total: int = Field(description="Files captured at the start; 0 until they are listed.")
    files_scanned: int = Field(description="Files seen so far while listing, then files_total.")
    files_indexed: int = Field(description="Files whose chunks and vectors are committed.")
    files_unchanged: int = Field(description="Files that were up to date already.")
    files_skipped: int = Field(description="Files left out on purpose, each with a reason.")
    files_failed: int = Field(description="Files that could not be processed, each with a reason.")
    chunks_created: int
    attempt: int = Field(description="How many times a worker has taken the job up.")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    finished_at: datetime | None
    next_retry_at: datetime | None = Field(description="When a blocked job is tried again.")
    error_type: str | None
    error_message: str | None
    error_traceback: str | None
    estimated_time_remaining_seconds: float | None
    is_waiting_for_worker: bool = Field(description="True when the worker died and nobody has taken over yet.")
    left_out_files: list[LeftOutFile] = Field(description="The first 20 skipped or failed files.")
    left_out_reasons: list[ReasonCount] = Field(description="How many files were left out, by reason.")
    events: list[JobEvent] | None = Field(description="The audit trail, when include_events is true.")


class JobSummary(Answer):
    job_id: UUID
    status: JobStatus
    phase: JobPhase
    progress_percentage: int
    progress_message: str
    repo_path: str
    repo_name: str
    project_id: str
    files_total: int
    files_indexed: int
    chunks_created: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error_message: str | None
    is_overdue: bool = Field(description="Running or blocked for over 7 days: worth a look, never deleted.")


class JobList(Answer):
    jobs: list[JobSummary] = Field(description="Newest first.")
    total_count: int = Field(description="All jobs that match the filters, not only this page.")
    limit: int
    offset: int


class CancelledJob(Answer):
    job_id: UUID
    status: JobStatus
    message: str
    files_indexed: int = Field(description="Committed files; they stay searchable.")
    chunks_created: int
    cancelled_at: datetime


class IndexResult(Answer):
    """Answer of index_repository: the job as it stood when the wait ended."""

    job: JobReport
    is_finished: bool
    message: str = Field(description="A summary when finished, else how to go on.")


class RepositoryReport(Answer):
    repository_id: int | None = Field(description="Null while its first job has not begun.")
    name: str
    path: str
    state: Literal["ready", "indexing", "incomplete", "never"]
    progress_percentage: int | None = Field(description="Of the active job, when there is one.")
    active_job_id: UUID | None
    indexed_commit: str | None
    head_commit: str | None
    last_indexed_at: datetime | None
    file_count: int
    chunk_count: int
    size_bytes: int = Field(description="Estimated share of the database, indexes included.")


class RepositoryList(Answer):
    project_id: str
    database_name: str
    repositories: list[RepositoryReport]


class RemovedRepository(Answer):
    path: str
    name: str
    project_id: str
    files_removed: int
    chunks_removed: int
    message: str


class Check(Answer):
    """One line of `codebase-mcp doctor`."""

    name: str
    is_ok: bool
    detail: str
    fix: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
