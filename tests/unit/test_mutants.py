"""Every mutant still fits the sources, and the published table is about these very mutants."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.faults import mutants
from tests.faults.mutants import MUTANTS, ROOT, Result, table, verdict
from tests.faults.mutation import DoesNotApplyError, Edit, Mutant, apply, mutated


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_to_the_sources_and_leaves_valid_ones(mutant: Mutant) -> None:
    after: dict[str, str] = {}
    for edit in mutant.edits:
        after[edit.path] = mutated(after.get(edit.path, source(edit.path)), edit)
    for path, text in after.items():
        assert text != source(path)
        if path.endswith(".py"):
            ast.parse(text)


@cache
def named_in(path: str) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", source(path), re.MULTILINE))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_must_notice_a_mutant_exist(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert name.partition("[")[0] in named_in(path)


def test_no_two_mutants_share_a_name_or_are_tried_twice_with_the_same_tests() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.edits, mutant.tests) for mutant in MUTANTS}) == len(MUTANTS)


def test_the_published_table_has_a_line_for_each_mutant() -> None:
    _, begin, rest = source("docs/jobs.md").partition(mutants.BEGIN)
    lines = rest.partition(mutants.END)[0].strip().splitlines()
    assert begin
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:2] for row in rows] == [[mutant.name, mutant.removes] for mutant in MUTANTS]
    for row, mutant in zip(rows, MUTANTS, strict=True):
        assert any(test.partition("::")[2].partition("[")[0] in row[2] for test in mutant.tests), row


# --- how an edit finds its place ---

TWO = "def one():\n    return (\n        1\n    )\n\n\nasync def two():\n    return 1\n"


def test_an_edit_is_made_in_the_part_that_it_names() -> None:
    changed = mutated(TWO, Edit("x.py", "1", "7", within="async def two():"))
    assert changed == TWO.replace("return 1", "return 7")
    changed = mutated(TWO, Edit("x.py", "1", "7", within="def one():"))
    assert changed == TWO.replace("        1", "        7")


def test_a_part_of_sql_ends_where_the_next_statement_begins() -> None:
    text = "-- name: a\nSELECT 1;\n\n-- name: b\nSELECT 1;\n"
    assert mutated(text, Edit("q.sql", "1", "2", within="-- name: a\n")).endswith("SELECT 1;\n")
    assert mutated(text, Edit("q.sql", "1", "2", within="-- name: b\n")).endswith("SELECT 2;\n")


@pytest.mark.parametrize(
    ("old", "within"), [("return", None), ("nowhere", None), ("1", "def three():"), ("nowhere", "def one():")]
)
def test_an_edit_that_does_not_fit_exactly_once_is_refused(old: str, within: str | None) -> None:
    with pytest.raises(DoesNotApplyError, match=r"^x\.py: "):
        mutated(TWO, Edit("x.py", old, "", within))


# --- what counts as caught ---


OUTPUT = (
    "... \nFAILED tests/x.py::test_a[some words] - AssertionError: 1 - 2\nERROR tests/x.py::test_b\n2 failed in 1 s"
)


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (1, OUTPUT, "caught"),
        (1, "ERROR tests/x.py::test_b - AssertionError: invariants violated:", "caught"),
        (1, "ERROR tests/x.py::test_b - ConnectionError: no database", "BROKEN"),
        (2, "no tests ran", "BROKEN"),
        (0, "1 passed", "SURVIVED"),
    ],
)
def test_only_a_check_that_failed_has_caught_a_mutant(code: int, output: str, expected: str) -> None:
    assert verdict(Result(code, 1.0, output)) == expected


def test_the_red_tests_are_read_from_the_summary() -> None:
    result = Result(1, 1.0, OUTPUT)
    assert result.red == ["tests/x.py::test_a[some words]", "tests/x.py::test_b"]
    assert result.caught_by == "tests/x.py::test_a[some words]"


def test_a_mutant_is_undone(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(TWO)
    mutant = Mutant("m", "r", (Edit("x.py", "async ", ""), Edit("x.py", "def one", "def three")), ("t",))
    undo = apply(tmp_path, mutant)
    assert (tmp_path / "x.py").read_text() == TWO.replace("async ", "").replace("def one", "def three")
    undo()
    assert (tmp_path / "x.py").read_text() == TWO


def test_the_table_names_the_test_that_turned_red() -> None:
    results = {mutant.name: Result(1, 2.4, "FAILED tests/faults/test_x.py::test_y[1] - no") for mutant in MUTANTS}
    lines = table(results).splitlines()
    assert len(lines) == len(MUTANTS) + 2
    assert lines[2] == f"| {MUTANTS[0].name} | {MUTANTS[0].removes} | `test_x`: test_y | 2 |"


def test_an_unknown_mutant_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such mutant: nobody"):
        mutants.main(["--only", "nobody"])
