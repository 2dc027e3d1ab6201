"""How long a job may take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.indexing.survey import Amount
from codebase_mcp.jobs.estimate import (
    CompletedJob,
    Interval,
    Work,
    expected_chunks,
    expected_seconds,
    undisturbed_seconds,
    usual_seconds,
)

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
works = st.builds(
    Work,
    st.integers(0, 10**6),
    st.dictionaries(
        st.sampled_from(["python", "scala", "markdown", "klingon"]),
        st.builds(Amount, st.integers(1, 10**5), st.integers(0, 10**10)),
    ),
)


def work(files: int, megabytes: float, language: str = "python") -> Work:
    return Work(files, {language: Amount(files, int(megabytes * 1e6))})


def job(done: Work, seconds: float) -> CompletedJob:
    return CompletedJob(UUID(int=7), "shop", NOON, done, seconds, 100)


def job_of_a_machine(done: Work, slowness: float) -> CompletedJob:
    return job(done, slowness * usual_seconds(done))


def test_without_earlier_jobs_the_measured_pace_is_taken() -> None:
    done = work(1_000, 26)
    assert expected_seconds(done, []) == usual_seconds(done) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("slowness", [0.3, 1.0, 4.0])
def test_three_jobs_of_any_size_teach_how_slow_a_machine_is(slowness: float) -> None:
    earlier = [job_of_a_machine(work(files, files / 100), slowness) for files in (200, 1_000, 4_000)]
    for files in (100, 500, 2_000, 20_000):
        asked = work(files, files / 100)
        assert expected_seconds(asked, earlier) == pytest.approx(slowness * usual_seconds(asked), rel=0.15)


def test_jobs_of_similar_size_weigh_more() -> None:
    earlier = [job_of_a_machine(work(10_000, 100), 8), job_of_a_machine(work(1_000, 10), 2)]
    assert expected_seconds(work(1_000, 10), earlier) < 4 * usual_seconds(work(1_000, 10))
    assert expected_seconds(work(10_000, 100), earlier) > 4 * usual_seconds(work(10_000, 100))


def test_late_jobs_weigh_more_than_early_ones() -> None:
    fast, slow = job_of_a_machine(work(1_000, 10), 1), job_of_a_machine(work(1_000, 10), 4)
    assert expected_seconds(work(1_000, 10), [fast, slow]) < expected_seconds(work(1_000, 10), [slow, fast])


def test_a_job_of_a_moment_says_little_about_a_long_one() -> None:
    asked = work(5_000, 50)
    assert expected_seconds(asked, [job_of_a_machine(work(1, 0.0001), 20)]) < 2 * usual_seconds(asked)


def test_languages_that_parse_slowly_take_longer() -> None:
    by_language = {name: usual_seconds(work(100, 10, name)) for name in ("scala", "python", "markdown", "klingon")}
    assert by_language["scala"] > 3 * by_language["python"]
    assert by_language["markdown"] < 0.8 * by_language["python"]
    assert by_language["klingon"] == by_language["python"]


def test_files_that_are_only_listed_cost_next_to_nothing() -> None:
    assert usual_seconds(Work(10_000, {})) < usual_seconds(work(10_000, 60)) / 10


def test_chunks_follow_from_bytes_and_files() -> None:
    assert expected_chunks(work(1_661, 29.7)) == pytest.approx(24_251, rel=0.05)
    assert expected_chunks(Work(3, {})) == 0


@given(works, st.lists(st.builds(job, works, st.just(0.0) | st.floats(0.001, 1e7)), max_size=10))
def test_an_estimate_is_a_positive_number_whatever_came_before(asked: Work, earlier: list[CompletedJob]) -> None:
    seconds = expected_seconds(asked, earlier)
    assert 0 < seconds < float("inf")


def between(began: float, ended: float) -> Interval:
    return Interval(NOON + timedelta(seconds=began), NOON + timedelta(seconds=ended))


def test_time_beside_other_jobs_is_shared_with_them() -> None:
    assert undisturbed_seconds(between(0, 10), []) == 10
    assert undisturbed_seconds(between(0, 10), [between(-5, 0), between(10, 20)]) == 10
    assert undisturbed_seconds(between(0, 10), [between(-5, 20)]) == 5
    assert undisturbed_seconds(between(0, 12), [between(0, 6), between(3, 30)]) == pytest.approx(1.5 + 1 + 3)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 50)), max_size=5))
def test_sharing_never_makes_a_job_longer(others: list[tuple[float, float]]) -> None:
    beside = [between(began, began + length) for began, length in others]
    alone = undisturbed_seconds(between(0, 10), beside)
    assert 10 / (1 + len(others)) - 1e-6 <= alone <= 10 + 1e-6
