"""Annotated queries, and how well a list of results answers one.

A folder of annotated queries has `repos.json`, a list of `{name, language, benchmark_root?}`, and for each of these
`annotations/NAME.json`, a list of `{query, category, relevant, secondary?}`. A target is a path relative to the
checkout or `{path, start_line, end_line}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpora import BenchmarkError

CUTOFF = 10
"""Results beyond this rank count for nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """One hit; `path` is relative to the checkout, and `tokens` is what reading it costs."""

    path: str
    start_line: int
    end_line: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Target:
    """A file that answers a query, or some lines of it."""

    path: str
    start_line: int | None = None
    end_line: int | None = None

    @classmethod
    def of(cls, given: str | dict[str, Any]) -> Target:
        if isinstance(given, str):
            return cls(given)
        return cls(given["path"], given.get("start_line"), given.get("end_line"))

    def is_path(self, path: str) -> bool:
        """Some annotations leave out leading folders."""
        return path == self.path or path.endswith("/" + self.path) or self.path.endswith("/" + path)

    def is_hit_by(self, result: Result) -> bool:
        """The same file, and lines that overlap."""
        if not self.is_path(result.path):
            return False
        if self.start_line is None or self.end_line is None:
            return True
        return result.start_line <= self.end_line and self.start_line <= result.end_line


@dataclass(frozen=True, slots=True)
class AnnotatedQuery:
    text: str
    category: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class AnnotatedRepository:
    """A checkout and its queries; `benchmark_root` is the folder, relative to the checkout, that they ask about."""

    name: str
    language: str
    benchmark_root: str | None
    queries: tuple[AnnotatedQuery, ...]


@dataclass(frozen=True, slots=True)
class Relevance:
    """Of one query, each from 0 to 1; `tokens_to_first_hit` is all there was to read when nothing was hit."""

    ndcg10: float
    mrr: float
    recall5: float
    recall10: float
    tokens_to_first_hit: float


def load(folder: Path) -> list[AnnotatedRepository]:
    """All repositories of a folder of annotated queries."""
    index = folder / "repos.json"
    if not index.is_file():
        raise BenchmarkError(f"{index} is missing; give a folder with repos.json and annotations/.")
    return [_repository(folder, item) for item in json.loads(index.read_text("utf-8"))]


def _repository(folder: Path, item: dict[str, Any]) -> AnnotatedRepository:
    annotations = json.loads((folder / "annotations" / f"{item['name']}.json").read_text("utf-8"))
    queries = tuple(
        AnnotatedQuery(
            given["query"],
            given["category"],
            tuple(Target.of(target) for target in [*given.get("relevant", []), *given.get("secondary", [])]),
        )
        for given in annotations
    )
    return AnnotatedRepository(item["name"], item["language"], item.get("benchmark_root"), queries)


def relevance(results: Sequence[Result], targets: Sequence[Target]) -> Relevance:
    """How well the first `CUTOFF` results answer."""
    ranks = target_ranks(results[:CUTOFF], targets)
    found = [rank for rank in ranks if rank is not None]
    to_read = results[: min(found)] if found else results
    return Relevance(
        ndcg10=_ndcg(found, len(targets)),
        mrr=1 / min(found) if found else 0.0,
        recall5=sum(rank <= 5 for rank in found) / len(targets),
        recall10=len(found) / len(targets),
        tokens_to_first_hit=sum(result.tokens for result in to_read),
    )


def target_ranks(results: Sequence[Result], targets: Sequence[Target]) -> list[int | None]:
    """For each target the rank, counted from 1, of the first result that hits it."""
    return [
        next((rank for rank, result in enumerate(results, 1) if target.is_hit_by(result)), None) for target in targets
    ]


def _ndcg(ranks: Iterable[int], target_count: int) -> float:
    """Binary gains; targets that the same result hits count once, as the dataset's authors have it."""
    ideal = sum(_gain(rank) for rank in range(1, min(CUTOFF, target_count) + 1))
    return sum(_gain(rank) for rank in set(ranks)) / ideal if ideal else 0.0


def _gain(rank: int) -> float:
    return 1 / math.log2(rank + 1)
