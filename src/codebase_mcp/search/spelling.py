"""Names that are spelt much like another: all names in memory, compared by their pairs of letters at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.complaints import LETTERS_FOR_A_MISTAKE, MOST_MISTAKES, edit_distance
from codebase_mcp.search.lexical import highest

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPARED = 200
"""So many of the most alike by pairs are compared letter by letter."""
ALIKE = 0.7
"""Names that share this much of their pairs are alike whatever the order of their words."""
SUGGESTED = 0.35
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Folded names in their order.

    `pairs` are the byte pairs of their text, a line feed around each, and `starts` where each begins.
    """

    names: tuple[str, ...]
    pairs: NDArray[np.uint16]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alike:
    """How a name differs: by letters to change, insert, delete or swap, and in the share of pairs in common."""

    name: str
    errors: int
    share: float

    def has_few_errors(self, asked: str) -> bool:
        return self.errors <= min(len(asked) // LETTERS_FOR_A_MISTAKE, MOST_MISTAKES)

    def is_misspelt(self, asked: str) -> bool:
        return self.share >= ALIKE or self.has_few_errors(asked)


def build_vocabulary(names: Sequence[str]) -> Vocabulary:
    encoded = [name.encode("utf-8", errors="replace") for name in names]
    text = np.frombuffer(b"\n" + b"".join(name + b"\n" for name in encoded), dtype=np.uint8)
    lengths = np.array([len(name) + 1 for name in encoded], dtype=np.int64)
    return Vocabulary(tuple(names), _pairs(text), np.cumsum(lengths) - lengths, lengths)


def _pairs(text: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return text[:-1].astype(np.uint16) * np.uint16(256) + text[1:]


def most_alike(vocabulary: Vocabulary, asked: str) -> list[Alike]:
    """The names most like a folded one: those with few errors, then by pairs; no more for however many names."""
    asked = asked[:LONGEST_NAME]
    if not vocabulary.names or not asked:
        return []
    shares = _shares(vocabulary, asked)
    best = highest(shares, COMPARED)
    found = [
        Alike(
            vocabulary.names[place], edit_distance(asked, vocabulary.names[place][:LONGEST_NAME]), float(shares[place])
        )
        for place in best.tolist()
    ]
    return sorted(
        found, key=lambda item: (item.errors if item.has_few_errors(asked) else COMPARED, -item.share, item.name)
    )


def _shares(vocabulary: Vocabulary, asked: str) -> NDArray[np.float64]:
    wanted = _pairs(np.frombuffer(f"\n{asked}\n".encode(errors="replace"), dtype=np.uint8))
    is_wanted = np.zeros(1 << 16, dtype=np.uint8)
    is_wanted[wanted] = 1
    shared = np.add.reduceat(is_wanted[vocabulary.pairs], vocabulary.starts, dtype=np.int64)
    shared = np.minimum(shared, len(wanted))
    return np.asarray(2 * shared / (len(wanted) + vocabulary.counts), dtype=np.float64)
