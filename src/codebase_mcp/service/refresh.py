"""Brings the index of what is searched up to date first, through the job engine, and says how far that got in time.

A repository of which no file has changed needs no job: a look costs a fraction of one, and is what a job would begin
with. Else a job is started, or the active one joined. One that was active before may have listed the files before they
changed, so that another look has to follow it; one that began after the call has seen all that was saved before.
Whether the index has every file as it is on the disk is asked as soon as a job has done its files: what it does then
(counting references, merging) is not waited for.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, assert_never

from codebase_mcp.domain import NO_HOST, JobPhase, JobStatus, host_label
from codebase_mcp.errors import (
    CodebaseMcpError,
    DatabaseStartingError,
    DatabaseUnavailableError,
    RepositoryNotFoundError,
)
from codebase_mcp.jobs import records
from codebase_mcp.jobs.progress import counted
from codebase_mcp.search.freshness import on_host
from codebase_mcp.search.models import Refresh
from codebase_mcp.search.selection import choices_of
from codebase_mcp.storage import project_state, projects
from codebase_mcp.storage.tables import schema_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from codebase_mcp.answers import JobReport, StartedJob
    from codebase_mcp.search.models import SearchAnswer, SearchRequest
    from codebase_mcp.service.looks import Looks
    from codebase_mcp.storage.database import Database

FRESH_WITHIN_SECONDS = 20.0
"""Clients give up on a call after 30 s or a minute."""
CLEARLY_LONGER = 2.0
"""A job that is expected to take so many times what is left is not waited for; estimates are no better."""
MOST_ROUNDS = 3
POLL_SECONDS = 0.25


class Indexer(Protocol):
    """The verbs by which a client would do the same."""

    async def start_indexing(
        self, repo_path: str, *, name: str | None, project_id: str | None, allow_large_root: bool
    ) -> StartedJob: ...

    async def job_status(self, job_id: UUID) -> JobReport: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A repository to bring up to date; without an index it is one whose first job is under way."""

    path: str
    name: str
    has_index: bool
    is_complete: bool
    host: str | None
    """The host that its tree is on, when that is not this one."""


@dataclass(frozen=True, slots=True)
class Refreshing:
    """One call, which has until the deadline (of time.monotonic)."""

    indexer: Indexer
    database: Database
    looks: Looks
    project_id: str
    host_id: str | None
    deadline: float

    async def all(self, request: SearchRequest) -> dict[tuple[str | None, str], Refresh]:
        """How it went, by host and path."""
        targets = await self._targets(request)
        tasks = [asyncio.create_task(self._one(target)) for target in targets]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return {(target.host, target.path): outcome for target, outcome in zip(targets, outcomes, strict=True)}

    async def _targets(self, request: SearchRequest) -> list[Target]:
        """What the search will look at, and nothing else."""
        schema = schema_name(request.project_id)
        async with self.database.transaction("search", schema) as connection:
            has_schema = await projects.schema_exists(connection, schema)
            known = await projects.list_repositories(connection) if has_schema else []
            unfinished = await project_state.unfinished_jobs(connection, request.project_id)
        selection = choices_of(known, unfinished, request.host).for_request(request)
        given_up = {job.place for job in unfinished if not job.is_active}
        targets = [
            Target(
                one.path,
                one.name,
                True,
                one.is_complete and one.place not in given_up,
                host_label(one.host_id, one.host_name, request.host),
            )
            for one in selection.repositories
        ]
        targets += [
            Target(job.repo_path, job.repo_name, False, False, host_label(job.host_id, job.host_name, request.host))
            for job in selection.first_jobs
        ]
        if not targets:
            raise RepositoryNotFoundError(
                f"Nothing is indexed in project {request.project_id!r}. Index a repository first: "
                "start_indexing_background, or `codebase-mcp index PATH`."
            )
        return targets

    async def _one(self, target: Target) -> Refresh:
        if target.host is not None:
            return Refresh(is_fresh=False, message=_only_elsewhere(target, target.host), job_id=None)
        if target.has_index:
            looked = await self.looks.look(self.project_id, target.path)
            if looked.error is not None:
                return Refresh(is_fresh=False, message=str(looked.error), job_id=None)
            if target.is_complete and looked.is_unchanged:
                return Refresh(is_fresh=True, message="No file has changed since the index.", job_id=None)
        try:
            return await self._by_jobs(target)
        except (DatabaseUnavailableError, DatabaseStartingError):
            raise  # then there is no answer either
        except CodebaseMcpError as error:
            return Refresh(is_fresh=False, message=str(error), job_id=None)

    async def _by_jobs(self, target: Target) -> Refresh:
        job_id = None
        for _ in range(MOST_ROUNDS):
            started = await self.indexer.start_indexing(
                target.path, name=target.name, project_id=self.project_id, allow_large_root=True
            )
            job_id = started.job_id
            # What a job does then takes the longer, the larger the repository is; first it removes deleted files.
            for is_far_enough in (_has_done_its_files, _is_finishing):
                job = await self._followed(started, is_far_enough)
                if is_far_enough(job) and not job.status.is_terminal and await self._is_as_indexed(target):
                    told = "Brought up to date; what else its job does goes on."
                    return Refresh(is_fresh=True, message=told, job_id=job_id)
            job = await self._followed(started, _has_ended)
            if job.status is not JobStatus.COMPLETED:
                return Refresh(is_fresh=False, message=await self._why(job), job_id=job_id)
            if await self._is_as_indexed(target) or not started.already_running:
                told = f"Brought up to date: {counted(job.files_indexed, 'file')} read again."
                return Refresh(is_fresh=True, message=told, job_id=job_id)
        return Refresh(is_fresh=False, message="Its files change while they are indexed.", job_id=job_id)

    async def _is_as_indexed(self, target: Target) -> bool:
        return (await self.looks.look(self.project_id, target.path)).is_unchanged

    async def _followed(self, started: StartedJob, is_far_enough: Callable[[JobReport], bool]) -> JobReport:
        """The job when it is so far, or as it is when the time is up or would clearly not do."""
        job = await self.indexer.job_status(started.job_id)
        if _expected_seconds(started, job) > CLEARLY_LONGER * (self.deadline - time.monotonic()):
            return job
        while not is_far_enough(job) and time.monotonic() < self.deadline:
            await asyncio.sleep(POLL_SECONDS)
            job = await self.indexer.job_status(started.job_id)
        return job

    async def _why(self, job: JobReport) -> str:
        """Why the answer is not fresh, and what to do."""
        match job.status:
            case JobStatus.RUNNING:
                doing = job.stalled_reason or job.progress_message
                what = f"Still being indexed, {job.progress_percentage} %: {doing}."
            case JobStatus.PENDING:
                what = f"Waits to be indexed: {await self._place(job)}."
            case JobStatus.BLOCKED:
                what = f"Its job is blocked: {job.progress_message.removesuffix('.')}."
            case JobStatus.FAILED:
                return f"Indexing it failed: {job.error_message} What was indexed before is searched."
            case JobStatus.CANCELLED | JobStatus.COMPLETED:
                return "Its job was cancelled. What was indexed before is searched; ask again to index it."
            case _:
                assert_never(job.status)
        follow = f"get_job_status or `codebase-mcp jobs watch {job.job_id}`"
        return f"{what} It goes on by itself; follow job {job.job_id} with {follow}, then search again."

    async def _place(self, job: JobReport) -> str:
        async with self.database.transaction() as connection:
            everyones = await records.all_active_jobs(connection)
        active = [one for one in everyones if one.host_id == self.host_id]
        running = sum(one.status is JobStatus.RUNNING for one in active)
        ahead = sum(one.status is JobStatus.PENDING and one.created_at < job.created_at for one in active)
        return f"place {ahead + 1} in the queue, behind {counted(running, 'running job')}"


