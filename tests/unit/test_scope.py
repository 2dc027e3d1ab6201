from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import Role
from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.search.models import SearchRequest
from codebase_mcp.search.scope import allowed_files, check_request, find_repositories, glob_pattern, language_name
from tests.support.corpus import corpus_of, repository
from tests.support.parsed import parsed_file


def request(query: str = "cookie", **fields: object) -> SearchRequest:
    return SearchRequest(query=query, project_id="p", **fields)


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_a_blank_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidInputError, match="query is empty"):
        check_request(request(query))


def test_a_query_over_the_limit_is_refused_with_both_numbers() -> None:
    check_request(request("x" * 20_000))
    with pytest.raises(InvalidInputError, match="20,001 characters, the limit is 20,000"):
        check_request(request("x" * 20_001))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limit": 0}, "limit is 0; it must be from 1 to 50"),
        ({"limit": 51}, "limit is 51"),
        (
            {"kind": "klass"},
            "kind 'klass' is not known. Did you mean 'class'? Known are block, class,",
        ),
        ({"kind": ""}, "kind '' is not known"),
        ({"role": "tests"}, "role 'tests' is not known. Did you mean 'test'? Known are source, test, example, docs,"),
        ({"offset": -1}, "offset is -1; it must be from 0 to"),
        ({"max_tokens": 10}, "max_tokens is 10; it must be from 200 to 100,000"),
        ({"language": "pyton"}, "Did you mean 'python'"),
        ({"language": "zzzzzz"}, "'zzzzzz' is not known. Did you mean '"),
        ({"path_glob": " "}, "path_glob"),
        ({"path_glob": "x" * 501}, "path_glob"),
        ({"path_glob": "!tests/**"}, "path_glob"),
        ({"path_glob": "[z-a].py"}, "path_glob"),
        ({"path_glob": "**/a/**/b/**/c/**/d/**"}, "more than 4"),
        ({"path_glob": "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"}, "more than 64"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_value_and_the_way_out(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_request(request(**fields))
    assert words in caught.value.message


def test_a_good_request_passes() -> None:
    check_request(request("🦄", language="ts", path_glob="src/**/*.{ts,tsx}", limit=50, max_tokens=100_000))
    assert language_name("c++") == language_name("C++")


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*.py", ["a.py", "x/y/a.py"], ["a.pyi", "a.py2"]),
        ("src", ["src/a.py", "x/src/b/c.py"], ["srcs/a.py"]),
        ("src/", ["src/a.py"], ["a/source.py"]),
        ("src/*.py", ["src/a.py"], ["src/x/a.py", "lib/src/a.py"]),
        ("/src", ["src/a.py"], ["x/src/a.py"]),
        ("src/**/*.py", ["src/a.py", "src/x/y/a.py"], ["lib/src/a.py", "src/a.js"]),
        ("**/tests/**", ["tests/a.py", "x/tests/y/a.py"], ["x/test/a.py"]),
        ("src/**", ["src/a", "src/x/a"], ["src2/a"]),
        ("./src/a.py", ["src/a.py"], ["x/src/a.py"]),
        ("te?t.py", ["test.py", "x/text.py"], ["tet.py", "te/t.py"]),
        ("[ab].py", ["a.py", "b.py"], ["c.py", "ab.py"]),
        ("[!ab].py", ["c.py"], ["a.py"]),
        ("*.{ts,tsx}", ["a.ts", "x/a.tsx"], ["a.js", "ts"]),
        ("{src,lib}/*.py", ["src/a.py", "lib/a.py"], ["x/a.py"]),
        ("a+(b).py", ["a+(b).py"], ["aab.py"]),
        ("*a*b*.py", ["xaxbx.py", "ab.py"], ["ba.py", "a/b.py"]),
        ("a**b.py", ["ab.py", "axxb.py"], ["a/b.py"]),
        ("new\nline.py", ["new\nline.py", "x\n/new\nline.py"], ["newline.py"]),
    ],
)
def test_a_glob_matches_like_gitignore(glob: str, matching: list[str], others: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert [path for path in matching + others if pattern.match(path)] == matching


def test_a_hostile_glob_does_not_take_long() -> None:
    started = time.process_time()
    assert glob_pattern("*a" * 100 + "b").match("a" * 5_000) is None
    assert glob_pattern("**/*a*a/**/*a*a*b").match("/".join(["a" * 20] * 40)) is None
    assert time.process_time() - started < 2


@given(st.text("ab*?[]!{},/.\\^-", max_size=12), st.text("ab/.", max_size=8))
def test_any_glob_either_compiles_or_is_refused(glob: str, path: str) -> None:
    with contextlib.suppress(InvalidInputError):
        glob_pattern(glob).match(path)


def test_filters_leave_the_files_that_meet_all_of_them() -> None:
    corpus = corpus_of(
        parsed_file("src/a.py", "x\n"),
        parsed_file("src/a.go", "x\n", language="go"),
        parsed_file("src/test_a.py", "x\n", role=Role.TEST),
        parsed_file("lib/a.py", "x\n"),
    )
    assert allowed_files(corpus, request()) is None
    allowed = allowed_files(corpus, request(language="py", path_glob="src/*", include_tests=False))
    assert allowed is not None
    assert allowed.tolist() == [True, False, False, False]


REPOSITORIES = [
    repository(1, "flask", "/code/flask"),
    repository(2, "Django", "/code/django"),
    repository(3, "flask", "/old/flask"),
]


@pytest.mark.parametrize(
    ("wanted", "ids"), [("flask", [1, 3]), (2, [2]), ("2", [2]), ("/old/flask/", [3]), ("django", [2])]
)
def test_a_repository_is_found_by_id_path_or_name(wanted: str | int, ids: list[int]) -> None:
    assert [item.id for item in find_repositories(wanted, REPOSITORIES)] == ids


def test_an_unknown_repository_is_refused_with_those_that_exist() -> None:
    with pytest.raises(RepositoryNotFoundError, match=r"'rails' is not.*flask \(/code/flask\), Django"):
        find_repositories("rails", REPOSITORIES)
    with pytest.raises(RepositoryNotFoundError, match=r"none yet\. Index it first: start_indexing_background"):
        find_repositories("rails", [])


def test_a_repository_that_is_being_indexed_for_the_first_time_is_known() -> None:
    assert find_repositories("new", REPOSITORIES, also_known=["new", "/code/new"]) == []
