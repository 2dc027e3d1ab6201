"""Jobs as a client sees them: starting, indexing, asking meanwhile, cancelling, a killed worker, an unchanged tree."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.corpora import BenchmarkError, Corpus
from benchmarks.figures import milliseconds, rates, rounded
from benchmarks.installation import Installation, Refusal, Server, until
from benchmarks.stages import Surveyed
from codebase_mcp.domain import MAX_RUNNING_JOBS
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.tables import schema_name

JOB_SECONDS = 420.0
STOP_SECONDS = 20.0
ASK_SECONDS = 0.2
"""How often a patient client asks for the status of its job."""
TERMINAL = ("completed", "failed", "cancelled")
KILL_SHARES = (0.2, 0.45, 0.7)
"""How much of the job is done when its worker is killed."""


@dataclass
class Latencies:
    """Seconds that calls took, by what was called."""

    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def timed(self, name: str, server: Server, tool: str, **arguments: object) -> dict[str, Any]:
        answer, seconds = await server.timed(tool, **arguments)
        self.samples[name].append(seconds)
        return answer

    def as_json(self) -> dict[str, Any]:
        return {name: milliseconds(samples) for name, samples in self.samples.items()}


async def start(server: Server, corpus: Corpus, **arguments: object) -> str:
    """The id of a new job."""
    answer = await server.ask("start_indexing_background", repo_path=str(corpus.root), name=corpus.name, **arguments)
    return str(answer["job_id"])


async def finished(
    server: Server, job_id: str, latencies: Latencies | None = None, *, seconds: float = JOB_SECONDS
) -> dict[str, Any]:
    """The report of a job that completed; asks for it, and for the list of jobs, until then."""
    latencies = latencies or Latencies()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        report = await latencies.timed("get_job_status", server, "get_job_status", job_id=job_id)
        if report["status"] in TERMINAL:
            if report["status"] != "completed":
                raise BenchmarkError(f"Indexing {report['repo_path']} {report['status']}: {report['error_message']}")
            return report
        await latencies.timed("list_background_jobs", server, "list_background_jobs", limit=20)
        await asyncio.sleep(ASK_SECONDS)
    raise BenchmarkError(f"Job {job_id} did not end within {seconds:g} s.")


def _seconds(report: dict[str, Any]) -> float:
    """From the start call to the end of the job, by the database's clock."""
    created, done = (datetime.fromisoformat(report[name]) for name in ("created_at", "finished_at"))
    return (done - created).total_seconds()


# --- whole runs ---


async def index_all(server: Server, surveys: Sequence[Surveyed], latencies: Latencies) -> dict[str, Any]:
    """One corpus after the other, from nothing; the first pays for the start of the worker."""
    answer: dict[str, Any] = {}
    totals: dict[str, float] = {"seconds": 0.0, "files": 0, "chunks": 0, "size_bytes": 0}
    for surveyed in surveys:
        report = await finished(server, await start(server, surveyed.corpus), latencies)
        done = {
            "files": report["files_indexed"],
            "chunks": report["chunks_created"],
            "size_bytes": surveyed.source_bytes,
        }
        answer[surveyed.corpus.name] = rates(_seconds(report), **done) | _left_out(report)
        for name, amount in done.items():
            totals[name] += amount
        totals["seconds"] += _seconds(report)
    work = {name: int(totals[name]) for name in ("files", "chunks", "size_bytes")}
    return answer | {"total": rates(totals["seconds"], **work)}


def _left_out(report: dict[str, Any]) -> dict[str, int]:
    return {"files_skipped": report["files_skipped"], "files_failed": report["files_failed"]}


async def index_again(server: Server, corpora: Sequence[Corpus]) -> dict[str, Any]:
    """Seconds of a run that finds nothing changed."""
    answer = {}
    for corpus in corpora:
        report = await finished(server, await start(server, corpus))
        answer[corpus.name] = {"seconds": rounded(_seconds(report)), "files_indexed": report["files_indexed"]}
    return answer


# --- starting ---


async def time_starts(
    installation: Installation, server: Server, corpora: Sequence[Corpus], *, cold: int, warm: int
) -> dict[str, Any]:
    """Start calls without and with a living worker; each job is cancelled at once."""
    seconds: dict[str, list[float]] = {"cold_worker": [], "warm_worker": []}
    for kind, number in (("cold_worker", cold), ("warm_worker", warm)):
        for turn in range(number):
            if kind == "cold_worker":
                await installation.no_worker()
            corpus = corpora[turn % len(corpora)]
            started, took = await server.timed(
                "start_indexing_background", repo_path=str(corpus.root), project_id="starts", force_reindex=True
            )
            seconds[kind].append(took)
            await _cancel(server, started["job_id"])
            await installation.some_worker()
    return {kind: milliseconds(samples) for kind, samples in seconds.items()}


async def _cancel(server: Server, job_id: str) -> float | None:
    """Seconds until the cancel was recorded; None when the job had ended before."""
    try:
        return (await server.timed("cancel_job", job_id=job_id, confirmed=True))[1]
    except Refusal as refusal:
        if refusal.code != "INVALID_STATUS":
            raise
        return None


# --- under load ---


