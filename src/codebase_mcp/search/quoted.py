"""Runs of a query's words as they stand in the code: of an error message, a snippet, a line of a stack trace.

Only a text that looks like one of these is compared word by word; the contents of chunks are read for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MOST_CHUNKS = 12
"""What has a run of the query's words is among its best chunks by single words."""
MOST_WORDS = 300
MOST_PLACES = 30
"""Of a word that a chunk repeats, as tables of numbers do, only so many places are followed."""
SHORTEST_RUN = 4
"""Three words in a row, such as "of the file", stand everywhere."""
_PASTED = re.compile(r"[:;=(){}\[\]<>\"`\n]|(?<!\w)'\w")
_WORD = re.compile(r"\w+")
_MANY = range(MOST_PLACES)


def looks_pasted(text: str) -> bool:
    """Whether it has what a question in plain words has not: brackets, quotation marks, colons, several lines."""
    return _PASTED.search(text) is not None


def shares_of_runs(text: str, contents: Mapping[int, str]) -> dict[int, float]:
    """For each of the contents that has a run of the text's words, its length as a share of the longest."""
    asked = _words(text)[:MOST_WORDS]
    runs = {key: longest_run(asked, _words(content)) for key, content in contents.items()}
    longest = max(runs.values(), default=0)
    return {key: run / longest for key, run in runs.items() if run >= SHORTEST_RUN}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def longest_run(asked: Sequence[str], words: Sequence[str]) -> int:
    """How many words in a row the two have in common."""
    places: dict[str, list[int]] = {word: [] for word in asked}
    for place, word in enumerate(words):
        if len(places.get(word, _MANY)) < MOST_PLACES:
            places[word].append(place)
    longest = 0
    before: dict[int, int] = {}
    for word in asked:
        before = {place: before.get(place - 1, 0) + 1 for place in places[word]}
        longest = max(longest, max(before.values(), default=0))
    return longest
