from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.search.query import analyse
from codebase_mcp.search.stems import (
    build_stem_index,
    explained_share,
    inverse_document_frequency,
    match_token,
    match_vocabulary,
)


@pytest.mark.parametrize(
    ("token", "query", "expected"),
    [
        ("cooki", "cookies", 1.0),
        ("errorhandl", "error handlers", 1.0),
        ("configur", "conf", 0.7),
        ("conf", "configuration", 0.7),
        ("req", "request", 0.45),
        ("re", "request", 0.0),
        ("statefulset", "full", 0.0),
        ("websocket", "socket", 0.2 + 0.5 * 6 / 9),
        ("socket", "webs", 0.0),
        ("router", "cookie", 0.0),
        ("authcode", "code lines", 0.0),
        ("ctx", "context", 0.7),
        ("mgr", "the session manager", 0.7),
        ("xtc", "context", 0.0),
        ("cntxt", "context", 0.0),
        ("man", "main", 0.0),
        ("sse", "server-sent events", 1.0),
        ("sso", "single sign on", 1.0),
        ("ws", "WebSocket handler", 1.0),
        ("ai", "as in cookies", 0.0),
    ],
)
def test_a_token_is_explained_by_likeness(token: str, query: str, expected: float) -> None:
    assert match_token(token, analyse(query)) == pytest.approx(expected)


def test_the_repositorys_own_name_explains_little() -> None:
    query = analyse("flask session cookie", ["flask"])
    assert match_token("flask", query) == pytest.approx(0.35)
    assert match_token("session", query) == 1.0


def test_idf_has_a_floor() -> None:
    assert inverse_document_frequency(np.array([1, 1000]), 1000).tolist()[1] == 0.2


def test_the_share_weighs_tokens_by_rarity() -> None:
    postings = {"test": np.arange(9), "cooki": np.array([0]), "rout": np.array([1])}
    share = explained_share(build_stem_index(postings, 10), analyse("cookie"))
    rare, common = inverse_document_frequency(np.array([1, 9]), 10)
    assert share[0] == pytest.approx(rare / (rare + common))
    assert share[1:].tolist() == [0.0] * 9


def test_a_file_without_tokens_is_not_explained() -> None:
    assert explained_share(build_stem_index({}, 3), analyse("cookie")).tolist() == [0, 0, 0]


_token = st.text("abcr", min_size=1, max_size=9)


@given(st.sets(_token, max_size=30), st.lists(_token, min_size=1, max_size=4))
def test_matching_the_vocabulary_at_once_equals_matching_each_token(tokens: set[str], asked: list[str]) -> None:
    query = analyse(" ".join(asked))
    index = build_stem_index({token: np.array([0]) for token in tokens}, 1)
    found = {index.vocabulary[number]: value for number, value in match_vocabulary(index, query).items()}
    expected = {token: value for token in tokens if (value := match_token(token, query))}
    assert found == pytest.approx(expected)
