"""Contrastive training of a token table: a query's vector nearer to its header than to others of the same package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pairs import Bags, Ids, Package, Query

Table = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """`shares` are the parts of comments, file heads, remarks and bodies among the queries; `*_masked` are chances."""

    steps: int = 300
    planned_steps: int = 420
    groups: int = 16
    group_size: int = 128
    temperature: float = 0.07
    row_rate: float = 0.004
    weight_rate: float = 0.02
    warm_up: int = 30
    shares: tuple[float, ...] = (0.5, 0.1, 0.15, 0.25)
    name_masked: float = 0.4
    header_masked: float = 0.1
    size_power: float = 0.7
    seed: int = 0


@dataclass(slots=True)
class Adam:
    rate: float
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    count: int = 0

    @classmethod
    def of(cls, values: NDArray[np.float32], rate: float) -> Adam:
        return cls(rate, np.zeros_like(values), np.zeros_like(values))

    def step(self, values: NDArray[np.float32], gradient: NDArray[np.float32], pace: float) -> None:
        self.count += 1
        self.first *= 0.9
        self.first += 0.1 * gradient
        self.second *= 0.99
        self.second += 0.01 * gradient**2
        size = self.rate * pace * np.sqrt(1 - 0.99**self.count) / (1 - 0.9**self.count)
        values -= np.float32(size) * self.first / (np.sqrt(self.second) + np.float32(1e-8))


@dataclass(slots=True)
class Learner:
    """A row of the table is `exp(log_weight) * direction`."""

    directions: Table
    log_weights: NDArray[np.float32]
    recipe: Recipe

    def __post_init__(self) -> None:
        self.directions, self.log_weights = self.directions.copy(), self.log_weights.copy()

    @property
    def table(self) -> Table:
        return np.exp(self.log_weights)[:, None] * self.directions

    def learn(self, packages: Sequence[Package], bags: Bags) -> Iterator[int]:
        """Takes the recipe's steps, and answers after each how many were taken."""
        recipe = self.recipe
        rng = np.random.default_rng(recipe.seed)
        rows, weights = Adam.of(self.directions, recipe.row_rate), Adam.of(self.log_weights, recipe.weight_rate)
        chances = _chances(packages, recipe)
        for step in range(recipe.steps):
            pace = min(1.0, (step + 1) / recipe.warm_up) * max(0.0, 1 - step / recipe.planned_steps)
            gradient = self._gradient(_batch(packages, chances, recipe, rng), bags)
            scale = np.exp(self.log_weights)
            weights_gradient = (gradient * self.directions).sum(axis=1) * scale
            gradient *= scale[:, None]
            rows.step(self.directions, gradient, pace)
            weights.step(self.log_weights, weights_gradient, pace)
            yield step + 1

    def _gradient(self, batch: Batch, bags: Bags) -> Table:
        asked, found = bags.rows(batch.queries), bags.rows(batch.headers)
        table = self.table
        query, query_length = _unit(asked @ table)
        header, header_length = _unit(found @ table)
        at_query, at_header = np.zeros_like(query), np.zeros_like(header)
        size = self.recipe.group_size
        for start in range(0, len(query), size):
            part = slice(start, start + size)
            slope = self._slope(query[part] @ header[part].T, batch.files[part])
            at_query[part] = slope @ header[part]
            at_header[part] = slope.T @ query[part]
        at_query = _through_unit(at_query, query, query_length)
        at_header = _through_unit(at_header, header, header_length)
        gradient: Table = asked.T @ at_query + found.T @ at_header
        return gradient

    def _slope(self, cosines: Table, files: Ids) -> Table:
        """The loss' derivative by each cosine: other headers of the query's own file are no wrong answers."""
        logits = cosines / np.float32(self.recipe.temperature)
        same = files[:, None] == files[None, :]
        np.fill_diagonal(same, False)
        logits[same] = -1e4
        one = np.eye(len(files), dtype=np.float32)
        slope = _softmax(logits) - one
        return slope / np.float32(self.recipe.temperature * self.recipe.groups * self.recipe.group_size)


@dataclass(frozen=True, slots=True)
class Batch:
    queries: list[Ids]
    headers: list[Ids]
    files: Ids


def _chances(packages: Sequence[Package], recipe: Recipe) -> NDArray[np.float64]:
    """A package's chance grows with its size; the languages share the chances of a batch by the root of their sizes."""
    languages = [package.languages.most_common(1)[0][0] for package in packages]
    sizes = np.array([sum(map(len, package.queries.values())) for package in packages])
    totals: Counter[str] = Counter()
    for size, language in zip(sizes, languages, strict=True):
        totals[language] += size
    chances = sizes / np.array([totals[language] for language in languages]) ** (1 - recipe.size_power)
    return np.asarray(chances / chances.sum())


def _batch(packages: Sequence[Package], chances: NDArray[np.float64], recipe: Recipe, rng: Generator) -> Batch:
    queries: list[Ids] = []
    headers: list[Ids] = []
    files: list[int] = []
    for number in rng.choice(len(packages), size=recipe.groups, p=chances):
        package = packages[number]
        for query in _drawn(package, recipe, rng):
            chunk = _answer(package, query, rng)
            queries.append(_asked(query, recipe, rng))
            headers.append(package.headers[chunk])
            files.append(int(package.file_of[chunk]))
    return Batch(queries, headers, np.array(files, dtype=np.int64))


def _drawn(package: Package, recipe: Recipe, rng: Generator) -> list[Query]:
    kinds = [pair for pair in zip(package.queries.values(), recipe.shares, strict=True) if pair[0]]
    shares = np.array([share for _, share in kinds]) / sum(share for _, share in kinds)
    picks = rng.choice(len(kinds), size=recipe.group_size, p=shares)
    return [kinds[pick][0][rng.integers(len(kinds[pick][0]))] for pick in picks]


def _answer(package: Package, query: Query, rng: Generator) -> int:
    """The chunk to be found: of what heads a file, one of its first three."""
    if query.kind != "head":
        return query.chunk
    last = min(query.chunk + 3, len(package.headers))
    same = [chunk for chunk in range(query.chunk, last) if package.file_of[chunk] == package.file_of[query.chunk]]
    return same[rng.integers(len(same))]


def _asked(query: Query, recipe: Recipe, rng: Generator) -> Ids:
    if query.kind == "body":
        count = min(len(query.words), int(rng.integers(3, 11)))
        return rng.choice(query.words, size=count, replace=False, p=query.rarity / query.rarity.sum())
    chance = rng.random()
    hidden = query.in_header if chance < recipe.header_masked else query.in_name
    if chance < recipe.name_masked and (~hidden).sum() >= 3:
        return query.words[~hidden]
    return query.words


def _unit(sums: Table) -> tuple[Table, Table]:
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9).astype(np.float32)
    return sums / lengths, lengths


def _through_unit(gradient: Table, unit: Table, lengths: Table) -> Table:
    return (gradient - unit * (gradient * unit).sum(axis=1, keepdims=True)) / lengths


def _softmax(logits: Table) -> Table:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def averaged(learners: Sequence[Learner]) -> Learner:
    """The mean of runs from one start: their directions and weights may be added."""
    mean = Learner(learners[0].directions, learners[0].log_weights, replace(learners[0].recipe))
    mean.directions = np.mean([learner.directions for learner in learners], axis=0, dtype=np.float32)
    mean.log_weights = np.mean([learner.log_weights for learner in learners], axis=0, dtype=np.float32)
    return mean
