"""How long a job may take: what it has to do at a measured pace, corrected by the jobs that completed on this machine.

The pace is that of a quiet machine with two cores. Languages cost differently, by a factor of up to four, so work is
weighed by language first; what is left to learn is one number, how many times longer this machine takes. Three jobs
are enough for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from codebase_mcp.indexing.languages import language_named
from codebase_mcp.indexing.survey import Amount

if TYPE_CHECKING:
    from uuid import UUID

STARTING_SECONDS = 1.5
"""A worker that starts cold needs about this long before it claims."""
CLAIMING_SECONDS = 0.3
"""A living one looks for work every half second."""
JOB_SECONDS = 0.15
SECONDS_PER_LISTED_FILE = 0.0001
SECONDS_PER_FILE = 0.0004
SECONDS_PER_BYTE = 1 / 2_600_000
"""Of program text; what other languages cost in proportion is below."""
_CATEGORY_WEIGHTS = {"code": 1.0, "config": 0.7, "markup": 0.7, "prose": 0.7}
_LANGUAGE_WEIGHTS = {
    "scala": 3.5, "sql": 2.5, "cuda": 2.5, "fortran": 2.2, "cmake": 1.5, "lua": 1.5, "csv": 1.4, "ruby": 1.4,
    "cython": 1.3, "haskell": 1.3, "elixir": 1.2, "go": 1.2, "java": 0.7,
}  # fmt: skip
"""Those whose grammar, or whose usual text, is far from the others of their kind."""

BYTES_PER_CHUNK = 1_250
CHUNKS_PER_FILE = 0.5
"""A file's last chunk is seldom full."""

PRIOR_WEIGHT = 0.03
"""How much the measured pace still counts beside a job that says all that a job can say."""
FADING = 0.9
"""Each job back in time counts so much of the next: machines change, and so does what else they do."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job has to do: all its files are listed, those of `to_index` are read, parsed, embedded and stored."""

    files_listed: int
    to_index: Mapping[str, Amount]

    @property
    def total(self) -> Amount:
        return sum(self.to_index.values(), Amount())


@dataclass(frozen=True, slots=True)
class CompletedJob:
    """A job that ran to its end; `seconds` is what it would have taken with the machine to itself."""

    job_id: UUID
    repo_name: str
    completed_at: datetime
    work: Work
    seconds: float
    chunks: int


@dataclass(frozen=True, slots=True)
class Interval:
    """From when to when a job ran."""

    began: datetime
    ended: datetime


def usual_seconds(work: Work) -> float:
    """What the work takes on the machine on which the pace was measured."""
    weighed_bytes = sum(amount.size_bytes * _weight(language) for language, amount in work.to_index.items())
    listing = work.files_listed * SECONDS_PER_LISTED_FILE
    return JOB_SECONDS + listing + work.total.files * SECONDS_PER_FILE + weighed_bytes * SECONDS_PER_BYTE


def _weight(language: str) -> float:
    try:
        return _LANGUAGE_WEIGHTS.get(language) or _CATEGORY_WEIGHTS[language_named(language).category]
    except KeyError:
        return 1.0  # a language of another version, in the record of an earlier job


def expected_seconds(work: Work, completed: Sequence[CompletedJob]) -> float:
    """Seconds from claim to end with the machine to itself; `completed` are earlier jobs, the latest first."""
    usual = usual_seconds(work)
    total_weight, total = PRIOR_WEIGHT, 0.0
    for age, job in enumerate(completed):
        job_usual = usual_seconds(job.work)
        if job.seconds > 0:
            weight = FADING**age * _similarity(usual, job_usual) * _significance(job_usual)
            total_weight += weight
            total += weight * math.log(job.seconds / job_usual)
    return usual * math.exp(total / total_weight)


def _similarity(one: float, other: float) -> float:
    """1 for jobs of one size, a third for a ratio of ten."""
    return math.exp(-abs(math.log(one / other)) / 2)


def _significance(usual: float) -> float:
    """Close to 0 for a job of a moment, whose time is chance; close to 1 for one of ten seconds."""
    return (usual / (usual + 0.5)) ** 2


def expected_chunks(work: Work) -> int:
    """Chunks that the work will create, to within some ten percent."""
    total = work.total
    return round(total.size_bytes / BYTES_PER_CHUNK + total.files * CHUNKS_PER_FILE)


def undisturbed_seconds(job: Interval, others: Sequence[Interval]) -> float:
    """How long a job would have taken alone, if jobs that run at the same time share the machine evenly."""
    moments = {job.began, job.ended}
    for other in others:
        moments |= {min(max(moment, job.began), job.ended) for moment in (other.began, other.ended)}
    ordered = sorted(moments)
    seconds = 0.0
    for began, ended in pairwise(ordered):
        sharing = 1 + sum(other.began < ended and other.ended > began for other in others)
        seconds += (ended - began).total_seconds() / sharing
    return seconds
