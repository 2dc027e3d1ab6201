"""A job as it goes on: a live bar on a TTY, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Protocol

from codebase_mcp.cli import screen
from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.visible_text import escape_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self
    from uuid import UUID

    from rich.progress import Progress, TaskID

    from codebase_mcp.answers import JobReport
    from codebase_mcp.service import Service

WAIT_SECONDS = 60.0
RETRY_SECONDS = 2.0
LINE_EVERY_POINTS = 10
LINE_EVERY_SECONDS = 10.0


class Display(Protocol):
    def show(self, job: JobReport) -> None: ...
    def note(self, text: str) -> None: ...


async def follow(service: Service, job_id: UUID, display: Display) -> JobReport:
    """Show a job until it ends. An absent database does not end the wait: the job goes on without us as well."""

    async def show(job: JobReport) -> None:
        display.show(job)

    while True:
        try:
            job = await service.wait_for_job(job_id, seconds=WAIT_SECONDS, on_progress=show)
        except CodebaseMcpError as error:
            if not error.is_transient:
                raise
            display.note(error.message)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        display.show(job)
        if job.status.is_terminal:
            return job


class Rate:
    """Chunks per second since the first look at a job."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def of(self, job: JobReport) -> float | None:
        now = self._clock()
        if self._first is None:
            self._first = (now, job.chunks_created)
        started, chunks = self._first
        return (job.chunks_created - chunks) / (now - started) if now - started >= 1 else None


def describe(job: JobReport, chunks_per_second: float | None) -> str:
    """`indexing · 120/400 files · 1,830 chunks · 310 chunks/s · about 12 s left`."""
    parts = [job.phase.value if job.status.value == "running" else job.status.value]
    done = job.files_indexed + job.files_unchanged + job.files_skipped + job.files_failed
    if job.files_total:
        parts.append(f"{done:,}/{job.files_total:,} files")
    elif job.files_scanned:
        parts.append(f"{job.files_scanned:,} files found")
    if job.chunks_created:
        parts.append(f"{job.chunks_created:,} chunks")
    if chunks_per_second:
        parts.append(f"{chunks_per_second:,.0f} chunks/s")
    if job.estimated_time_remaining_seconds is not None and not job.status.is_terminal:
        parts.append(f"about {screen.duration(job.estimated_time_remaining_seconds)} left")
    if job.status.value in ("pending", "blocked") or job.is_waiting_for_worker:
        parts.append(job.progress_message)
    elif job.stalled_reason:
        parts.append(job.stalled_reason)
    return " · ".join(parts)


def counts(job: JobReport) -> str:
    """`9 indexed, 1 unchanged, 1 skipped, 1 failed of 12; 1,234 chunks`."""
    return (
        f"{job.files_indexed:,} indexed, {job.files_unchanged:,} unchanged, {job.files_skipped:,} skipped, "
        f"{job.files_failed:,} failed of {job.files_total:,}; {job.chunks_created:,} chunks"
    )


class LineDisplay:
    """Plain lines: one when the job changes state or phase, every ten points, and every ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = Rate(clock)
        self._last_key: tuple[object, ...] | None = None
        self._last_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, job: JobReport) -> None:
        rate = self._rate.of(job)
        key = (job.status, job.phase, job.is_stalled, job.progress_percentage // LINE_EVERY_POINTS)
        now = self._clock()
        if key == self._last_key and now - self._last_at < LINE_EVERY_SECONDS:
            return
        self._last_key, self._last_at = key, now
        screen.tell(f"{job.progress_percentage:3d} % {describe(job, rate)}")

    def note(self, text: str) -> None:
        screen.tell(text)


class BarDisplay:
    """One live line with a bar."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._rate = Rate()
        self._progress: Progress = Progress(
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}", markup=False),
            console=screen.error_console(),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("waiting", total=100)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: JobReport) -> None:
        self._progress.update(
            self._task, completed=job.progress_percentage, description=escape_line(describe(job, self._rate.of(job)))
        )

    def note(self, text: str) -> None:
        self._progress.update(self._task, description=escape_line(text))


def new_display() -> BarDisplay | LineDisplay:
    return BarDisplay() if sys.stderr.isatty() else LineDisplay()
