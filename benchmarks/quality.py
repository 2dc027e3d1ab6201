"""How good the answers are: annotated queries through the real product, indexed by the worker, asked of the service.

    python -m benchmarks.quality --queries DIR --checkouts DIR [--whole] [--ablate] [--data-dir DIR] [--out FILE]

Each repository is a project of its own, of which `benchmark_root` is indexed, or with `--whole` the whole checkout.
Figures are means over repositories of the means over a repository's queries.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np

from benchmarks.corpora import CACHE, BenchmarkError, Corpus
from benchmarks.figures import commit, machine, milliseconds, rounded
from benchmarks.installation import Installation, Server, kept_installation, temporary_installation
from benchmarks.jobs import finished, start
from benchmarks.relevance import AnnotatedQuery, AnnotatedRepository, Relevance, Result, load, relevance, target_ranks
from codebase_mcp.indexing.embed import Embedder, open_embedder
from codebase_mcp.search import signals
from codebase_mcp.search.models import SearchAnswer, SearchHit, SearchRequest
from codebase_mcp.search.service import SearchService
from codebase_mcp.search.signals import SIGNALS, Signal
from codebase_mcp.search.snippets import CHARACTERS_PER_TOKEN
from codebase_mcp.storage.database import Database

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECKOUTS = CACHE / "checkouts"
"""Where `make quality` keeps the packages of our own queries."""
TOKEN_BUDGETS = (500, 1_000, 2_000, 4_000)
METRICS = tuple(field.name for field in fields(Relevance))


@dataclass(frozen=True, slots=True)
class Checkout:
    """An annotated repository on the disk; `root` is what is indexed."""

    annotated: AnnotatedRepository
    folder: Path
    root: Path

    @property
    def corpus(self) -> Corpus:
        return Corpus(self.annotated.name, self.root)

    def answerable_queries(self) -> list[AnnotatedQuery]:
        """Those whose targets all exist."""
        paths = [path.relative_to(self.folder).as_posix() for path in self.root.rglob("*") if path.is_file()]
        exists = {
            target: any(target.is_path(path) for path in paths)
            for query in self.annotated.queries
            for target in query.targets
        }
        return [query for query in self.annotated.queries if all(exists[target] for target in query.targets)]

    def results(self, answer: SearchAnswer) -> list[Result]:
        return [self._result(hit) for hit in answer.results]

    def _result(self, hit: SearchHit) -> Result:
        path = Path(hit.file_path).relative_to(self.folder).as_posix()
        tokens = (len(hit.content) + len(hit.file_path)) / CHARACTERS_PER_TOKEN
        return Result(path, hit.start_line, hit.end_line, tokens)


@dataclass(frozen=True, slots=True)
class Asked:
    """One query with what came of it; `ranks` are those of its targets, and `recall_by_tokens` is by token budget."""

    repository: str
    language: str
    category: str
    query: str
    ranks: list[int | None]
    relevance: Relevance
    recall_by_tokens: dict[int, float]
    latency_ms: float


def checkouts(repositories: Iterable[AnnotatedRepository], folder: Path, *, whole: bool) -> list[Checkout]:
    """Those that lie in `folder`."""
    found = [
        Checkout(item, folder / item.name, folder / item.name / ("" if whole else item.benchmark_root or ""))
        for item in repositories
        if (folder / item.name).is_dir()
    ]
    if not found:
        raise BenchmarkError(f"{folder} holds a checkout of none of the annotated repositories.")
    return found


class Bench:
    """The repositories, indexed, and a service to ask."""

    def __init__(self, database: Database, embedder: Embedder, chosen: Sequence[Checkout]) -> None:
        self._service = SearchService(database, embedder)
        self._chosen = chosen
        self._queries = {checkout: checkout.answerable_queries() for checkout in chosen}

    async def ask_all(self, *, budgets: Sequence[int] = TOKEN_BUDGETS) -> list[Asked]:
        """Every query that can be answered."""
        return [
            await self._ask(checkout, query, budgets) for checkout in self._chosen for query in self._queries[checkout]
        ]

    async def _ask(self, checkout: Checkout, query: AnnotatedQuery, budgets: Sequence[int]) -> Asked:
        answer = await self._answer(checkout, query.text)
        results = checkout.results(answer)
        recalls = {budget: await self._recall(checkout, query, budget) for budget in budgets}
        return Asked(
            repository=checkout.annotated.name,
            language=checkout.annotated.language,
            category=query.category,
            query=query.text,
            ranks=target_ranks(results, query.targets),
            relevance=relevance(results, query.targets),
            recall_by_tokens=recalls,
            latency_ms=answer.latency_ms,
        )

    async def _recall(self, checkout: Checkout, query: AnnotatedQuery, max_tokens: int) -> float:
        answer = await self._answer(checkout, query.text, max_tokens=max_tokens)
        return relevance(checkout.results(answer), query.targets).recall10

    async def _answer(self, checkout: Checkout, text: str, **more: Any) -> SearchAnswer:
        return await self._service.search(SearchRequest(query=text, project_id=project_of(checkout), **more))


def project_of(checkout: Checkout) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in checkout.annotated.name.lower())


async def index(server: Server, chosen: Sequence[Checkout]) -> float:
    """Indexes what changed since the last time, through the worker; how many seconds that took."""
    began = asyncio.get_running_loop().time()
    jobs = [await start(server, checkout.corpus, project_id=project_of(checkout)) for checkout in chosen]
    for job_id in jobs:
        await finished(server, job_id)
    return asyncio.get_running_loop().time() - began


# --- figures ---


def over_repositories(asked: Iterable[Asked], value: Callable[[Asked], float]) -> float:
    """The mean over repositories of the mean over their queries."""
    values: dict[str, list[float]] = defaultdict(list)
    for item in asked:
        values[item.repository].append(value(item))
    return mean(mean(found) for found in values.values())


def figures(asked: Sequence[Asked]) -> dict[str, Any]:
    by_metric = {name: over_repositories(asked, attrgetter(f"relevance.{name}")) for name in METRICS}
    budgets = sorted({budget for item in asked for budget in item.recall_by_tokens})
    recalls = {f"recall_{budget}_tokens": over_repositories(asked, _recall_at(budget)) for budget in budgets}
    return {"queries": len(asked), **{name: round(value, 4) for name, value in (by_metric | recalls).items()}}


def _recall_at(budget: int) -> Callable[[Asked], float]:
    return lambda item: item.recall_by_tokens[budget]


def summary(asked: Sequence[Asked]) -> dict[str, Any]:
    return {
        "overall": figures(asked),
        "by_category": _grouped(asked, lambda item: item.category),
        "by_language": _grouped(asked, lambda item: item.language),
        "by_repository": _grouped(asked, lambda item: item.repository),
        "latency_ms": milliseconds([item.latency_ms / 1e3 for item in asked]),
    }


def _grouped(asked: Sequence[Asked], key: Callable[[Asked], str]) -> dict[str, Any]:
    groups: dict[str, list[Asked]] = defaultdict(list)
    for item in asked:
        groups[key(item)].append(item)
    return {name: figures(groups[name]) for name in sorted(groups)}


# --- what each signal is worth ---


@contextlib.contextmanager
def signals_as(kept: Sequence[Signal]) -> Iterator[None]:
    """Other weights for as long as the block runs."""
    with mock.patch.object(signals, "SIGNALS", tuple(kept)):
        yield


async def ablations(bench: Bench) -> dict[str, dict[str, float]]:
    """NDCG@10 without each signal, and of the best chunk together with that signal alone."""
    found: dict[str, dict[str, float]] = {}
    first = SIGNALS[0]
    for signal in SIGNALS:
        with signals_as([item for item in SIGNALS if item is not signal]):
            without = await _ndcg10(bench)
        with signals_as([first] if signal is first else [first, signal]):
            alone = await _ndcg10(bench)
        found[signal.name] = {"dropped": without, "added_to_best_chunk": alone}
    return found


async def _ndcg10(bench: Bench) -> float:
    return round(over_repositories(await bench.ask_all(budgets=()), lambda item: item.relevance.ndcg10), 4)


# --- the run ---


class WithoutVectors:
    """The model that made the vectors of an index, which knows no word of any query."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    async def embed_query(self, _text: str) -> NDArray[np.float32]:
        return np.zeros(self._embedder.dimensions, np.float32)


