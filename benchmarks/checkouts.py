"""Lays out the packages of our annotated queries, and checks that everything the annotations call right is there.

    python -m benchmarks.checkouts --out DIR [--only NAME ...]

Each package lies in DIR/NAME as it was released, the whole of it: sources, tests, examples and documentation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.annotations import AnnotatedQuery, Package, Target, annotated, packages
from benchmarks.corpora import BenchmarkError, unpacked


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    wanted = [item for item in packages() if not options.only or item.name in options.only]
    try:
        problems = [problem for item in wanted for problem in _laid_out(item, options.out)]
    except BenchmarkError as error:
        problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where to; what lies there already is only checked")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", choices=[item.name for item in packages()])
    return parser.parse_args(arguments)


def _laid_out(package: Package, out: Path) -> list[str]:
    root = out / package.name
    if not root.exists():
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out) as scratch:
            unpacked(package.distribution, Path(scratch)).rename(root)
    queries = annotated(package)
    print(f"{package.name}: {len(queries)} queries over {root}")
    return list(missing(package, queries, root))


def missing(package: Package, queries: Sequence[AnnotatedQuery], root: Path) -> Iterator[str]:
    """What the annotations say and the checkout does not bear out."""
    if not (root / package.benchmark_root).is_dir():
        yield f"{package.name}: {package.benchmark_root} is not a directory."
    for query in queries:
        for problem in _problems(query, root):
            yield f"{package.name}: {problem} Query: {query.query!r}"


def _problems(query: AnnotatedQuery, root: Path) -> list[str]:
    targets = (*query.relevant, *query.secondary)
    problems = [problem for target in targets if (problem := _problem(root, target))]
    if not problems and query.category == "symbol" and "path" not in query.tags and not _named(root, query):
        problems.append("A target lacks the name.")
    return problems


def _problem(root: Path, target: Target) -> str | None:
    if not (root / target.path).is_file():
        return f"{target.path} is not a file."
    lines = len((root / target.path).read_bytes().splitlines())
    if target.end_line and target.end_line > lines:
        return f"{target.path} has {lines} lines, not {target.end_line}."
    return None


def _named(root: Path, query: AnnotatedQuery) -> bool:
    name = query.query.replace("::", ".").rpartition(".")[2].encode()
    return all(name in b"\n".join(_span(root, target)) for target in query.relevant)


def _span(root: Path, target: Target) -> list[bytes]:
    lines = (root / target.path).read_bytes().splitlines()
    return lines[(target.start_line or 1) - 1 : target.end_line]


if __name__ == "__main__":
    sys.exit(main())
