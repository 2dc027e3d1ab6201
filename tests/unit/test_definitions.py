"""Each file of `definition_cases` is a source, a line of dashes, and the definitions in it as `_written` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from codebase_mcp.domain import Chunk, Definition
from codebase_mcp.indexing.chunk import chunk_file
from codebase_mcp.indexing.definition_queries import KINDS, definition_query
from codebase_mcp.indexing.definitions import HEADER_NAMES, MAX_NAME_LENGTH, header_names
from codebase_mcp.indexing.languages import Language
from codebase_mcp.indexing.syntax import grammar_named

CASES = sorted((Path(__file__).parent / "definition_cases").glob("*.txt"))
QUERIES = sorted((Path(__file__).parents[2] / "src/codebase_mcp/indexing/queries").glob("*.scm"))


def definitions_of(source: str, grammar: str) -> tuple[Definition, ...]:
    return chunk_file(source, Language(grammar, grammar)).definitions


def _written(definition: Definition) -> str:
    parent = f"{definition.parent} . " if definition.parent else ""
    declared = " declared" if definition.is_declaration else ""
    lines = f"{definition.start_line}-{definition.end_line}"
    return f"{lines} {definition.kind} {parent}{definition.name} @{definition.depth}{declared}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_languages_definitions_are_found(case: Path) -> None:
    source, _, expected = case.read_text("utf-8").rpartition("----\n")
    assert [_written(d) for d in definitions_of(source, case.stem)] == expected.splitlines()


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.stem)
def test_every_query_fits_its_grammar_and_names_known_kinds(query: Path) -> None:
    compiled = definition_query(query.stem)
    assert compiled is not None
    labels = {compiled.capture_name(i).partition(".")[0] for i in range(compiled.capture_count)}
    helpers = {"name", "owner", "scope", "body", "import"}
    assert {label for label in labels if not label.startswith("_")} <= KINDS | helpers


def test_every_query_has_a_case() -> None:
    assert {query.stem for query in QUERIES} <= {case.stem for case in CASES} | {"hcl"}


@pytest.mark.parametrize(
    ("grammar", "source", "names"),
    [
        ("ispc", "struct S { float a; };\nvoid f() { }\n", ["S", "f"]),
        ("fish", "function greet\n echo\nend\n", ["greet"]),
        ("json", '{"function": 1}', []),
    ],
)
def test_a_grammar_without_a_query_of_its_own_falls_back(grammar: str, source: str, names: list[str]) -> None:
    assert [d.name for d in definitions_of(source, grammar)] == names


def test_locals_are_no_definitions() -> None:
    source = "def f():\n    local = 1\n    for i in range(3):\n        other = i\n"
    assert [d.name for d in definitions_of(source, "python")] == ["f"]


def test_the_parts_of_a_method_written_outside_its_class_are_told_apart() -> None:
    (method,) = definitions_of("template <class T> int ns::Box<T>::size() const { return 1; }\n", "cpp")
    assert (method.name, method.parent, method.kind, method.depth) == ("size", "ns::Box", "method", 1)


def test_a_broken_source_still_gives_its_readable_definitions() -> None:
    source = "def good():\n    pass\n\ndef broken(:\n    ((\n\nclass Fine:\n    pass\n"
    assert "good" in [d.name for d in definitions_of(source, "python")]


def test_names_and_depths_have_limits() -> None:
    name = "n" * 500
    (long_name,) = definitions_of(f"def {name}(): pass\n", "python")
    assert long_name.name == name[:MAX_NAME_LENGTH]
    nested = "".join(" " * level + "def f():\n" for level in range(300)) + " " * 300 + "pass\n"
    depths = [d.depth for d in definitions_of(nested, "python")]
    assert depths == sorted(depths)
    assert len(depths) > 50


def test_definitions_come_in_order_of_appearance() -> None:
    for case in CASES:
        source = case.read_text("utf-8").rpartition("----\n")[0]
        starts = [d.start_line for d in definitions_of(source, case.stem)]
        assert starts == sorted(starts), case.stem


def test_scripts_in_a_page_keep_the_lines_of_the_page() -> None:
    source = "<p>one</p>\n<script>\nfunction first() {}\n</script>\n<p/>\n<script>\nclass Second {}\n</script>\n"
    found = [(d.name, d.kind, d.start_line) for d in definitions_of(source, "html")]
    assert found == [("first", "function", 3), ("Second", "class", 7)]


def test_several_equations_of_one_function_are_one_definition() -> None:
    source = "f :: Int -> Int\nf 0 = 1\nf n = n * f (n - 1)\n\ng = 2\n"
    assert [(d.name, d.start_line, d.end_line) for d in definitions_of(source, "haskell")] == [("f", 2, 3), ("g", 5, 5)]


def _definitions(*starts: int) -> Iterator[Definition]:
    for start in starts:
        yield Definition(f"n{start}", "function", start, start + 100, 0, None, False)


def test_a_header_has_the_first_names_that_start_in_its_chunk() -> None:
    chunk = Chunk(0, 10, 29, "block", None, "")
    definitions = list(_definitions(1, 9, 10, 11, 11, *range(12, 40)))
    names = header_names(definitions, chunk)
    assert names == [f"n{line}" for line in range(10, 10 + HEADER_NAMES)]
    assert header_names(definitions, Chunk(1, 200, 210, "block", None, "")) == []


def test_an_unknown_grammar_is_an_error() -> None:
    with pytest.raises(LookupError):
        grammar_named("klingon")