async def measure(
    installation: Installation, chosen: Sequence[Checkout], *, ablate: bool, with_vectors: bool
) -> dict[str, Any]:
    """Indexes and asks."""
    async with installation.server() as server:
        await server.ready("list_background_jobs")
        seconds = await index(server, chosen)
    async with installation.database() as opened:
        embedder = open_embedder(installation.settings)
        known = embedder if with_vectors else cast("Embedder", WithoutVectors(embedder))
        bench = Bench(opened.database, known, chosen)
        await bench.ask_all(budgets=())  # what is read once is read now, as in a server that has been up for a while
        asked = await bench.ask_all()
        answer = {"index_seconds": rounded(seconds)} | summary(asked)
        if ablate:
            answer["ablations"] = await ablations(bench)
    return answer | {"asked": [asdict(item) for item in asked]}


def table(results: dict[str, Any]) -> str:
    names = [name for name in results["overall"] if name != "queries"]
    lines = [" " * 26 + "".join(f"{_title(name):>9}" for name in ("queries", *names))]
    for part in ("overall", "by_category", "by_language"):
        rows = {"overall": results[part]} if part == "overall" else results[part]
        lines += [f"{label[:25]:26}" + _row(row, names) for label, row in rows.items()]
    latency = results["latency_ms"]
    lines.append(f"latency: p50 {latency['p50']} ms, p95 {latency['p95']} ms, max {latency['max']} ms")
    lines.append(f"indexing: {results['index_seconds']} s")
    for name, row in results.get("ablations", {}).items():
        dropped = row["dropped"] - results["overall"]["ndcg10"]
        lines.append(f"{name:26}dropped {dropped:+.4f}   with the best chunk alone {row['added_to_best_chunk']:.4f}")
    return "\n".join(lines)


