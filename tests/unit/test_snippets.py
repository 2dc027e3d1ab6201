from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.search.query import analyse
from codebase_mcp.search.snippets import (
    BEST_LINES,
    CHARACTERS_PER_TOKEN,
    LINE_CHARACTERS,
    PLACE_CHARACTERS,
    best_lines,
    fit,
    location,
    signature,
)
from codebase_mcp.storage.search_store import ChunkRow

FUNCTION = '''# reads one cookie
@cached
def parse_cookie(text):
    """Parse it."""
    return text
'''


def chunk(content: str, symbol: str | None = None, start: int = 10) -> ChunkRow:
    return ChunkRow(1, start, start + content.count("\n"), "function", symbol, content)


def test_within_the_budget_every_chunk_is_whole() -> None:
    snippets = fit([chunk("a\n"), chunk("b\n")], ["/a", "/b"], analyse("a"), 6000)
    assert [(item.content, item.form, item.start_line) for item in snippets] == [
        ("a\n", "full", 10), ("b\n", "full", 10),
    ]  # fmt: skip


def test_over_the_budget_the_last_hits_shrink_first() -> None:
    long = "\n".join(f"line {number}" for number in range(60))
    chunks = [chunk(long)] * 3
    forms = []
    for max_tokens in (537, 387, 167, 72, 54):
        forms.append([item.form for item in fit(chunks, ["/p"] * 3, analyse("line"), max_tokens)])
    assert forms == [
        ["full", "full", "full"],
        ["full", "full", "lines"],
        ["lines", "lines", "lines"],
        ["signature", "signature", "signature"],
        ["location", "location", "location"],
    ]


def test_when_not_even_the_places_fit_the_last_hits_are_left_out() -> None:
    snippets = fit([chunk("x\n")] * 20, ["/p"] * 20, analyse("x"), 200)
    assert len(snippets) == int(200 * CHARACTERS_PER_TOKEN // (PLACE_CHARACTERS + 2))
    assert {item.form for item in snippets} == {"location"}


def test_the_best_lines_are_those_with_most_of_the_query() -> None:
    lines = [f"filler {number}" for number in range(40)]
    lines[30] = "parse the cookie"
    found = best_lines(chunk("\n".join(lines)), analyse("cookie parse"))
    assert "parse the cookie" in found.content.split("\n")
    assert found.content.count("\n") == BEST_LINES - 1
    assert lines[found.start_line - 10] == found.content.split("\n")[0]


def test_a_signature_is_the_line_that_names_the_symbol() -> None:
    found = signature(chunk(FUNCTION, "Jar.parse_cookie"), analyse("x"))
    assert (found.content, found.start_line) == ("def parse_cookie(text):", 12)


@pytest.mark.parametrize("symbol", [None, "elsewhere"])
def test_without_a_named_line_it_is_the_first_that_is_code(symbol: str | None) -> None:
    assert signature(chunk(FUNCTION, symbol), analyse("x")).content == "def parse_cookie(text):"


def test_a_chunk_of_comments_shows_its_first_line() -> None:
    assert signature(chunk("# only\n# comments\n"), analyse("x")).content == "# only"


def test_endless_lines_are_cut() -> None:
    found = best_lines(chunk("x" * 10_000), analyse("x"))
    assert len(found.content) == LINE_CHARACTERS + 1


def test_a_location_has_no_text() -> None:
    assert (location(chunk(FUNCTION), analyse("x")).content, location(chunk(FUNCTION), analyse("x")).start_line) == (
        "", 10,
    )  # fmt: skip


@given(
    st.lists(st.text("ab \n", max_size=2000), min_size=1, max_size=12),
    st.integers(200, 3000),
)
def test_the_budget_holds_unless_one_place_alone_is_over_it(texts: list[str], max_tokens: int) -> None:
    paths = ["/some/path.py"] * len(texts)
    snippets = fit([chunk(text) for text in texts], paths, analyse("a b"), max_tokens)
    spent = sum(len(item.content) + PLACE_CHARACTERS + len(path) for item, path in zip(snippets, paths, strict=False))
    assert spent <= max_tokens * CHARACTERS_PER_TOKEN or len(snippets) == 1
    assert snippets
