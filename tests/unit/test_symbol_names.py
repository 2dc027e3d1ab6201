from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.complaints import edit_distance
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.search.spelling import Alike, build_vocabulary, most_alike
from codebase_mcp.search.symbol_names import asked_name, owner_value, qualified
from codebase_mcp.storage.symbol_store import DefinitionRow


def row(name: str = "get", parent: str | None = None, kind: str = "method") -> DefinitionRow:
    return DefinitionRow(1, name, name.lower(), kind, 1, 2, 0, parent, False)


@pytest.mark.parametrize(
    ("text", "last", "owner"),
    [
        ("Session", "Session", None),
        (" Session.get() ", "get", "Session"),
        ("Session#get", "get", "Session"),
        ("a::b::c", "c", "b"),
        ("Box<T>::size()", "size", "Box"),
        ("ptr->next", "next", "ptr"),
        (r"App\Http\Kernel", "Kernel", "Http"),
        ("class Session", "Session", None),
        ("`session_store`", "session_store", None),
        ("@cached", "cached", None),
        ("func(int, char*)", "func", None),
        ("find(key, default=None).first", "first", "find"),
        ("größe", "größe", None),
        ("_", "_", None),
    ],
)
def test_a_name_is_read_in_the_spelling_of_any_language(text: str, last: str, owner: str | None) -> None:
    asked = asked_name(text)
    assert (asked.last, asked.owner) == (last, owner)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "name is empty"), (" \n", "name is empty"), ("::", "holds no name"), ("x" * 501, "501 characters")],
)
def test_what_is_no_name_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        asked_name(text)


@given(st.text(max_size=40))
def test_any_text_is_either_a_name_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        assert asked_name(text).last


def test_the_whole_name_counts_where_dots_belong_to_it() -> None:
    assert asked_name("read.csv").spells("read.csv") == "exact"
    assert asked_name("read.csv").spells("csv") == "exact"
    assert asked_name("getUser").spells("get_user") == "folded"
    assert asked_name("getUser").spells("get_users") is None


def test_the_owner_is_the_type_then_the_file_or_directory() -> None:
    asked = asked_name("Session.get")
    assert owner_value(asked, row(parent="http::Session"), "x.cpp") == 2
    assert owner_value(asked, row(parent="Box<T>"), "src/session.py") == 1
    assert owner_value(asked, row(), "session/api.py") == 1
    assert owner_value(asked, row(parent="Cart"), "cart.py") == 0
    assert owner_value(asked_name("get"), row(parent="Session"), "session.py") == 0


def test_a_qualified_name_is_written_as_the_language_does() -> None:
    assert qualified(row(parent="Session"), "python") == "Session.get"
    assert qualified(row(parent="Session"), "rust") == "Session::get"
    assert qualified(row(), "python") is None
    assert qualified(row("Trays", "Jars", "section"), "markdown") is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("send", "sned", 1), ("session", "sesion", 1), ("ca", "abc", 3)],
)
def test_errors_are_letters_changed_inserted_deleted_or_swapped(first: str, second: str, expected: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == expected


WORDS = ["session", "sessionstore", "storesession", "send", "request", "requesthandler", "größe", "x", "日本語"]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("sesion", "session"),
        ("sned", "send"),
        ("reqesthandler", "requesthandler"),
        ("grösse", "größe"),
        ("日本", "日本語"),
    ],
)
def test_the_nearest_name_comes_first(asked: str, nearest: str) -> None:
    assert most_alike(build_vocabulary(WORDS), asked)[0].name == nearest


def test_words_in_another_order_are_alike() -> None:
    alike = {one.name: one for one in most_alike(build_vocabulary(WORDS), "storesessions")}
    assert alike["storesession"].is_misspelt("storesessions")
    assert alike["sessionstore"].is_misspelt("storesessions")
    assert not alike["send"].is_misspelt("storesessions")


@pytest.mark.parametrize(("asked", "allowed"), [("ab", 0), ("abc", 1), ("abcdef", 2), ("abcdefghi", 3), ("a" * 30, 3)])
def test_longer_names_may_have_more_errors(asked: str, allowed: int) -> None:
    assert Alike("x", allowed, 0.0).is_misspelt(asked)
    assert not Alike("x", allowed + 1, 0.0).is_misspelt(asked)


def test_nothing_is_like_nothing() -> None:
    assert most_alike(build_vocabulary([]), "x") == []
    assert most_alike(build_vocabulary(["abc"]), "zzz") == []


@given(
    st.lists(st.text("abc_ü", min_size=1, max_size=6), min_size=1, max_size=30, unique=True),
    st.text("abcü", max_size=6),
)
def test_the_vocabulary_finds_every_name_that_shares_a_pair(names: list[str], asked: str) -> None:
    def pairs(text: str) -> set[bytes]:
        data = f"\n{text}\n".encode()
        return {data[i : i + 2] for i in range(len(data) - 1)}

    found = {one.name for one in most_alike(build_vocabulary(names), asked)}
    assert found == ({name for name in names if pairs(name) & pairs(asked)} if asked else set())
