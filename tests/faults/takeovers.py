"""What the ledger says of kills and of the times without anybody at work; every time is the database's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any
from uuid import UUID

import psutil

from tests.support.processes import PATIENCE_SECONDS, Site
from tests.support.waiting import until

HOLDERS = """
SELECT DISTINCT ON (c.job_id) c.writer, j.* FROM ledger.claims c JOIN codebase_mcp.indexing_jobs j ON j.id = c.job_id
WHERE j.status = 'running' ORDER BY c.job_id, c.id DESC"""
"""Running jobs with the connection that claimed each."""

_CLAIMED_BY = """
SELECT job_id, max(id) AS id FROM ledger.claims WHERE writer = :writer AND at < :at GROUP BY job_id"""

_NEXT = """
SELECT id, at, status, attempt > old_attempt AS is_claim FROM ledger.transitions
WHERE job_id = :job_id AND id > :id AND (attempt > old_attempt OR status <> 'running') ORDER BY id LIMIT 1"""

_ACTIVITY = """
SELECT at, operation, job_id, status, writer LIKE '%worker%' AS is_work
FROM ledger.transitions ORDER BY id"""


@dataclass(frozen=True)
class Kill:
    """A worker that was killed at a moment; `writer` is what its connections were called."""

    at: datetime
    writer: str


def writer_of(pid: int) -> str:
    return f"codebase-mcp worker {pid}"


async def holder_of(site: Site, job_id: UUID) -> psutil.Process:
    """The worker that runs a job, as soon as one does; on a busy machine there may be a helper beside it."""

    async def holder() -> psutil.Process | None:
        held = await site.rows(f"SELECT writer FROM ({HOLDERS}) held WHERE id = :id", id=job_id)
        writers = {row["writer"] for row in held}
        return next((worker for worker in site.processes("worker") if writer_of(worker.pid) in writers), None)

    return await until(holder, what=f"a worker that runs job {job_id}", seconds=PATIENCE_SECONDS)


async def takeover_seconds(site: Site, kill: Kill) -> list[float]:
    """For each job that the killed worker ran: from the kill to the next claim."""
    taken = []
    for claimed in await site.rows(_CLAIMED_BY, writer=kill.writer, at=kill.at):
        found = await site.rows(_NEXT, job_id=claimed["job_id"], id=claimed["id"])
        # It may have ended, been cancelled or been claimed by another before the kill.
        if found and found[0]["is_claim"] and found[0]["at"] > kill.at:
            taken.append((found[0]["at"] - kill.at).total_seconds())
    return taken


async def longest_idle_seconds(site: Site) -> float:
    """The longest time in which there was an active job and no worker wrote a word."""
    active: set[UUID] = set()
    longest, since = 0.0, await site.clock()
    for row in await site.rows(_ACTIVITY):
        if active and row["is_work"]:
            longest, since = max(longest, (row["at"] - since).total_seconds()), row["at"]
        was_idle = not active
        is_over = row["operation"] == "DELETE" or row["status"] in ("completed", "failed", "cancelled")
        (active.discard if is_over else active.add)(row["job_id"])
        if was_idle and active:
            since = row["at"]
    return longest


def spread(seconds: list[float]) -> dict[str, Any]:
    """Count, median, 95th percentile and maximum."""
    if not seconds:
        return {"count": 0}
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    shown = {"p50": median(ordered), "p95": p95, "max": ordered[-1]}
    return {"count": len(ordered)} | {name: round(value, 2) for name, value in shown.items()}
