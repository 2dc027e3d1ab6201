from __future__ import annotations

import time

import pytest

from codebase_mcp.search.quoted import MOST_CHUNKS, MOST_WORDS, longest_run, looks_pasted, shares_of_runs

MESSAGE = "ValueError: expected mapping containing key `jobs`"


@pytest.mark.parametrize(
    "text", [MESSAGE, "if (rows < 0)", "for x in y\n  pass", "don't `panic`", 'say "hello world"', "a = b", "'name' is"]
)
def test_messages_and_snippets_look_pasted(text: str) -> None:
    assert looks_pasted(text)


@pytest.mark.parametrize("text", ["how are cookies parsed", "parse_cookie", "src/shop/cart.py", "it doesn't stop", ""])
def test_plain_questions_names_and_paths_do_not(text: str) -> None:
    assert not looks_pasted(text)


@pytest.mark.parametrize(
    ("asked", "words", "longest"),
    [
        ("a b c", "x a b c y", 3),
        ("a b c", "a b x c", 2),
        ("a b a b c", "a b c a b", 3),
        ("a", "b", 0),
        ("", "a", 0),
        ("b a", "a b", 1),
    ],
)
def test_the_longest_run_is_of_words_in_a_row(asked: str, words: str, longest: int) -> None:
    assert longest_run(asked.split(), words.split()) == longest


def test_the_text_with_the_message_counts_most_whatever_is_filled_in() -> None:
    contents = {
        1: '#[error("expected mapping containing key `{0}`")]',
        2: "a mapping containing key and value",
        3: "key",
    }
    assert shares_of_runs(MESSAGE, contents) == {1: 1.0}


def test_shorter_runs_count_by_their_length() -> None:
    contents = {1: "one two three four five six seven eight", 2: "one two three four", 3: "one two three"}
    assert shares_of_runs("one two three four five six seven eight!", contents) == {1: 1.0, 2: 0.5}


def test_nothing_in_a_row_is_no_quotation() -> None:
    assert shares_of_runs(MESSAGE, {1: "nothing of it"}) == {}
    assert shares_of_runs(MESSAGE, {}) == {}


def test_a_table_of_numbers_takes_no_time() -> None:
    table = "0, " * 20_000
    began = time.perf_counter()
    shares_of_runs("0 " * MOST_WORDS, dict.fromkeys(range(MOST_CHUNKS), table[:3_000]))
    assert time.perf_counter() - began < 2
