"""One claimed job from claim to end: renewals beside the work, batches under the fence, errors → block or fail.

The work is `discover → (read, chunk, tokenise in the pool) → embed → commit`. What is committed is the checkpoint:
each batch puts the rows of its files and their new state in `job_files` into one transaction whose first statement
compares the attempt. A crash loses at most the batches in flight; the next claim reads what is left from `job_files`.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codebase_mcp.domain import FileState, Job
from codebase_mcp.errors import (
    CodebaseMcpError,
    ConstraintViolatedError,
    DatabaseError,
    LeaseLostError,
    RepositoryNotFoundError,
    SchemaMismatchError,
)
from codebase_mcp.indexing.pipeline import index_fingerprint
from codebase_mcp.jobs import embedding, store
from codebase_mcp.jobs.batches import Batches
from codebase_mcp.jobs.capture import Listing, Staleness, amounts_to_index, list_files_watched
from codebase_mcp.jobs.earlier_secrets import SECRET_RULES_VERSION, forget_vectors_of_secrets, indexed_secrets
from codebase_mcp.jobs.finishing import Finishing
from codebase_mcp.jobs.progress import Activity
from codebase_mcp.jobs.store import Claim
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import index_store, not_indexed, projects, tables, vector_index
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.migrate import migrate_project

if TYPE_CHECKING:
    from codebase_mcp.jobs.tools import Tools

log = get_logger(__name__)

SHORTEST_RENEWAL_SECONDS = 0.3
"""Even a worker that was frozen for long asks once: only the database knows whether somebody took its job."""

RELEASE_SECONDS = 0.9
UNEXPECTED_RETRY_SECONDS = 5.0
"""By then, a worker whose files are being replaced or removed has noticed it and left."""

BULK_LOAD_FILES = 200
"""From so many files on, dropping the vector index and building it anew is faster than keeping it up."""


class JobRunner:
    """Runs one claimed job to its end; `run` never raises, but for cancellation by a stopping worker."""

    def __init__(self, job: Job, tools: Tools) -> None:
        self._job = job
        self._tools = replace(tools, on_point=self._reached)
        self._tell_point = tools.on_point
        self._task: asyncio.Task[Any] | None = None
        self._stops_after_batch = False
        self._claim = Claim(job.id, job.attempt, tools.settings.lease_seconds)
        self._listing: Listing | None = None
        self._activity = Activity()
        self._advances_told = 0
        self._log = log.bind(job_id=str(job.id), attempt=job.attempt)

    async def run(self) -> None:
        self._task = asyncio.current_task()
        try:
            self._tools.on_point("claimed")
            async with asyncio.TaskGroup() as group:
                renewals = group.create_task(self._keep_renewing())
                await self._work()
                renewals.cancel()
        except asyncio.CancelledError:
            await self._release()
            raise
        except ExceptionGroup as errors:
            await self._end_with(_most_telling(errors))

    def stop_after_batch(self) -> None:
        """Has the job given back as soon as the batch that it is at is committed."""
        self._stops_after_batch = True

    def _reached(self, point: str) -> None:
        self._tell_point(point)
        if point == "committed" and self._stops_after_batch and self._task is not None:
            self._task.cancel()

    # --- the lease ---

    async def _keep_renewing(self) -> None:
        """Ends the job's work when the lease is lost or can no longer be trusted."""
        settings = self._tools.settings
        trusted_until = time.monotonic() + settings.trust_seconds
        while True:
            await asyncio.sleep(settings.renew_seconds)
            started = time.monotonic()
            if await self._renew_within(max(trusted_until - started, SHORTEST_RENEWAL_SECONDS)):
                trusted_until = started + settings.trust_seconds
            elif time.monotonic() > trusted_until:
                raise LeaseLostError("the lease could not be renewed in time")

    async def _renew_within(self, seconds: float) -> bool:
        """Prevents: work that outlives the trust because a renewal hangs on the way to the database."""
        try:
            async with asyncio.timeout(seconds):
                return await self._renew()
        except TimeoutError:
            return False

    async def _renew(self) -> bool:
        """False when the database could not be asked; raises when it said no."""
        scanned = len(self._listing.files) if self._listing else 0
        message = f"listing files, {scanned:,} so far" if scanned else self._activity.text()
        advances = self._activity.advances
        try:
            still_ours = await store.renew(
                self._tools.database,
                self._claim,
                files_scanned=scanned,
                progress_message=message,
                has_advanced=advances != self._advances_told,
            )
            self._advances_told = advances
        except DatabaseError as error:
            self._log.warning("renewal failed", error=str(error))
            return False
        if not still_ours:
            raise LeaseLostError
        return True

    # --- the work ---

    async def _work(self) -> None:
        target = await self._prepare_target()
        if self._job.files_total == 0:
            await self._capture(target)
        elif self._job.metadata.get("index_fingerprint", target.index_fingerprint) != target.index_fingerprint:
            await self._begin_anew(target)
        await Batches(self._job, self._claim, self._tools, target, self._activity).run()
        self._tools.on_point("finishing")
        await Finishing(self._claim, self._tools, target, self._activity).run()

    @property
    def _host_id(self) -> str:
        assert self._job.host_id is not None, "what has no host is not claimed"
        return self._job.host_id

    async def _prepare_target(self) -> Target:
        database, embedder = self._tools.database, self._tools.embedder
        await embedder.prepare()
        identity = embedder.identity
        schema = tables.schema_name(self._job.project_id)
        await migrate_project(database, schema)
        async with database.transaction("writers", schema) as connection:
            # The project may have been removed, with its last repository, after this job was started.
            await projects.ensure_project(connection, self._job.project_id)
            host_id, path, name = self._host_id, self._job.repo_path, self._job.repo_name
            repository = await projects.ensure_repository(connection, host_id, path, name)
            if self._job.files_total and repository.id != self._job.repository_id:
                raise RepositoryNotFoundError(projects.REMOVED)  # what this job had committed went with the old row
            # Whatever ends this job before it completes, searches must not take the index for up to date.
            await projects.mark_incomplete(connection, repository.id)
            model_id = await embedding.registered_model(connection, embedder, may_change=self._job.force_reindex)
            await store.attach_repository(connection, self._claim, repository.id)
        return Target(schema, repository.id, model_id, index_fingerprint(identity), self._job.id)

    async def _begin_anew(self, target: Target) -> None:
        """The list was taken for an index of another model, or by another version of this program."""
        self._log.info("all files are read again", reason="the model or the program changed")
        await self._tools.require_free_disk()
        async with self._tools.database.transaction("writers", target.schema) as connection:
            await store.redo_files(connection, self._claim, target.index_fingerprint)

    async def _capture(self, target: Target) -> None:
        database, settings = self._tools.database, self._tools.settings
        self._listing = listing = Listing()
        try:
            await list_files_watched(Path(self._job.repo_path), settings.max_file_bytes, listing)
        finally:
            # Prevents: a thread that goes on listing a huge tree for a job that was cancelled.
            listing.abandon()
        self._listing = None
        self._activity.advance("comparing the files with the index")
        staleness, secrets = await self._staleness(target)
        captured = await asyncio.to_thread(lambda: [staleness.decide(found) for found in listing.files])
        remembered = {
            "head_commit": listing.head_commit,
            "unreadable_paths": listing.unreadable_paths,
            "warnings": listing.warnings,
            "index_fingerprint": target.index_fingerprint,
            "secret_rules": SECRET_RULES_VERSION,
            "to_index": await asyncio.to_thread(amounts_to_index, captured),
        }
        pending = sum(file.state is FileState.PENDING for file in captured)
        await self._tools.require_free_disk()
        async with database.transaction("writers", target.schema) as connection:
            await store.capture(connection, self._claim, captured, remembered)
            await forget_vectors_of_secrets(connection, target, staleness.known, listing.files, secrets)
        if pending >= BULK_LOAD_FILES:
            await self._drop_vector_index(target)

    async def _staleness(self, target: Target) -> tuple[Staleness, frozenset[str]]:
        """And which of the indexed files are read again because they may hold secrets."""
        job, fingerprint = self._job, target.index_fingerprint
        async with self._tools.database.transaction("writers", target.schema) as connection:
            known = await index_store.known_files(connection, target.repository_id)
            failed = await store.failed_files(
                connection, job.project_id, self._host_id, job.repo_path, index_fingerprint=fingerprint
            )
            left_out = await not_indexed.not_indexed_files(connection, target.repository_id)
            secrets = await indexed_secrets(connection, job, target, known)
        staleness = Staleness(
            known,
            fingerprint,
            job.force_reindex,
            {file.relative_path: file for file in failed},
            secrets.union(job.metadata.get("retry_paths", ())),
            left_out,
        )
        return staleness, secrets

    async def _drop_vector_index(self, target: Target) -> None:
        index = vector_index.VectorIndex(target.schema, target.model_id, self._tools.embedder.dimensions)
        async with self._tools.database.transaction("writers") as connection:
            if await vector_index.exists(connection, index):
                await vector_index.drop(connection, index)

    # --- the end ---

    async def _end_with(self, error: Exception) -> None:
        """Records why the work ended; what cannot be recorded is left to the lease, as after a crash."""
        message = _message(error)
        try:
            ended = None if isinstance(error, LeaseLostError) else await self._record_end(error)
            if ended is None:
                self._log.info("job given up", reason=message)
        except DatabaseError as unrecorded:
            self._log.warning("end of job not recorded; the lease will lapse", reason=message, error=str(unrecorded))

    async def _record_end(self, error: Exception) -> Job | None:
        """The job as it ended, or None when it was cancelled or taken over meanwhile."""
        if isinstance(error, CodebaseMcpError) and error.is_transient:
            return await self._block(error)
        text = "".join(traceback.format_exception(error))
        if await self._is_repository_gone():
            error = RepositoryNotFoundError(projects.REMOVED)
        if isinstance(error, SchemaMismatchError):
            return await self._block(error)  # a schema that is too new is for a newer worker to write to
        if changed := await asyncio.to_thread(self._tools.program_files.find_change):
            self._log.warning("job given back", reason=_message(error), changed_file=changed, traceback=text)
            return await store.release(self._tools.database, self._claim)
        if _is_unexpected(error) and (waiting := await self._block_unexpected(error, text)):
            return waiting
        name, message = type(error).__name__, _message(error)
        ended = await store.fail(self._tools.database, self._claim, error_type=name, message=message, traceback=text)
        if ended is not None:
            self._log.error("job failed", reason=message, traceback=text)
        return ended

    async def _is_repository_gone(self) -> bool:
        """A removal that raced this job's start takes its rows away; whatever then fails has this reason."""
        schema = tables.schema_name(self._job.project_id)
        async with self._tools.database.transaction("writers", schema) as connection:
            job = await store.job(connection, self._job.id)
            if job is None or job.repository_id is None:
                return False
            if not await projects.schema_exists(connection, schema):
                return True
            known = await projects.list_repositories(connection)
        return job.repository_id not in {repository.id for repository in known}

    async def _block_unexpected(self, error: Exception, text: str) -> Job | None:
        """None when it came so often in a row that waiting will not cure it."""
        message = f"unexpected error ({_message(error)}); the job is tried again"
        waiting = await store.block(
            self._tools.database,
            self._claim,
            error_type=type(error).__name__,
            message=message,
            retry_after_seconds=UNEXPECTED_RETRY_SECONDS,
            is_unexpected=True,
        )
        if waiting is not None:
            self._log.error("job blocked", reason=message, traceback=text)
        return waiting

    async def _block(self, error: CodebaseMcpError) -> Job | None:
        ended = await self._try_to_block(error)
        if ended is not None:
            self._log.warning("job blocked", reason=error.while_waiting)
        return ended

    async def _try_to_block(self, error: CodebaseMcpError) -> Job | None:
        """Tries until the database is back, so that the reason is on record then."""
        while True:
            try:
                return await store.block(
                    self._tools.database,
                    self._claim,
                    error_type=type(error).__name__,
                    message=error.while_waiting,
                    retry_after_seconds=error.retry_after_seconds,
                )
            except DatabaseError as trouble:
                if not trouble.is_transient:
                    raise
                await asyncio.sleep(self._tools.settings.renew_seconds)

    async def _release(self) -> None:
        """Gives the job back, if that can be done at once; if not, its lease will lapse."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                while not await self._try_to_release():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except (DatabaseError, TimeoutError) as error:
            self._log.warning("release not recorded; the lease will lapse", error=str(error))

    async def _try_to_release(self) -> bool:
        """The first try may meet a connection that broke, or a row that the work just stopped still holds."""
        try:
            await store.release(self._tools.database, self._claim)
        except DatabaseError as error:
            if not error.is_transient:
                raise
            return False
        return True


def _is_unexpected(error: Exception) -> bool:
    """A fault of this program rather than of its surroundings; the latter are errors of ours that say what to do."""
    return not isinstance(error, CodebaseMcpError) or type(error) in (DatabaseError, ConstraintViolatedError)


def _message(error: Exception) -> str:
    return error.message if isinstance(error, CodebaseMcpError) else f"{type(error).__name__}: {error}"


def _most_telling(errors: ExceptionGroup[Exception]) -> Exception:
    """A lost lease explains every other error of the same moment."""
    flat = list(_flatten(errors))
    return next((error for error in flat if isinstance(error, LeaseLostError)), flat[0])


def _flatten(errors: ExceptionGroup[Exception]) -> Sequence[Exception]:
    flat: list[Exception] = []
    for error in errors.exceptions:
        flat.extend(_flatten(error) if isinstance(error, ExceptionGroup) else [error])
    return flat
