"""What a query is made of before it is looked up: what is no words is told, what is long is cut to what tells most."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from codebase_mcp.indexing.terms import JOINED, MAX_WORD_LENGTH, stem
from codebase_mcp.search.query import Query

MAX_TERMS = 100
"""More terms of a query, say of a stack trace, only cost: the rarest of them decide."""
LONGEST_PATTERN = 300
"""What is longer, or has several lines, is pasted text in which a pattern may occur."""
MAX_EMBEDDED_LETTERS = 2_000
_PATTERN = re.compile(
    r"\\[sSwWdD](?![A-Za-z])|\\[.()\[\]{}*+?^$|]|\.[*+]\??(?=[\w\\(\[^$])|\(\?[:=!<P]|\[[^\]\s]+\][*+{]|^\\b|\\b$"
)
_ESCAPED_CLASS = re.compile(r"\\[A-Za-z]")
_ESCAPED = re.compile(r"\\([.:/-])")
_OPERATORS = re.compile(r"[\\^$*+?{}\[\]()|]")


def is_pattern(text: str) -> bool:
    """Whether it looks like a regular expression; a path, a glob, a statement of SQL or a pasted text does not."""
    line = text.strip()
    return len(line) <= LONGEST_PATTERN and "\n" not in line and _PATTERN.search(line) is not None


def words_of_pattern(text: str) -> str:
    """The literal words of a regular expression: `os\\.path\\.join\\(` gives `os.path.join`."""
    return " ".join(_OPERATORS.sub(" ", _ESCAPED.sub(r"\1", _ESCAPED_CLASS.sub(" ", text))).replace(". ", " ").split())


def plain(text: str) -> tuple[str, list[str]]:
    """What to look up for a query, and what to say about it."""
    if not is_pattern(text):
        return text, []
    words = words_of_pattern(text)
    if not words:
        return text, []
    told = f"The query looks like a regular expression. It was searched for the words {words[:200]!r}"
    return words, [f"{told}: for patterns use grep."]


def without_words(text: str) -> str:
    """What to say of a query in which there is nothing to look up."""
    shown = text.strip()[:40]
    return (
        f"query {shown!r} has no letters or digits that could be looked up (runs of over {MAX_WORD_LENGTH} count as"
        " data). Ask in words, or by the name of something in the code."
    )


def embedded_part(text: str) -> str:
    """The beginning and the end of a long text: of a stack trace, one of them says what happened."""
    if len(text) <= MAX_EMBEDDED_LETTERS:
        return text
    half = MAX_EMBEDDED_LETTERS // 2
    return f"{text[:half]}\n{text[-half:]}"


def rarest(query: Query, document_frequencies: Mapping[str, int], total: int) -> Query:
    """The query with its `MAX_TERMS` most telling terms; those that occur nowhere are left out first."""
    known = [term for term in query.weights if document_frequencies.get(term)]
    value = {term: query.weights[term] * math.log1p(total / document_frequencies[term]) for term in known}
    kept = frozenset(sorted(known, key=lambda term: (-value[term], term))[:MAX_TERMS])
    return replace(
        query,
        weights={term: weight for term, weight in query.weights.items() if term in kept},
        stems=query.stems & kept,
        joined=frozenset(stem(term.removeprefix(JOINED)) for term in kept if term.startswith(JOINED)),
        initials=frozenset(),  # thousands of words in a row have every two letters among theirs
        parts=frozenset(part for part in query.parts if stem(part) in kept),
    )


def shortened(term_count: int) -> str:
    return (
        f"The query has {term_count:,} distinct terms: it was ranked by the {MAX_TERMS} of them that are rarest in the"
        " code. Fewer words, such as the message and the names of an error, rank better."
    )
