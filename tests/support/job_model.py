"""A model of the job engine in plain Python, and how it is compared with the rows of the database."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, fields
from typing import Any, cast
from uuid import UUID

from codebase_mcp.domain import MAX_RUNNING_JOBS, FileState
from codebase_mcp.jobs.store import FRUITLESS_LIMIT, SUSPECT_FROM, Claim

ACTIVE = ("pending", "running", "blocked")
FATES = (FileState.INDEXED, FileState.UNCHANGED, FileState.SKIPPED, FileState.FAILED)
STATUS_AFTER = {
    "created": "pending", "started": "running", "resumed": "running", "unblocked": "running", "released": "pending",
    "blocked": "blocked", "completed": "completed", "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip

SEEN = """
SELECT id, project_id, repo_path, status, phase, attempt, slot, worker_id, fruitless_attempts, files_scanned,
  chunks_created, bytes_total, bytes_done, progress_percentage, repository_id, error_type,
  CASE WHEN lease_expires_at < clock_timestamp() - interval '1 minute' THEN 'long lapsed'
    WHEN lease_expires_at < clock_timestamp() THEN 'lapsed'
    WHEN lease_expires_at > clock_timestamp() + interval '120 seconds' THEN 'far'
    WHEN lease_expires_at IS NOT NULL THEN 'held' END AS lease,
  retry_at <= clock_timestamp() AS is_due,
  finished_at < clock_timestamp() - interval '7 days' AS is_old,
  coalesce(CAST(metadata ->> 'block_count' AS integer), 0) AS block_count,
  ARRAY(SELECT event_type FROM codebase_mcp.job_events e WHERE e.job_id = j.id ORDER BY e.id) AS events,
  ARRAY(SELECT state FROM codebase_mcp.job_files f WHERE f.job_id = j.id ORDER BY f.ordinal) AS files,
  ARRAY[files_total, files_indexed, files_unchanged, files_skipped, files_failed] AS counts
FROM codebase_mcp.indexing_jobs j ORDER BY created_at, id
"""


class Disagreement(AssertionError):
    """The engine did something else than the model says."""


def expect(outcome: object, expected: object, what: object) -> None:
    if outcome != expected:
        raise Disagreement(f"{what}: the engine answered {outcome!r}, the model says {expected!r}")


@dataclass
class ModelJob:
    """What is known of one job. `lease` is held, lapsed, long lapsed or far; `is_old` means over a week."""

    id: UUID
    project_id: str
    repo_path: str
    status: str = "pending"
    phase: str = "queued"
    attempt: int = 0
    slot: int | None = None
    worker_id: UUID | None = None
    lease: str | None = None
    is_due: bool | None = None
    fruitless_attempts: int = 0
    files: list[str] = field(default_factory=list)
    files_scanned: int = 0
    chunks_created: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    progress_percentage: int = 0
    block_count: int = 0
    repository_id: int | None = None
    error_type: str | None = None
    is_old: bool | None = None
    events: list[str] = field(default_factory=lambda: ["created"])

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def is_fresh(self) -> bool:
        return self.status == "pending" or bool(self.is_due)

    @property
    def is_orphan(self) -> bool:
        return self.lease in ("lapsed", "long lapsed", "far")

    @property
    def pending(self) -> list[int]:
        return [ordinal for ordinal, state in enumerate(self.files) if state == "pending"]

    def leave(self, status: str, event: str) -> None:
        """Out of `running`, or out of whatever it was when it is cancelled."""
        self.status, self.slot, self.worker_id, self.lease, self.is_due = status, None, None, None, None
        self.events.append(event)
        if not self.is_active:
            self.phase, self.is_old = "done", False


@dataclass
class Model:
    """All jobs in the order in which they were started, and every claim that was ever handed out."""

    jobs: dict[UUID, ModelJob] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)

    def held(self, claim: Claim) -> ModelJob | None:
        """The job that this claim may write for."""
        job = self.jobs.get(claim.job_id)
        return job if job and job.status == "running" and job.attempt == claim.attempt else None

    def active(self, project_id: str, repo_path: str) -> ModelJob | None:
        of_it = (job for job in self.jobs.values() if (job.project_id, job.repo_path) == (project_id, repo_path))
        return next((job for job in of_it if job.is_active), None)

    def running(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.status == "running"]

    def candidate(self, worker_id: UUID, locked: Set[UUID]) -> ModelJob | None:
        """What this worker would take now: orphans first, then the oldest, of which no more are in line than slots
        are free."""
        orphans = [job for job in self.jobs.values() if job.is_orphan]
        line = [job for job in self.jobs.values() if job.is_fresh][: len(self.free_slots())]
        ready = (job for job in [*orphans, *line] if job.id not in locked)
        return next((job for job in ready if self._is_fit(job, worker_id)), None)

    def _is_fit(self, job: ModelJob, worker_id: UUID) -> bool:
        """Nobody shares a worker with a suspect, unless the suspect has waited for a while to be alone."""
        others = [other for other in self.running() if other.worker_id == worker_id and other is not job]
        if any(other.fruitless_attempts >= SUSPECT_FROM for other in others):
            return False
        is_suspect = job.fruitless_attempts + (job.status == "running") >= SUSPECT_FROM
        has_waited = job.lease == "long lapsed" or bool(job.is_due)
        return not (others and is_suspect and not has_waited)

    def free_slots(self) -> set[int]:
        return set(range(1, MAX_RUNNING_JOBS + 1)) - {cast(int, job.slot) for job in self.running()}

    def hopeless(self, locked: Set[UUID]) -> list[ModelJob]:
        return [
            job
            for job in self.running()
            if job.id not in locked and "lapsed" in str(job.lease) and job.fruitless_attempts >= FRUITLESS_LIMIT
        ]


# --- comparing ---


def compare(model: Model, rows: list[Any]) -> list[str]:
    """In words what is different."""
    seen = {row.id: row for row in rows}
    differences = [f"{job_id} is in one of the two only" for job_id in seen.keys() ^ model.jobs.keys()]
    for job_id in seen.keys() & model.jobs.keys():
        row, job = seen[job_id], model.jobs[job_id]
        for name in [one.name for one in fields(ModelJob)]:
            actual, expected = getattr(row, name), getattr(job, name)
            if name == "events":
                actual = [event for event in actual if event in STATUS_AFTER or event == "progress"]
            if actual != expected:
                differences.append(
                    f"{job.project_id} {job.repo_path} ({job.status}): {name} is {actual}, not {expected}"
                )
        counts = [len(job.files), *(job.files.count(state.value) for state in FATES)]
        if list(row.counts) != counts:
            differences.append(f"{job.project_id} {job.repo_path}: counts {row.counts}, but the files say {counts}")
    return differences


def assert_rules(rows: list[Any]) -> None:
    """What holds whatever the model says."""
    slots = [row.slot for row in rows if row.status == "running"]
    assert len(slots) == len(set(slots)) <= MAX_RUNNING_JOBS, f"running in the slots {slots}"
    active = [(row.project_id, row.repo_path) for row in rows if row.status in ("pending", "running", "blocked")]
    assert len(active) == len(set(active)), f"active twice: {active}"
    for row in rows:
        told = [event for event in row.events if event in STATUS_AFTER]
        assert STATUS_AFTER[told[-1]] == row.status, f"{row.status} after {told}"
        terminal = [event for event in told if event in ("completed", "failed", "cancelled")]
        assert len(terminal) == (row.is_old is not None), f"{row.status} after {told}"
