"""How good the estimates are: real trees are indexed, then each is predicted from any three of the others.

    python -m benchmarks.estimate [--repo PATH ...] [--rounds N] [--out FILE]

Each tree is a project of its own. The rounds run over all trees in turn, so that a machine whose load changes treats
them alike, and the middle time of each tree counts. The processor time of the worker is predicted as well: it hardly
depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

import codebase_mcp
from benchmarks.corpora import BenchmarkError, Corpus, default_corpora, given_corpora
from benchmarks.figures import commit, machine
from benchmarks.installation import Installation, Server, temporary_installation
from benchmarks.jobs import finished, start
from codebase_mcp.jobs.estimate import CompletedJob, expected_chunks, expected_seconds
from codebase_mcp.jobs.history import history

TRAINING = 3
TOLERANCE = 0.3
PACKAGES = ("sqlalchemy", "pip", "mypy", "fastmcp", "pygments", "numpy")
"""Of this environment; those that are installed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One tree, indexed once; `told_seconds` is what the start said before any training."""

    name: str
    job: CompletedJob
    worker_seconds: float
    told_seconds: float | None


@dataclass(frozen=True, slots=True)
class Errors:
    """Of all predictions of one tree; -0.1 is ten percent too short."""

    middle: float
    worst: float
    within_tolerance: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Errors:
        within = sum(abs(error) <= TOLERANCE for error in errors) / len(errors)
        return cls(round(statistics.median(errors), 3), round(max(errors, key=abs), 3), round(within, 3))


def trees(folder: Path) -> list[Corpus]:
    """Small and large, of several kinds."""
    site_packages = Path(sysconfig.get_path("purelib"))
    installed = [Corpus(name, site_packages / name) for name in PACKAGES if (site_packages / name).is_dir()]
    library = Path(sysconfig.get_path("stdlib"))
    parts = [Corpus(f"library/{name}", library / name) for name in ("email", "idlelib", "test")]
    own = Corpus("codebase_mcp", Path(codebase_mcp.__file__).parent)
    return [own, *(part for part in parts if part.root.is_dir()), *installed, *default_corpora(folder, quick=False)]


async def sampled(installation: Installation, corpora: Sequence[Corpus], rounds: int) -> list[Sample]:
    """Every tree as often as there are rounds, each time from nothing."""
    samples = []
    async with installation.server() as server, installation.database() as opened:
        await server.ready("list_background_jobs")
        # A worker that has done nothing yet still has its grammars and the model to load.
        await _indexed(server, corpora[0], "warm-up")
        for turn, corpus in itertools.product(range(rounds), corpora):
            project = f"{turn}-{corpora.index(corpus)}"
            told = await server.ask("estimate_indexing", repo_path=str(corpus.root), project_id=project)
            before = _worker_seconds(installation)
            await _indexed(server, corpus, project)
            spent = _worker_seconds(installation) - before
            async with opened.database.transaction() as connection:
                job = (await history(connection, None)).completed[0]
            samples.append(Sample(corpus.name, job, spent, told["expected_seconds"]))
            sys.stderr.write(f"{corpus.name}: {job.seconds:.2f} s, told {told['expected_seconds']} s\n")
    return samples


async def _indexed(server: Server, corpus: Corpus, project_id: str) -> None:
    report = await finished(server, await start(server, corpus, project_id=project_id))
    if not report["files_indexed"]:
        raise BenchmarkError(f"Nothing of {corpus.root} was indexed; give a tree with sources.")


def _worker_seconds(installation: Installation) -> float:
    seconds = 0.0
    for process in installation.worker_family():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system
    return seconds


def middle_samples(samples: Sequence[Sample]) -> list[Sample]:
    """One sample a tree, with the median of its times."""
    found = []
    for name in dict.fromkeys(sample.name for sample in samples):
        same = [sample for sample in samples if sample.name == name]
        seconds = statistics.median(sample.job.seconds for sample in same)
        worker_seconds = statistics.median(sample.worker_seconds for sample in same)
        found.append(replace(same[0], job=replace(same[0].job, seconds=seconds), worker_seconds=worker_seconds))
    return found


def predictions(samples: Sequence[Sample], seconds: Sequence[float]) -> dict[str, Errors]:
    """Errors of each tree's prediction from every three other trees; `seconds` are the samples' true times."""
    jobs = [
        replace(sample.job, seconds=time, job_id=UUID(int=0)) for sample, time in zip(samples, seconds, strict=True)
    ]
    return {sample.name: Errors.of(list(_errors(jobs, number))) for number, sample in enumerate(samples)}


def _errors(jobs: Sequence[CompletedJob], asked: int) -> Iterator[float]:
    others = [job for number, job in enumerate(jobs) if number != asked]
    for earlier in itertools.combinations(others, TRAINING):
        yield expected_seconds(jobs[asked].work, earlier) / jobs[asked].seconds - 1


def report(samples: Sequence[Sample]) -> dict[str, Any]:
    by_time = predictions(samples, [sample.job.seconds for sample in samples])
    by_processor = predictions(samples, [max(sample.worker_seconds, 0.01) for sample in samples])
    return {
        sample.name: {
            "files": sample.job.work.total.files,
            "megabytes": round(sample.job.work.total.size_bytes / 1e6, 2),
            "chunks": sample.job.chunks,
            "expected_chunks": expected_chunks(sample.job.work),
            "seconds": round(sample.job.seconds, 2),
            "worker_seconds": round(sample.worker_seconds, 2),
            "error_of_seconds": asdict(by_time[sample.name]),
            "error_of_worker_seconds": asdict(by_processor[sample.name]),
        }
        for sample in samples
    }


def table(figures: dict[str, Any]) -> str:
    lines = [f"{'':26}{'files':>7}{'MB':>8}{'s':>8}{'error':>8}{'worst':>8}{'≤30 %':>8}{'  (worker s)':>14}"]
    for name, row in figures.items():
        time, processor = row["error_of_seconds"], row["error_of_worker_seconds"]
        lines.append(
            f"{name[:25]:26}{row['files']:>7,}{row['megabytes']:>8,.1f}{row['seconds']:>8,.2f}{time['middle']:>+8.0%}"
            f"{time['worst']:>+8.0%}{time['within_tolerance']:>8.0%}"
            f"{processor['middle']:>+8.0%}{processor['within_tolerance']:>6.0%}"
        )
    for key in ("error_of_seconds", "error_of_worker_seconds"):
        within = statistics.mean(row[key]["within_tolerance"] for row in figures.values())
        lines.append(f"{key.replace('_', ' ')}: {within:.0%} of all predictions within ±30 %")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=__doc__)
    parser.add_argument("--repo", type=Path, nargs="+", action="extend", metavar="PATH", help="trees, at least four")
    parser.add_argument("--rounds", type=int, default=1, help="how often each tree is indexed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the figures go as JSON")
    arguments = parser.parse_args()
    with temporary_installation() as installation:
        corpora = given_corpora(arguments.repo) if arguments.repo else trees(installation.folder)
        if len(corpora) <= TRAINING:
            raise BenchmarkError(f"{len(corpora)} trees are too few; give at least {TRAINING + 1}.")
        samples = middle_samples(asyncio.run(sampled(installation, corpora, arguments.rounds)))
    figures = report(samples)
    print(table(figures))
    if arguments.out:
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        result = {**commit(), "started_at": started_at, "machine": machine(), "rounds": arguments.rounds}
        arguments.out.write_text(json.dumps(result | {"trees": figures}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
