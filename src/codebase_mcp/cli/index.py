"""`codebase-mcp index`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, TypedDict

from cyclopts import Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.estimate import say_estimate
from codebase_mcp.cli.options import JsonOption, ProjectOption
from codebase_mcp.cli.session import run_with_service

if TYPE_CHECKING:
    from uuid import UUID

    from codebase_mcp.answers import JobReport
    from codebase_mcp.service import Service


class _StartOptions(TypedDict):
    name: str | None
    project_id: str | None
    force_reindex: bool
    allow_large_root: bool
    retry_failed: bool


def index(
    path: Annotated[str, Parameter(help="Root directory of the repository.")],
    /,
    *,
    name: Annotated[str | None, Parameter(help="Name shown in answers; the directory's name when left out.")] = None,
    project: ProjectOption = None,
    force: Annotated[bool, Parameter(help="Read every file again, not only the changed ones.", negative=())] = False,
    retry_failed: Annotated[bool, Parameter(help="Also try files again that failed last time.", negative=())] = False,
    allow_large_root: Annotated[
        bool, Parameter(help="Accept a root such as / or a home directory.", negative=())
    ] = False,
    dry_run: Annotated[
        bool, Parameter(help="Only tell what would be indexed and how long it would take.", negative=())
    ] = False,
    wait: Annotated[bool, Parameter(help="Show the progress until the job ends.")] = True,
    json: JsonOption = False,
) -> int:
    """Index a repository, or bring its index up to date, and show the progress.

    The work is done by a background job: Ctrl-C stops watching, not the job. Exit code 0 when the job completed (or was
    started, with --no-wait, or estimated, with --dry-run), 1 when it failed or was cancelled, 2 for a wrong argument.

    Example: codebase-mcp index ~/src/shop --name shop
    """
    from pathlib import Path

    from codebase_mcp.lenient import local_path

    root = str(Path(local_path(path)).absolute()) if path.strip() else path
    options: _StartOptions = {
        "name": name,
        "project_id": project,
        "force_reindex": force,
        "allow_large_root": allow_large_root,
        "retry_failed": retry_failed,
    }

    async def work(service: Service) -> int:
        if dry_run:
            return say_estimate(await service.estimate_indexing(root, **options), as_json=json)
        started = await service.start_indexing(root, **options)
        doing = "is being indexed already" if started.already_running else "is being indexed"
        screen.tell(f"{root} {doing} by job {started.job_id}.")
        for warning in started.warnings:
            screen.tell(warning)
        if not wait:
            if json:
                screen.say_json(started)
            else:
                screen.say(str(started.job_id))
            return 0
        return await watch_to_the_end(service, started.job_id, as_json=json)

    return run_with_service(work)


async def watch_to_the_end(service: Service, job_id: UUID, *, as_json: bool = False) -> int:
    """Show a job's progress until it ends, then its outcome; answers the exit code."""
    from codebase_mcp.cli.progress import follow, new_display

    try:
        with new_display() as display:
            job = await follow(service, job_id, display)
    except asyncio.CancelledError:
        screen.tell(
            f"The job goes on in the background. Watch it: codebase-mcp jobs watch {job_id}   "
            f"Cancel it: codebase-mcp jobs cancel {job_id}"
        )
        raise
    if as_json:
        screen.say_json(job)
    else:
        say_outcome(job)
    return 0 if job.status.value == "completed" else 1


def say_outcome(job: JobReport) -> None:
    """The end of a job in a few lines: counts, and what was left out."""
    if job.status.value == "failed":
        screen.complain(f"{job.error_type or 'INTERNAL_ERROR'}: {job.error_message}")
    elif job.status.value == "cancelled":
        screen.say(f"Cancelled; {job.files_indexed:,} files stay searchable. Index again to continue.", "yellow")
    else:
        screen.say(_counts(job), "green")
    for left_out in job.left_out_reasons:
        screen.say(f"  {left_out.files:,} {left_out.state}: {left_out.reason}")
    for warning in job.warnings:
        screen.say(f"  note: {warning}", "yellow")


def _counts(job: JobReport) -> str:
    took = ""
    if job.started_at and job.finished_at:
        took = f" in {screen.duration((job.finished_at - job.started_at).total_seconds())}"
    return (
        f"Indexed {job.files_indexed:,} files ({job.chunks_created:,} chunks){took}; "
        f"{job.files_unchanged:,} unchanged, {job.files_skipped:,} skipped, {job.files_failed:,} failed."
    )
