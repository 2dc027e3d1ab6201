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
        description="From what there is to index and from earlier jobs; null when that takes more than a glance."
    )
    project_id: str
    database_name: str = Field(description="The schema that holds this project's index.")
    already_running: bool = Field(description="True when an active job for this repository was returned instead.")
    warnings: list[str] = Field(default_factory=list, description="What of the request the active job does not do.")


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
    progress_message: str = Field(description="What is going on; of a completed job, what became of its files.")
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
    estimated_time_remaining_seconds: float | None = Field(
        description="From the pace of the last half minute or so; null when not known."
    )
    is_waiting_for_worker: bool = Field(description="True when the worker died and nobody has taken over yet.")
    host: str | None = Field(default=None, description="The host that its repository is on; null: this one.")
    is_waiting_for_host: bool = Field(
        default=False, description="True when only a worker on that host can go on with it, and none does."
    )
    is_stalled: bool = Field(description="Running, but without any progress for over a minute.")
    stalled_reason: str | None = Field(description="Since when it stands still, and at what.")
    left_out_files: list[LeftOutFile] = Field(description="The first 20 skipped or failed files.")
    left_out_reasons: list[ReasonCount] = Field(
        description="How many files were skipped and failed, by reason; adds up to files_skipped and files_failed."
    )
    warnings: list[str] = Field(default_factory=list, description="What to know of how its files were found.")
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
    is_stalled: bool = Field(description="Running, but without any progress for over a minute.")
    is_overdue: bool = Field(description="Running or blocked for over 7 days: worth a look, never deleted.")
    host: str | None = Field(default=None, description="The host that its repository is on; null: this one.")
    is_waiting_for_host: bool = Field(
        default=False, description="True when only a worker on that host can go on with it, and none does."
    )


class JobList(Answer):
    jobs: list[JobSummary] = Field(description="Newest first.")
    total_count: int = Field(description="All jobs that match the filters, not only this page.")
    limit: int
    offset: int
    warnings: list[str] = Field(default_factory=list, description="What was changed to answer the request.")


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
    warnings: list[str] = Field(default_factory=list, description="What of the request was changed or not done.")


class LanguageShare(Answer):
    language: str
    files: int
    size_bytes: int


class DirectoryShare(Answer):
    path: str = Field(description="Below the root; with all directories in it.")
    files: int
    size_bytes: int


class LeftOutGroup(Answer):
    """What one rule keeps out of the index."""

    reason: str
    files: int
    size_bytes: int
    directories: int = Field(description="Whole directories among it, each counted once.")
    examples: list[str] = Field(description="The largest paths; a directory ends in a slash.")


class EarlierJob(Answer):
    job_id: UUID
    repo_name: str
    completed_at: datetime
    files: int = Field(description="Files that it indexed.")
    size_bytes: int
    seconds: float = Field(description="Without pauses, and as if no other job had run beside it.")


class EstimateReport(Answer):
    repo_path: str
    project_id: str
    database_name: str
    message: str = Field(description="The estimate in a sentence or two.")
    is_partial: bool = Field(
        description="True when the tree is too large to be looked through in time; counts are then lower bounds."
    )
    index_state: Literal["none", "complete", "incomplete"] = Field(description="What the index has of it now.")
    active_job_id: UUID | None = Field(description="The job that indexes it now; a start would return this one.")
    files_found: int = Field(description="Files that were looked at: to index, unchanged and left out.")
    files_to_index: int = Field(description="New and changed files, or all of them.")
    bytes_to_index: int
    files_unchanged: int = Field(description="Indexed before and not changed since; they take no time.")
    files_failed_before: int = Field(description="Failed last time, not changed since, and not tried again.")
    files_to_remove: int | None = Field(description="In the index and gone from the tree; null when not known.")
    expected_chunks: int
    expected_seconds: float = Field(description="From the start to the end, with no other job running.")
    rests_on: str = Field(description="What the estimate of the time rests on.")
    earlier_jobs: list[EarlierJob] = Field(description="The completed jobs of this machine that were compared with.")
    languages: list[LanguageShare] = Field(description="What can be indexed, unchanged files included, by language.")
    largest_directories: list[DirectoryShare] = Field(description="Where most of it lies.")
    left_out: list[LeftOutGroup] = Field(
        description="What is not indexed and why: files by their name, kind or size, and what ignore files leave out. "
        "Files that turn out to be binary or generated only when they are read are among it once a job has read them."
    )
    is_left_out_measured: bool = Field(description="False when left_out could not be measured in time.")
    warnings: list[str] = Field(description="What would stop or slow a start now.")


class RepositoryReport(Answer):
    repository_id: int | None = Field(description="Null while its first job has not begun.")
    name: str
    path: str
    host: str | None = Field(default=None, description="The host that its tree is on; null: this one.")
    state: Literal["ready", "indexing", "incomplete"]
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


class AdoptedRepository(Answer):
    repository_id: int | None = Field(description="Null when it has no index yet.")
    path: str
    project_id: str
    from_host: str = Field(description="The host that it belonged to.")
    active_jobs: int = Field(description="Its jobs that go on here.")
    message: str


class Check(Answer):
    """One line of `codebase-mcp doctor`."""

    name: str
    is_ok: bool
    is_warning: bool = Field(default=False, description="It works, and `fix` says what is worth changing.")
    detail: str
    fix: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


class SettingReport(Answer):
    """One line of `codebase-mcp config list`."""

    name: str
    value: str | int | float | bool | None
    source: Literal["environment", "file", "default"]
    origin: str | None = Field(description="The environment variable, or the file and its line; null for a default.")
