from __future__ import annotations

import numpy as np
import pytest

from codebase_mcp.domain import ParsedFile
from codebase_mcp.search.catalogue import build_corpus
from codebase_mcp.search.lexical import DECAY, LexicalScores, highest, score_chunks
from codebase_mcp.search.query import analyse
from tests.support.corpus import StoredRows, stored
from tests.support.parsed import parsed_file


def scores(query: str, files: list[ParsedFile], allowed: np.ndarray | None = None) -> LexicalScores:
    held = stored(files)
    return score_chunks(build_corpus([held.files]), wanted(held, query), analyse(query).weights, allowed)


def wanted(held: StoredRows, query: str) -> list[tuple[str, bytes, bytes]]:
    return [row for row in held.rows if row[0] in analyse(query).weights]


def test_a_chunk_scores_by_rarity_and_frequency() -> None:
    files = [parsed_file("a.py", "cookie cookie common\n"), parsed_file("b.py", "cookie common\n"),
             parsed_file("c.py", "common\n")]  # fmt: skip
    found = scores("cookie common", files).files
    assert found[0] > found[1] > found[2] > 0


def test_the_score_is_the_sum_of_weight_idf_and_impact() -> None:
    held = stored([parsed_file("a.py", "cookie\n"), parsed_file("b.py", "other\n")])
    corpus = build_corpus([held.files])
    impact = next(row[2][0] for row in held.rows if row[0] == "cooki")
    found = score_chunks(corpus, wanted(held, "cookie"), {"cooki": 0.5})
    assert found.chunks.tolist() == pytest.approx([0.5 * np.log(1 + (2 - 1 + 0.5) / 1.5) * impact, 0.0])


def test_rows_of_several_segments_count_as_one_term() -> None:
    held = stored([parsed_file("a.py", "cookie\n", "cookie\n"), parsed_file("b.py", "x\n")])
    corpus = build_corpus([held.files])
    (term, ids, impacts) = wanted(held, "cookie")[0]
    split = [(term, ids[:4], impacts[:1]), (term, ids[4:], impacts[1:])]
    assert score_chunks(corpus, split, {term: 1.0}).chunks.tolist() == (
        score_chunks(corpus, [(term, ids, impacts)], {term: 1.0}).chunks.tolist()
    )


def test_chunks_that_are_deleted_neither_score_nor_count() -> None:
    held = stored([parsed_file("a.py", "cookie\n"), parsed_file("b.py", "x\n")])
    corpus = build_corpus([held.files])
    term, ids, impacts = wanted(held, "cookie")[0]
    with_dead = (term, np.array([7], "<u4").tobytes() + ids, b"\xff" + impacts)
    clean = score_chunks(corpus, [(term, ids, impacts)], {term: 1.0})
    found = score_chunks(corpus, [with_dead], {term: 1.0})
    assert found.chunks.tolist() == clean.chunks.tolist()
    assert found.newer_chunk_ids.tolist() == []


def test_chunks_newer_than_the_corpus_are_reported() -> None:
    held = stored([parsed_file("a.py", "cookie\n")])
    newer = ("cooki", np.array([5000, 4000], "<u4").tobytes(), b"\x01\x01")
    found = score_chunks(build_corpus([held.files]), [newer], {"cooki": 1.0})
    assert found.newer_chunk_ids.tolist() == [4000, 5000]


def test_files_that_are_not_allowed_have_no_score() -> None:
    files = [parsed_file("a.py", "cookie\n"), parsed_file("b.py", "cookie\n"), parsed_file("c.py", "x\n")]
    found = scores("cookie", files, np.array([False, True, True]))
    assert found.files[0] == found.coverage[0] == 0
    assert found.files[1] > 0


def test_coverage_sums_the_best_dozen_chunks_with_decay() -> None:
    chunks = ["cookie\n"] * 14
    found = scores("cookie", [parsed_file("a.py", *chunks), parsed_file("b.py", *["x\n"] * 20)])
    best = float(found.files[0])
    assert found.coverage[0] == pytest.approx(best * sum(DECAY**rank for rank in range(12)), rel=1e-5)


def test_a_file_without_chunks_scores_nothing_and_shifts_nobody() -> None:
    found = scores("cookie", [parsed_file("a.py"), parsed_file("b.py", "cookie\n"), parsed_file("c.py")])
    assert (found.files > 0).tolist() == [False, True, False]


def test_nothing_is_found_without_terms() -> None:
    found = scores("🦄", [parsed_file("a.py", "x\n")])
    assert found.files.tolist() == found.coverage.tolist() == [0.0]


def test_the_highest_values_come_best_first_and_ties_by_position() -> None:
    values = np.array([1.0, 3.0, 0.0, 1.0, 2.0, 1.0])
    assert highest(values, 3).tolist() == [1, 4, 0]
    assert highest(values, 10).tolist() == [1, 4, 0, 3, 5]
    assert highest(np.zeros(3), 2).tolist() == []
