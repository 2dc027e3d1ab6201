"""The product's verbs. Each resolves its project once, asks the modules that do the work, and answers with a model."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack
from uuid import UUID

import sqlalchemy as sa

from codebase_mcp.answers import (
    AdoptedRepository,
    CancelledJob,
    Check,
    EstimateReport,
    JobList,
    JobReport,
    RemovedRepository,
    RepositoryList,
    StartedJob,
)
from codebase_mcp.detached_threads import run_detached
from codebase_mcp.domain import Host, Job, JobStatus
from codebase_mcp.errors import (
    DatabaseError,
    InvalidInputError,
    InvalidStatusError,
    JobNotFoundError,
    ProjectNotFoundError,
)
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.jobs import ownership, records, store
from codebase_mcp.jobs.capture import not_answering
from codebase_mcp.jobs.records import JobFilter
from codebase_mcp.lenient import clamp, is_absent, local_path
from codebase_mcp.search import related, symbols
from codebase_mcp.search.models import (
    MAX_OFFSET,
    Filters,
    Refresh,
    RelatedAnswer,
    SearchAnswer,
    SearchRequest,
    SymbolAnswer,
)
from codebase_mcp.search.normalize import cut_query, normalized_request
from codebase_mcp.search.scope import check_request
from codebase_mcp.service import adoption, diagnosis, estimate, inputs, refresh, rehearsal, reports, repositories
from codebase_mcp.service.life import Life, promptly
from codebase_mcp.service.looks import Looks
from codebase_mcp.service.searches import Searches, open_searches
from codebase_mcp.storage import disk, hosts, projects

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import Embedder
    from codebase_mcp.settings import Settings
    from codebase_mcp.storage.database import Database

POLL_SECONDS = 0.25
PATH_SECONDS = 5.0
"""How long the file system may take to say what there is at a path."""
MOST_JOBS = 100


class Service:
    """One per process. Nothing happens until `launch`; every verb raises errors of `errors.py` only."""

    def __init__(
        self,
        settings: Settings,
        *,
        working_directory: Callable[[], Path] = inputs.working_directory,
        is_shared: bool = False,
    ) -> None:
        """`is_shared`: callers work anywhere, so that the working directory says nothing of what they search."""
        self._settings = settings
        self._working_directory = working_directory
        self._is_shared = is_shared
        self._rehearsal: asyncio.Task[None] | None = None

    @cached_property
    def _life(self) -> Life:
        return Life(self._settings)

    @cached_property
    def _embedder(self) -> Embedder:
        return open_embedder(self._settings)

    @cached_property
    def _searches(self) -> Searches:
        return open_searches(self._life.database, self._embedder)

    @cached_property
    def _looks(self) -> Looks:
        return Looks(lambda: self._database, self._settings, lambda: self._host.id)

    @property
    def _database(self) -> Database:
        return self._life.database

    @property
    def _host(self) -> Host:
        return self._life.identity.host

    # --- life ---

    async def launch(self) -> None:
        """Starts preparing the database in the background; returns at once."""
        self._life.launch()

    async def ready(self, within_seconds: float = 2.5) -> None:
        """Waits for the database; after that long raises why it is not there."""
        await self._life.ready(within_seconds)

    def preload(self) -> None:
        """Blocking. Loads the model, unless that is a service's; whoever searches hears of what is wrong."""
        rehearsal.preload(self._settings)

    def rehearse(self) -> None:
        """Searches in the background, so that the first search of a user finds the project's files in memory."""
        self._rehearsal = asyncio.create_task(rehearsal.rehearsed(self, self._settings))

    async def is_needed(self) -> bool:
        """Whether this process has to live on though nobody asks it anything: it may have to look after jobs."""
        try:
            return (
                self._settings.worker == "inline"
                or (await store.waiting_work(self._database, self._host.id)).active > 0
            )
        except DatabaseError:
            return True

    async def close(self) -> None:
        """Ends this process's part; jobs go on in the worker."""
        if self._rehearsal is not None:
            self._rehearsal.cancel()
            await asyncio.wait([self._rehearsal])
        if "_looks" in self.__dict__:
            await self._looks.close()
        if "_embedder" in self.__dict__:
            await self._embedder.aclose()
        await self._life.close()

    # --- jobs ---

    @promptly
    async def start_indexing(
        self,
        repo_path: str,
        *,
        name: str | None = None,
        project_id: str | None = None,
        force_reindex: bool = False,
        allow_large_root: bool = False,
        retry_failed: bool = False,
    ) -> StartedJob:
        """A new job, or the repository's active one."""
        named = await self._named_project(project_id)
        root, project, repo_name = await self._start_here(repo_path, name, named, allow_large_root)
        await asyncio.to_thread(disk.require_free, self._settings, "a start")
        embedder = self._embedder  # a model that cannot be loaded is told before there is a job
        await ownership.take_for_start(self._database, self._host, project, str(root))
        place = self._host.id, str(root)
        async with self._database.transaction() as connection:
            await projects.ensure_project(connection, project)
            retry_paths = await _paths_to_retry(connection, project, place) if retry_failed else None
            elsewhere = await repositories.same_path_elsewhere(connection, project, str(root), self._life.identity)
        metadata = {} if retry_paths is None else {"retry_paths": retry_paths}
        job, is_new = await store.start(
            self._database, project_id=project, repo_path=str(root), repo_name=repo_name,
            force_reindex=force_reindex, metadata=metadata, host_id=self._host.id,
        )  # fmt: skip
        await self._life.look_after_jobs()
        request = estimate.Request(root, project, self._host.id, force_reindex, frozenset(retry_paths or ()))
        seconds = await estimate.at_a_glance(self._database, self._settings, embedder, request)
        ignored = [] if is_new else _ignored_arguments(job, force_reindex=force_reindex, retry_paths=retry_paths)
        started = reports.started(job, is_new=is_new, estimated_seconds=seconds, ignored=ignored)
        return started.model_copy(update={"warnings": [*started.warnings, *elsewhere]})

    async def _start_here(
        self, repo_path: str, name: str | None, project_id: str | None, allow_large_root: bool
    ) -> tuple[Path, str, str]:
        """`_checked_start`, which says of a path that is only on another host that it is there."""
        try:
            return await self._checked_start(repo_path, name, project_id, allow_large_root)
        except InvalidInputError as error:
            path = local_path(repo_path).rstrip("/")
            if not path.startswith("/") or "\0" in path or os.path.lexists(path):
                raise
            project = await asyncio.to_thread(inputs.resolve_project, project_id, [], self._settings.project_id)
            async with self._database.transaction() as connection:
                owners = await repositories.hosts_with(connection, project, path, self._host)
            if not owners:
                raise
            known = (
                f"It is a repository of {' and '.join(owners)}, where its tree is: it can be searched from here, and"
            )
            raise InvalidInputError(f"{error.message} {known} indexed only there.") from error

    @promptly
    async def estimate_indexing(
        self,
        repo_path: str,
        *,
        name: str | None = None,
        project_id: str | None = None,
        force_reindex: bool = False,
        allow_large_root: bool = False,
        retry_failed: bool = False,
    ) -> EstimateReport:
        """What a start with these arguments would do, and how long it would take. Writes nothing."""
        named = await self._named_project(project_id)
        root, project, _ = await self._start_here(repo_path, name, named, allow_large_root)
        retry_paths: list[str] = []
        if retry_failed:
            async with self._database.transaction() as connection:
                retry_paths = await _paths_to_retry(connection, project, (self._host.id, str(root)))
        request = estimate.Request(root, project, self._host.id, force_reindex, frozenset(retry_paths))
        return await estimate.estimated(self._database, self._settings, self._embedder, request)

    async def _checked_start(
        self, repo_path: str, name: str | None, project_id: str | None, allow_large_root: bool
    ) -> tuple[Path, str, str]:
        """(root, project, name) of what is to be indexed."""

        def checked() -> tuple[Path, str, str]:
            root = inputs.repository_root(repo_path, allow_large_root=allow_large_root)
            project = inputs.resolve_project(project_id, [root], self._settings.project_id)
            return root, project, inputs.checked_name(name, root)

        try:
            return await run_detached(checked, timeout_seconds=PATH_SECONDS)
        except TimeoutError as error:
            raise not_answering(repo_path, PATH_SECONDS) from error

    @promptly
    async def job_status(
        self, job_id: UUID, *, project_id: str | None = None, include_events: bool = False
    ) -> JobReport:
        """How a job stands. Looks after its worker as well, so that asking is enough to get an orphan going."""
        project_id = await self._named_project(project_id)
        async with self._database.transaction() as connection:
            job = await _known_job(connection, job_id, project_id)
            report = reports.report(
                job,
                await _clock(connection),
                await records.files_left_out(connection, job_id, reports.FILES_SHOWN),
                await records.reasons_left_out(connection, job_id),
                await store.events(connection, job_id) if include_events else None,
                owner=reports.owner_of(job, self._host, await hosts.known_hosts(connection)),
            )
        if not job.status.is_terminal:
            await self._life.look_after_jobs()
        return report

    async def wait_for_job(
        self,
        job_id: UUID,
        *,
        seconds: float,
        on_progress: Callable[[JobReport], Awaitable[None]] | None = None,
    ) -> JobReport:
        """The job when it ended or when the time is up; `on_progress` gets every change in between."""
        deadline = time.monotonic() + seconds
        last = None
        while True:
            report = await self._status_until(job_id, deadline)
            shown = (report.status, report.phase, report.progress_percentage, report.progress_message)
            if on_progress is not None and shown != last:
                await on_progress(report)
                last = shown
            if report.status.is_terminal or time.monotonic() + POLL_SECONDS > deadline:
                return report
            await asyncio.sleep(POLL_SECONDS)

    async def _status_until(self, job_id: UUID, deadline: float) -> JobReport:
        """Who waits for a job should not lose sight of it because the database is away for a moment."""
        while True:
            try:
                return await self.job_status(job_id)
            except DatabaseError as error:
                if not error.is_transient or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_SECONDS)

    @promptly
    async def list_jobs(
        self,
        *,
        status: JobStatus | None = None,
        repo_path: str | None = None,
        project_id: str | None = None,
        created_after: datetime | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> JobList:
        """A page of jobs, newest first; of all projects unless one is named."""
        limit, limited = clamp("limit", limit, 1, MOST_JOBS)
        offset, moved = clamp("offset", offset, 0, MAX_OFFSET)
        part = None if repo_path is None else local_path(repo_path).rstrip("/")
        inputs.refuse_nul("repo_path", part)
        if created_after is not None and created_after.tzinfo is None:
            raise InvalidInputError(
                f"created_after {created_after.isoformat()} needs a time zone, for example a final Z."
            )
        project_id = await self._named_project(project_id)
        async with self._database.transaction() as connection:
            if project_id is not None:
                await _known_schema(connection, inputs.checked_project_id(project_id))
            if part is not None and is_absent(part) and not await records.is_repository_name(connection, part):
                part = None
            which = JobFilter(status, part, project_id, created_after)
            jobs, total = await records.list_jobs(connection, which, limit=limit, offset=offset)
            now = await _clock(connection)
            known = await hosts.known_hosts(connection)
        summaries = [reports.summary(job, now, reports.owner_of(job, self._host, known)) for job in jobs]
        return JobList(jobs=summaries, total_count=total, limit=limit, offset=offset, warnings=[*limited, *moved])

    @promptly
    async def cancel_job(self, job_id: UUID, *, confirmed: bool = False, project_id: str | None = None) -> CancelledJob:
        """Ends a job at once; cancelling it again is no error."""
        inputs.refuse_unconfirmed(confirmed, "Cancelling a job")
        project_id = await self._named_project(project_id)
        async with self._database.transaction() as connection:
            await _known_job(connection, job_id, project_id)
        if job := await store.cancel(self._database, job_id):
            kept = "What it had indexed stays searchable; the next start goes on from there."
            return reports.cancelled(job, f"The job was cancelled. {kept}")
        async with self._database.transaction() as connection:
            job = await _known_job(connection, job_id, project_id)
        if job.status is JobStatus.CANCELLED:
            return reports.cancelled(job, "The job had been cancelled before.")
        raise InvalidStatusError(f"Job {job_id} is {job.status} already and cannot be cancelled. Nothing was changed.")

    # --- search and repositories ---

    @promptly
    async def search(
        self,
        query: str,
        *,
        project_id: str | None = None,
        require_fresh: bool = False,
        **filters: Unpack[Filters],
    ) -> SearchAnswer:
        """The best chunks of the best files of a project; `require_fresh` brings their index up to date before."""
        request = cut_query(await self._request(query, project_id, filters))
        check_request(request)
        await self._existing_project(request.project_id)
        refreshes = await self._refreshed(request) if require_fresh else {}
        answer = await self._searches.code.search(request, must_be_current=require_fresh)
        return refresh.told(self._looks.told(answer, request.project_id), refreshes)

    async def _request(
        self, query: str, project_id: str | None, filters: Filters, *, file_path: str | None = None
    ) -> SearchRequest:
        paths = (file_path, filters.get("repository"), filters.get("path_glob"))
        project = await self._resolved(await self._named_project(project_id), *paths)
        return normalized_request(query, project, self._here, filters, host=self._host)

    async def _refreshed(self, request: SearchRequest) -> dict[tuple[str | None, str], Refresh]:
        seconds = refresh.FRESH_WITHIN_SECONDS
        return await refresh.refreshed(self, self._database, self._looks, request, seconds)

    async def count_changes(
        self, answer: SearchAnswer, *, project_id: str | None = None, seconds: float, **filters: Unpack[Filters]
    ) -> SearchAnswer:
        """The answer of a search with what has changed since the index, waited for so long at most."""
        request = await self._request("", project_id, filters)
        return await self._looks.awaited(answer, request.project_id, seconds)

    @promptly
    async def find_symbol(
        self, name: str, *, project_id: str | None = None, **filters: Unpack[Filters]
    ) -> SymbolAnswer:
        """Where something of this name is defined."""
        request = await self._request(name, project_id, filters)
        symbols.check(request)
        await self._existing_project(request.project_id)
        return self._looks.told(await self._searches.symbols.find(request), request.project_id)

    @promptly
    async def find_related(
        self, file_path: str, line: int, *, project_id: str | None = None, **filters: Unpack[Filters]
    ) -> RelatedAnswer:
        """What is related to a line of a file."""
        request = await self._request(file_path, project_id, filters, file_path=file_path)
        related.check(request, line)
        await self._existing_project(request.project_id)
        return self._looks.told(await self._searches.related.find(request, line), request.project_id)

    @promptly
    async def list_repositories(self, *, project_id: str | None = None) -> RepositoryList:
        """What is indexed in a project, how fresh and how complete."""
        project, schema = await self._existing_project(await self._named_project(project_id))
        return await repositories.listed(self._database, project, schema, self._host)

    @promptly
    async def remove_repository(
        self, repository: str, *, confirmed: bool = False, project_id: str | None = None
    ) -> RemovedRepository:
        """Deletes a repository's index, never its files, and gives the space back. Nothing is guessed."""
        inputs.refuse_unconfirmed(confirmed, "Removing a repository's index")
        project, schema = await self._existing_project(project_id, repository)
        return await repositories.removed(self._database, project, schema, repository, self._here, host=self._host)

    @promptly
    async def adopt_job(self, job_id: UUID, *, confirmed: bool = False) -> AdoptedRepository:
        """Moves an active job, and the repository that it is about, from another host to this one."""
        async with self._database.transaction() as connection:
            job = await _known_job(connection, job_id, None)
        return await self._adopted(adoption.of_job(job, self._host, is_confirmed=confirmed))

    @promptly
    async def adopt_repository(
        self, repository: str, *, confirmed: bool = False, project_id: str | None = None
    ) -> AdoptedRepository:
        """Moves a repository with its jobs from another host to this one. Nothing is guessed."""
        project, schema = await self._existing_project(project_id, repository)
        chosen = await repositories.to_adopt(self._database, project, schema, repository, self._here, host=self._host)
        return await self._adopted(adoption.Adoption(project, *chosen.place, self._host, confirmed))

    async def _adopted(self, wanted: adoption.Adoption) -> AdoptedRepository:
        answer = await adoption.adopted(self._database, wanted)
        await self._life.look_after_jobs()
        return answer

    async def _existing_project(self, project_id: str | None, *paths: object) -> tuple[str, str]:
        """(project id, schema) of a project that exists; reading an unknown one is an error."""
        project = await self._resolved(project_id, *paths)
        async with self._database.transaction() as connection:
            return project, await _known_schema(connection, project)

    async def _resolved(self, project_id: str | None, *paths: object) -> str:
        """The project, which may be configured above absolute paths among the arguments."""
        try:
            return await run_detached(lambda: self._project_near(project_id, paths), timeout_seconds=PATH_SECONDS)
        except TimeoutError as error:
            places = [path for path in paths if isinstance(path, str)] or ["the working directory"]
            raise not_answering(" or ".join(places), PATH_SECONDS) from error

    def _project_near(self, project_id: str | None, paths: Sequence[object]) -> str:
        near = [*inputs.absolute_paths(*paths), self._working_directory()]
        return inputs.resolve_project(project_id, near, self._settings.project_id)

    async def _named_project(self, project_id: str | None) -> str | None:
        """None also for a word that means nothing, unless a project is called so."""
        if project_id is None or not is_absent(project_id):
            return project_id
        if not inputs.is_project_id(project_id):
            return None
        async with self._database.transaction() as connection:
            return project_id if await projects.project_schema(connection, project_id) else None

    @property
    def _here(self) -> str | None:
        return None if self._is_shared else str(self._working_directory())

    # --- looking after the installation ---

    async def doctor(self) -> list[Check]:
        """Checks of everything that can go wrong, each with its fix; never raises for what it finds."""
        return await diagnosis.examine(self._settings, self._life)

    async def stop_workers(self) -> list[str]:
        """Stops this host's workers; says which. Their jobs go on later."""
        return await asyncio.to_thread(diagnosis.stop_workers, self._settings)

    async def stop_everything(self) -> list[str]:
        """Stops this host's workers and then the embedded database; says what was stopped."""
        await self._life.close()
        return await asyncio.to_thread(diagnosis.stop_everything, self._settings)


async def _clock(connection: AsyncConnection) -> datetime:
    now: datetime = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return now


async def _known_schema(connection: AsyncConnection, project_id: str) -> str:
    schema = await projects.project_schema(connection, project_id)
    if schema is None:
        raise ProjectNotFoundError(
            f"There is no project {project_id!r}. Index a repository into it first: start_indexing_background, "
            "or `codebase-mcp index PATH`."
        )
    return schema


async def _known_job(connection: AsyncConnection, job_id: UUID, project_id: str | None) -> Job:
    if project_id is not None:
        await _known_schema(connection, inputs.checked_project_id(project_id))
    job = await store.job(connection, job_id)
    if job is None or (project_id is not None and job.project_id != project_id):
        where = "" if project_id is None else f" in project {project_id!r}"
        raise JobNotFoundError(
            f"There is no job {job_id}{where}. Those that exist: list_background_jobs, or `codebase-mcp jobs list`."
        )
    return job


def _ignored_arguments(job: Job, *, force_reindex: bool, retry_paths: Sequence[str] | None) -> list[str]:
    """What a start asked for that the job which it joined does not do."""
    wanted = {
        "force_reindex": force_reindex and not job.force_reindex,
        "retry_failed": retry_paths is not None and not job.force_reindex and job.metadata.get("retry_paths") is None,
    }
    return [name for name, is_ignored in wanted.items() if is_ignored]


async def _paths_to_retry(connection: AsyncConnection, project_id: str, place: tuple[str, str]) -> list[str]:
    host_id, repo_path = place
    paths = [file.relative_path for file in await store.failed_files(connection, project_id, host_id, repo_path)]
    if not paths:
        raise InvalidInputError(
            f"retry_failed: no file failed in the last completed job of {repo_path}. Start without retry_failed."
        )
    return paths
