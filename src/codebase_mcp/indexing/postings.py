"""Postings of one batch: for each term, which chunks (or files) it is in and how much it says about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.domain import ParsedFile, Postings, PostingSpace
from codebase_mcp.indexing.terms import content_terms, directory_terms, file_stem_terms, path_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

BM25_K1 = 1.2
BM25_B = 0.6
# A fixed length keeps an impact independent of every other chunk: nothing is recomputed when files come and go.
AVERAGE_LENGTH = 220.0
MAX_IMPACT = 255


def build_postings(files: Sequence[ParsedFile]) -> dict[PostingSpace, Postings]:
    """Postings of a batch in every space; ids are positions of chunks, or of files, within the batch."""
    return {
        PostingSpace.CHUNK: _chunk_postings(files),
        PostingSpace.STEM: _file_postings(file_stem_terms(file.relative_path) for file in files),
        PostingSpace.DIRECTORY: _file_postings(directory_terms(file.relative_path) for file in files),
    }


def impacts_of(frequencies: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.uint8]:
    """BM25 saturation of term frequencies in texts of so many terms, on a linear scale from 1 to 255."""
    normal = BM25_K1 * (1 - BM25_B + BM25_B * lengths / AVERAGE_LENGTH)
    share = frequencies / (frequencies + normal)
    return np.clip(np.rint(share * MAX_IMPACT), 1, MAX_IMPACT).astype(np.uint8)


def _chunk_postings(files: Sequence[ParsedFile]) -> Postings:
    return _collect(
        _with_path(content_terms(chunk.content), path_terms)
        for file in files
        for path_terms in (path_frequencies(file.relative_path),)
        for chunk in file.chunks
    )


def _with_path(frequencies: dict[str, int], path_terms: Mapping[str, int]) -> dict[str, int]:
    for term, count in path_terms.items():
        frequencies[term] = frequencies.get(term, 0) + count
    return frequencies


def _file_postings(terms_of_files: Iterable[Sequence[str]]) -> Postings:
    postings = _collect(dict.fromkeys(terms, 1) for terms in terms_of_files)
    return Postings(postings.terms, postings.offsets, postings.ids, np.ones_like(postings.impacts))


def _collect(documents: Iterable[Mapping[str, int]]) -> Postings:
    """Invert documents, each a map of term to frequency; terms come out sorted, ids ascending within a term."""
    numbers: dict[str, int] = {}
    term_numbers: list[int] = []
    frequencies: list[int] = []
    sizes: list[int] = []
    lengths: list[int] = []
    for document in documents:
        term_numbers += [numbers.setdefault(term, len(numbers)) for term in document]
        frequencies += document.values()
        sizes.append(len(document))
        lengths.append(sum(document.values()))
    terms = sorted(numbers)
    rank = np.empty(len(terms), dtype=np.int64)
    rank[[numbers[term] for term in terms]] = np.arange(len(terms))
    ranks = rank[np.array(term_numbers, dtype=np.int64)]
    order = np.argsort(ranks, kind="stable")
    ids = np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
    impacts = impacts_of(np.array(frequencies, np.float64), np.repeat(np.array(lengths, np.float64), sizes))
    ends = np.cumsum(np.bincount(ranks, minlength=len(terms)), dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), ends])
    return Postings(tuple(terms), offsets, ids[order], impacts[order])
