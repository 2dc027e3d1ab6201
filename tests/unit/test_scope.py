from __future__ import annotations

import pytest

from codebase_mcp.domain import Role
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.search.models import SearchRequest
from codebase_mcp.search.scope import allowed_files, check_request, language_name
from tests.support.corpus import corpus_of
from tests.support.parsed import parsed_file


def request(query: str = "cookie", **fields: object) -> SearchRequest:
    return SearchRequest(query=query, project_id="p", **fields)


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_a_blank_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidInputError, match="query is empty"):
        check_request(request(query))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limit": 0}, "limit is 0; it must be from 1 to 50"),
        ({"limit": 51}, "limit is 51"),
        (
            {"kind": "klass"},
            "kind 'klass' is not known. Did you mean 'class'? Known are block, class,",
        ),
        ({"kind": "coroutine"}, "kind 'coroutine' is not known. Known are block, class,"),
        ({"role": "everything"}, "role 'everything' is not known. Known are source, test,"),
        ({"role": "tests"}, "role 'tests' is not known. Did you mean 'test'? Known are source, test, example, docs,"),
        ({"offset": -1}, "offset is -1; it must be from 0 to"),
        ({"max_tokens": 10}, "max_tokens is 10; it must be from 200 to 100,000"),
        ({"language": "pyton"}, "Did you mean 'python'"),
        ({"language": "klingon"}, "'klingon' is not known. Known are python, typescript, javascript, go, rust,"),
        ({"path_glob": " "}, "path_glob"),
        ({"path_glob": "x" * 501}, "path_glob"),
        ({"path_glob": "!tests/**"}, "path_glob"),
        ({"path_glob": "src/\0"}, "path_glob"),
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
    assert [path for path, is_allowed in zip(corpus.paths, allowed, strict=True) if is_allowed] == ["src/a.py"]


def test_a_word_that_means_nothing_is_a_path_only_where_one_is_called_so() -> None:
    corpus = corpus_of(parsed_file("any/a.py", "x\n"), parsed_file("b.py", "x\n"))
    allowed = allowed_files(corpus, request(path_glob="any"))
    assert allowed is not None
    assert allowed.tolist() == [True, False]
    for word in ("none", "null", "undefined"):
        assert allowed_files(corpus, request(path_glob=word)) is None
