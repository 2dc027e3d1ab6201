from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.indexing.terms import (
    MAX_TERM_LENGTH,
    content_terms,
    directory_terms,
    file_stem,
    file_stem_terms,
    fold_name,
    header,
    joined_term,
    parent_terms,
    path_frequencies,
    split_identifier,
    stem,
    word_terms,
    words,
)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("errorHandler", ["error", "handler"]),
        ("HTTPServer2_name", ["http", "server", "2", "name"]),
        ("__init__", ["init"]),
        ("SCREAMING_CASE", ["screaming", "case"]),
        ("utf8", ["utf", "8"]),
        ("_", []),
        ("Größe_max", ["größe", "max"]),
        ("数据库", ["数据", "据库"]),
        ("get数据库Now", ["get", "数据", "据库", "now"]),
        ("Ж", ["ж"]),
    ],
)
def test_a_word_is_cut_into_its_parts(word: str, parts: list[str]) -> None:
    assert split_identifier(word) == parts


def test_spellings_of_one_name_share_their_joined_term() -> None:
    spellings = ["ErrorHandler", "errorHandler", "error_handler", "ERROR_HANDLER"]
    assert {joined_term(name) for name in spellings} == {"=errorhandler"}
    assert {fold_name(name) for name in spellings} == {"errorhandler"}


def test_a_word_of_one_part_has_no_joined_term() -> None:
    assert joined_term("handler") is None
    assert word_terms("Handlers") == ("handler",)


def test_short_parts_and_numbers_are_not_stemmed() -> None:
    assert [stem(part) for part in ("ids", "was", "1999", "handlers", "parsing")] == [
        "ids", "was", "1999", "handler", "pars",
    ]  # fmt: skip


def test_content_terms_count_parts_and_joined_names() -> None:
    assert content_terms("parseCookie(cookie); parseCookie") == {"pars": 2, "cooki": 3, "=parsecookie": 2}


def test_a_part_that_repeats_within_a_word_counts_each_time() -> None:
    assert content_terms("foo_foo")["foo"] == 2


def test_terms_over_the_limit_are_left_out_but_not_their_parts() -> None:
    long_name = "_".join(["behaviour"] * 10)
    terms = content_terms(long_name)
    assert terms == {"behaviour": 10}
    assert content_terms("a" * (MAX_TERM_LENGTH + 1)) == {}


def test_an_endless_run_of_letters_is_no_word() -> None:
    assert content_terms("aB" * 200) == {}
    assert words("aB" * 200) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/http/cookie_jar.py", "cookie_jar"),
        ("src/extract/mod.rs", "extract"),
        ("web/button/index.tsx", "button"),
        ("web/button/index.d.ts", "button"),
        ("pkg/__init__.py", "pkg"),
        ("main.go", "main"),
        (".gitignore", ".gitignore"),
        ("a/Makefile", "Makefile"),
        ("a/jquery.min.js", "jquery.min"),
    ],
)
def test_the_stem_is_the_name_that_says_what_a_file_is_about(path: str, expected: str) -> None:
    assert file_stem(path) == expected


def test_path_terms_come_from_name_parent_and_all_directories() -> None:
    path = "src/httpServers/cookieJar/parse_cookies.py"
    assert file_stem_terms(path) == ["pars", "cooki"]
    assert parent_terms(path) == ["cooki", "jar"]
    assert directory_terms(path) == ["src", "http", "server", "cooki", "jar"]
    assert parent_terms("setup.py") == []
    assert directory_terms("setup.py") == []


def test_a_path_counts_its_stem_twice_and_each_directory_once() -> None:
    assert path_frequencies("http/http_cookie.py") == {"http": 3, "cooki": 2, "=httpcookie": 2}


def test_a_header_is_path_words_then_names_in_words() -> None:
    assert header("django/http/cookie.py", ["parse_cookie", "SimpleCookie"]) == (
        "django http cookie parse cookie simple cookie"
    )


def test_a_header_has_at_most_a_dozen_names() -> None:
    assert header("a.py", [f"name{letter}" for letter in "ABCDEFGHIJKLMN"]).split()[-1] == "l"


@given(st.text())
def test_any_text_gives_terms_within_the_limits(text: str) -> None:
    terms = content_terms(text)
    assert all(0 < len(term) <= MAX_TERM_LENGTH for term in terms)
    assert all(count > 0 for count in terms.values())
    assert not any(re.search(r"[A-Z\s\x00]", term) for term in terms)


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=5))
def test_camel_case_and_snake_case_are_the_same_word(parts: list[str]) -> None:
    camel = "".join(part.capitalize() for part in parts)
    # A capital alone joins the capitals after it ("XYz" is "x", "yz" but "XY" is "xy").
    if all(len(part) > 1 for part in parts):
        assert word_terms(camel) == word_terms("_".join(parts))
