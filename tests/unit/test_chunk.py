from __future__ import annotations

import itertools
import os
import sysconfig
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase_mcp.domain import Chunk
from codebase_mcp.indexing.chunk import BUDGET, ParsedText, chunk_file
from codebase_mcp.indexing.chunk_names import CHUNK_KINDS
from codebase_mcp.indexing.languages import TEXT, Language, detect_language, language_named
from codebase_mcp.indexing.syntax import parse_text

PYTHON = language_named("python")
CASES = sorted((Path(__file__).parent / "definition_cases").glob("*.txt"))
FILES_PER_LANGUAGE = 4


def weight(text: str) -> int:
    return len("".join(text.split()))


def check_tiling(text: str, parsed: ParsedText) -> None:
    chunks = parsed.chunks
    assert "".join(chunk.content for chunk in chunks) == text
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    line = 1
    for chunk in chunks:
        assert chunk.start_line == line
        assert chunk.end_line == line + chunk.content.count("\n") - chunk.content.endswith("\n")
        assert chunk.content
        assert chunk.kind in CHUNK_KINDS
        assert weight(chunk.content) <= 2 * BUDGET or chunk.start_line == chunk.end_line
        line = chunk.end_line + 1
    assert all(chunk.content.endswith("\n") for chunk in chunks[:-1])
    assert all(1 <= d.start_line <= d.end_line < line for d in parsed.definitions)


def chunked(text: str, language: Language = PYTHON) -> tuple[Chunk, ...]:
    parsed = chunk_file(text, language)
    check_tiling(text, parsed)
    return parsed.chunks


def function(name: str, weight_in_lines: int = 10) -> str:
    return f"def {name}():\n" + "".join(f"    value_{i} = compute({i})\n" for i in range(weight_in_lines)) + "\n\n"


# Tiling


WEIRD = st.sampled_from(
    ["\n", "\r\n", "\r", "\f", "\v", "\u2028", "\u2029", "\x85", "\ufeff", "\t", " ", "\x00", "é", "😀"]
)
WORDS = st.sampled_from(
    [*"{}()[]:;,=#\"'`", "=>", "//", "/*", "*/", "<a>", "</a>", "---", "```", "def", "class", "end"]
)
SOURCES = st.lists(st.one_of(WEIRD, WORDS, st.text(max_size=8), st.integers().map(str)), max_size=120).map("".join)
GRAMMARS = [
    "python",
    "javascript",
    "typescript",
    "c++",
    "ruby",
    "html",
    "yaml",
    "haskell",
    "markdown",
    "json",
    "text",
    "vue",
]


