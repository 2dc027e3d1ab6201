from __future__ import annotations

import math

import pytest

from codebase_mcp.domain import Role
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.indexing.languages import canonical_language
from codebase_mcp.lenient import clamp, is_absent, is_everything, local_path, real_path
from codebase_mcp.search.kinds import KNOWN_KINDS

NOTHING = ["", "  ", "\n", "null", "NULL", "none", "None", "any", "Any", "*", "all", "undefined", "nil", "N/A", "**"]


@pytest.mark.parametrize("word", [*NOTHING, '""', "''", '"null"', "`none`", " 'any' "])
def test_what_models_write_for_nothing_is_nothing(word: str) -> None:
    assert is_absent(word)


@pytest.mark.parametrize("word", ["anything", "0", "false", "default", "nullable", "src", ".", "?", "***", "no"])
def test_other_words_mean_something(word: str) -> None:
    assert not is_absent(word)


@pytest.mark.parametrize("word", NOTHING)
def test_no_language_kind_or_role_is_called_so(word: str) -> None:
    """Prevents: a filter that is dropped though it exists."""
    assert canonical_language(word) is None
    assert word.strip().lower() not in {*KNOWN_KINDS, *Role}


def test_everything_is_not_the_same_as_nothing() -> None:
    assert [word for word in NOTHING if is_everything(word)] == ["*", "all", "**"]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("file:///src/shop", "/src/shop"),
        ("FILE:///src/shop/", "/src/shop/"),
        ("file://localhost/src/shop", "/src/shop"),
        ("file://127.0.0.1/src", "/src"),
        ("file:/src/shop", "/src/shop"),
        ("file:///src/my%20shop/%C3%A9.py", "/src/my shop/é.py"),
        ("file:///src/a%2Fb", "/src/a/b"),
        ("file:////src", "/src"),
        ("file:///src/**/*.p?", "/src/**/*.p?"),
        ("file:///src/#a", "/src/#a"),
        (" file:///src ", "/src"),
        ("file://~/shop", "/home/me/shop"),
        ("~/shop", "/home/me/shop"),
        ("~", "/home/me"),
        ("//src//shop", "/src//shop"),
        ("/src/100%25", "/src/100%25"),
        ("file://elsewhere/src", "file://elsewhere/src"),
        ("file:src", "file:src"),
        ("https://example.org/a", "https://example.org/a"),
        ("shop", "shop"),
        ("a~b", "a~b"),
        ("", ""),
    ],
)
def test_a_path_is_read_from_what_is_written_for_it(given: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path(given) == path


@pytest.mark.parametrize("path", ["a\0b", "/a\0b", "/\ud800"])
def test_what_no_path_can_be_leads_nowhere_else(path: str) -> None:
    assert real_path(path) == path


@pytest.mark.parametrize(
    ("value", "kept", "warnings"),
    [
        (1, 1, []),
        (50, 50, []),
        (100, 50, ["limit 100 reduced to 50, the maximum."]),
        (0, 1, ["limit 0 raised to 1, the minimum."]),
        (-5, 1, ["limit -5 raised to 1, the minimum."]),
        (1_000_000, 50, ["limit 1,000,000 reduced to 50, the maximum."]),
        (10**4000, 50, ["limit reduced to 50, the maximum."]),
        (-(10**4000), 1, ["limit raised to 1, the minimum."]),
    ],
    ids=lambda given: str(given)[:20] if isinstance(given, list) else f"{given % 1000}",
)
def test_a_number_is_kept_within_its_bounds(value: int, kept: int, warnings: list[str]) -> None:
    assert clamp("limit", value, 1, 50) == (kept, warnings)


def test_a_fraction_is_kept_within_its_bounds() -> None:
    assert clamp("wait_seconds", 2.5, 0.0, 25.0) == (2.5, [])
    assert clamp("wait_seconds", 26.5, 0.0, 25.0) == (25.0, ["wait_seconds 26.5 reduced to 25, the maximum."])
    assert clamp("wait_seconds", math.inf, 0.0, 25.0) == (25.0, ["wait_seconds reduced to 25, the maximum."])
    with pytest.raises(InvalidInputError, match="wait_seconds is not a number"):
        clamp("wait_seconds", math.nan, 0.0, 25.0)
