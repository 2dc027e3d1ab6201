"""A service without a database: answers what it was given, remembers what it was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from codebase_mcp.answers import (
    AdoptedRepository,
    CancelledJob,
    Check,
    DirectoryShare,
    EarlierJob,
    EstimateReport,
    JobList,
    JobReport,
    JobSummary,
    LanguageShare,
    LeftOutFile,
    LeftOutGroup,
    ReasonCount,
    RemovedRepository,
    RepositoryList,
    RepositoryReport,
    StartedJob,
)
from codebase_mcp.domain import JobEvent, JobPhase, JobStatus
from codebase_mcp.search.models import (
    IndexCoverage,
    Origin,
    RelatedAnswer,
    RepositoryFreshness,
    SearchAnswer,
    SearchHit,
    SymbolAnswer,
    SymbolHit,
)

JOB_ID = UUID("123e4567-e89b-42d3-a456-426614174000")
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def a_started_job(**changes: Any) -> StartedJob:
    values: dict[str, Any] = {
        "job_id": JOB_ID,
        "status": JobStatus.PENDING,
        "message": "Indexing of shop was queued.",
        "estimated_duration_seconds": None,
        "project_id": "default",
        "database_name": "cb_proj_default_37a8eec1",
        "already_running": False,
    }
    return StartedJob(**values | changes)


def a_job(**changes: Any) -> JobReport:
    values: dict[str, Any] = {
        "job_id": JOB_ID,
        "status": JobStatus.COMPLETED,
        "phase": JobPhase.DONE,
        "progress_percentage": 100,
        "progress_message": "Done.",
        "repo_path": "/src/shop",
        "repo_name": "shop",
        "project_id": "default",
        "database_name": "cb_proj_default_37a8eec1",
        "force_reindex": False,
        "files_total": 12,
        "files_scanned": 12,
        "files_indexed": 9,
        "files_unchanged": 1,
        "files_skipped": 1,
        "files_failed": 1,
        "chunks_created": 1234,
        "attempt": 1,
        "created_at": NOON,
        "started_at": NOON,
        "completed_at": NOON,
        "cancelled_at": None,
        "finished_at": NOON.replace(second=42),
        "next_retry_at": None,
        "error_type": None,
        "error_message": None,
        "error_traceback": None,
        "estimated_time_remaining_seconds": None,
        "is_waiting_for_worker": False,
        "is_stalled": False,
        "stalled_reason": None,
        "left_out_files": [LeftOutFile(relative_path="logo.png", state="skipped", reason="binary")],
        "left_out_reasons": [ReasonCount(state="skipped", reason="binary", files=1)],
        "events": None,
    }
    return JobReport(**values | changes)


def a_running_job(percentage: int, **changes: Any) -> JobReport:
    running: dict[str, Any] = {
        "status": JobStatus.RUNNING,
        "phase": JobPhase.INDEXING,
        "progress_percentage": percentage,
        "progress_message": f"Indexing, {percentage} %.",
        "completed_at": None,
        "finished_at": None,
        "estimated_time_remaining_seconds": 12.0,
    }
    return a_job(**running | changes)


def a_summary(**changes: Any) -> JobSummary:
    values = {name: value for name, value in a_job().model_dump().items() if name in JobSummary.model_fields}
    return JobSummary(**values | {"is_overdue": False} | changes)


def a_repository(**changes: Any) -> RepositoryReport:
    values: dict[str, Any] = {
        "repository_id": 7,
        "name": "shop",
        "path": "/src/shop",
        "state": "ready",
        "progress_percentage": None,
        "active_job_id": None,
        "indexed_commit": "a" * 40,
        "head_commit": "a" * 40,
        "last_indexed_at": NOON,
        "file_count": 12,
        "chunk_count": 1234,
        "size_bytes": 5_300_000,
    }
    return RepositoryReport(**values | changes)


def an_estimate(**changes: Any) -> EstimateReport:
    values: dict[str, Any] = {
        "repo_path": "/src/shop",
        "project_id": "default",
        "database_name": "cb_proj_default_37a8eec1",
        "message": "9 files (0.1 MB) to index, about 70 chunks, about 12 s.",
        "is_partial": False,
        "index_state": "complete",
        "active_job_id": None,
        "files_found": 14,
        "files_to_index": 9,
        "bytes_to_index": 100_000,
        "files_unchanged": 3,
        "files_failed_before": 1,
        "files_to_remove": 2,
        "expected_chunks": 70,
        "expected_seconds": 12.3,
        "rests_on": "1 completed job of this machine, those of similar size weighing most",
        "earlier_jobs": [
            EarlierJob(job_id=JOB_ID, repo_name="api", completed_at=NOON, files=50, size_bytes=400_000, seconds=42.0)
        ],
        "languages": [LanguageShare(language="python", files=12, size_bytes=120_000)],
        "largest_directories": [DirectoryShare(path="shop/tax", files=7, size_bytes=90_000)],
        "left_out": [
            LeftOutGroup(
                reason="ignored by git", files=5_000, size_bytes=80_000_000, directories=1, examples=["node_modules/"]
            ),
            LeftOutGroup(reason="binary", files=1, size_bytes=2_000, directories=0, examples=["logo.png"]),
        ],
        "is_left_out_measured": True,
        "warnings": ["1 job running now; beside it this one takes longer."],
    }
    return EstimateReport(**values | changes)


def a_hit(**changes: Any) -> SearchHit:
    values: dict[str, Any] = {
        "file_path": "/src/shop/tax.py",
        "start_line": 10,
        "end_line": 12,
        "symbol": "add_tax",
        "kind": "function",
        "language": "python",
        "content": "def add_tax(price):\n    return price * 1.2\n",
        "content_form": "full",
        "content_start_line": 10,
        "score": 3.25,
        "repository": "shop",
    }
    return SearchHit(**values | changes)


def an_answer(*hits: SearchHit, **changes: Any) -> SearchAnswer:
    fresh = RepositoryFreshness(
        repository="shop",
        path="/src/shop",
        state="ready",
        progress_percentage=None,
        indexed_commit="a" * 40,
        head_commit="a" * 40,
        last_indexed_at=NOON,
        coverage=IndexCoverage(files_found=14, files_indexed=12, files_skipped=2, files_failed=0),
    )
    values: dict[str, Any] = {
        "results": list(hits),
        "total_count": len(hits),
        "next_offset": None,
        "truncated": False,
        "freshness": [fresh],
        "warnings": [],
        "latency_ms": 4.2,
    }
    return SearchAnswer(**values | changes)


def a_symbol(**changes: Any) -> SymbolHit:
    values: dict[str, Any] = {
        "name": "add_tax",
        "qualified_name": "Till.add_tax",
        "match": "exact",
        "kind": "method",
        "file_path": "/src/shop/tax.py",
        "start_line": 10,
        "end_line": 12,
        "depth": 1,
        "is_declaration": False,
        "signature": "def add_tax(self, price):",
        "language": "python",
        "repository": "shop",
    }
    return SymbolHit(**values | changes)


def a_symbol_answer(*hits: SymbolHit, **changes: Any) -> SymbolAnswer:
    values = {name: value for name, value in an_answer().model_dump().items() if name in SymbolAnswer.model_fields}
    return SymbolAnswer(**values | {"results": list(hits), "total_count": len(hits)} | changes)


def a_related_answer(*hits: SearchHit, **changes: Any) -> RelatedAnswer:
    origin = {name: value for name, value in a_hit().model_dump().items() if name in Origin.model_fields}
    values = {
        name: value for name, value in an_answer(*hits).model_dump().items() if name in RelatedAnswer.model_fields
    }
    return RelatedAnswer(**values | {"origin": origin} | changes)


def an_adopted_repository() -> AdoptedRepository:
    return AdoptedRepository(
        repository_id=1,
        path="/src/shop",
        project_id="default",
        from_host="build-1",
        active_jobs=1,
        message="/src/shop belonged to host build-1 and belongs to this host now.",
    )


class FakeService:
    """`answers` replaces what a method answers; an exception there is raised, a callable is called."""

    def __init__(self, *, progress: list[JobReport] | None = None, **answers: Any) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._progress = progress or []
        self._answers = answers

    async def _reply(self, _method: str, _default: Any, **arguments: Any) -> Any:
        self.calls.append((_method, arguments))
        answer = self._answers.get(_method, _default)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def arguments_of(self, method: str) -> dict[str, Any]:
        """Of the last call of the method."""
        return next(arguments for name, arguments in reversed(self.calls) if name == method)

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)

    async def launch(self) -> None:
        await self._reply("launch", None)

    async def is_needed(self) -> bool:
        return False

    def preload(self) -> None:
        pass

    def rehearse(self) -> None:
        pass

    async def ready(self, within_seconds: float = 3.0) -> None:
        await self._reply("ready", None, within_seconds=within_seconds)

    async def close(self) -> None:
        await self._reply("close", None)

    async def start_indexing(self, repo_path: str, **options: Any) -> StartedJob:
        return await self._reply("start_indexing", a_started_job(), repo_path=repo_path, **options)

    async def estimate_indexing(self, repo_path: str, **options: Any) -> EstimateReport:
        return await self._reply("estimate_indexing", an_estimate(), repo_path=repo_path, **options)

    async def wait_for_job(
        self,
        job_id: UUID,
        *,
        seconds: float,
        on_progress: Callable[[JobReport], Awaitable[None]] | None = None,
    ) -> JobReport:
        for job in self._progress:
            if on_progress is not None:
                await on_progress(job)
        return await self._reply("wait_for_job", a_job(), job_id=job_id, seconds=seconds)

    async def job_status(self, job_id: UUID, **options: Any) -> JobReport:
        events = [JobEvent(event_type="created", event_data={"files": 3}, created_at=NOON)]
        default = a_job(events=events if options.get("include_events") else None)
        return await self._reply("job_status", default, job_id=job_id, **options)

    async def list_jobs(self, **options: Any) -> JobList:
        default = JobList(jobs=[a_summary()], total_count=1, limit=options["limit"], offset=options["offset"])
        return await self._reply("list_jobs", default, **options)

    async def cancel_job(self, job_id: UUID, **options: Any) -> CancelledJob:
        default = CancelledJob(
            job_id=job_id,
            status=JobStatus.CANCELLED,
            message="The job was cancelled.",
            files_indexed=9,
            chunks_created=1234,
            cancelled_at=NOON,
        )
        return await self._reply("cancel_job", default, job_id=job_id, **options)

    async def search(self, query: str, **options: Any) -> SearchAnswer:
        return await self._reply("search", an_answer(a_hit()), query=query, **options)

    async def find_symbol(self, name: str, **options: Any) -> SymbolAnswer:
        return await self._reply("find_symbol", a_symbol_answer(a_symbol()), name=name, **options)

    async def find_related(self, file_path: str, line: int, **options: Any) -> RelatedAnswer:
        return await self._reply(
            "find_related",
            a_related_answer(a_hit(file_path="/src/shop/vat.py")),
            file_path=file_path,
            line=line,
            **options,
        )

    async def count_changes(self, answer: SearchAnswer, **options: Any) -> SearchAnswer:
        return await self._reply("count_changes", answer, **options)

    async def list_repositories(self, **options: Any) -> RepositoryList:
        default = RepositoryList(
            project_id="default", database_name="cb_proj_default_37a8eec1", repositories=[a_repository()]
        )
        return await self._reply("list_repositories", default, **options)

    async def remove_repository(self, repository: str, **options: Any) -> RemovedRepository:
        default = RemovedRepository(
            path="/src/shop",
            name="shop",
            project_id="default",
            files_removed=12,
            chunks_removed=1234,
            message="The index of shop was removed.",
        )
        return await self._reply("remove_repository", default, repository=repository, **options)

    async def adopt_repository(self, repository: str, **options: Any) -> AdoptedRepository:
        return await self._reply("adopt_repository", an_adopted_repository(), repository=repository, **options)

    async def adopt_job(self, job_id: UUID, **options: Any) -> AdoptedRepository:
        return await self._reply("adopt_job", an_adopted_repository(), job_id=job_id, **options)

    async def doctor(self) -> list[Check]:
        return await self._reply("doctor", [Check(name="data directory", is_ok=True, detail="/data is writable")])

    async def stop_workers(self) -> list[str]:
        return await self._reply("stop_workers", ["The worker was stopped."])

    async def stop_everything(self) -> list[str]:
        return await self._reply("stop_everything", ["The worker was stopped.", "The database was stopped."])
