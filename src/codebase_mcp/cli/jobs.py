"""`codebase-mcp jobs …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption
from codebase_mcp.cli.session import parse_job_id, run_with_service

if TYPE_CHECKING:
    from codebase_mcp.answers import JobList, JobReport, JobSummary
    from codebase_mcp.service import Service

jobs = App(name="jobs", help="Indexing jobs.\n\nExample: codebase-mcp jobs list --status running")

StatusChoice = Literal["pending", "running", "blocked", "completed", "failed", "cancelled"]
JobIdArgument = Annotated[str, Parameter(help="Id of the job, as `codebase-mcp jobs list` shows it.")]


@jobs.command(name="list")
def list_jobs(
    *,
    status: Annotated[StatusChoice | None, Parameter(help="Only jobs in this state.")] = None,
    repo: Annotated[str | None, Parameter(help="Only paths that contain this text.")] = None,
    project: Annotated[str | None, Parameter(help="Only this project; all when left out.")] = None,
    limit: Annotated[int, Parameter(help="Most jobs to list, 1 to 100.")] = 20,
    offset: Annotated[int, Parameter(help="How many to skip.")] = 0,
    json: JsonOption = False,
) -> int:
    """List jobs, newest first.

    Example: codebase-mcp jobs list --status running
    """

    async def work(service: Service) -> int:
        from codebase_mcp.domain import JobStatus

        wanted = JobStatus(status) if status else None
        found = await service.list_jobs(status=wanted, repo_path=repo, project_id=project, limit=limit, offset=offset)
        if json:
            screen.say_json(found)
        else:
            _say_jobs(found)
        return 0

    return run_with_service(work)


@jobs.command
def show(
    job_id: JobIdArgument,
    /,
    *,
    events: Annotated[bool, Parameter(help="Also print the audit trail.", negative=())] = False,
    json: JsonOption = False,
) -> int:
    """Show one job: progress, counts, errors, files that were left out.

    Example: codebase-mcp jobs show 123e4567-e89b-12d3-a456-426614174000 --events
    """
    wanted = parse_job_id(job_id)

    async def work(service: Service) -> int:
        job = await service.job_status(wanted, include_events=events)
        if json:
            screen.say_json(job)
        else:
            _say_job(job)
        return 0

    return run_with_service(work)


@jobs.command
def cancel(job_id: JobIdArgument, /, *, json: JsonOption = False) -> int:
    """Cancel a job. What it has committed stays searchable; the next start continues.

    Example: codebase-mcp jobs cancel 123e4567-e89b-12d3-a456-426614174000
    """
    wanted = parse_job_id(job_id)

    async def work(service: Service) -> int:
        cancelled = await service.cancel_job(wanted, confirmed=True)
        if json:
            screen.say_json(cancelled)
        else:
            screen.say(cancelled.message)
        return 0

    return run_with_service(work)


@jobs.command
def adopt(
    job_id: JobIdArgument,
    /,
    *,
    yes: Annotated[
        bool, Parameter(help="Also when none of the indexed files is the same on this host.", negative=())
    ] = False,
    json: JsonOption = False,
) -> int:
    """Move a job, with its repository, from a host that is gone to this one, which has the same tree at the same path.

    Refused while a worker of the other host is at it.

    Example: codebase-mcp jobs adopt 123e4567-e89b-12d3-a456-426614174000
    """
    from codebase_mcp.cli.repos import say_adopted

    wanted = parse_job_id(job_id)

    async def work(service: Service) -> int:
        say_adopted(await service.adopt_job(wanted, confirmed=yes), as_json=json)
        return 0

    return run_with_service(work)


@jobs.command
def watch(job_id: JobIdArgument, /, *, json: JsonOption = False) -> int:
    """Show a job's progress until it ends. Ctrl-C stops watching, not the job.

    Exit code 0 when the job completed, 1 when it failed or was cancelled.

    Example: codebase-mcp jobs watch 123e4567-e89b-12d3-a456-426614174000
    """
    from codebase_mcp.cli.index import watch_to_the_end

    wanted = parse_job_id(job_id)
    return run_with_service(lambda service: watch_to_the_end(service, wanted, as_json=json))


def _say_jobs(found: JobList) -> None:
    for warning in found.warnings:
        screen.tell(warning)
    if not found.jobs:
        screen.say("No jobs.")
        return
    table = screen.new_table("job", "status", "done", "files", "created", "repository")
    for job in found.jobs:
        possible = {
            "overdue": job.is_overdue,
            "stalled": job.is_stalled,
            f"waiting for {job.host}": job.is_waiting_for_host,
        }
        marks = [mark for mark, applies in possible.items() if applies]
        status = f"{job.status.value} ({', '.join(marks)})" if marks else job.status.value
        files = f"{job.files_indexed:,}/{job.files_total:,}"
        created = screen.moment(job.created_at)
        screen.add_row(table, str(job.job_id), status, f"{job.progress_percentage} %", files, created, _where(job))
    screen.say_table(table)
    if found.offset + len(found.jobs) < found.total_count:
        screen.tell(f"{found.total_count:,} jobs in all; --offset {found.offset + len(found.jobs)} shows the next.")


def _where(job: JobReport | JobSummary) -> str:
    return job.repo_path if job.host is None else f"{job.repo_path} on {job.host}"


def _say_job(job: JobReport) -> None:
    from codebase_mcp.cli.progress import counts, describe

    lines = {
        "job": str(job.job_id),
        "repository": f"{job.repo_name} ({_where(job)})",
        "project": f"{job.project_id} (schema {job.database_name})",
        "state": f"{job.progress_percentage} % {describe(job, None)}",
        "message": job.progress_message,
        "stalled": job.stalled_reason,
        "files": counts(job) if job.files_total else None,
        "attempts": str(job.attempt),
        "created": screen.moment(job.created_at),
        "started": screen.moment(job.started_at),
        "finished": screen.moment(job.finished_at),
        "next try": screen.moment(job.next_retry_at) if job.next_retry_at else None,
        "error": f"{job.error_type}: {job.error_message}" if job.error_message else None,
    }
    for label, value in lines.items():
        if value:
            screen.say(f"{label:<11} {value}")
    for reason in job.left_out_reasons:
        screen.say(f"  {reason.files:,} {reason.state}: {reason.reason}")
    for left_out in job.left_out_files:
        screen.say(f"  {left_out.state}: {left_out.relative_path} – {left_out.reason}")
    for warning in job.warnings:
        screen.say(f"  note: {warning}", "yellow")
    for event in job.events or ():
        facts = " ".join(f"{key}={_fact(value)}" for key, value in event.event_data.items())
        screen.say(f"  {screen.moment(event.created_at)} {event.event_type} {facts}".rstrip())


def _fact(value: object) -> str:
    """The reasons of files that were left out are rows of their own in an event; anything else is a plain value."""
    if isinstance(value, list):
        return "; ".join(" ".join(str(part) for part in item.values()) for item in value) or "-"
    return str(value)