def _title(name: str) -> str:
    return {"tokens_to_first_hit": "tokens"}.get(name, name.replace("recall_", "R@").replace("_tokens", "t"))


def _row(row: dict[str, Any], names: Sequence[str]) -> str:
    values = (f"{row[name]:>9.0f}" if "to_first" in name else f"{row[name]:>9.3f}" for name in names)
    return f"{row['queries']:>9}" + "".join(values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=Path, required=True, metavar="DIR", help="a folder of annotated queries")
    parser.add_argument("--checkouts", type=Path, required=True, metavar="DIR", help="one folder for each repository")
    parser.add_argument("--repo", nargs="+", metavar="NAME", help="only these repositories")
    parser.add_argument("--whole", action="store_true", help="index whole checkouts: tests, examples and docs too")
    parser.add_argument("--without-vectors", action="store_true", help="rank by words alone")
    parser.add_argument("--ablate", action="store_true", help="measure without each signal, and with it alone")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep the index here for the next run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where every figure goes as JSON")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    try:
        repositories = [item for item in load(arguments.queries) if not arguments.repo or item.name in arguments.repo]
        chosen = checkouts(repositories, arguments.checkouts.resolve(), whole=arguments.whole)
        kept = kept_installation(arguments.data_dir) if arguments.data_dir else temporary_installation()
        with kept as installation:
            conditions = {**commit(), "machine": machine(), "is_whole": arguments.whole}
            settings = installation.settings.model_dump(mode="json", exclude={"database_url", "data_dir"})
            results = asyncio.run(
                measure(installation, chosen, ablate=arguments.ablate, with_vectors=not arguments.without_vectors)
            )
    except BenchmarkError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(table(results))
    if arguments.out:
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        result = {**conditions, "started_at": started_at, "settings": settings, "results": results}
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
