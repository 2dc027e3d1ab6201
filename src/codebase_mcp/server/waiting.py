"""What a client hears while it waits for a job, and what it is told when the wait ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from codebase_mcp.domain import JobStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastmcp import Context

    from codebase_mcp.answers import JobReport


REASONS_NAMED = 5


def progress_reporter(ctx: Context) -> Callable[[JobReport], Awaitable[None]]:
    """A callback that forwards a job's progress as MCP progress notifications, in percent of 100."""
    last_sent = -1

    async def report(job: JobReport) -> None:
        nonlocal last_sent
        # The protocol wants every notification to be further on than the one before.
        if job.progress_percentage > last_sent:
            last_sent = job.progress_percentage
            await ctx.report_progress(job.progress_percentage, 100, job.progress_message)

    return report


def advice(job: JobReport) -> str:
    """A summary of a finished job, else how to go on."""
    match job.status:
        case JobStatus.COMPLETED:
            return _summary(job)
        case JobStatus.FAILED:
            reason = job.error_message or "no reason was recorded"
            return f"Indexing failed: {reason}. What was committed stays searchable."
        case JobStatus.CANCELLED:
            return f"The job was cancelled; {job.files_indexed:,} files stay searchable. Start again to continue."
        case JobStatus.BLOCKED:
            return f"The job waits and goes on by itself: {job.progress_message} {_poll(job)}"
        case JobStatus.PENDING | JobStatus.RUNNING:
            return f"The job goes on in the background ({job.progress_percentage} %). {_poll(job)}"
        case _:
            assert_never(job.status)


def _poll(job: JobReport) -> str:
    return f"Follow it with get_job_status and job_id {job.job_id}."


def _summary(job: JobReport) -> str:
    left_out = job.files_skipped + job.files_failed
    told = (
        f"Indexed {job.files_indexed:,} files ({job.chunks_created:,} chunks); {job.files_unchanged:,} were up to date."
    )
    reasons = [f"{one.files:,} {one.state}: {one.reason}" for one in job.left_out_reasons]
    named = "; ".join(reasons[:REASONS_NAMED] + (["…"] if len(reasons) > REASONS_NAMED else []))
    return f"{told} {left_out:,} were left out ({named}), see left_out_reasons." if left_out else told
