"""The tools that start, follow and stop indexing jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastmcp import Context
from pydantic import Field

from codebase_mcp.answers import CancelledJob, EstimateReport, IndexResult, JobList, JobReport, StartedJob
from codebase_mcp.lenient import clamp
from codebase_mcp.server.arguments import (
    AllowLargeRoot,
    Confirmed,
    CreatedAfter,
    ForceReindex,
    JobId,
    JobsProjectId,
    Offset,
    ProjectId,
    RepoPath,
    RepositoryName,
    RetryFailed,
    StatusFilter,
    WaitSeconds,
)
from codebase_mcp.server.registry import INDEXES, READS, STOPS, tool
from codebase_mcp.server.waiting import advice, progress_reporter

if TYPE_CHECKING:
    from codebase_mcp.service import Service

LONGEST_WAIT_SECONDS = 25
LONGEST_ESTIMATE_WAITED_FOR_SECONDS = 60


class IndexingTools:
    """Bound to the service that does the work."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @tool("Start indexing in the background", INDEXES, profiles=["jobs"])
    async def start_indexing_background(
        self,
        *,
        repo_path: RepoPath,
        name: RepositoryName = None,
        project_id: ProjectId = None,
        force_reindex: ForceReindex = False,
        allow_large_root: AllowLargeRoot = False,
        retry_failed: RetryFailed = False,
    ) -> StartedJob:
        """Index a repository, or update its index, in a background job; answers at once.

        Use it for anything but small repositories. Only changed files are read. Poll get_job_status; what is indexed
        can be searched meanwhile.

        Example: {"repo_path": "/home/me/src/shop"}
        """
        return await self._service.start_indexing(
            repo_path,
            name=name,
            project_id=project_id,
            force_reindex=force_reindex,
            allow_large_root=allow_large_root,
            retry_failed=retry_failed,
        )

    @tool("Index a repository and wait", INDEXES, profiles=["jobs"])
    async def index_repository(
        self,
        ctx: Context,
        *,
        repo_path: RepoPath,
        name: RepositoryName = None,
        project_id: ProjectId = None,
        force_reindex: ForceReindex = False,
        allow_large_root: AllowLargeRoot = False,
        retry_failed: RetryFailed = False,
        wait_seconds: WaitSeconds = LONGEST_WAIT_SECONDS,
    ) -> IndexResult:
        """Index or update a small repository and wait for the end.

        If is_finished is false the job goes on: poll get_job_status.

        Example: {"repo_path": "/home/me/src/shop"}
        """
        started = await self._service.start_indexing(
            repo_path,
            name=name,
            project_id=project_id,
            force_reindex=force_reindex,
            allow_large_root=allow_large_root,
            retry_failed=retry_failed,
        )
        wait_seconds, notes = clamp("wait_seconds", wait_seconds, 0, LONGEST_WAIT_SECONDS)
        is_long = (started.estimated_duration_seconds or 0) > LONGEST_ESTIMATE_WAITED_FOR_SECONDS
        job = await self._service.wait_for_job(
            started.job_id, seconds=0 if is_long else wait_seconds, on_progress=progress_reporter(ctx)
        )
        warnings = [*started.warnings, *notes]
        return IndexResult(job=job, is_finished=job.status.is_terminal, message=advice(job), warnings=warnings)

    @tool("Estimate an indexing job", READS, profiles=["jobs"])
    async def estimate_indexing(
        self,
        *,
        repo_path: RepoPath,
        project_id: ProjectId = None,
        force_reindex: ForceReindex = False,
        allow_large_root: AllowLargeRoot = False,
        retry_failed: RetryFailed = False,
    ) -> EstimateReport:
        """What indexing would read and leave out, and how long it would take; starts nothing.

        Use it before indexing a large or unknown tree.

        Example: {"repo_path": "/home/me/src/shop"}
        """
        return await self._service.estimate_indexing(
            repo_path,
            project_id=project_id,
            force_reindex=force_reindex,
            allow_large_root=allow_large_root,
            retry_failed=retry_failed,
        )

    @tool("Status of an indexing job", READS, profiles=["jobs"])
    async def get_job_status(
        self,
        job_id: JobId,
        project_id: JobsProjectId = None,
        include_events: Annotated[bool, Field(description="Add the audit trail.")] = False,
    ) -> JobReport:
        """Progress and outcome of a job: percentage, time left, files left out and why, errors.

        A blocked job goes on by itself. Poll every few seconds.

        Example: {"job_id": "123e4567-e89b-12d3-a456-426614174000"}
        """
        return await self._service.job_status(job_id, project_id=project_id, include_events=include_events)

    @tool("List indexing jobs", READS, profiles=["jobs"])
    async def list_background_jobs(
        self,
        *,
        status: StatusFilter = None,
        repo_path: Annotated[str | None, Field(description="Part of the path.")] = None,
        project_id: JobsProjectId = None,
        created_after: CreatedAfter = None,
        limit: Annotated[int, Field(description="Most jobs, up to 100.")] = 20,
        offset: Offset = 0,
    ) -> JobList:
        """Indexing jobs, newest first; to find a job_id, or what runs or failed.

        Example: {"status": "running"}
        """
        return await self._service.list_jobs(
            status=status,
            repo_path=repo_path,
            project_id=project_id,
            created_after=created_after,
            limit=limit,
            offset=offset,
        )

    @tool("Cancel an indexing job", STOPS, profiles=["jobs"])
    async def cancel_job(
        self, job_id: JobId, confirmed: Confirmed = False, project_id: JobsProjectId = None
    ) -> CancelledJob:
        """Stop a job within 5 seconds. What it indexed stays; the next start continues.

        Example: {"job_id": "123e4567-e89b-12d3-a456-426614174000", "confirmed": true}
        """
        return await self._service.cancel_job(job_id, confirmed=confirmed, project_id=project_id)