@given(source=SOURCES, name=st.sampled_from(GRAMMARS), repeats=st.sampled_from([1, 1, 40]))
@settings(deadline=None, max_examples=150)
def test_chunks_tile_whatever_the_text(source: str, name: str, repeats: int) -> None:
    text = source * repeats
    check_tiling(text, chunk_file(text, language_named(name)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_chunks_tile_sources_of_every_language(case: Path) -> None:
    source = case.read_text("utf-8").rpartition("----\n")[0]
    text = source * (1 + 8 * BUDGET // len(source))
    parsed = chunk_file(text, Language(case.stem, case.stem))
    check_tiling(text, parsed)
    assert len(parsed.chunks) > 3
    check_tiling(text.replace("\n", "\r\n"), chunk_file(text.replace("\n", "\r\n"), Language(case.stem, case.stem)))


@cache
def installed_files() -> dict[str, list[Path]]:
    """A few files of each language that come with Python, its packages and the system."""
    found: dict[str, list[Path]] = {}
    for path in itertools.islice(_files_below(sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")), 8_000):
        files = found.setdefault(detect_language(path.name, "").name, [])
        if len(files) < FILES_PER_LANGUAGE and 2_000 < path.stat().st_size < 100_000:
            files.append(path)
    return {name: files for name, files in found.items() if files}


def _files_below(*places: str) -> Iterator[Path]:
    for place in places:
        for directory, _, names in os.walk(place):
            yield from (path for name in names if (path := Path(directory, name)).is_file())


def test_chunks_tile_the_files_installed_here() -> None:
    languages = installed_files()
    assert {"python", "text"} <= set(languages)
    for files in languages.values():
        for path in files:
            text = path.read_bytes().decode("utf-8", "replace")
            check_tiling(text, chunk_file(text, detect_language(str(path), text[:2_000])))


def test_an_empty_text_has_no_chunks() -> None:
    assert chunk_file("", PYTHON) == ParsedText((), ())


@pytest.mark.parametrize("text", ["\n", "\n\n\n", "x", "\r", "\ufeff", "\ufeffx = 1\r\n", "a\u2028b\x0cc\n"])
@pytest.mark.parametrize("language", [PYTHON, TEXT, language_named("markdown"), language_named("css")])
def test_the_smallest_texts_are_one_chunk(text: str, language: Language) -> None:
    (chunk,) = chunked(text, language)
    assert chunk.content == text


def test_the_same_text_gives_the_same_chunks() -> None:
    text = "".join(function(f"f{i}") for i in range(30))
    assert chunk_file(text, PYTHON) == chunk_file(text, PYTHON)


@pytest.mark.parametrize(
    ("language", "opening", "closing"),
    [
        ("python", "(", ")"),
        ("json", "[", "]"),
        ("javascript", "(\n", ")\n"),
        ("json", '{"a":\n', "}\n"),
        ("c", "{\n", "}\n"),
    ],
)
def test_deep_nesting_is_no_obstacle(language: str, opening: str, closing: str) -> None:
    depth = 20_000
    chunked(opening * depth + closing * depth, language_named(language))


def test_a_line_longer_than_the_budget_stays_one_chunk() -> None:
    text = "a = 1\n" + "b = [" + "1, " * 5_000 + "]\n" + "c = 2\n"
    assert any(weight(chunk.content) > 2 * BUDGET for chunk in chunked(text))


def test_parsing_keeps_nothing_of_the_source() -> None:
    text = "object A {\n" + "".join(f"  def f{i}(x: Int) =\n    x + {i}\n" for i in range(3_000)) + "}\n"
    parse_text(text, "scala")
    tracemalloc.start()
    parse_text(text, "scala")
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < len(text)


def test_a_text_that_fits_no_rule_is_cut_as_text() -> None:
    parsed = chunk_file("(\n" * 20_000 + "function f() {}\n", language_named("javascript"))
    check_tiling("(\n" * 20_000 + "function f() {}\n", parsed)
    assert parsed.parser_gave_up
    assert parsed.definitions == ()
    assert {chunk.kind for chunk in parsed.chunks} == {"text"}
    assert not chunk_file("(\n" * 20_000, TEXT).parser_gave_up


# Where cuts fall


def test_small_functions_share_a_chunk_and_none_is_cut() -> None:
    text = "".join(function(f"f{i}") for i in range(40))
    chunks = chunked(text)
    assert all(chunk.content.startswith("def ") for chunk in chunks)
    assert all(BUDGET / 2 < weight(chunk.content) <= BUDGET for chunk in chunks[:-1])


def test_a_large_class_is_split_into_methods_and_its_head_stays_with_the_first() -> None:
    methods = "".join(
        f"    def m{i}(self):\n" + "".join(f"        self.value_{j} = {j}\n" for j in range(60)) + "\n"
        for i in range(5)
    )
    text = f'{function("first")}@register\nclass Large(Base):\n    """Says what it is."""\n\n{methods}'
    chunks = chunked(text)
    assert [chunk.symbol for chunk in chunks] == ["first", "Large", "Large.m1", "Large.m2", "Large.m3", "Large.m4"]
    assert chunks[1].content.startswith("@register\nclass Large(Base):\n")
    assert "def m0" in chunks[1].content
    assert [chunk.kind for chunk in chunks[2:]] == ["method"] * 4


def test_the_head_of_a_large_function_stays_with_its_first_statements() -> None:
    chunks = chunked(function("small") + function("large", 300))
    assert chunks[1].content.startswith("def large():\n    value_0")
    assert (chunks[1].symbol, chunks[1].kind) == ("large", "function")
    assert all(chunk.symbol is None and chunk.kind == "function" for chunk in chunks[2:])


@pytest.mark.parametrize("body_lines", [58, 60, 62, 64, 66, 68, 70])
def test_the_head_of_a_function_just_over_the_budget_is_no_chunk_of_its_own(body_lines: int) -> None:
    name = "a_function_with_a_long_name_" * 4
    chunks = chunked(function("small", 60) + function(name, body_lines))
    assert all(chunk.content.count("\n") > 1 for chunk in chunks)


def test_statements_that_fit_are_not_split_for_the_sake_of_what_precedes_them() -> None:
    loops = "".join(f"    for i in range({i}):\n" + "        do_something_useful(i)\n" * 35 for i in range(8))
    chunks = chunked("def large():\n" + loops)
    assert all(chunk.content.startswith("    for") for chunk in chunks[1:])


def test_comments_and_decorators_stay_with_what_they_precede() -> None:
    parts = [f"# About f{i}.\n# More.\n@cached\n{function(f'f{i}', 30)}" for i in range(8)]
    assert all(chunk.content.startswith("# About") for chunk in chunked("".join(parts)))


def test_a_comment_before_a_blank_line_need_not_stay() -> None:
    licence = "# Licence.\n" * 200 + "\n"
    chunks = chunked(licence + function("f"))
    assert chunks[-1].content.startswith("def f")


def test_a_comment_too_long_for_that_stands_alone() -> None:
    comment = "# A long story about what follows.\n" * 50
    chunks = chunked(comment + function("large", 100))
    (index,) = [i for i, chunk in enumerate(chunks) if chunk.symbol == "large"]
    assert chunks[index].content.startswith("def large():\n    value_0")
    assert "def large" not in chunks[index - 1].content


def test_attributes_and_doc_comments_stay_with_an_item() -> None:
    items = "".join(
        f"/// About {i}.\n#[inline]\nfn f{i}() {{\n" + "    step_by_step();\n" * 50 + "}\n\n" for i in range(6)
    )
    assert all(chunk.content.startswith("/// About") for chunk in chunked(items, language_named("rust")))


def test_a_closing_bracket_is_no_chunk_of_its_own() -> None:
    body = "".join(f"  m{i}() {{\n" + "    this.step();\n" * 100 + "  }\n" for i in range(4))
    chunks = chunked(f"class A {{\n{body}}}\n", language_named("javascript"))
    assert chunks[-1].content.endswith("  }\n}\n")
    assert weight(chunks[-1].content) > 200


def test_branches_joined_on_one_line_are_still_split() -> None:
    branch = "    do_something_useful();\n" * 100
    chunks = chunked(
        f"if (a) {{\n{branch}}} else if (b) {{\n{branch}}} else {{\n{branch}}}\n", language_named("javascript")
    )
    assert len(chunks) > 3


def test_a_huge_literal_is_cut_between_lines() -> None:
    chunks = chunked('text = """\n' + "some words of a long text\n" * 500 + '"""\n')
    assert len(chunks) > 5


def test_text_is_cut_at_blank_lines() -> None:
    paragraph = "word " * 60 + "\n"
    chunks = chunked((paragraph * 4 + "\n") * 20, TEXT)
    assert all(chunk.content.endswith("\n\n") for chunk in chunks)
    assert {chunk.kind for chunk in chunks} == {"text"}


def test_text_without_blank_lines_is_cut_at_its_least_indented_lines() -> None:
    item = "job:\n" + "  step: do something useful\n" * 20
    chunks = chunked(item * 20, language_named("yaml"))
    assert all(chunk.content.startswith("job:") for chunk in chunks)
    assert {chunk.kind for chunk in chunks} == {"config"}


def test_blank_lines_alone_do_not_make_one_endless_chunk() -> None:
    assert len(chunked("\n" * 10_000, TEXT)) > 3


def test_a_script_in_a_page_is_split_as_code() -> None:
    functions = "".join(f"function f{i}() {{\n" + "  step();\n" * 150 + "}\n" for i in range(4))
    chunks = chunked(f"<template>\n<p/>\n</template>\n<script>\n{functions}</script>\n", language_named("vue"))
    assert [chunk.symbol for chunk in chunks if chunk.symbol] == ["f0", "f1", "f2", "f3"]


# What a chunk is called


def test_a_chunk_of_many_small_things_is_a_block_named_by_the_largest() -> None:
    (chunk,) = chunked("A = 1\n\n\n" + function("first", 2) + function("second", 5) + function("third", 2))
    assert (chunk.kind, chunk.symbol) == ("block", "second")


def test_a_chunk_without_definitions_is_named_by_its_category() -> None:
    assert chunked("print(1)\n")[0].kind == "block"
    assert chunked('{"a": 1}\n', language_named("json"))[0].kind == "config"
    assert chunked("<p>hello</p>\n", language_named("html"))[0].kind == "text"
    assert chunked("key=value\n", language_named("gosum"))[0].kind == "config"


def test_a_type_counts_before_the_namespace_around_it_and_a_prototype_last() -> None:
    (chunk,) = chunked("namespace n {\nint f(int a);\nclass A {\n  int g();\n};\n}\n", language_named("c++"))
    assert (chunk.kind, chunk.symbol) == ("class", "n.A")


def test_an_announcement_names_a_chunk_that_has_nothing_else() -> None:
    (chunk,) = chunked("int f(int a);\n", language_named("c"))
    assert (chunk.kind, chunk.symbol) == ("function", "f")
