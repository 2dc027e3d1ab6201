"""What a query asks for: weighted terms, stems to match names with, identifiers, and whether tests are meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from codebase_mcp.domain import Role
from codebase_mcp.indexing.terms import (
    JOINED,
    MAX_TERM_LENGTH,
    fold_name,
    split_identifier,
    stem,
    stems,
    word_terms,
    words,
)

STOP_WORDS = frozenset(
    words(
        "a an and are as at be been being by can do does for from has have how i if in into is it its of on or s so"
        " that the their them then there these they this to was were what when where which who why will with without"
        " within via between through over under each all any not no you your we our us use used uses using work works"
        " working handle handles handled handling implement implements implemented implementation code logic define"
        " defines defined definition definitions support supports based across e g etc main"
    )
)
# A query with one of these words means files of that role: they are not pushed down then.
_WORDS_OF_ROLES = {
    Role.TEST: "test spec mock bench benchmark fixture",
    Role.EXAMPLE: "example sample demo tutorial howto",
    Role.DOCS: "doc documentation readme changelog tutorial howto",
}
_STEMS_OF_ROLES = {role: frozenset(map(stem, found.split())) for role, found in _WORDS_OF_ROLES.items()}
NEIGHBOURS_WEIGHT = 0.7
REPOSITORY_NAME_WEIGHT = 0.35
MAX_IDENTIFIERS = 16
SHORT_QUERY_STEMS = 3
LONG_QUERY_STEMS = 10

# From the start of a word, and what was read of it is kept: a long run of letters must not be tried from each of them.
_QUALIFIED = re.compile(r"(?<!\w)[^\W\d]\w*+(?:(?:\.|::|->|#)[^\W\d]\w*)+")
_SEPARATOR = re.compile(r"\.|::|->|#")
_INNER_CAPITAL = re.compile(r"\w[A-Z]")


@dataclass(frozen=True, slots=True)
class Query:
    """An analysed query.

    `weights` are those of content terms; `stems`, `joined` (stemmed, without the mark), `initials` and, for
    abbreviations, the unstemmed `parts` are what file names are matched with; `identifiers` are names that the query
    spells as code would.
    """

    text: str
    weights: dict[str, float]
    stems: frozenset[str]
    joined: frozenset[str]
    initials: frozenset[str]
    parts: frozenset[str]
    identifiers: tuple[str, ...]
    is_single_word: bool
    asked_roles: frozenset[Role]

    @property
    def length(self) -> float:
        """From 0, a name or two, to 1, a question of ten words that tell something or a pasted text."""
        beyond = len(self.stems) - SHORT_QUERY_STEMS
        return min(max(beyond, 0) / (LONG_QUERY_STEMS - SHORT_QUERY_STEMS), 1.0)


def analyse(text: str, repository_names: Sequence[str] = ()) -> Query:
    """Analyse a query over repositories of these names; never fails, whatever the text."""
    is_single_word = len(text.split()) <= 1
    kept = words(text) if is_single_word else _without_stop_words(words(text))
    weights = dict.fromkeys((term for word in kept for term in word_terms(word)), 1.0)
    found_stems = frozenset(term for term in weights if not term.startswith(JOINED))
    _discount(weights, found_stems & _shared_name_stems(repository_names), len(found_stems))
    for term in _neighbours(kept):
        weights.setdefault(term, NEIGHBOURS_WEIGHT)
    return Query(
        text=text,
        weights=weights,
        stems=found_stems,
        joined=frozenset(stem(term.removeprefix(JOINED)) for term in weights if term.startswith(JOINED)),
        initials=_initials(words(text), kept),
        parts=frozenset(part for word in kept for part in split_identifier(word)),
        identifiers=_identifiers(text, kept, is_single_word=is_single_word),
        is_single_word=is_single_word,
        asked_roles=frozenset(role for role, asked in _STEMS_OF_ROLES.items() if asked & found_stems),
    )


def _without_stop_words(found: Sequence[str]) -> list[str]:
    kept = [word for word in found if word.lower() not in STOP_WORDS]
    return kept or list(found)


def _shared_name_stems(repository_names: Sequence[str]) -> frozenset[str]:
    """Words in the name of every searched repository: they tell nothing apart."""
    names = [frozenset(term for word in words(name) for term in stems(word)) for name in repository_names]
    return names[0].intersection(*names[1:]) if names else frozenset()


def _discount(weights: dict[str, float], name_stems: Iterable[str], term_count: int) -> None:
    if term_count > 2:
        weights.update(dict.fromkeys(name_stems, REPOSITORY_NAME_WEIGHT))


def _neighbours(kept: Sequence[str]) -> list[str]:
    """Joined terms of adjacent pairs and triples: "error handler" may be written errorHandler in the code."""
    pairs = [first + second for first, second in pairwise(kept)]
    triples = ["".join(kept[start : start + 3]) for start in range(len(kept) - 2)]
    joined = (JOINED + fold_name(name) for name in (*pairs, *triples))
    return [term for term in joined if len(term) <= MAX_TERM_LENGTH]


def _initials(found: Sequence[str], kept: Sequence[str]) -> frozenset[str]:
    """What two to four words in a row may be called: "server-sent events" is SSE, "single sign on" SSO.

    Two words must both tell something; any two letters are the initials of some "as in".
    """
    runs = [*_runs(kept, 2), *_runs(kept, 3), *_runs(kept, 4), *_runs(found, 3), *_runs(found, 4)]
    names = (split_identifier(word) for word in kept)
    return frozenset("".join(word[0].lower() for word in run) for run in [*runs, *(name for name in names if name[1:])])


def _runs(found: Sequence[str], length: int) -> list[Sequence[str]]:
    return [found[start : start + length] for start in range(len(found) - length + 1)]


def _identifiers(text: str, kept: Sequence[str], *, is_single_word: bool) -> tuple[str, ...]:
    last_parts = [_SEPARATOR.split(name)[-1] for name in _QUALIFIED.findall(text)]
    if is_single_word:
        found = last_parts[-1:] or list(kept[-1:])
    else:
        found = [*(word for word in kept if _looks_like_code(word)), *(part for part in last_parts if len(part) > 1)]
    # In a long text, such as a stack trace, many capitals only begin a sentence: names that no prose has go first.
    unique = list(dict.fromkeys(found))
    if len(unique) > MAX_IDENTIFIERS:
        unique.sort(key=lambda word: not _is_compound(word))
    return tuple(unique[:MAX_IDENTIFIERS])


def _looks_like_code(word: str) -> bool:
    return _is_compound(word) or (word[0].isupper() and len(word) > 2)


def _is_compound(word: str) -> bool:
    return "_" in word.strip("_") or bool(_INNER_CAPITAL.search(word))
