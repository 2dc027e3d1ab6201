"""The tools: typed input, one call, typed answer. Their docstrings are the published interface."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastmcp import Context
from fastmcp.tools import tool
from mcp.types import ToolAnnotations
from pydantic import AfterValidator, Field

from codebase_mcp.answers import (
    CancelledJob,
    EstimateReport,
    IndexResult,
    JobList,
    JobReport,
    RemovedRepository,
    RepositoryList,
    StartedJob,
)
from codebase_mcp.domain import JobStatus
from codebase_mcp.search.models import SearchAnswer
from codebase_mcp.server.waiting import advice, progress_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codebase_mcp.service import Service

LONGEST_WAIT_SECONDS = 25
LONGEST_ESTIMATE_WAITED_FOR_SECONDS = 60

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
INDEXES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


RepoPath = Annotated[str, Field(description="Absolute path of the repository's root directory.")]
Name = Annotated[str | None, Field(description="Name shown in answers; the directory's name when left out.")]
ProjectId = Annotated[
    str | None,
    Field(
        description="Project (letters, digits, _ and -); when left out: .codebase-mcp/config.json, then "
        "CODEBASE_MCP_PROJECT_ID, then 'default'."
    ),
]
JobsProjectId = Annotated[str | None, Field(description="Only jobs of this project; of any project when left out.")]
Force = Annotated[bool, Field(description="Read every file again instead of only the changed ones.")]
AllowLargeRoot = Annotated[
    bool, Field(description="Accept a root that looks like a mistake, such as / or a home directory.")
]
RetryFailed = Annotated[bool, Field(description="Also try files again that failed last time and did not change.")]
WaitSeconds = Annotated[
    float, Field(ge=0, le=LONGEST_WAIT_SECONDS, description="How long to wait for the end; 0 returns at once.")
]
JobIdArgument = Annotated[UUID, Field(description="The job_id that the start returned.")]
CreatedAfter = Annotated[
    Annotated[datetime, AfterValidator(_in_utc)] | None,
    Field(description="Only jobs created after this ISO 8601 time; UTC when it names no time zone."),
]
Offset = Annotated[int, Field(ge=0, le=2**31 - 1, description="How many to skip.")]
JobLimit = Annotated[int, Field(ge=1, le=100, description="Most jobs to return.")]
HitLimit = Annotated[int, Field(ge=1, le=50, description="Most files to return.")]
HitOffset = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="How many of the best to skip: next_offset of the answer before.")
]
Kind = Annotated[
    str | None, Field(description="Only chunks of this kind, such as 'function', 'method', 'class', 'section'.")
]
Role = Annotated[
    str | None, Field(description="Only files that are: source, test, example, docs, vendored or generated.")
]
RequireFresh = Annotated[
    bool, Field(description="Index what changed first, waiting up to 20 s; for code that was just edited.")
]
Confirmed = Annotated[bool, Field(description="Must be true; makes sure that it is meant.")]


class Tools:
    """The tools of one server, bound to the service that does the work."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @tool(title="Start indexing in the background", annotations=INDEXES)
    async def start_indexing_background(
        self,
        *,
        repo_path: RepoPath,
        name: Name = None,
        project_id: ProjectId = None,
        force_reindex: Force = False,
        allow_large_root: AllowLargeRoot = False,
        retry_failed: RetryFailed = False,
    ) -> StartedJob:
        """Index a repository, or bring its index up to date, in a background job; answers within a second.

        Use it for any repository that may take longer than half a minute, and after large changes. Only changed files
        are read again unless force_reindex is true. The job survives the end of this connection. Starting a repository
        that is being indexed already returns the running job (already_running = true). Follow it with get_job_status;
        committed files can be searched while it runs.

        Example: {"repo_path": "/home/me/src/shop"}

        Errors: VALIDATION_ERROR (path relative, missing, not a directory, not readable, too broad; retry_failed where
        nothing failed), DATABASE_STARTING (try again in a few seconds), DATABASE_ERROR (away, or the disk too full),
        EMBEDDING_ERROR (the model cannot be loaded).
        """
        await self._service.ready()
        return await self._service.start_indexing(
            repo_path,
            name=name,
            project_id=project_id,
            force_reindex=force_reindex,
            allow_large_root=allow_large_root,
            retry_failed=retry_failed,
        )

    @tool(title="Index a repository and wait", annotations=INDEXES)
    async def index_repository(
        self,
        ctx: Context,
        *,
        repo_path: RepoPath,
        name: Name = None,
        project_id: ProjectId = None,
        force_reindex: Force = False,
        allow_large_root: AllowLargeRoot = False,
        retry_failed: RetryFailed = False,
        wait_seconds: WaitSeconds = LONGEST_WAIT_SECONDS,
    ) -> IndexResult:
        """Index a repository and wait a little for the end, reporting progress; for small repositories and updates.

        Does what start_indexing_background does, then waits up to wait_seconds. When the job is not finished by then
        (is_finished = false), or when it is expected to take over a minute, it goes on in the background: follow it
        with get_job_status and the job_id of the answer. Cancelling this call does not cancel the job; cancel_job
        does.

        Example: {"repo_path": "/home/me/src/shop", "wait_seconds": 20}

        Errors: as start_indexing_background. A job that fails is an answer with status "failed" and error_message.
        """
        await self._service.ready()
        started = await self._service.start_indexing(
            repo_path,
            name=name,
            project_id=project_id,
            force_reindex=force_reindex,
            allow_large_root=allow_large_root,
            retry_failed=retry_failed,
        )
        is_long = (started.estimated_duration_seconds or 0) > LONGEST_ESTIMATE_WAITED_FOR_SECONDS
        job = await self._service.wait_for_job(
            started.job_id, seconds=0 if is_long else wait_seconds, on_progress=progress_reporter(ctx)
        )
        return IndexResult(job=job, is_finished=job.status.is_terminal, message=advice(job))

    @tool(title="Estimate an indexing job", annotations=READS)
    async def estimate_indexing(
        self,
        *,
        repo_path: RepoPath,
        project_id: ProjectId = None,
        force_reindex: Force = False,
        allow_large_root: AllowLargeRoot = False,
        retry_failed: RetryFailed = False,
    ) -> EstimateReport:
        """What indexing a repository would do and how long it would take; starts nothing and writes nothing.

        Use it before a first index of a large or unknown tree: it tells how many files and bytes there are by language
        and by directory, what is left out and why, what changed since the last index, and the expected chunks and
        seconds, judged by the jobs that completed on this machine. Answers within about ten seconds; is_partial is
        true when the tree is too large for that, and counts are then lower bounds. Large directories that do not
        belong in the index can be left out with a .mcpignore file.

        Example: {"repo_path": "/home/me/src/shop"}

        Errors: VALIDATION_ERROR (as start_indexing_background), DATABASE_STARTING (try again in a few seconds),
        DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.estimate_indexing(
            repo_path,
            project_id=project_id,
            force_reindex=force_reindex,
            allow_large_root=allow_large_root,
            retry_failed=retry_failed,
        )

    @tool(title="Status of an indexing job", annotations=READS)
    async def get_job_status(
        self,
        job_id: JobIdArgument,
        project_id: JobsProjectId = None,
        include_events: Annotated[bool, Field(description="Also return the job's audit trail.")] = False,
    ) -> JobReport:
        """Progress and outcome of one indexing job: phase, percentage, counts, time left, files left out, errors.

        status is pending (waits for a free slot), running, blocked (waits for the database, the disk or the embedding
        service and goes on by itself at next_retry_at), completed, failed or cancelled. Poll every few seconds.
        progress_message says what is going on, and of a completed job what became of its files. is_stalled marks a job
        without progress for over a minute; stalled_reason says at what. left_out_reasons counts the files that were
        skipped and failed, left_out_files names the first 20. With project_id, a job of another project is not found.
        Finished jobs are kept for 7 days.

        Example: {"job_id": "123e4567-e89b-12d3-a456-426614174000"}

        Errors: JOB_NOT_FOUND, PROJECT_NOT_FOUND, VALIDATION_ERROR (job_id is not a UUID), DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.job_status(job_id, project_id=project_id, include_events=include_events)

    @tool(title="List indexing jobs", annotations=READS)
    async def list_background_jobs(
        self,
        *,
        status: Annotated[JobStatus | None, Field(description="Only jobs in this state.")] = None,
        repo_path: Annotated[str | None, Field(description="Only paths that contain this text.")] = None,
        project_id: JobsProjectId = None,
        created_after: CreatedAfter = None,
        limit: JobLimit = 20,
        offset: Offset = 0,
    ) -> JobList:
        """Indexing jobs of all projects, newest first, with filters and pages.

        Use it to find a job_id again, to see what is running, or what failed lately. total_count counts all jobs that
        match, so offset + limit < total_count means that there are more. is_overdue marks jobs that have been running
        or blocked for over 7 days, is_stalled running ones without progress for over a minute.

        Example: {"status": "running"} or {"repo_path": "shop", "created_after": "2026-01-31T00:00:00Z", "limit": 5}

        Errors: VALIDATION_ERROR (unknown status, limit not 1 to 100, offset negative), PROJECT_NOT_FOUND,
        DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.list_jobs(
            status=status,
            repo_path=repo_path,
            project_id=project_id,
            created_after=created_after,
            limit=limit,
            offset=offset,
        )

    @tool(title="Cancel an indexing job", annotations=STOPS)
    async def cancel_job(
        self, job_id: JobIdArgument, confirmed: Confirmed = False, project_id: JobsProjectId = None
    ) -> CancelledJob:
        """Cancel a pending, running or blocked indexing job. Work stops within 5 seconds.

        Files that were committed stay searchable; the next start for the repository continues where this job stopped.
        Cancelling a cancelled job again succeeds and changes nothing. Set confirmed to true only when the user wants
        it.

        Example: {"job_id": "123e4567-e89b-12d3-a456-426614174000", "confirmed": true}

        Errors: VALIDATION_ERROR (confirmed is not true), JOB_NOT_FOUND, PROJECT_NOT_FOUND, INVALID_STATUS (the job
        has completed or failed), DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.cancel_job(job_id, confirmed=confirmed, project_id=project_id)

    @tool(title="Search code", annotations=READS)
    async def search_code(
        self,
        *,
        query: Annotated[str, Field(description="Words, identifiers or a stack trace; at most 20,000 characters.")],
        project_id: ProjectId = None,
        repository: Annotated[str | None, Field(description="Only this repository: its name, path or id.")] = None,
        language: Annotated[str | None, Field(description="Only this language, such as 'python'.")] = None,
        path_glob: Annotated[str | None, Field(description="Only matching paths, such as 'src/**/*.ts'.")] = None,
        kind: Kind = None,
        role: Role = None,
        limit: HitLimit = 10,
        offset: HitOffset = 0,
        include_tests: Annotated[
            bool | None,
            Field(description="true ranks tests like other files, false leaves them out; null decides by the query."),
        ] = None,
        max_tokens: Annotated[
            int | None,
            Field(ge=200, le=100_000, description="Budget of the results in tokens; 6,000 by default."),
        ] = None,
        require_fresh: RequireFresh = False,
        explain: Annotated[bool, Field(description="Also tell what each ranking signal adds to a score.")] = False,
    ) -> SearchAnswer:
        """Find where something is in the indexed code: one best excerpt per file, the most relevant file first.

        Ask in plain words ("where are sessions invalidated") or by identifier ("SessionStore.revoke"). Prefer it to
        reading or grepping many files when you do not know the place. All repositories of the project are searched
        unless one is named. Over max_tokens, excerpts shrink to the best lines, to signatures, then to locations, and
        truncated is true. next_offset continues an answer: call again with it as offset. freshness tells for each
        repository whether the index is complete and which commit it shows: with anything but "ready", a missing
        result proves nothing. changed_files tells how many files changed since, when that is known. After edits, set
        require_fresh: the answer comes within some 20 s all the same, and refresh tells whether it is fresh, else why
        not and the job_id to poll.

        Filters are exact and apply before anything is chosen; when they leave no file, warnings says which of them.

        Example: {"query": "retry with backoff", "language": "python", "path_glob": "src/**", "limit": 5}

        Errors: VALIDATION_ERROR (blank or too long query, unknown language, kind or role, limit not 1 to 50),
        PROJECT_NOT_FOUND (index a repository first), REPOSITORY_NOT_FOUND, EMBEDDING_ERROR, DATABASE_STARTING,
        DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.search(
            query,
            project_id=project_id,
            repository=repository,
            language=language,
            path_glob=path_glob,
            kind=kind,
            role=role,
            limit=limit,
            offset=offset,
            include_tests=include_tests,
            max_tokens=max_tokens,
            require_fresh=require_fresh,
            explain=explain,
        )

    @tool(title="List indexed repositories", annotations=READS)
    async def list_repositories(self, project_id: ProjectId = None) -> RepositoryList:
        """What is indexed in a project: each repository with its state, commit, counts and disk use.

        state is ready (complete), indexing (a job is running, see active_job_id) or incomplete (the last job failed or
        was cancelled, so start again; or, with an active_job_id, it is blocked or has no worker). indexed_commit
        differing from head_commit means that the index is behind: start_indexing_background brings it up to date.

        Example: {}

        Errors: PROJECT_NOT_FOUND (index a repository first), VALIDATION_ERROR, DATABASE_STARTING, DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.list_repositories(project_id=project_id)

    @tool(title="Remove a repository from the index", annotations=STOPS)
    async def remove_repository(
        self,
        repository: Annotated[str, Field(description="Its name, path or id, as list_repositories shows them.")],
        confirmed: Confirmed = False,
        project_id: ProjectId = None,
    ) -> RemovedRepository:
        """Delete a repository's index and give its disk space back. The repository itself is not touched.

        An active job for it is cancelled first. Set confirmed to true only when the user wants it.

        Example: {"repository": "shop", "confirmed": true}

        Errors: VALIDATION_ERROR (confirmed is not true), REPOSITORY_NOT_FOUND, PROJECT_NOT_FOUND, DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.remove_repository(repository, confirmed=confirmed, project_id=project_id)

    def all(self) -> Sequence[Callable[..., Any]]:
        return (
            self.start_indexing_background,
            self.index_repository,
            self.estimate_indexing,
            self.get_job_status,
            self.list_background_jobs,
            self.cancel_job,
            self.search_code,
            self.list_repositories,
            self.remove_repository,
        )
