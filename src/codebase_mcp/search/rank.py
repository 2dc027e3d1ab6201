"""Files first: collect candidates, score them by the signals, then pick each file's best chunk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.domain import Role
from codebase_mcp.indexing.languages import is_code
from codebase_mcp.indexing.terms import file_stem_terms, parent_terms, stems
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.search.definitions import Named, as_spelled, main_definitions, single_word_values, start_bonus
from codebase_mcp.search.dense import HeaderCosines
from codebase_mcp.search.lexical import LexicalScores, highest
from codebase_mcp.search.mentioned import MentionedFile
from codebase_mcp.search.query import Query
from codebase_mcp.search.signals import contributions
from codebase_mcp.search.stems import match_token
from codebase_mcp.storage.search_store import ChunkLines

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANDIDATES_BY_SIGNAL = 20
DEFINING_CANDIDATES = 10
PLAUSIBLE_BY_SIGNAL = 1_000
COSINE_IN_CHUNK = 0.7
RUN_IN_CHUNK = 1.0
SCORE_DIGITS = 4
LINE_IN_CHUNK = 2.0
_COPIED = (Role.GENERATED, Role.VENDORED)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found out about a query's files, by position in the corpus; `quoted` by position of the chunk."""

    corpus: Corpus
    query: Query
    lexical: LexicalScores
    stem_share: NDArray[np.float64]
    named: list[Named]
    pushed_down: NDArray[np.bool_]
    mentioned: Mapping[int, MentionedFile] = field(default_factory=dict)
    quoted: Mapping[int, float] = field(default_factory=dict)

    def chunk_values(self, cosines: HeaderCosines, files: Sequence[int]) -> list[NDArray[np.float64]]:
        """For each file how well its chunks answer, by words (at most 1) and by the meaning of their headers."""
        chunks, offsets = self.lexical.chunks, self.corpus.offsets
        greatest = float(chunks.max(initial=0.0)) or 1.0
        places = [(int(offsets[file]), int(offsets[file + 1])) for file in files]
        return [chunks[first:end] / greatest + COSINE_IN_CHUNK * cosines.of_chunks(first, end) for first, end in places]


@dataclass(frozen=True, slots=True)
class RankedFile:
    """A file of the corpus; `parts` are what each signal adds to its score."""

    file: int
    score: float
    parts: tuple[float, ...] = ()


def candidate_files(evidence: Evidence, nearest: Sequence[int], allowed: NDArray[np.bool_] | None) -> list[int]:
    """Files in the top 20 of the best chunk, the nearest header or the name; tests never crowd out the rest.

    Files that define an identifier of the query come too: in a large repository a common name is used in far more
    chunks than the first 20.
    """
    corpus = evidence.corpus
    found: set[int] = set()
    for values in (evidence.lexical.files, evidence.stem_share):
        found.update(highest(values, CANDIDATES_BY_SIGNAL).tolist())
        found.update(highest(np.where(evidence.pushed_down, 0, values), CANDIDATES_BY_SIGNAL).tolist())
    found.update(nearest[:CANDIDATES_BY_SIGNAL])
    found.update([file for file in nearest if not evidence.pushed_down[file]][:CANDIDATES_BY_SIGNAL])
    found.update(_defining(evidence))
    found.update(_most_mentioned(evidence))
    has_chunks = np.diff(corpus.offsets) > 0
    return sorted(file for file in found if has_chunks[file] and (allowed is None or allowed[file]))


def plausible_files(evidence: Evidence) -> NDArray[np.bool_]:
    """Many more files than candidates, by words and names alone."""
    plausible = np.zeros(evidence.corpus.file_count, dtype=bool)
    for values in (evidence.lexical.files, evidence.stem_share):
        plausible[highest(values, PLAUSIBLE_BY_SIGNAL)] = True
    return plausible


def _defining(evidence: Evidence) -> Iterable[int]:
    values = {**single_word_values(evidence.query, evidence.named), **main_definitions(evidence.named)}
    return sorted(values, key=lambda file: (-values[file], file))[:DEFINING_CANDIDATES]


def _most_mentioned(evidence: Evidence) -> Iterable[int]:
    files = evidence.mentioned
    return sorted(files, key=lambda file: (-files[file].share, file))[:CANDIDATES_BY_SIGNAL]


def likeliest_chunks(evidence: Evidence, files: Sequence[int], count: int) -> NDArray[np.int64]:
    """Positions of the chunks of these files that score best by words."""
    is_wanted = np.zeros(evidence.corpus.file_count, dtype=np.bool_)
    is_wanted[list(files)] = True
    return highest(np.where(is_wanted[evidence.corpus.file_of_chunk], evidence.lexical.chunks, 0), count)


