"""How fast, how large and how steady: one run of the whole product on real repositories.

    python -m benchmarks.speed [--repo PATH ...] [--out FILE] [--quick]

Everything runs on a throw-away data directory, which is stopped and deleted at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.corpora import BenchmarkError, Corpus, default_corpora, given_corpora
from benchmarks.figures import commit, machine, rates, rounded
from benchmarks.installation import Installation, Refusal, Server, temporary_installation
from benchmarks.jobs import KILL_SHARES, Killings, Latencies, Load, index_again, index_all, time_starts
from benchmarks.memory import MemoryWatch
from benchmarks.queries import varied_queries
from benchmarks.searches import index_size, time_first_searches, time_searches, vector_index_built
from benchmarks.stages import StageTimes, Surveyed, sampled_batches, survey, time_stages
from codebase_mcp import __version__
from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.storage.database import Database

RUN_SECONDS = 14 * 60
"""A run that takes longer ends with what it has."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    sample_bytes: int = 12_000_000
    queries: int = 240
    fresh_servers: int = 3
    cold_starts: int = 5
    warm_starts: int = 15
    load_seconds: float = 30.0
    kills: int = len(KILL_SHARES)


QUICK = Extent(
    sample_bytes=2_000_000, queries=40, fresh_servers=1, cold_starts=1, warm_starts=3, load_seconds=5.0, kills=1
)


class Run:
    """One run; `results` fills as it goes, so that an early end loses only what was not measured yet."""

    def __init__(self, installation: Installation, corpora: Sequence[Corpus], extent: Extent) -> None:
        self._installation = installation
        self._corpora = corpora
        self._extent = extent
        self._began = time.monotonic()
        self.results: dict[str, Any] = {}

    async def measure(self) -> None:
        self._tell("starting a server on an empty data directory")
        began = time.perf_counter()
        async with self._installation.server() as server:
            await server.ready("list_background_jobs")
            self.results["first_start_ever"] = {"seconds": rounded(time.perf_counter() - began)}
            async with self._installation.database() as opened:
                surveys, stages = await self._stages(opened.database)
                queries = varied_queries(stages.definitions, self._extent.queries)
                await self._index(server, surveys)
                await self._search(server, opened.database, queries)
                await self._jobs(server, opened.database, queries)

    async def _stages(self, database: Database) -> tuple[list[Surveyed], StageTimes]:
        settings = self._installation.settings
        self._tell("stages by themselves, on a sample")
        surveys = [await asyncio.to_thread(survey, corpus, settings.max_file_bytes) for corpus in self._corpora]
        batches = list(sampled_batches(surveys, settings, self._extent.sample_bytes))
        times = await time_stages(database, settings, batches)
        found = sum(len(surveyed.files) for surveyed in surveys)
        discover = rates(sum(surveyed.discover_seconds for surveyed in surveys), files=found)
        self.results["stages_on_one_core"] = {"discover": discover} | times.as_json()
        return surveys, times

    async def _index(self, server: Server, surveys: Sequence[Surveyed]) -> None:
        latencies = Latencies()
        with self._memory() as memory:
            self._tell(f"indexing {', '.join(corpus.name for corpus in self._corpora)}")
            self.results["index"] = await index_all(server, surveys, latencies)
        self.results["while_1_job_runs"] = latencies.as_json()
        self.results["memory_with_1_job"] = memory.as_json()

    async def _search(self, server: Server, database: Database, queries: Sequence[str]) -> None:
        settings = self._installation.settings
        chunks = self.results["index"]["total"].get("chunks", 0)
        if chunks >= settings.vector_index_rows:
            self._tell("waiting for the vector index")
            self.results["vector_index"] = await vector_index_built(database, settings)
        self.results["size"] = await index_size(database, settings)
        self._tell(f"{len(queries)} searches")
        fresh = await time_first_searches(self._installation, queries[-self._extent.fresh_servers :])
        self.results["search"] = await time_searches(server, queries) | fresh

    async def _jobs(self, server: Server, database: Database, queries: Sequence[str]) -> None:
        extent = self._extent
        self._tell("indexing again without changes")
        self.results["unchanged"] = await index_again(server, self._corpora)
        self._tell("starting jobs")
        self.results["start"] = await time_starts(
            self._installation, server, self._corpora, cold=extent.cold_starts, warm=extent.warm_starts
        )
        self._tell("asking while three jobs run, and cancelling them")
        load = Load(self._installation, server, self._corpora)
        with self._memory() as memory:
            await load.run(extent.load_seconds, queries)
        self.results["while_3_jobs_run"] = load.latencies.as_json()
        self.results["memory_with_3_jobs"] = memory.as_json()
        self.results["cancel"] = await load.cancel_all()
        self._tell("killing the worker")
        killings = Killings(self._installation, server, database)
        self.results["kill"] = await killings.run(self._corpora[0], KILL_SHARES[: extent.kills])

    def _memory(self) -> MemoryWatch:
        groups = {
            "worker_and_pool": self._installation.worker_family,
            "postgresql": self._installation.postgres_family,
        }
        return MemoryWatch(groups)

    def _tell(self, what: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - self._began:5.0f} s] {what} …\n")
        sys.stderr.flush()


def main() -> int:
    """Measures, prints and writes; 1 when the run ended early."""
    arguments = _arguments()
    extent = QUICK if arguments.quick else Extent()
    result = _conditions()
    try:
        with temporary_installation() as installation:
            result["settings"] = installation.settings.model_dump(mode="json", exclude={"database_url", "data_dir"})
            if arguments.repo:
                corpora = given_corpora(arguments.repo)
            else:
                sys.stderr.write("Fetching and unpacking the corpus …\n")
                corpora = default_corpora(installation.folder, quick=arguments.quick)
            run = Run(installation, corpora, extent)
            result["results"] = run.results
            result["ended_early"] = asyncio.run(_within_time(run))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("Interrupted; everything was stopped.\n")
        return 130
    except BenchmarkError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return _deliver(result, arguments.out or report.default_path(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description="Measures the speed and memory of codebase-mcp."
    )
    parser.add_argument(
        "--repo",
        type=Path,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="repositories to index; by default Django, SciPy and the standard library",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the JSON goes; by default benchmarks/results/")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and the standard library alone")
    return parser.parse_args()


def _conditions() -> dict[str, Any]:
    return {
        "version": __version__,
        **commit(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "benchmarks.speed", *sys.argv[1:]],
        "machine": machine(),
    }


async def _within_time(run: Run) -> str | None:
    """Why the run ended early; None when it did not."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.timeout(RUN_SECONDS):
            await run.measure()
    except TimeoutError:
        return f"not done within {RUN_SECONDS} s"
    except (BenchmarkError, Refusal, CodebaseMcpError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _deliver(result: dict[str, Any], path: Path) -> int:
    report.write(result, path)
    print(report.table(result))
    print(f"\nWritten to {path}")
    if result["ended_early"]:
        sys.stderr.write(f"The run ended early: {result['ended_early']}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
