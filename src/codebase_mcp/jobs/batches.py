"""The middle of a job: pending files → groups → pool → vectors → commit, with a few groups under way at once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp.domain import FileOutcome, FileState, Job, JobPhase, PreparedBatch
from codebase_mcp.errors import ParsersUnavailableError
from codebase_mcp.indexing.pipeline import BatchRequest, prepare_batch, rules_fingerprint
from codebase_mcp.indexing.pool import Cause, PoolBrokenError
from codebase_mcp.indexing.read import DELETED
from codebase_mcp.jobs import embedding, store
from codebase_mcp.jobs.capture import refuse_an_empty_root, run_on_root
from codebase_mcp.jobs.fenced import FencedSteps
from codebase_mcp.jobs.progress import Activity, parsing
from codebase_mcp.jobs.store import BatchCounts, PendingFile
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import index_store, not_indexed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.jobs.store import Claim
    from codebase_mcp.jobs.tools import Tools
    from codebase_mcp.storage.index_store import Target

log = get_logger(__name__)

# The beginning says, as for every unreadable file, that what is indexed of it is kept.
BACK_AGAIN = "cannot be read: it was missing for a moment"

PENDING_PAGE = 2_000
MERGE_FAN_IN = 16
"""While the job runs, a level is merged when it has this many segments."""


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """A prepared batch with one vector per chunk, or without vectors until its turn to be committed comes."""

    batch: PreparedBatch
    vectors: NDArray[np.float32] | None


class Batches:
    """Indexes what `job_files` has pending, in order."""

    def __init__(self, job: Job, claim: Claim, tools: Tools, target: Target, activity: Activity) -> None:
        self._job = job
        self._activity = activity
        self._claim = claim
        self._tools = tools
        self._target = target
        self._fenced = FencedSteps(tools, claim, target, JobPhase.INDEXING)
        self._batches_committed = 0
        self._ahead = tools.settings.pool_processes + 2
        self._careful_files = 0
        if job.fruitless_attempts >= store.SUSPECT_FROM:
            # So many may have been under way when the worker died. One at a time, the guilty one is known by its name.
            self._careful_files = self._ahead * tools.settings.batch_files
        self._files_since_checkpoint = 0
        self._checkpoint_at = time.monotonic() + tools.settings.checkpoint_seconds

    async def run(self) -> None:
        self._activity.advance("indexing")
        in_flight: deque[tuple[tuple[PendingFile, ...], asyncio.Task[list[EmbeddedBatch]]]] = deque()
        async with asyncio.TaskGroup() as group:
            async for files in self._groups():
                in_flight.append((files, group.create_task(self._prepare(files))))
                if len(in_flight) >= (1 if self._careful_files > 0 else self._ahead):
                    await self._commit_all(*in_flight.popleft())
            while in_flight:
                await self._commit_all(*in_flight.popleft())

    async def _groups(self) -> AsyncIterator[tuple[PendingFile, ...]]:
        """Pending files in order, cut where a batch would get too many files or bytes."""
        settings = self._tools.settings
        group: list[PendingFile] = []
        size_bytes = 0
        async for file in self._pending():
            most_files = 1 if self._careful_files > 0 else settings.batch_files
            if group and (len(group) >= most_files or size_bytes + file.size_bytes > settings.batch_bytes):
                yield tuple(group)
                self._careful_files -= len(group)
                group, size_bytes = [], 0
            group.append(file)
            size_bytes += file.size_bytes
        if group:
            yield tuple(group)

    async def _pending(self) -> AsyncIterator[PendingFile]:
        after = -1
        while True:
            async with self._tools.database.transaction("writers") as connection:
                page = await store.pending_files(connection, self._job.id, after=after, limit=PENDING_PAGE)
            for file in page:
                yield file
            if len(page) < PENDING_PAGE:
                return
            after = page[-1].ordinal

    # --- preparing ---

    async def _prepare(self, files: tuple[PendingFile, ...]) -> list[EmbeddedBatch]:
        paths = tuple(file.relative_path for file in files)
        request = BatchRequest(
            Path(self._job.repo_path), paths, await self._known_hashes(paths), self._tools.settings.max_file_bytes
        )
        turn = files[0].ordinal
        with self._activity.step(parsing(files), turn=turn):
            parts = await self._parse(request)
        if not self._tools.embedder.is_service:
            return [EmbeddedBatch(part, None) for part in parts]
        with self._activity.step("waiting for the embedding service", turn=turn):
            return [EmbeddedBatch(part, await self._embed(part)) for part in parts]

    async def _known_hashes(self, paths: tuple[str, ...]) -> dict[str, bytes]:
        if self._job.force_reindex:
            return {}
        async with self._tools.database.transaction("writers", self._target.schema) as connection:
            known = await index_store.known_files(connection, self._target.repository_id, paths)
        return {
            path: file.content_hash
            for path, file in known.items()
            if file.index_fingerprint == self._target.index_fingerprint
        }

    async def _parse(self, request: BatchRequest) -> list[PreparedBatch]:
        """In parts, where a file killed the process that was at it."""
        if not request.relative_paths:
            return []
        try:
            return [await self._tools.pool.run(prepare_batch, request)]
        except PoolBrokenError as broken:
            # Prevents: every file of a drive that is away from being waited for alone.
            await run_on_root(self._job.repo_path, functools.partial(refuse_an_empty_root, self._job.repo_path))
            if broken.item not in request.relative_paths:
                return await self._isolate(request)
            before, guilty, after = request.around(broken.item)
            alone = await self._parse_alone(guilty, broken.cause)
        return [*await self._parse(before), alone, *await self._parse(after)]

    async def _isolate(self, request: BatchRequest) -> list[PreparedBatch]:
        """Halves a group that broke its process, without naming a file, until the guilty one stands alone."""
        if len(request.relative_paths) == 1:
            return [await self._parse_alone(request, Cause.DIED)]
        try:
            return [await self._tools.pool.run_isolated(prepare_batch, request)]
        except PoolBrokenError:
            first, second = request.halves()
            return await self._isolate(first) + await self._isolate(second)

    async def _parse_alone(self, request: BatchRequest, cause: Cause) -> PreparedBatch:
        """One file that broke a process: with more memory if that may help, else as text, else it has failed."""
        as_text = replace(request, as_text=True)
        for attempt in [as_text] if cause is Cause.TOO_SLOW else [request, as_text]:
            with contextlib.suppress(PoolBrokenError):
                return await self._tools.pool.run_isolated(prepare_batch, attempt)
        # Prevents: files that are given up because nothing could be parsed at all.
        if not await self._tools.pool.can_start():
            raise ParsersUnavailableError
        reason = "the process that parsed this file died or hung"
        return PreparedBatch((), (FileOutcome(request.relative_paths[0], FileState.FAILED, reason),), {})

    async def _embed(self, batch: PreparedBatch) -> NDArray[np.float32]:
        vectors = await embedding.vectors_of(self._tools, self._target, self._job, batch)
        self._tools.on_point("embedded")
        return vectors

    # --- committing ---

    async def _commit_all(self, files: tuple[PendingFile, ...], preparing: asyncio.Task[list[EmbeddedBatch]]) -> None:
        by_path = {file.relative_path: file for file in files}
        for embedded in await preparing:
            batch = embedded.batch
            if any(outcome.reason == DELETED for outcome in batch.outcomes):
                batch = await run_on_root(self._job.repo_path, functools.partial(self._really_deleted, batch))
            vectors = embedded.vectors
            if vectors is None:
                # Prevents: work done twice. What a model in this process embeds ahead of the commit dies with the
                # process; what a service answers is kept in the cache, and worth asking for ahead.
                with self._activity.step("embedding"):
                    vectors = await self._embed(batch)
            with self._activity.step("writing to the database"):
                await self._commit(by_path, batch, vectors)

    def _really_deleted(self, batch: PreparedBatch) -> PreparedBatch:
        """Prevents: a root that was unmounted for a moment from being read as the deletion of its files."""
        refuse_an_empty_root(self._job.repo_path)
        outcomes = (
            replace(outcome, reason=BACK_AGAIN)
            if outcome.reason == DELETED and os.path.lexists(Path(self._job.repo_path, outcome.relative_path))
            else outcome
            for outcome in batch.outcomes
        )
        return replace(batch, outcomes=tuple(outcomes))

    async def _commit(
        self, by_path: dict[str, PendingFile], batch: PreparedBatch, vectors: NDArray[np.float32]
    ) -> None:
        target = self._target
        await self._tools.require_free_disk()
        ids = await self._reserve(batch)
        states = _states(batch)
        counts = _counts(batch, states, sum(by_path[path].size_bytes for path in states))
        async with self._tools.database.transaction("writers", target.schema) as connection:
            await self._fence(connection, counts)
            self._tools.on_point("fenced")
            # An undone batch is simply done again, so it need not wait for the disk.
            await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            await index_store.replace_files(connection, target, batch, ids, vectors)
            unchanged = [outcome for outcome in batch.outcomes if outcome.state is FileState.UNCHANGED]
            await index_store.touch_files(connection, target.repository_id, unchanged)
            skipped = [outcome for outcome in batch.outcomes if outcome.state is FileState.SKIPPED]
            rules = rules_fingerprint(target.index_fingerprint)
            await not_indexed.remember(connection, target.repository_id, rules, skipped)
            ordinals = {by_path[path].ordinal: outcome for path, outcome in states.items()}
            await store.mark_files(connection, self._claim, ordinals)
            self._tools.on_point("written")
        self._tools.on_point("committed")
        for file in batch.files:
            if file.parser_gave_up:
                log.warning("parser gave up; the file is searched as text", relative_path=file.relative_path)
        self._batches_committed += 1
        if batch.files and self._batches_committed % MERGE_FAN_IN == 0:
            while await self._fenced.merge_segments(fan_in=MERGE_FAN_IN):
                pass

    async def _reserve(self, batch: PreparedBatch) -> index_store.ReservedIds:
        chunks = sum(len(file.chunks) for file in batch.files)
        async with self._tools.database.transaction("writers") as connection:
            return await index_store.reserve_ids(connection, self._target.schema, chunks=chunks, files=len(batch.files))

    async def _fence(self, connection: AsyncConnection, counts: BatchCounts) -> None:
        settings = self._tools.settings
        self._files_since_checkpoint += counts.files
        is_checkpoint = (
            self._files_since_checkpoint >= settings.checkpoint_files or time.monotonic() >= self._checkpoint_at
        )
        if is_checkpoint:
            self._files_since_checkpoint = 0
            self._checkpoint_at = time.monotonic() + settings.checkpoint_seconds
        await store.commit_batch(connection, self._claim, counts, is_checkpoint=is_checkpoint)


def _states(batch: PreparedBatch) -> dict[str, FileOutcome]:
    indexed = {file.relative_path: FileOutcome(file.relative_path, FileState.INDEXED) for file in batch.files}
    return indexed | {outcome.relative_path: outcome for outcome in batch.outcomes}


def _counts(batch: PreparedBatch, states: dict[str, FileOutcome], size_bytes: int) -> BatchCounts:
    def number(state: FileState) -> int:
        return sum(outcome.state is state for outcome in states.values())

    return BatchCounts(
        indexed=number(FileState.INDEXED),
        unchanged=number(FileState.UNCHANGED),
        skipped=number(FileState.SKIPPED),
        failed=number(FileState.FAILED),
        chunks=sum(len(file.chunks) for file in batch.files),
        bytes=size_bytes,
        as_text=sum(file.parser_gave_up for file in batch.files),
    )
