"""Mined packages as arrays of words: headers to find, queries to find them with, and how both are put into batches."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from codebase_mcp.indexing.terms import file_stem_terms, split_identifier, stem, words
from fetch import Source
from mine import MINED

Ids = NDArray[np.int64]
KINDS = ("comment", "head", "inside", "body")
MOST_ALIKE = 3
"""How often one comment may occur in a package: overloads and translations repeat theirs."""


@dataclass(slots=True)
class Words:
    """Every word seen, numbered; what its stem is called."""

    number: dict[str, int] = field(default_factory=dict)
    stems: list[str] = field(default_factory=list)

    def ids(self, parts: list[str]) -> Ids:
        return np.array([self._id(part) for part in parts], dtype=np.int64)

    def _id(self, part: str) -> int:
        if part not in self.number:
            self.number[part] = len(self.stems)
            self.stems.append(stem(part))
        return self.number[part]


@dataclass(frozen=True, slots=True)
class Query:
    """`in_name` and `in_header` say of each word whether its stem is in the name of the file, or in the header."""

    chunk: int
    kind: str
    words: Ids
    in_name: NDArray[np.bool_]
    in_header: NDArray[np.bool_]
    rarity: NDArray[np.float64]


@dataclass(slots=True)
class Package:
    """`file_of` has the file's number for each header."""

    name: str
    split: str
    headers: list[Ids]
    file_of: Ids
    queries: dict[str, list[Query]]
    languages: Counter[str]


def load(sources: list[Source], vocabulary: Words) -> list[Package]:
    return [_package(source, vocabulary) for source in sources if (MINED / f"{source.slug}.jsonl").exists()]


def query_words(text: str) -> list[str]:
    """As the product splits what a user asks."""
    return [part for word in words(text) for part in split_identifier(word)]


def _package(source: Source, vocabulary: Words) -> Package:
    with (MINED / f"{source.slug}.jsonl").open(encoding="utf-8") as lines:
        files = [json.loads(line) for line in lines if line.strip()]
    package = Package(source.name, source.split, [], np.zeros(0, np.int64), {kind: [] for kind in KINDS}, Counter())
    file_of: list[int] = []
    seen: Counter[str] = Counter()
    bodies = (text for file in files for _, kind, text in file["queries"] if kind == "body")
    in_bodies = Counter(part for text in bodies for part in text.split())
    for number, file in enumerate(files):
        package.languages[file["language"]] += len(file["queries"])
        first = len(package.headers)
        package.headers += [vocabulary.ids(text.split()) for text in file["headers"]]
        file_of += [number] * len(file["headers"])
        name_stems = frozenset(file_stem_terms(file["path"]))
        for chunk, kind, text in file["queries"]:
            seen[text] += 1
            if seen[text] <= MOST_ALIKE:
                query = _query(vocabulary, (first + chunk, kind, text), file["headers"][chunk], name_stems, in_bodies)
                if query.words.size >= 3:
                    package.queries[kind].append(query)
    package.file_of = np.array(file_of, dtype=np.int64)
    return package


def _query(
    vocabulary: Words, row: tuple[int, str, str], header: str, name_stems: frozenset[str], in_bodies: Counter[str]
) -> Query:
    chunk, kind, text = row
    parts = text.split() if kind == "body" else query_words(text)
    stems = [stem(part) for part in parts]
    header_stems = _stems(header)
    return Query(
        chunk,
        kind,
        vocabulary.ids(parts),
        np.array([each in name_stems for each in stems], dtype=bool),
        np.array([each in header_stems for each in stems], dtype=bool),
        np.array([1.0 / (2.0 + in_bodies[part]) ** 0.75 for part in parts]) if kind == "body" else np.zeros(0),
    )


@cache
def _stems(header: str) -> frozenset[str]:
    return frozenset(map(stem, header.split()))


class Bags:
    """Texts as rows of token counts, for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Words) -> None:
        encoded = tokenizer.encode_batch_fast(list(vocabulary.number), add_special_tokens=False)
        unknown = tokenizer.token_to_id("[UNK]")
        kept = [[token for token in each.ids if token != unknown] for each in encoded]
        self._lengths = np.array([len(ids) for ids in kept], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)])
        self._tokens = np.array([token for ids in kept for token in ids], dtype=np.int32)
        self.tokens = tokenizer.get_vocab_size()

    def rows(self, texts: list[Ids]) -> csr_matrix:
        flat = np.concatenate(texts) if texts else np.zeros(0, np.int64)
        lengths = self._lengths[flat]
        offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        columns = self._tokens[np.repeat(self._starts[flat], lengths) + offsets]
        word_ends = np.concatenate([[0], np.cumsum(lengths)])
        ends = word_ends[np.concatenate([[0], np.cumsum([len(text) for text in texts])])]
        counts = np.ones(len(columns), dtype=np.float32)
        return csr_matrix((counts, columns, ends), shape=(len(texts), self.tokens))
