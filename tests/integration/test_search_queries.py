"""Whatever is asked is answered: with results, or with words that say why there are none."""

from __future__ import annotations

import pytest

from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.search import wording
from codebase_mcp.storage.index_store import Target
from tests.support.shelf import Shelf

FRAME = '  File "/lib/frame{n}.py", line {n}, in handler_{n}\n    return call_{n}(value)\n'
LAST = '  File "/srv/shop/cookie.py", in add\nValueError: CookieJar full\n'
TRACE = "Traceback (most recent call last):\n" + "".join(FRAME.format(n=n) for n in range(150)) + LAST


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("query", ["🦄", "?!", "→ ✓", "_", "=", "x" * 2_000, "\ud800"])
async def test_a_query_without_words_is_answered_with_nothing_and_the_reason(shelf: Shelf, query: str) -> None:
    answer = await shelf.search(query)
    assert (answer.results, answer.total_count) == ([], 0)
    assert "no letters or digits that could be looked up" in answer.warnings[0]


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("query", [r"class\s+Cookie\w*", r"def add\(self, cookie\)", r"cookie.*jar", r"\bCookieJar\b"])
async def test_a_regular_expression_finds_its_words_and_says_so(shelf: Shelf, query: str) -> None:
    answer = await shelf.search(query)
    assert answer.results[0].file_path.endswith("shop/cookie.py")
    assert "looks like a regular expression" in answer.warnings[0]


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    "query",
    ["SELECT * FROM cookie WHERE id = 1; --", "'; DROP TABLE cookie; --", "%(cookie)s :x $1"],
)
async def test_a_statement_of_sql_is_words_like_any_other(shelf: Shelf, query: str) -> None:
    answer = await shelf.search(query)
    assert "shop/cookie.py" in [hit.file_path.removeprefix("/src/shop/") for hit in answer.results]
    assert answer.warnings == []


@pytest.mark.usefixtures("shop")
async def test_a_stack_trace_is_found_by_its_rarest_words_and_says_how_many(shelf: Shelf) -> None:
    assert len(TRACE) > 10_000
    answer = await shelf.search(TRACE)
    assert answer.results[0].file_path.endswith("shop/cookie.py")
    assert "distinct terms: it was ranked by the 100 of them" in answer.warnings[0]


async def test_a_long_query_looks_up_no_more_postings_than_a_short_one(
    shelf: Shelf, shop: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wording, "MAX_TERMS", 2)
    await shelf.write(shop, {f"shop/c{n}.py": "def cookie():\n    pass\n" for n in range(20)})
    answer = await shelf.search("cookie session router")
    assert "ranked by the 2 of them" in answer.warnings[0]
    assert {hit.file_path for hit in answer.results} >= {"/src/shop/shop/session.go", "/src/shop/shop/router.py"}


@pytest.mark.usefixtures("shop")
async def test_what_is_refused_says_with_numbers_and_names_what_would_be_right(shelf: Shelf) -> None:
    for query, fields, words in (
        ("", {}, "query is empty. Say what to look for"),
        (" \n\t", {}, "query is empty"),
        ("x", {"language": "klingon"}, "language 'klingon' is not known. Known are python, "),
        ("x", {"language": "typscript"}, "Did you mean 'typescript'"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            await shelf.search(query, **fields)
    with pytest.raises(RepositoryNotFoundError, match=r"start_indexing_background .* `codebase-mcp index PATH`"):
        await shelf.search("x", repository="/src/other")


async def test_a_project_in_which_nothing_is_indexed_says_how_to_index(shelf: Shelf) -> None:
    (warning,) = (await shelf.search("cookie")).warnings
    assert warning.startswith("Nothing is indexed in project 'search-tests'. Index a repository first:")