def features_of(evidence: Evidence, cosines: HeaderCosines, files: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """One array for each signal, in the order of `files`."""
    corpus, query, lexical = evidence.corpus, evidence.query, evidence.lexical
    places = np.array(files, dtype=np.int64)
    parents = [parent_terms(corpus.paths[file]) for file in files]
    matches = {token: match_token(token, query) for token in {token for tokens in parents for token in tokens}}
    main = main_definitions(evidence.named)
    single = single_word_values(query, evidence.named)
    stem_share = evidence.stem_share[places]
    coverage = _relative(lexical.coverage, places)
    return {
        "best_chunk": _relative(lexical.files, places),
        "coverage": coverage,
        "together": np.array([values.max(initial=0.0) for values in evidence.chunk_values(cosines, files)]),
        "directory": _shares_of_directories([corpus.paths[file] for file in files], coverage),
        "header": _looked_up(cosines.files, files),
        "stem": stem_share,
        "stem_of_many": stem_share * query.length,
        "parent": np.array([_mean(matches, tokens) for tokens in parents]),
        "stem_length": np.array([len(file_stem_terms(corpus.paths[file])) for file in files], dtype=np.float64),
        "definitions": np.log1p(corpus.definition_counts[places]),
        "chunks": np.log1p(np.diff(corpus.offsets)[places]),
        "references": np.log1p(corpus.reference_counts[places]),
        "main_definition": _looked_up(main, files),
        "single_word": _looked_up(single, files),
        "quoted": _looked_up(_best_of_files(corpus, evidence.quoted), files),
        "mentioned": _looked_up({file: item.share for file, item in evidence.mentioned.items()}, files),
        "pushed_down": evidence.pushed_down[places].astype(np.float64),
        "copied": np.isin(corpus.roles[places], _COPIED).astype(np.float64),
        "data": np.array([_is_data(corpus, query, file) for file in files], dtype=np.float64),
    }


def _is_data(corpus: Corpus, query: Query, file: int) -> bool:
    """Data and settings without a definition, unless their language is asked for; prose is pushed down already."""
    language, role = str(corpus.languages[file]), str(corpus.roles[file])
    is_empty = not is_code(language) and not corpus.definition_counts[file] and role != Role.DOCS
    return bool(is_empty) and query.stems.isdisjoint(stems(language))


def _shares_of_directories(paths: Sequence[str], coverage: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the query's best directory each file's own directory has; the best files of one count most."""
    names = [path.rpartition("/")[0] for path in paths]
    sums: dict[str, float] = defaultdict(float)
    for name, value in zip(names, coverage.tolist(), strict=True):
        sums[name] += value**2
    greatest = max(sums.values(), default=0.0) or 1.0
    return np.sqrt(np.array([sums[name] for name in names]) / greatest)


def _relative(values: NDArray[np.floating], places: NDArray[np.int64]) -> NDArray[np.float64]:
    greatest = float(values.max(initial=0.0))
    return values[places].astype(np.float64) / greatest if greatest else np.zeros(len(places))


def _best_of_files(corpus: Corpus, chunks: Mapping[int, float]) -> dict[int, float]:
    best: dict[int, float] = defaultdict(float)
    for place, value in chunks.items():
        file = int(corpus.file_of_chunk[place])
        best[file] = max(best[file], value)
    return best


def _looked_up(values: Mapping[int, float], files: Sequence[int]) -> NDArray[np.float64]:
    return np.array([values.get(file, 0.0) for file in files], dtype=np.float64)


def _mean(values: Mapping[str, float], tokens: Sequence[str]) -> float:
    return sum(values[token] for token in tokens) / len(tokens) if tokens else 0.0


def rank_files(evidence: Evidence, cosines: HeaderCosines, files: Sequence[int]) -> list[RankedFile]:
    """Candidates by falling score, to the digits that are shown; equal ones by path, which files are numbered by."""
    if not files:
        return []
    parts = contributions(features_of(evidence, cosines, files)).T.tolist()
    ranked = [
        RankedFile(file, round(sum(values), SCORE_DIGITS), tuple(values))
        for file, values in zip(files, parts, strict=True)
    ]
    return sorted(ranked, key=lambda item: (-item.score, item.file))


def best_chunks(
    evidence: Evidence,
    cosines: HeaderCosines,
    files: Sequence[int],
    lines: Mapping[int, ChunkLines],
    of_kind: NDArray[np.bool_] | None = None,
) -> dict[int, int]:
    """For each file that has chunks (of that kind) the position of the one to show.

    `lines` gives the lines, by chunk position, of the chunks in which an identifier of the query is defined or which
    have a line that the query mentions.
    """
    bonuses = _bonuses(evidence, files, lines)
    best: dict[int, int] = {}
    for file, values in zip(files, evidence.chunk_values(cosines, files), strict=True):
        first = int(evidence.corpus.offsets[file])
        values += [bonuses.get(first + place, 0.0) for place in range(len(values))]
        if of_kind is not None:
            values[~of_kind[first : first + len(values)]] = -np.inf
        if values.max(initial=-np.inf) > -np.inf:
            best[file] = first + int(np.argmax(values))
    return best


def _bonuses(evidence: Evidence, files: Sequence[int], lines: Mapping[int, ChunkLines]) -> dict[int, float]:
    bonuses = {place: RUN_IN_CHUNK * share for place, share in evidence.quoted.items()}
    wanted = _wanted_lines(evidence, set(files))
    for place, chunk in lines.items():
        of_file = wanted[int(evidence.corpus.file_of_chunk[place])]
        inside = [bonus for line, bonus in of_file if chunk.start_line <= line <= chunk.end_line]
        bonuses[place] = bonuses.get(place, 0.0) + max(inside, default=0.0)
    return bonuses


def _wanted_lines(evidence: Evidence, files: Collection[int]) -> dict[int, list[tuple[int, float]]]:
    """For each file the lines that a chunk gains by, and how much."""
    wanted: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for item in as_spelled(evidence.named):
        if item.file in files:
            wanted[item.file].append((item.symbol.start_line, start_bonus(item.symbol)))
    for file, mentioned in evidence.mentioned.items():
        wanted[file] += [(line, LINE_IN_CHUNK) for line in mentioned.lines]
    return wanted
