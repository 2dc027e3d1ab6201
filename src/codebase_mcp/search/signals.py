"""The signals that rank files: one table of weights, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Signal:
    name: str
    weight: float
    reason: str


SIGNALS = (
    Signal("best_chunk", 2.5, "the file's best chunk by BM25, as a share of the query's best"),
    Signal("coverage", 2.5, "its best dozen chunks, decayed: a file that is about the topic, not one that mentions it"),
    Signal("together", 2.0, "its best chunk by words and meaning at once: what says both is about it"),
    Signal("directory", 1.0, "share of the query's best directory: files on one topic lie together"),
    Signal("header", 5.5, "cosine of the query with the nearest header: other words for the same thing"),
    Signal("stem", 2.5, "share of the file's name that the query explains: names are chosen to be found"),
    Signal("stem_of_many", -1.0, "stem, the more the longer the query: of many words one is in some name by chance"),
    Signal("parent", 1.0, "share of the directory's name that the query explains"),
    Signal("stem_length", -0.5, "words in the file's name: a long name is a special case"),
    Signal("definitions", -0.5, "ln(1 + definitions): large files match everything"),
    Signal("chunks", -0.3, "ln(1 + chunks): the best of many chunks is good by chance"),
    Signal("references", 0.5, "ln(1 + files that name what this one defines): central files are meant more often"),
    Signal("main_definition", 1.0, "identifiers of the query that have their main definition here"),
    Signal("single_word", 4.0, "a query of one word asks for its definition"),
    Signal("quoted", 3.0, "a run of the query's words as they stand here: the message, the snippet that was pasted"),
    Signal("mentioned", 4.0, "the query spells the path of this file, as a stack trace does"),
    Signal("pushed_down", -3.0, "tests, examples and prose repeat the words of what they are about"),
    Signal("copied", -2.0, "generated and vendored files repeat what is written elsewhere"),
    Signal("data", -2.0, "files without any definition hold the words of the code, not the code"),
)


def contributions(features: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """What each signal (row) adds to the score of each file (column); `features` has one array for each signal."""
    weights = np.array([[signal.weight] for signal in SIGNALS])
    return np.asarray(weights * np.stack([features[signal.name] for signal in SIGNALS]), dtype=np.float64)


def explained(parts: Sequence[float]) -> dict[str, float]:
    """The signals that say something about a file, the weightiest first."""
    found = {signal.name: round(part, 4) for signal, part in zip(SIGNALS, parts, strict=True) if part}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))
