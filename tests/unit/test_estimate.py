"""How long a job may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.jobs import estimate
from codebase_mcp.jobs.estimate import DEFAULT_BYTES_PER_SECOND, STARTING_SECONDS, estimated_seconds, size_at_a_glance
from tests.support.repositories import folder_for_anybody, ordinary_user

completed_jobs = st.lists(st.tuples(st.integers(1, 10**11), st.floats(0, 1e6)), max_size=10)


def test_without_earlier_jobs_a_measured_rate_is_taken() -> None:
    assert estimated_seconds(int(10 * DEFAULT_BYTES_PER_SECOND), []) == STARTING_SECONDS + 10
    assert estimated_seconds(int(10 * DEFAULT_BYTES_PER_SECOND), [(500, 0.0)]) == STARTING_SECONDS + 10


def test_an_earlier_job_of_the_same_size_takes_as_long() -> None:
    assert estimated_seconds(1_000_000, [(1_000_000, 40.0)]) == STARTING_SECONDS + 40


def test_jobs_of_similar_size_weigh_more() -> None:
    slow_and_alike, fast_and_small = (10_000_000, 100.0), (10_000, 0.001)
    assert 80 < estimated_seconds(10_000_000, [slow_and_alike, fast_and_small]) - STARTING_SECONDS < 101
    assert estimated_seconds(10_000, [slow_and_alike, fast_and_small]) == STARTING_SECONDS


@given(st.integers(0, 10**12), completed_jobs)
def test_an_estimate_is_never_less_than_a_start(size_bytes: int, completed: list[tuple[int, float]]) -> None:
    assert estimated_seconds(size_bytes, completed) >= STARTING_SECONDS


def test_the_size_at_a_glance_leaves_out_what_is_not_indexed(tmp_path: Path) -> None:
    for path, size in {"a.py": 10, "b/c.py": 100, "b/huge.py": 5_000, ".git/pack": 7, "node_modules/x.js": 9}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"x" * size)
    (tmp_path / "link.py").symlink_to("a.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert size_at_a_glance(tmp_path, max_file_bytes=1_000) == 110


def test_a_tree_that_takes_too_long_has_no_size(tmp_path: Path) -> None:
    assert size_at_a_glance(tmp_path, max_file_bytes=1_000, seconds=-1) is None


def test_what_cannot_be_looked_into_counts_nothing() -> None:
    with folder_for_anybody() as folder:
        (folder / "a.py").write_bytes(b"x" * 10)
        (folder / "closed").mkdir()
        (folder / "closed" / "b.py").write_bytes(b"x" * 10)
        with ordinary_user(folder):
            (folder / "closed").chmod(0)
            assert size_at_a_glance(folder, max_file_bytes=1_000) == 10


def test_an_estimate_has_one_digit_after_the_point() -> None:
    assert estimate.estimated_seconds(1_234_567, []) == pytest.approx(2.3)
