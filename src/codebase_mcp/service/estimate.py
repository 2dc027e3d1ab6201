"""What a start would do and how long it would take, found out without writing anything."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from codebase_mcp.answers import DirectoryShare, EarlierJob, EstimateReport, LanguageShare, LeftOutGroup
from codebase_mcp.detached_threads import run_detached
from codebase_mcp.domain import DiscoveredFile, FileOutcome, FileState
from codebase_mcp.errors import CodebaseMcpError, EmbeddingError
from codebase_mcp.indexing.pipeline import index_fingerprint
from codebase_mcp.indexing.survey import Amount, Survey, by_language, largest_directories, merge_left_out, survey
from codebase_mcp.indexing.verify import verify_contents
from codebase_mcp.jobs import store
from codebase_mcp.jobs.capture import Staleness, not_answering
from codebase_mcp.jobs.estimate import (
    CLAIMING_SECONDS,
    STARTING_SECONDS,
    CompletedJob,
    Work,
    expected_chunks,
    expected_seconds,
)
from codebase_mcp.jobs.history import History, history
from codebase_mcp.jobs.progress import counted
from codebase_mcp.jobs.spawn import living_worker
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import disk, index_store, projects
from codebase_mcp.storage.not_indexed import not_indexed_files
from codebase_mcp.storage.tables import schema_name

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import Embedder
    from codebase_mcp.jobs.store import CapturedFile
    from codebase_mcp.settings import Settings
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.index_store import KnownFile
    from codebase_mcp.storage.not_indexed import NotIndexedFile
    from codebase_mcp.storage.projects import Repository

log = get_logger(__name__)

SURVEY_SECONDS = 6.0
GLANCE_SECONDS = 0.25
"""What a start may spend on its estimate: it has to answer within a second."""
VERIFYING_SECONDS = 2.0
HANGING_SHARE = 1.0
"""A survey that is so much later than its time is taken to hang."""
COMPARED_FILES = 500_000
COMPARED_FILES_AT_A_GLANCE = 20_000
"""An index of more files is not read to tell what changed: that would take longer than the look itself."""
DIRECTORIES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Request:
    """A start that is thought of, with its arguments checked."""

    root: Path
    project_id: str
    host_id: str
    force_reindex: bool
    retry_paths: frozenset[str] = frozenset()

    @property
    def schema(self) -> str:
        return schema_name(self.project_id)

    @property
    def place(self) -> tuple[str, str]:
        return self.host_id, str(self.root)


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the database knows of the repository, and of earlier jobs. `known` is None when it was too much to read."""

    repository: Repository | None
    known: dict[str, KnownFile] | None
    not_indexed: dict[str, NotIndexedFile]
    failed: list[FileOutcome]
    active_job_id: UUID | None
    history: History


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a survey by what a job would do with them."""

    to_index: tuple[DiscoveredFile, ...]
    unchanged: int
    failed_before: int
    left_out_before: tuple[CapturedFile, ...] = ()
    """Files that an earlier job read and left out because of their content, with the reason."""

    def work(self, looked: Survey) -> Work:
        """Files that were listed but not looked at are taken to be like the others."""
        amounts = by_language(self.to_index)
        unseen = looked.files_unseen or 0
        if unseen and looked.files:
            share = 1 + unseen / len(looked.files)
            amounts = {
                language: Amount(round(amount.files * share), round(amount.size_bytes * share))
                for language, amount in amounts.items()
            }
        return Work(len(looked.files) + unseen, amounts)


@dataclass(frozen=True, slots=True)
class Reading:
    """How large files, and for how long, may be read to tell whether they changed."""

    max_file_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Findings:
    """All that goes into a report."""

    request: Request
    looked: Survey
    indexed: Indexed
    plan: Plan
    until_claimed_seconds: float
    warnings: tuple[str, ...]


async def estimated(database: Database, settings: Settings, embedder: Embedder, request: Request) -> EstimateReport:
    """The whole report, within some ten seconds."""
    looked = await _survey(request.root, settings.max_file_bytes, SURVEY_SECONDS)
    warnings = list(looked.warnings)
    fingerprint = await _fingerprint(embedder, warnings)
    indexed = await _indexed(database, request, fingerprint, COMPARED_FILES)
    reading = Reading(settings.max_file_bytes, VERIFYING_SECONDS)
    plan = await asyncio.to_thread(_plan, looked, request, indexed, fingerprint, reading)
    warnings += _warnings(settings, request, indexed)
    found = Findings(request, looked, indexed, plan, _until_claimed(settings), tuple(warnings))
    return await asyncio.to_thread(_report, found)


async def at_a_glance(database: Database, settings: Settings, embedder: Embedder, request: Request) -> float | None:
    """Expected seconds of a start; None when finding out takes too long."""
    if embedder.is_service:
        # Its identity may have to be asked for, which can take as long as the network likes.
        return None
    glance = _survey(request.root, settings.max_file_bytes, GLANCE_SECONDS, is_noting=False)
    fingerprint = index_fingerprint(embedder.identity)
    try:
        looked, indexed = await asyncio.gather(
            glance, _indexed(database, request, fingerprint, COMPARED_FILES_AT_A_GLANCE)
        )
    except CodebaseMcpError as error:
        # The job is on record; whatever is wrong with the tree, the job itself will say.
        log.info("no estimate", reason=error.message)
        return None
    if looked.files_unseen is None or (indexed.known is None and not request.force_reindex):
        return None
    plan = await asyncio.to_thread(_plan, looked, request, indexed, fingerprint, None)
    work = await asyncio.to_thread(plan.work, looked)
    return _seconds(_until_claimed(settings), work, indexed)


async def _survey(root: Path, max_file_bytes: int, seconds: float, *, is_noting: bool = True) -> Survey:
    """It keeps to its time by itself, unless the file system hangs; that is a RepositoryUnreadableError."""
    limit_seconds = seconds * (1 + HANGING_SHARE)
    try:
        return await run_detached(
            lambda: survey(root, max_file_bytes=max_file_bytes, seconds=seconds, is_noting=is_noting),
            timeout_seconds=limit_seconds,
        )
    except TimeoutError as error:
        raise not_answering(root, limit_seconds) from error


async def _fingerprint(embedder: Embedder, warnings: list[str]) -> str | None:
    """Of the index that a job would make now; None when the embedding service does not say what it is."""
    try:
        await embedder.prepare(seconds=2)
    except EmbeddingError as error:
        warnings.append(f"{error.message} A job would wait for it.")
        return None
    return index_fingerprint(embedder.identity)


async def _indexed(database: Database, request: Request, fingerprint: str | None, most_files: int) -> Indexed:
    async with database.transaction("search", request.schema) as connection:
        repository = await _repository(connection, request)
        known: dict[str, KnownFile] | None = {}
        left_out: dict[str, NotIndexedFile] = {}
        failed: list[FileOutcome] = []
        if repository is not None:
            known = await _known(connection, repository, most_files)
            left_out = await not_indexed_files(connection, repository.id)
            failed = await store.failed_files(
                connection, request.project_id, request.host_id, str(request.root), index_fingerprint=fingerprint
            )
        active = {job.place: job.id for job in await store.active_jobs(connection, request.project_id)}
        past = await history(connection, request.host_id, fingerprint)
    return Indexed(repository, known, left_out, failed, active.get(request.place), past)


async def _repository(connection: AsyncConnection, request: Request) -> Repository | None:
    if not await projects.schema_exists(connection, request.schema):
        return None
    everything = await projects.list_repositories(connection)
    return next((repository for repository in everything if repository.place == request.place), None)


async def _known(connection: AsyncConnection, repository: Repository, most_files: int) -> dict[str, KnownFile] | None:
    if repository.file_count > most_files:
        return None
    return await index_store.known_files(connection, repository.id)


def _plan(looked: Survey, request: Request, indexed: Indexed, fingerprint: str | None, reading: Reading | None) -> Plan:
    """Without `reading`, files that may have kept their content count as changed."""
    known = indexed.known or {}
    if fingerprint is None and known:
        fingerprint = Counter(file.index_fingerprint for file in known.values()).most_common(1)[0][0]
    staleness = Staleness(
        known,
        fingerprint or "",
        request.force_reindex,
        {file.relative_path: file for file in indexed.failed},
        request.retry_paths,
        indexed.not_indexed,
    )
    captured = [staleness.decide(found) for found in looked.files]
    if reading is not None:
        captured = _without_unchanged(captured, staleness, request.root, reading)
    states = Counter(file.state for file in captured)
    return Plan(
        tuple(file.found for file in captured if file.state is FileState.PENDING),
        states[FileState.UNCHANGED],
        states[FileState.FAILED],
        tuple(file for file in captured if file.state is FileState.SKIPPED and file.found.skip_reason is None),
    )


def _without_unchanged(
    captured: list[CapturedFile], staleness: Staleness, root: Path, reading: Reading
) -> list[CapturedFile]:
    """Those that only have another time or inode get the fate that a job would find for them, as far as time allows."""
    deadline = time.monotonic() + reading.seconds
    suspects = staleness.suspects(captured)
    equal = verify_contents(root, suspects, max_file_bytes=reading.max_file_bytes, deadline=deadline).equal
    return [
        staleness.fate_with_old_content(file.found) if file.found.relative_path in equal else file for file in captured
    ]


def _until_claimed(settings: Settings) -> float:
    is_cold = settings.worker == "spawn" and living_worker(settings) is None
    return STARTING_SECONDS if is_cold else CLAIMING_SECONDS


def _warnings(settings: Settings, request: Request, indexed: Indexed) -> list[str]:
    warnings = []
    try:
        disk.require_free(settings, "a start")
    except CodebaseMcpError as error:
        warnings.append(error.message)
    if indexed.known is None and not request.force_reindex:
        warnings.append("The index is too large to be compared with the tree in time; all files count as changed.")
    if indexed.history.running_jobs:
        warnings.append(f"{counted(indexed.history.running_jobs, 'job')} running now; beside it this one takes longer.")
    return warnings


# --- the report ---


def _report(found: Findings) -> EstimateReport:
    request, looked, indexed, plan = found.request, found.looked, found.indexed, found.plan
    work = plan.work(looked)
    total = sum((Amount(1, file.size_bytes) for file in plan.to_index), Amount())
    chunks, seconds = expected_chunks(work), _seconds(found.until_claimed_seconds, work, indexed)
    return EstimateReport(
        repo_path=str(request.root),
        project_id=request.project_id,
        database_name=request.schema,
        message=_message(looked, plan, chunks, seconds),
        is_partial=looked.is_partial,
        index_state=_state(indexed.repository),
        active_job_id=indexed.active_job_id,
        files_found=len(looked.files),
        files_to_index=total.files,
        bytes_to_index=total.size_bytes,
        files_unchanged=plan.unchanged,
        files_failed_before=plan.failed_before,
        files_to_remove=_files_to_remove(looked, indexed),
        expected_chunks=chunks,
        expected_seconds=seconds,
        rests_on=_rests_on(indexed.history.completed),
        earlier_jobs=[_earlier(job) for job in indexed.history.completed],
        languages=_languages(looked),
        largest_directories=_largest_directories(looked),
        left_out=_left_out(looked, plan),
        is_left_out_measured=looked.is_left_out_measured,
        warnings=list(found.warnings),
    )


def _seconds(until_claimed_seconds: float, work: Work, indexed: Indexed) -> float:
    return round(until_claimed_seconds + expected_seconds(work, indexed.history.completed), 1)


def _languages(looked: Survey) -> list[LanguageShare]:
    return [
        LanguageShare(language=language, files=amount.files, size_bytes=amount.size_bytes)
        for language, amount in by_language(looked.files).items()
    ]


def _largest_directories(looked: Survey) -> list[DirectoryShare]:
    return [
        DirectoryShare(path=path, files=amount.files, size_bytes=amount.size_bytes)
        for path, amount in largest_directories(looked.files, DIRECTORIES_SHOWN).items()
    ]


def _left_out(looked: Survey, plan: Plan) -> list[LeftOutGroup]:
    """What names and rules leave out, and what an earlier job read and left out."""
    by_content = ((file.found, file.reason or "") for file in plan.left_out_before)
    return [
        LeftOutGroup(
            reason=one.reason,
            files=one.amount.files,
            size_bytes=one.amount.size_bytes,
            directories=one.directories,
            examples=list(one.examples),
        )
        for one in merge_left_out(looked.left_out, by_content)
    ]


def _state(repository: Repository | None) -> Literal["none", "complete", "incomplete"]:
    if repository is None:
        return "none"
    return "complete" if repository.is_complete else "incomplete"


def _files_to_remove(looked: Survey, indexed: Indexed) -> int | None:
    if looked.is_partial or indexed.known is None:
        return None
    present = {file.relative_path for file in looked.files if file.skip_reason is None}
    return len(indexed.known.keys() - present)


def _earlier(job: CompletedJob) -> EarlierJob:
    done = job.work.total
    return EarlierJob(
        job_id=job.job_id,
        repo_name=job.repo_name,
        completed_at=job.completed_at,
        files=done.files,
        size_bytes=done.size_bytes,
        seconds=round(job.seconds, 2),
    )


def _rests_on(earlier: Sequence[CompletedJob]) -> str:
    if not earlier:
        return "a pace measured on another machine: no job has completed on this one yet"
    return f"{counted(len(earlier), 'completed job')} of this machine, those of similar size weighing most"


def _message(looked: Survey, plan: Plan, chunks: int, seconds: float) -> str:
    if not plan.to_index and not looked.is_partial:
        return f"Nothing has to be indexed: {counted(plan.unchanged, 'file')} unchanged."
    size_mb = sum(file.size_bytes for file in plan.to_index) / 1e6
    what = f"{counted(len(plan.to_index), 'file')} ({size_mb:,.1f} MB) to index, about {chunks:,} chunks"
    if looked.files_unseen is None:
        return f"At least {what}, at least {seconds:,.0f} s: the tree is too large to be listed in time."
    if looked.files_unseen:
        return (
            f"{what}, about {seconds:,.0f} s, judged by the first {len(looked.files):,} of "
            f"{len(looked.files) + looked.files_unseen:,} files."
        )
    return f"{what}, about {seconds:,.0f} s."