class Load:
    """As many running jobs as there may be, each in a project of its own, begun anew when they end."""

    def __init__(self, installation: Installation, server: Server, corpora: Sequence[Corpus]) -> None:
        self._installation = installation
        self._server = server
        self._corpora = [corpora[number % len(corpora)] for number in range(MAX_RUNNING_JOBS)]
        self._job_ids: list[str] = []
        self.latencies = Latencies()

    async def run(self, seconds: float, queries: Sequence[str]) -> None:
        """Asks for status, list and a search by turns."""
        self._job_ids = [await self._start(number) for number in range(len(self._corpora))]
        deadline = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < deadline:
            for number, job_id in enumerate(self._job_ids):
                report = await self.latencies.timed("get_job_status", self._server, "get_job_status", job_id=job_id)
                if report["status"] in TERMINAL:
                    self._job_ids[number] = await self._start(number)
            await self.latencies.timed("list_background_jobs", self._server, "list_background_jobs", limit=20)
            await self.latencies.timed("search_code", self._server, "search_code", query=queries[turn % len(queries)])
            turn += 1
            await asyncio.sleep(ASK_SECONDS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The jobs run for as long as the block does, and are cancelled then."""
        self._job_ids = [await self._start(number) for number in range(len(self._corpora))]
        keeping = asyncio.create_task(self._keep_running())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            for job_id in self._job_ids:
                await _cancel(self._server, job_id)

    async def _keep_running(self) -> None:
        while True:
            for number, job_id in enumerate(self._job_ids):
                if await self._status(job_id) in TERMINAL:
                    self._job_ids[number] = await self._start(number)
            await asyncio.sleep(ASK_SECONDS)

    async def cancel_all(self) -> dict[str, Any]:
        """Milliseconds until each cancel was recorded, and until the worker had dropped the job."""
        recorded: list[float] = []
        stopped: list[float] = []
        for number, last_id in enumerate(self._job_ids):
            job_id = last_id if await self._is_running(last_id) else await self._start(number)
            begun, log_end = time.perf_counter(), self._installation.log_size()
            if (took := await _cancel(self._server, job_id)) is None:
                continue
            recorded.append(took)
            with suppress(BenchmarkError):  # it ended by itself in the same moment, or no worker had it yet
                await self._dropped(job_id, log_end)
                stopped.append(time.perf_counter() - begun)
        return {"recorded": milliseconds(recorded), "stopped": milliseconds(stopped)}

    async def _start(self, number: int) -> str:
        job_id = await start(
            self._server, self._corpora[number], project_id=f"load-{number + 1}", force_reindex=True
        )  # fmt: skip

        async def taken_up() -> bool:
            return await self._status(job_id) != "pending"

        await until(taken_up, f"job {job_id} is taken up", STOP_SECONDS)
        return job_id

    async def _is_running(self, job_id: str) -> bool:
        return await self._status(job_id) == "running"

    async def _status(self, job_id: str) -> str:
        return str((await self._server.ask("get_job_status", job_id=job_id))["status"])

    async def _dropped(self, job_id: str, log_end: int) -> None:
        async def told() -> bool:
            return self._installation.log_has(job_id, "job given up", since=log_end)

        await until(told, f"the worker drops job {job_id}", STOP_SECONDS)


# --- a killed worker ---


@dataclass
class Killings:
    """Kills the worker of one job several times, and sees how the job goes on."""

    installation: Installation
    server: Server
    database: Database
    project_id: str = "killed"
    resume_seconds: list[float] = field(default_factory=list)

    async def run(self, corpus: Corpus, shares: Sequence[float]) -> dict[str, Any]:
        """`share_redone` counts files whose batch was being committed. Those that were prepared ahead of it are
        prepared again as well; `files_ahead_at_most` bounds them for each kill.
        """
        job_id = await start(self.server, corpus, project_id=self.project_id, force_reindex=True)
        for share in shares:
            if not await self._reached(job_id, share):
                break
            await self._kill(job_id)
        report = await finished(self.server, job_id)
        wasted, settings = await self._files_written_twice(), self.installation.settings
        return {
            "corpus": corpus.name,
            "files": report["files_indexed"],
            "kills": len(self.resume_seconds),
            "resume_seconds": [rounded(seconds) for seconds in self.resume_seconds],
            "files_redone": wasted,
            "share_redone": rounded(wasted / max(1, report["files_indexed"] * len(self.resume_seconds))),
            "files_ahead_at_most": (settings.pool_processes + 2) * settings.batch_files,
        }

    async def _reached(self, job_id: str, share: float) -> bool:
        """Waits until that share of the files is done; False when the job ends before."""

        async def far_enough() -> str | None:
            report = await self.server.ask("get_job_status", job_id=job_id)
            if report["status"] in TERMINAL:
                return "ended"
            done = report["files_indexed"]
            is_far = report["status"] == "running" and done > 0 and done >= share * report["files_total"]
            return "reached" if is_far else None

        return await until(far_enough, f"{share:.0%} of job {job_id}", JOB_SECONDS) == "reached"

    async def _kill(self, job_id: str) -> None:
        worker = self.installation.worker()
        if worker is None:
            raise BenchmarkError("A job runs, but the host's lock names no living worker.")
        killed_at = datetime.now(UTC)
        worker.kill()
        with suppress(psutil.Error):
            await asyncio.to_thread(worker.wait, STOP_SECONDS)
        number = len(self.resume_seconds) + 1

        async def resumed() -> datetime | None:
            report = await self.server.ask("get_job_status", job_id=job_id, include_events=True)
            times = [event["created_at"] for event in report["events"] if event["event_type"] == "resumed"]
            return datetime.fromisoformat(times[number - 1]) if len(times) >= number else None

        resumed_at = await until(resumed, "the job goes on after the kill", 60)
        self.resume_seconds.append((resumed_at - killed_at).total_seconds())

    async def _files_written_twice(self) -> int:
        """Ids are reserved right before a commit, so those without a file belong to commits that did not happen."""
        schema = schema_name(self.project_id)
        statement = f"SELECT (SELECT last_value FROM {schema}.file_ids) - (SELECT count(*) FROM {schema}.code_files)"
        async with self.database.transaction() as connection:
            return int((await connection.execute(sa.text(statement))).scalar_one())
