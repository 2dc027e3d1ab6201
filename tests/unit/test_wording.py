from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.indexing.terms import stem
from codebase_mcp.search.query import analyse
from codebase_mcp.search.wording import MAX_TERMS, embedded_part, is_pattern, plain, rarest, words_of_pattern


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"def\s+get_\w+", "def get_"),
        (r"os\.path\.join\(", "os.path.join"),
        (r"foo.*bar", "foo bar"),
        (r"\bSession\b", "Session"),
        (r"^import\s+(\w+)$", "import"),
        (r"[A-Z_]+\d+", "A-Z_"),
        (r"(?:get|set)_user", ":get set _user"),
    ],
)
def test_a_regular_expression_is_searched_for_its_literal_words(pattern: str, words: str) -> None:
    assert is_pattern(pattern)
    assert words_of_pattern(pattern) == words
    looked_up, (told,) = plain(pattern)
    assert looked_up == words
    assert "regular expression" in told


@pytest.mark.parametrize(
    "text",
    [
        "how are cookies parsed?",
        "SELECT u.* FROM users u WHERE id = 1; DROP TABLE users; --",
        "import java.util.*",
        r"C:\src\bin\test",
        r"App\Http\Kernel",
        "src/**/*.py",
        "import re\n\nSPACES = re.compile(r'\\s+')\n",
        r"raised in re.compile(r'\s+') " + "and so on " * 40,
        "a[i] + b[j]",
        "List<String>",
        "$this->get()",
        "what does f(x) return...",
        "🦄",
        "?!",
        "c++",
    ],
)
def test_what_is_no_regular_expression_is_left_as_it_is(text: str) -> None:
    assert plain(text) == (text, [])


@given(st.text(max_size=200))
def test_any_text_has_words_or_stays_as_it_is(text: str) -> None:
    looked_up, told = plain(text)
    assert looked_up == text or (looked_up and told)


@pytest.mark.parametrize(
    "text", ["x" * 20_000, "a." * 10_000, "a_" * 10_000, "aB" * 10_000, "(" * 20_000, "\\w[" * 100]
)
def test_a_long_query_is_analysed_in_no_time(text: str) -> None:
    started = time.thread_time()
    analyse(plain(text)[0])
    assert time.thread_time() - started < 5, "it takes milliseconds, and minutes where it backtracks"


def test_of_a_long_text_both_ends_are_embedded() -> None:
    assert embedded_part("short") == "short"
    part = embedded_part("a" * 5_000 + "the end")
    assert len(part) == 2_001
    assert part.startswith("a")
    assert part.endswith("the end")


def test_the_rarest_terms_of_a_long_query_are_kept() -> None:
    query = analyse(" ".join(f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(300)) + " errorHandler")
    frequencies = {term: place + 1 for place, term in enumerate(query.weights)} | {"=errorhandl": 0}
    shorter = rarest(query, frequencies, 1_000)
    assert list(shorter.weights) == list(query.weights)[:MAX_TERMS]
    assert shorter.stems == query.stems & shorter.weights.keys()
    assert {stem(part) for part in shorter.parts} <= shorter.stems
    assert not shorter.initials
    assert shorter.identifiers == query.identifiers
    assert rarest(query, {}, 1_000).weights == {}


def test_of_many_identifiers_those_that_only_code_is_spelt_like_are_kept() -> None:
    sentences = " ".join(f"The{chr(97 + n)}" for n in range(20))
    query = analyse(f"{sentences} raised in session_store of SessionManager")
    assert {"session_store", "SessionManager"} <= set(query.identifiers)
    assert len(query.identifiers) == 16
