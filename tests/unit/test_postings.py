from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import Postings, PostingSpace
from codebase_mcp.indexing.postings import AVERAGE_LENGTH, BM25_B, BM25_K1, build_postings, impacts_of
from codebase_mcp.indexing.terms import content_terms, directory_terms, file_stem_terms, path_frequencies
from tests.support.parsed import parsed_file


def decoded(postings: Postings) -> dict[str, dict[int, int]]:
    return {
        term: dict(
            zip(
                postings.ids[postings.offsets[number] : postings.offsets[number + 1]].tolist(),
                postings.impacts[postings.offsets[number] : postings.offsets[number + 1]].tolist(),
                strict=True,
            )
        )
        for number, term in enumerate(postings.terms)
    }


def test_chunk_ids_count_through_all_files_of_the_batch() -> None:
    files = [parsed_file("a.py", "alpha\n", "beta\n"), parsed_file("b.py", "alpha\n")]
    found = decoded(build_postings(files)[PostingSpace.CHUNK])
    assert sorted(found["alpha"]) == [0, 2]
    assert sorted(found["beta"]) == [1]


def test_every_chunk_is_found_by_the_words_of_its_path() -> None:
    found = decoded(build_postings([parsed_file("http/cookie_jar.py", "x\n", "y\n")])[PostingSpace.CHUNK])
    assert sorted(found["cooki"]) == sorted(found["http"]) == sorted(found["=cookiejar"]) == [0, 1]
    assert found["cooki"][0] > found["http"][0]


def test_stem_and_directory_postings_count_files_with_impact_one() -> None:
    files = [parsed_file("web/empty.py"), parsed_file("web/api/cookie.py", "x\n")]
    postings = build_postings(files)
    assert decoded(postings[PostingSpace.STEM]) == {"empti": {0: 1}, "cooki": {1: 1}}
    assert decoded(postings[PostingSpace.DIRECTORY]) == {"web": {0: 1, 1: 1}, "api": {1: 1}}


def test_a_batch_without_files_has_postings_without_terms() -> None:
    for postings in build_postings([]).values():
        assert postings.terms == ()
        assert postings.offsets.tolist() == [0]
        assert len(postings.ids) == len(postings.impacts) == 0


def test_arrays_have_the_types_that_the_store_writes() -> None:
    postings = build_postings([parsed_file("a.py", "alpha beta\n")])[PostingSpace.CHUNK]
    assert (postings.offsets.dtype, postings.ids.dtype, postings.impacts.dtype) == (np.int64, np.uint32, np.uint8)


def test_impacts_follow_bm25_at_the_fixed_average_length() -> None:
    frequencies = np.array([1.0, 3.0, 50.0])
    lengths = np.array([AVERAGE_LENGTH, 10.0, 2000.0])
    norm = BM25_K1 * (1 - BM25_B + BM25_B * lengths / AVERAGE_LENGTH)
    assert impacts_of(frequencies, lengths).tolist() == np.rint(255 * frequencies / (frequencies + norm)).tolist()


def test_an_impact_is_never_zero() -> None:
    assert impacts_of(np.array([1.0]), np.array([1e9])).tolist() == [1]


@pytest.mark.parametrize("longer", [1, 10, 500])
def test_a_term_says_less_about_a_longer_text(longer: int) -> None:
    short, long = impacts_of(np.array([2.0, 2.0]), np.array([100.0, 100.0 + 100 * longer])).tolist()
    assert long < short


_names = st.sampled_from(["a/error.py", "a/b/mod.rs", "http/cookieJar.ts", "README.md", "lib/index.js"])
_texts = st.lists(st.text("abcXY_ 1\n", max_size=30), max_size=4)


@given(st.lists(st.tuples(_names, _texts), max_size=5))
def test_postings_invert_the_terms_of_every_chunk(batch: list[tuple[str, list[str]]]) -> None:
    files = [parsed_file(name, *texts) for name, texts in batch]
    postings = build_postings(files)
    expected: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    number = 0
    for file in files:
        for chunk in file.chunks:
            terms = content_terms(chunk.content)
            for term, count in path_frequencies(file.relative_path).items():
                terms[term] = terms.get(term, 0) + count
            for term, count in terms.items():
                expected[term][number] = (count, sum(terms.values()))
            number += 1
    found = postings[PostingSpace.CHUNK]
    assert list(found.terms) == sorted(expected)
    for term, owners in decoded(found).items():
        assert list(owners) == sorted(expected[term])
        for owner, impact in owners.items():
            count, length = expected[term][owner]
            assert impact == impacts_of(np.array([count], float), np.array([length], float))[0]
    for space, terms_of in ((PostingSpace.STEM, file_stem_terms), (PostingSpace.DIRECTORY, directory_terms)):
        pairs = {(term, place) for place, file in enumerate(files) for term in terms_of(file.relative_path)}
        assert {(term, place) for term, owners in decoded(postings[space]).items() for place in owners} == pairs