def _has_done_its_files(job: JobReport) -> bool:
    done = job.files_indexed + job.files_unchanged + job.files_skipped + job.files_failed
    return job.status.is_terminal or 0 < job.files_total == done


def _is_finishing(job: JobReport) -> bool:
    return job.phase in (JobPhase.FINISHING, JobPhase.DONE)


def _has_ended(job: JobReport) -> bool:
    return job.status.is_terminal


def _expected_seconds(started: StartedJob, job: JobReport) -> float:
    """Until the job's end, as far as anybody can tell; 0 when nobody can."""
    if job.status is JobStatus.BLOCKED and job.next_retry_at is not None:
        return (job.next_retry_at - datetime.now(UTC)).total_seconds()
    return job.estimated_time_remaining_seconds or started.estimated_duration_seconds or 0.0


async def refreshed(
    indexer: Indexer, database: Database, looks: Looks, request: SearchRequest, seconds: float
) -> dict[tuple[str | None, str], Refresh]:
    """Brings what the request searches up to date within so many seconds, as far as that goes; by host and path.

    Raises RepositoryNotFoundError for what is not indexed at all, and what no search could answer either.
    """
    host_id = None if request.host is None else request.host.id
    refreshing = Refreshing(indexer, database, looks, request.project_id, host_id, time.monotonic() + seconds)
    return await refreshing.all(request)


def _only_elsewhere(target: Target, host: str) -> str:
    if host == NO_HOST:
        return (
            "An older version indexed it, and no host is known to have its tree: `codebase-mcp repos adopt"
            f" {target.path}` on the host that has it makes it that host's."
        )
    how = f"run `codebase-mcp index {target.path}` there"
    return f"Its tree is on {on_host(host)}, and only that host can index it: {how}."


def told(answer: SearchAnswer, refreshes: dict[tuple[str | None, str], Refresh]) -> SearchAnswer:
    """The answer, saying of each repository whether it is fresh, and as a warning of each that it is not."""
    entries = [one.model_copy(update={"refresh": refreshes.get((one.host, one.path))}) for one in answer.freshness]
    stale = [
        f"{entry.repository} is not fresh. {entry.refresh.message}"
        for entry in entries
        if entry.refresh is not None and not entry.refresh.is_fresh
    ]
    return answer.model_copy(update={"freshness": entries, "warnings": [*answer.warnings, *stale]})
