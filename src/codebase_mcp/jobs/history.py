"""What earlier jobs on this machine tell about how long the next one takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codebase_mcp.domain import JobStatus
from codebase_mcp.indexing.survey import Amount
from codebase_mcp.jobs import statements
from codebase_mcp.jobs.estimate import CompletedJob, Interval, Work, undisturbed_seconds

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection

TELLING_JOBS = 10
SHORTEST_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class History:
    """`completed` are the jobs that tell something, the latest first; `running_jobs` how many run now."""

    completed: tuple[CompletedJob, ...]
    running_jobs: int


async def history(connection: AsyncConnection, host_id: str, index_fingerprint: str | None) -> History:
    """The latest jobs of a host that completed and indexed something in the present way, with the present model.

    Without a fingerprint, those that are like the latest of them.
    """
    rows = await statements.rows(connection, "recent_runs", {"host_id": host_id})
    telling = [row for row in rows if _is_telling(row)]
    if index_fingerprint is None and telling:
        index_fingerprint = telling[0]["index_fingerprint"]
    telling = [row for row in telling if row["index_fingerprint"] == index_fingerprint]
    completed = (_completed(row, [other for other in rows if other is not row]) for row in telling[:TELLING_JOBS])
    return History(tuple(completed), sum(row["status"] == JobStatus.RUNNING for row in rows))


def _is_telling(row: sa.RowMapping) -> bool:
    return (
        row["status"] == JobStatus.COMPLETED
        and row["files_indexed"] > 0
        and bool(row["to_index"])
        and not row["was_orphaned"]
    )


def _completed(row: sa.RowMapping, others: Sequence[sa.RowMapping]) -> CompletedJob:
    alone = undisturbed_seconds(_interval(row), [_interval(other) for other in others])
    return CompletedJob(
        job_id=row["id"],
        repo_name=row["repo_name"],
        completed_at=row["ended_at"],
        work=Work(row["files_total"], _done(row["to_index"], row["files_indexed"])),
        seconds=max(SHORTEST_SECONDS, alone - float(row["paused_seconds"])),
        chunks=row["chunks_created"],
    )


def _interval(row: sa.RowMapping) -> Interval:
    return Interval(row["started_at"], row["ended_at"])


def _done(to_index: Mapping[str, Any], files_indexed: int) -> dict[str, Amount]:
    """What was meant to be indexed, less the share that turned out to be unchanged or unusable when it was read."""
    meant = {language: Amount(int(files), int(size_bytes)) for language, (files, size_bytes) in to_index.items()}
    share = min(1.0, files_indexed / sum(amount.files for amount in meant.values()))
    return {
        language: Amount(round(amount.files * share), round(amount.size_bytes * share))
        for language, amount in meant.items()
    }
