"""The end of a job: vanished files go, references are counted, segments merged; then one tiny transaction ends it."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.domain import Job, JobPhase
from codebase_mcp.errors import LeaseLostError
from codebase_mcp.indexing.terms import joined_term
from codebase_mcp.jobs import progress, records, store
from codebase_mcp.jobs.capture import refuse_an_empty_root, run_on_root
from codebase_mcp.jobs.fenced import FencedSteps
from codebase_mcp.storage import index_store, not_indexed, projects, references, segments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from codebase_mcp.jobs.progress import Activity
    from codebase_mcp.jobs.store import Claim
    from codebase_mcp.jobs.tools import Tools
    from codebase_mcp.storage.index_store import Target
    from codebase_mcp.storage.projects import Repository
    from codebase_mcp.storage.segments import LiveIds

VANISHED_PER_STEP = 500
TERMS_PER_STEP = 5_000
FILES_PER_STEP = 5_000
MERGE_FAN_IN = 4
"""After the job, fewer segments than this are left on each level."""
CLEANING_SHARE = 0.2
"""Postings are rewritten without deleted ids when these exceed this share of the chunks."""
WIDEST_NAME_FILES = 2
"""A name that more files define says nothing about any of them."""


class Finishing:
    """Every step is fenced and may be repeated: a crash in between repeats it and changes nothing."""

    def __init__(self, claim: Claim, tools: Tools, target: Target, activity: Activity) -> None:
        self._claim = claim
        self._activity = activity
        self._database = tools.database
        self._on_point = tools.on_point
        self._target = target
        self._fenced = FencedSteps(tools, claim, target, JobPhase.FINISHING)

    async def run(self) -> Job:
        self._now("finishing")
        job = await self._current_job()
        await self._remove_vanished(job)
        repository = await self._repository()
        if repository.version != repository.finished_version:
            await self._count_references()
            await self._merge_segments(repository)
        self._on_point("ending")
        return await self._finish(job)

    def _now(self, doing: str) -> str:
        self._activity.advance(doing)
        return doing

    async def _current_job(self) -> Job:
        async with self._database.transaction("writers") as connection:
            job = await store.job(connection, self._claim.job_id)
        if job is None:
            raise LeaseLostError
        return job

    async def _remove_vanished(self, job: Job) -> None:
        await self._forget_outdated(job)
        while True:
            async with self._database.transaction("writers", self._target.schema) as connection:
                gone = await store.vanished_files(connection, job, self._target.schema, VANISHED_PER_STEP)
            if not gone:
                return
            await run_on_root(job.repo_path, functools.partial(refuse_an_empty_root, job.repo_path))
            async with self._fenced.step(self._now("removing deleted files")) as connection:
                await index_store.remove_files(connection, self._target.repository_id, gone)

    async def _forget_outdated(self, job: Job) -> None:
        """Of the files that earlier jobs left out because of their content."""
        async with self._database.transaction("writers", self._target.schema) as connection:
            if not await not_indexed.has_outdated(connection, self._target.repository_id, job.id):
                return
        async with self._fenced.step(self._now("removing deleted files")) as connection:
            await not_indexed.forget_outdated(connection, self._target.repository_id, job.id)

    # --- references ---

    async def _count_references(self) -> None:
        async with self._database.transaction("writers", self._target.schema) as connection:
            live = await segments.live_ids(connection, self._target.repository_id)
            names = await references.outer_definitions(connection, self._target.repository_id)
        definers = await asyncio.to_thread(_definers_by_term, names)
        counts = await self._mentions(definers, live)
        file_ids = live.file_ids.tolist()
        for start in range(0, len(file_ids), FILES_PER_STEP):
            part = file_ids[start : start + FILES_PER_STEP]
            told = self._now(f"counting references, {start:,} of {len(file_ids):,} files")
            async with self._fenced.step(told) as connection:
                await references.set_reference_counts(connection, part, [counts.get(file_id, 0) for file_id in part])

    async def _mentions(self, definers: Mapping[str, Sequence[int]], live: LiveIds) -> dict[int, int]:
        terms = sorted(definers)
        pairs: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
        for start in range(0, len(terms), TERMS_PER_STEP):
            async with self._database.transaction("writers", self._target.schema) as connection:
                found = await references.chunks_with_terms(
                    connection, self._target.repository_id, terms[start : start + TERMS_PER_STEP]
                )
            pairs.append(await asyncio.to_thread(references.mention_pairs, found, definers, live))
            self._now(f"counting references, {start:,} of {len(terms):,} names")
        distinct = await asyncio.to_thread(lambda: np.unique(np.concatenate(pairs), axis=0))
        files, counts = np.unique(distinct[:, 0], return_counts=True)
        return dict(zip(files.tolist(), counts.tolist(), strict=True))

    async def _repository(self) -> Repository:
        async with self._database.transaction("writers", self._target.schema) as connection:
            return await projects.repository(connection, self._target.repository_id)

    async def _merge_segments(self, repository: Repository) -> None:
        self._now("merging the text index")
        if repository.deleted_chunk_count > CLEANING_SHARE * max(1, repository.chunk_count):
            await self._fenced.clean_segments()
        while await self._fenced.merge_segments(fan_in=MERGE_FAN_IN):
            pass

    async def _finish(self, job: Job) -> Job:
        async with self._database.transaction("writers", self._target.schema) as connection:
            reasons = progress.complete_reasons(job, await records.reasons_left_out(connection, job.id))
            message = f"completed: {progress.outcome(job, reasons)}"
            done = await store.finish(connection, self._claim, message, [asdict(reason) for reason in reasons])
            await projects.mark_complete(connection, self._target.repository_id, job.metadata.get("head_commit"))
        return done


def _definers_by_term(names: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    definers: dict[str, set[int]] = defaultdict(set)
    for name, file_id in names:
        term = joined_term(name)
        if term is not None:
            definers[term].add(file_id)
    return {term: sorted(files) for term, files in definers.items() if len(files) <= WIDEST_NAME_FILES}
