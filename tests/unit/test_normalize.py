from __future__ import annotations

from typing import Any

import pytest

from codebase_mcp.search.models import SearchRequest
from codebase_mcp.search.normalize import cut_query, normalized_request


def normalized(here: str | None = "/code/shop/src", **filters: Any) -> SearchRequest:
    return normalized_request("cookie", "p", here, filters)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["", " ", "null", "None", "any", "*", "undefined"])
def test_filters_that_mean_nothing_are_left_out(word: str) -> None:
    request = normalized(language=word, kind=word, role=word)
    assert (request.language, request.kind, request.role) == (None, None, None)
    assert request.notes == ()


def test_what_is_none_is_as_by_default() -> None:
    filters: dict[str, Any] = dict.fromkeys(("limit", "offset", "max_tokens", "explain", "include_tests", "repository"))
    assert normalized(**filters) == normalized()


def test_numbers_out_of_range_are_moved_to_the_nearest_and_told() -> None:
    request = normalized(limit=100, offset=-1, max_tokens=10**6)
    assert (request.limit, request.offset, request.max_tokens) == (50, 0, 100_000)
    assert request.notes == (
        "limit 100 reduced to 50, the maximum.",
        "offset -1 raised to 0, the minimum.",
        "max_tokens 1,000,000 reduced to 100,000, the maximum.",
    )


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("src/**", "src/**"),
        ("./src/**/*.py", "src/**/*.py"),
        ("src//a.py", "src/a.py"),
        ("/src/**", "/src/**"),
        ("file:///code/shop/a%20b/**", "/code/shop/a b/**"),
        ("../tests/**", "/code/shop/tests/**"),
        ("src/../lib/*.py", "lib/*.py"),
        ("./../tests/**", "/code/shop/tests/**"),
        ("/code/shop/src/../lib", "/code/shop/lib"),
        (" *.py\n", "*.py"),
        ("any", "any"),
        ("", None),
        ("''", None),
        (".", None),
        ("./", None),
        ("/", None),
        ("*", None),
        ("**", None),
        ("./**", None),
    ],
)
def test_a_glob_is_written_as_one_and_left_out_where_it_lets_everything_through(
    glob: str, expected: str | None
) -> None:
    assert normalized(path_glob=glob).path_glob == expected


def test_a_glob_of_a_caller_who_is_nowhere_stays_relative() -> None:
    assert normalized(here=None, path_glob="../tests/**").path_glob == "../tests/**"
    assert normalized(here=None, path_glob="src/../lib").path_glob == "lib"


@pytest.mark.parametrize("query", ["cookie", "x" * 20_000, " " * 30_000 + "x", ""])
def test_a_query_within_the_limit_stays_as_it_is(query: str) -> None:
    request = SearchRequest(query=query, project_id="p")
    assert cut_query(request) == request


def test_a_query_over_the_limit_is_cut_and_says_so_with_both_numbers() -> None:
    request = cut_query(SearchRequest(query="ab" * 10_001, project_id="p", notes=("before",)))
    assert request.query == "ab" * 10_000
    assert request.notes == (
        "before",
        "query cut to its first 20,000 of 20,002 characters; the rest was not searched for.",
    )
