"""How well header vectors alone find the file that a comment was written about, in packages held out from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairs import Bags, Ids, Package, Query

QUERIES_PER_PACKAGE = 300
FEWEST_WORDS = 3


@dataclass(frozen=True, slots=True)
class Score:
    """NDCG@10, mean over packages: `all` comments, those without a word of the file's name, all less such words."""

    all: float
    unnamed: float
    masked: float


def judge(table: NDArray[np.float32], bags: Bags, packages: Sequence[Package]) -> Score:
    columns = np.array([_package_score(table, bags, package) for package in packages])
    return Score(*np.nanmean(columns, axis=0).tolist())


def vectors(table: NDArray[np.float32], bags: Bags, texts: list[Ids]) -> NDArray[np.float32]:
    sums = bags.rows(texts) @ table
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def sampled(package: Package) -> list[Query]:
    queries = [query for kind in ("comment", "head") for query in package.queries[kind]]
    chosen = np.random.default_rng(0).permutation(len(queries))[:QUERIES_PER_PACKAGE]
    return [queries[number] for number in sorted(chosen.tolist())]


def _package_score(table: NDArray[np.float32], bags: Bags, package: Package) -> tuple[float, float, float]:
    queries = sampled(package)
    headers = vectors(table, bags, package.headers)
    gains = _gains(table, bags, package, headers, [(query.chunk, query.words) for query in queries])
    unnamed = np.array([not query.in_name.any() for query in queries])
    stripped = [(query.chunk, query.words[~query.in_name]) for query in queries]
    long_enough = [(chunk, text) for chunk, text in stripped if text.size >= FEWEST_WORDS]
    masked = _gains(table, bags, package, headers, long_enough)
    return float(gains.mean()), float(gains[unnamed].mean()) if unnamed.any() else np.nan, float(masked.mean())


def _gains(
    table: NDArray[np.float32], bags: Bags, package: Package, headers: NDArray[np.float32], asked: list[tuple[int, Ids]]
) -> NDArray[np.float64]:
    cosines = vectors(table, bags, [text for _, text in asked]) @ headers.T
    starts = np.flatnonzero(np.diff(package.file_of, prepend=-1))
    files = np.maximum.reduceat(cosines, starts, axis=1)
    right = files[np.arange(len(asked)), package.file_of[[chunk for chunk, _ in asked]]]
    rank = (files >= right[:, None]).sum(axis=1)
    return np.where(rank <= 10, 1.0 / np.log2(rank + 1), 0.0)
