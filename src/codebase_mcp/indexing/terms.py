"""Text to terms: the one tokeniser of indexing and search.

A word is cut at camelCase, digits and underscores; its parts are lower-cased and stemmed. A word of several parts adds
one joined term, so that ErrorHandler, error_handler and errorHandler all meet in "=errorhandler".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import Stemmer

TOKENISER_VERSION = "1"
MAX_TERM_LENGTH = 64
"""Longer terms are encoded data, not names: they are left out."""
MAX_WORD_LENGTH = 200
"""A longer run of word characters has no words in it that anybody would search for."""
HEADER_NAMES = 12
JOINED = "="

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
# Scripts written without spaces: pairs of neighbouring characters stand in for words.
_UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_FOREIGN_PART = re.compile(rf"([{_UNSPACED}]{{2,}})|(?:(?![{_UNSPACED}]{{2}})[^\W\d_])+|\d+")
# Files named for their place, not for their content: the directory says what they are about.
_PLACEHOLDER_STEMS = frozenset({"mod", "index", "__init__", "init", "lib", "main", "root", "package"})

_stem_word = Stemmer.Stemmer("english", 100_000).stemWord


def words(text: str) -> list[str]:
    """The runs of letters, digits and underscores in `text`, as written."""
    return [word for word in _WORD.findall(text) if len(word) <= MAX_WORD_LENGTH]


def split_identifier(word: str) -> list[str]:
    """Lower-case parts of an identifier: HTTPServer2_name gives http, server, 2, name."""
    if word.isascii():
        return [part.lower() for part in _PART.findall(word)]
    parts: list[str] = []
    for match in _FOREIGN_PART.finditer(word):
        part = match[0]
        if part.isascii():
            parts += split_identifier(part)
        elif match[1]:
            parts += [first + second for first, second in pairwise(part)]
        else:
            parts.append(part.lower())
    return parts


def stem(part: str) -> str:
    """The stem of a lower-case part; parts of three letters or fewer, and numbers, stay as they are."""
    if len(part) <= 3 or not part.isalpha():
        return part
    stemmed: str = _stem_word(part)
    return stemmed


def fold_name(name: str) -> str:
    """The form under which spellings of one name meet: lower case, without underscores."""
    return name.replace("_", "").lower()


def joined_term(name: str) -> str | None:
    """The term that stands for a name of several parts as a whole; None for a name of one part or an over-long one."""
    return _joined(name, len(split_identifier(name)))


def _joined(name: str, part_count: int) -> str | None:
    if part_count < 2:
        return None
    term = JOINED + fold_name(name)
    return term if len(term) <= MAX_TERM_LENGTH else None


def _short(terms: Iterable[str]) -> list[str]:
    return [term for term in terms if len(term) <= MAX_TERM_LENGTH]


def stems(word: str) -> list[str]:
    """The stems of one word's parts, without the joined term."""
    return _short(stem(part) for part in split_identifier(word))


@lru_cache(maxsize=1 << 15)
def word_terms(word: str) -> tuple[str, ...]:
    """Every term that one word stands for: its stems and, for several parts, the joined term."""
    if len(word) > MAX_WORD_LENGTH:
        return ()
    parts = split_identifier(word)
    joined = _joined(word, len(parts))
    terms = _short(stem(part) for part in parts)
    return (*terms, joined) if joined else tuple(terms)


def content_terms(text: str) -> dict[str, int]:
    """How often each term occurs in `text`."""
    frequencies: dict[str, int] = {}
    seen = frequencies.get
    for word, count in Counter(_WORD.findall(text)).items():
        for term in word_terms(word):
            frequencies[term] = seen(term, 0) + count
    return frequencies


def file_stem(relative_path: str) -> str:
    """The name that says what a file is about; for mod.rs, index.ts, __init__.py and the like the directory's name."""
    name = _without_extension(relative_path.rpartition("/")[2]).removesuffix(".d")
    return (name in _PLACEHOLDER_STEMS and parent_name(relative_path)) or name


def parent_name(relative_path: str) -> str:
    """The name of the directory that holds a file; empty at the root."""
    return relative_path.rpartition("/")[0].rpartition("/")[2]


def _without_extension(name: str) -> str:
    start, dot, _ = name.rpartition(".")
    return start if dot and start else name


def file_stem_terms(relative_path: str) -> list[str]:
    """Stems of the words in a file's name, in order, each once."""
    return list(dict.fromkeys(_name_stems(file_stem(relative_path))))


def directory_terms(relative_path: str) -> list[str]:
    """Stems of the words in the names of all directories above a file, below the root, each once."""
    return list(dict.fromkeys(_name_stems(relative_path.rpartition("/")[0])))


def parent_terms(relative_path: str) -> list[str]:
    """Stems of the words in the name of the directory that holds a file, each once; none at the root."""
    return list(dict.fromkeys(_name_stems(parent_name(relative_path))))


def path_frequencies(relative_path: str) -> dict[str, int]:
    """What a path adds to the terms of each of its file's chunks: the stem twice, each directory once."""
    frequencies = {term: 2 * count for term, count in content_terms(file_stem(relative_path)).items()}
    for term, count in content_terms(relative_path.rpartition("/")[0]).items():
        frequencies[term] = frequencies.get(term, 0) + count
    return frequencies


def header(relative_path: str, definition_names: Sequence[str]) -> str:
    """The text that is embedded for a chunk: words of its path, then of the first dozen names it defines."""
    directory, slash, name = relative_path.rpartition("/")
    sources = (directory + slash + _without_extension(name), *definition_names[:HEADER_NAMES])
    return " ".join(part for source in sources for word in words(source) for part in split_identifier(word))


@lru_cache(maxsize=1 << 12)
def _name_stems(name: str) -> tuple[str, ...]:
    return tuple(term for word in words(name) for term in stems(word))
