"""How a list of results is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.corpora import BenchmarkError
from benchmarks.relevance import Result, Target, load, relevance


def results(*paths: str, tokens: float = 100) -> list[Result]:
    return [Result(path, 1, 10, tokens) for path in paths]


def test_an_answer_on_top_is_perfect_and_costs_one_result() -> None:
    found = relevance(results("a.py", "b.py"), [Target("a.py")])
    assert (found.ndcg10, found.mrr, found.recall5, found.recall10, found.tokens_to_first_hit) == (1, 1, 1, 1, 100)


def test_a_later_rank_counts_for_less() -> None:
    found = relevance(results("x.py", "y.py", "a.py"), [Target("a.py")])
    assert (found.ndcg10, found.mrr, found.tokens_to_first_hit) == (0.5, pytest.approx(1 / 3), 300)


def test_beyond_the_tenth_rank_nothing_counts_and_all_was_read() -> None:
    found = relevance(results(*(f"{n}.py" for n in range(10)), "a.py"), [Target("a.py")])
    assert (found.ndcg10, found.recall10, found.tokens_to_first_hit) == (0, 0, 1_100)


def test_the_ideal_has_every_target_on_top() -> None:
    found = relevance(results("a.py", "x.py", "b.py"), [Target("a.py"), Target("b.py")])
    assert found.ndcg10 == pytest.approx((1 + 0.5) / (1 + 0.6309), abs=1e-4)
    assert found.recall5 == 1


def test_one_result_that_hits_two_targets_counts_once() -> None:
    targets = [Target("a.py", 1, 2), Target("a.py", 3, 4)]
    assert relevance(results("a.py"), targets).ndcg10 == pytest.approx(1 / 1.6309, abs=1e-4)


@pytest.mark.parametrize(("start", "end", "is_hit"), [(10, 20, True), (11, 20, False), (1, 1, True)])
def test_a_span_must_overlap(start: int, end: int, is_hit: bool) -> None:
    assert Target("a.py", start, end).is_hit_by(results("a.py")[0]) is is_hit


def test_a_path_may_leave_out_leading_folders_but_no_part_of_a_name() -> None:
    assert Target("lib/a.py").is_path("src/lib/a.py")
    assert Target("src/lib/a.py").is_path("a.py")
    assert not Target("a.py").is_path("aa.py")


def test_queries_are_loaded_with_all_their_targets(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "repos.json").write_text(json.dumps([{"name": "shop", "language": "python"}]))
    query = {"query": "q", "category": "semantic", "relevant": ["a.py"], "secondary": [{"path": "b.py"}]}
    (tmp_path / "annotations" / "shop.json").write_text(json.dumps([query]))
    [repository] = load(tmp_path)
    assert repository.queries[0].targets == (Target("a.py"), Target("b.py"))
    assert repository.benchmark_root is None


def test_a_folder_without_queries_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"repos\.json is missing"):
        load(tmp_path)
