from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import Role
from codebase_mcp.search.query import NEIGHBOURS_WEIGHT, REPOSITORY_NAME_WEIGHT, analyse


def test_stop_words_leave_a_sentence_but_not_a_query_of_one_word() -> None:
    assert "how" not in analyse("how cookies are parsed").weights
    assert analyse("handle").weights == {"handl": 1.0}


def test_a_sentence_of_stop_words_keeps_them() -> None:
    assert "work" in analyse("how does it work").weights


def test_neighbours_are_joined_at_a_lower_weight() -> None:
    weights = analyse("parse error handler").weights
    assert weights["=errorhandler"] == weights["=parseerror"] == weights["=parseerrorhandler"] == NEIGHBOURS_WEIGHT
    assert weights["error"] == 1.0


def test_a_compound_of_the_query_itself_keeps_full_weight() -> None:
    assert analyse("errorHandler class").weights["=errorhandler"] == 1.0


def test_the_repositorys_own_name_weighs_little_in_longer_queries() -> None:
    assert analyse("flask session cookie", ["flask"]).weights["flask"] == REPOSITORY_NAME_WEIGHT
    assert analyse("flask session", ["flask"]).weights["flask"] == 1.0


def test_only_words_in_every_repositorys_name_are_discounted() -> None:
    weights = analyse("order service payment flow", ["order-service", "payment-service"]).weights
    assert weights["servic"] == REPOSITORY_NAME_WEIGHT
    assert weights["order"] == weights["payment"] == 1.0


@pytest.mark.parametrize(
    ("text", "identifiers"),
    [
        ("Session", ("Session",)),
        ("session", ("session",)),
        ("app.handle", ("handle",)),
        ("Router::route", ("route",)),
        ("how errorHandler works", ("errorHandler",)),
        ("where is parse_cookie called", ("parse_cookie",)),
        ("how the Session class closes", ("Session",)),
        ("what app.render does", ("render",)),
        ("parse the cookies", ()),
        ("what __all__ is", ()),
        ("How a DB is opened", ("DB",)),
    ],
)
def test_identifiers_are_what_the_query_spells_like_code(text: str, identifiers: tuple[str, ...]) -> None:
    assert analyse(text).identifiers == identifiers


def test_a_query_for_tests_says_so() -> None:
    assert analyse("tests of the cookie parser").asked_roles == {Role.TEST}
    assert analyse("example of a router").asked_roles == {Role.EXAMPLE}
    assert analyse("documentation of a router").asked_roles == {Role.DOCS}
    assert analyse("cookie parser").asked_roles == frozenset()


def test_joined_terms_are_stemmed_to_meet_file_names() -> None:
    assert "errorhandl" in analyse("error handlers").joined


@given(st.text(max_size=300))
def test_any_text_can_be_analysed(text: str) -> None:
    query = analyse(text, ["some-repo", text])
    assert all(weight > 0 for weight in query.weights.values())
    assert len(query.identifiers) <= 16


@pytest.mark.parametrize("text", ["", "🦄", "?!", "…", "\x00"])
def test_a_query_without_words_has_no_terms(text: str) -> None:
    query = analyse(text)
    assert (query.weights, query.stems, query.identifiers) == ({}, frozenset(), ())


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("Session", 0.0),
        ("session cookie flags", 0.0),
        ("parse session cookie flags twice", 2 / 7),
        ("refuse tree entries windows would take for git folders hidden below checkout root", 1.0),
    ],
)
def test_a_query_is_long_by_the_words_that_tell_something(text: str, length: float) -> None:
    assert analyse(text).length == pytest.approx(length)
