"""Our own code-search queries: for each, the files of a released package that answer it (see annotated/README.md).

python -m benchmarks.annotations    # the table of that README
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from benchmarks.corpora import SourceDistribution

FOLDER = Path(__file__).resolve().parent / "annotated"
Category = Literal["semantic", "architecture", "symbol"]
Tag = Literal[
    "content", "docs", "error_message", "facade", "paraphrase", "path", "sibling", "snippet", "tests", "trace"
]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Package(Record):
    """A pinned release; `benchmark_root` is where its sources are, empty for the whole of it."""

    name: str
    language: str
    benchmark_root: str = ""
    distribution: SourceDistribution


class Target(Record):
    """A file, relative to the root of the package, and within it the lines that matter, if not all do."""

    path: str
    start_line: Annotated[int, Field(ge=1)] | None = None
    end_line: int | None = None

    @model_validator(mode="after")
    def _span_is_sane(self) -> Target:
        if (self.start_line is None) != (self.end_line is None):
            raise ValueError(f"{self.path}: a span has a start and an end.")
        if self.start_line and self.end_line and self.start_line > self.end_line:
            raise ValueError(f"{self.path}: the span ends before it starts.")
        return self

    @property
    def has_span(self) -> bool:
        return self.start_line is not None


class AnnotatedQuery(Record):
    """`relevant` files answer the query, each of them; `secondary` ones help."""

    query: Annotated[str, Field(min_length=3)]
    category: Category
    relevant: Annotated[tuple[Target, ...], Field(min_length=1)]
    secondary: tuple[Target, ...] = ()
    tags: tuple[Tag, ...] = ()


PACKAGES = TypeAdapter(tuple[Package, ...])
QUERIES = TypeAdapter(tuple[AnnotatedQuery, ...])


def packages() -> tuple[Package, ...]:
    return PACKAGES.validate_json((FOLDER / "repos.json").read_bytes())


def annotated(package: Package) -> tuple[AnnotatedQuery, ...]:
    return QUERIES.validate_json((FOLDER / "annotations" / f"{package.name}.json").read_bytes())


def every_query() -> list[tuple[Package, AnnotatedQuery]]:
    return [(package, query) for package in packages() for query in annotated(package)]


def table() -> str:
    """How many queries there are of each kind, in markdown."""
    found = every_query()
    kinds: dict[str, list[str]] = {
        "package": [f"{package.name} {package.distribution.version}" for package, _ in found],
        "language": [package.language for package, _ in found],
        "category": [query.category for _, query in found],
        "tag": [tag for _, query in found for tag in query.tags],
    }
    rows = [row for kind, values in kinds.items() for row in _counted(kind, values)]
    spans = sum(any(target.has_span for target in query.relevant) for _, query in found)
    return "\n".join(
        ["| | | queries |", "|---|---|---:|", *rows, _row("lines given", "", spans), _row("all", "", len(found))]
    )


def _counted(kind: str, values: Iterable[str]) -> Sequence[str]:
    return [_row(kind, value, number) for value, number in sorted(Counter(values).items())]


def _row(kind: str, value: str, number: int) -> str:
    return f"| {kind} | {value} | {number} |"


if __name__ == "__main__":
    print(table())
