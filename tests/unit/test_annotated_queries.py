"""Our annotated queries are well-formed; that their targets exist is checked where the packages are fetched."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from benchmarks import checkouts
from benchmarks.annotations import (
    FOLDER,
    AnnotatedQuery,
    Package,
    Target,
    every_query,
    packages,
    table,
)
from pydantic import ValidationError

from codebase_mcp.indexing.terms import split_identifier, stem

PACKAGES = packages()
QUERIES = [pytest.param(package, query, id=f"{package.name}: {query.query[:50]}") for package, query in every_query()]


def _stems(text: str) -> set[str]:
    """Of all words in it, whatever their form; "test" is no hint when tests are asked for."""
    found = {stem(part) for word in re.findall(r"[^\W_]+", text) for part in split_identifier(word)}
    return found - {stem("test")}


def test_every_package_has_annotations_and_every_annotation_a_package() -> None:
    names = [package.name for package in PACKAGES]
    assert names == list(dict.fromkeys(names))
    assert {f"{name}.json" for name in names} == {path.name for path in (FOLDER / "annotations").iterdir()}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_pinned_by_version_file_and_hash(package: Package) -> None:
    pinned = package.distribution
    assert pinned.version in pinned.filename
    assert re.fullmatch(r"[0-9a-f]{64}", pinned.sha256)


def test_no_query_is_asked_twice() -> None:
    asked = Counter((package.name, query.query.casefold()) for package, query in every_query())
    assert [query for query, times in asked.items() if times > 1] == []


@pytest.mark.parametrize(("package", "query"), QUERIES)
def test_targets_are_different_files_within_the_package(package: Package, query: AnnotatedQuery) -> None:
    paths = [target.path for target in (*query.relevant, *query.secondary)]
    assert len(paths) == len(set(paths))
    for path in map(PurePosixPath, paths):
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert path.as_posix() in paths


@pytest.mark.parametrize(("package", "query"), QUERIES)
def test_a_query_keeps_what_its_tags_promise(package: Package, query: AnnotatedQuery) -> None:
    assert list(query.tags) == sorted(set(query.tags))
    for path in (PurePosixPath(target.path) for target in query.relevant):
        if "paraphrase" in query.tags:
            assert not _stems(path.stem) & _stems(query.query)
        if "path" in query.tags:
            assert path.as_posix().endswith(re.sub(r":\d+$", "", query.query))
        if "trace" in query.tags:
            assert path.name in query.query
        if "tests" in query.tags:
            assert "test" in path.as_posix()


def test_at_least_half_of_the_questions_avoid_the_words_of_the_file_name() -> None:
    asked = [query for _, query in every_query() if query.category == "semantic"]
    assert 2 * sum("paraphrase" in query.tags for query in asked) >= len(asked)


def test_the_counts_in_the_readme_hold() -> None:
    assert table() in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lines", [(2, 1), (0, 1), (1, None), (None, 1)])
def test_a_span_out_of_order_is_refused(lines: tuple[int | None, int | None]) -> None:
    with pytest.raises(ValidationError):
        Target(path="a.py", start_line=lines[0], end_line=lines[1])


def test_a_query_without_a_target_is_refused() -> None:
    with pytest.raises(ValidationError):
        AnnotatedQuery(query="find it", category="semantic", relevant=())


def test_what_a_checkout_does_not_bear_out_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def found(): ...\n")
    package = PACKAGES[0].model_copy(update={"name": "shop", "benchmark_root": ""})
    queries = [
        _asked("x.found", "a.py", 1),
        _asked("lost", "a.py", 1),
        _asked("found", "a.py", 2),
        _asked("y", "b.py", 1),
    ]
    assert list(checkouts.missing(package, queries, tmp_path)) == [
        "shop: A target lacks the name. Query: 'lost'",
        "shop: a.py has 1 lines, not 2. Query: 'found'",
        "shop: b.py is not a file. Query: 'y'",
    ]


def _asked(name: str, path: str, end_line: int) -> AnnotatedQuery:
    target = Target(path=path, start_line=1, end_line=end_line)
    return AnnotatedQuery.model_construct(query=name, category="symbol", relevant=(target,), secondary=(), tags=())
