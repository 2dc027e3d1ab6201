"""How well a query explains a file's name: stems of all file names in memory, matched at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.search.query import Query

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_IDF = 0.2
EXACT = 1.0
PREFIX = 0.7
SHORT_PREFIX = 0.45
"""A shared prefix of three letters only."""
ABBREVIATION = 0.7
ABBREVIATED_LETTERS = 20
CONTAINER_LETTERS = 7
CONTAINED_LETTERS = 4
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class StemIndex:
    """Sorted vocabulary; token `i` is in the names of the files `files[offsets[i]:offsets[i + 1]]`.

    `text` is the vocabulary between line feeds, token `i` starting at `starts[i]`; `file_idf` sums the idf of a
    file's tokens.
    """

    vocabulary: tuple[str, ...]
    numbers: Mapping[str, int]
    text: str
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    files: NDArray[np.int64]
    idf: NDArray[np.float64]
    file_idf: NDArray[np.float64]


def build_stem_index(postings: Mapping[str, NDArray[np.int64]], file_count: int) -> StemIndex:
    """Index file positions by token. Tokens without a file are left out."""
    vocabulary = tuple(sorted(token for token, files in postings.items() if len(files)))
    counts = np.array([len(postings[token]) for token in vocabulary], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    files = np.concatenate([np.zeros(0, np.int64), *(postings[token] for token in vocabulary)])
    idf = inverse_document_frequency(counts, file_count)
    lengths = np.array([len(token) + 1 for token in vocabulary], dtype=np.int64)
    return StemIndex(
        vocabulary=vocabulary,
        numbers={token: number for number, token in enumerate(vocabulary)},
        text="\n" + "".join(token + "\n" for token in vocabulary),
        starts=1 + np.cumsum(lengths) - lengths,
        offsets=offsets,
        files=files,
        idf=idf,
        file_idf=_sums(files, np.repeat(idf, counts), file_count),
    )


def inverse_document_frequency(counts: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """ln(1 + (N - df + 0.5) / (df + 0.5)), at least `MIN_IDF`."""
    return np.maximum(np.log1p((total - counts + 0.5) / (counts + 0.5)), MIN_IDF)


def match_token(token: str, query: Query) -> float:
    """How well one token of a path is explained by a query, from 0 to 1."""
    if token in query.joined or token in query.initials:
        return EXACT
    likeness = max((_weight(asked, query) * _likeness(token, asked) for asked in query.stems), default=0.0)
    is_abbreviation = any(token in _abbreviations(part) for part in query.parts)
    return max(likeness, ABBREVIATION if is_abbreviation else 0.0)


def _weight(asked: str, query: Query) -> float:
    """Less for words of the repository's name, which explain its whole tree."""
    return min(query.weights[asked], 1.0)


@lru_cache(maxsize=1 << 12)
def _abbreviations(part: str) -> frozenset[str]:
    """Two to four letters that stand for a word: its first one and consonants in their order, as ctx for context."""
    consonants = [letter for letter in part[1:ABBREVIATED_LETTERS] if letter.isalpha() and letter not in "aeiou"]
    return frozenset(
        part[0] + "".join(chosen)
        for count in range(1, min(4, len(part) - 2))
        for chosen in combinations(consonants, count)
    )


def _likeness(token: str, asked: str) -> float:
    if token == asked:
        return EXACT
    shorter, longer = sorted((token, asked), key=len)
    prefix = _prefix_value(len(shorter)) if longer.startswith(shorter) else 0.0
    return max(prefix, _contained_value(len(asked), len(token)) if asked in token else 0.0)


def _prefix_value(letters: int) -> float:
    if letters < 3:
        return 0.0
    return PREFIX if letters > 3 else SHORT_PREFIX


def _contained_value(asked_letters: int, token_letters: int) -> float:
    if token_letters < CONTAINER_LETTERS or asked_letters < CONTAINED_LETTERS:
        return 0.0
    return 0.2 + 0.5 * asked_letters / token_letters


def match_vocabulary(index: StemIndex, query: Query) -> dict[int, float]:
    """`match_token` of every token that a query explains at all, by token number."""
    found: dict[int, float] = {}
    for number, value in _matches(index, query):
        found[number] = max(value, found.get(number, 0.0))
    return found


def _matches(index: StemIndex, query: Query) -> Iterable[tuple[int, float]]:
    for asked in query.stems:
        weight = _weight(asked, query)
        likened = chain(_longer_tokens(index, asked), _shorter_tokens(index, asked), _containers(index, asked))
        yield from ((number, weight * value) for number, value in likened)
        yield from _known(index, (asked,), weight * EXACT)
    yield from _known(index, query.joined | query.initials, EXACT)
    for part in query.parts:
        yield from _known(index, _abbreviations(part), ABBREVIATION)


def _known(index: StemIndex, tokens: Iterable[str], value: float) -> Iterable[tuple[int, float]]:
    return ((index.numbers[token], value) for token in tokens if token in index.numbers)


def _longer_tokens(index: StemIndex, asked: str) -> Iterable[tuple[int, float]]:
    value = _prefix_value(len(asked))
    if not value:
        return ()
    first, last = bisect_left(index.vocabulary, asked), bisect_left(index.vocabulary, asked + _LAST)
    return ((number, value) for number in range(first, last))


def _shorter_tokens(index: StemIndex, asked: str) -> Iterable[tuple[int, float]]:
    prefixes = ((asked[:letters], _prefix_value(letters)) for letters in range(3, len(asked)))
    return ((index.numbers[prefix], value) for prefix, value in prefixes if prefix in index.numbers)


def _containers(index: StemIndex, asked: str) -> Iterable[tuple[int, float]]:
    if len(asked) < CONTAINED_LETTERS:
        return
    places: list[int] = []
    place = index.text.find(asked)
    while place >= 0:
        places.append(place)
        place = index.text.find(asked, place + 1)
    for number in (np.searchsorted(index.starts, np.array(places, np.int64), side="right") - 1).tolist():
        value = _contained_value(len(asked), len(index.vocabulary[number]))
        if value:
            yield number, value


def files_with(index: StemIndex, tokens: Sequence[str]) -> list[int]:
    """Files with the rarest of these tokens in their names; none where a token is in no name at all."""
    if not tokens or any(token not in index.numbers for token in tokens):
        return []
    rarest = max((index.numbers[token] for token in tokens), key=lambda number: float(index.idf[number]))
    found: list[int] = index.files[index.offsets[rarest] : index.offsets[rarest + 1]].tolist()
    return found


def explained_share(index: StemIndex, query: Query) -> NDArray[np.float64]:
    """For each file the share of its name, weighted by idf, that the query explains."""
    matches = match_vocabulary(index, query)
    if not matches:
        return np.zeros(len(index.file_idf))
    # Sums of fractions depend on their order, and sets have another one in each process.
    numbers = np.array(sorted(matches), dtype=np.int64)
    values = np.array([matches[number] for number in numbers.tolist()]) * index.idf[numbers]
    starts, ends = index.offsets[numbers], index.offsets[numbers + 1]
    places = np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])
    total = _sums(index.files[places], np.repeat(values, ends - starts), len(index.file_idf))
    return np.divide(total, index.file_idf, out=total, where=index.file_idf > 0)


def _sums(groups: NDArray[np.int64], values: NDArray[np.float64], group_count: int) -> NDArray[np.float64]:
    return np.bincount(groups, weights=values, minlength=group_count).astype(np.float64)
