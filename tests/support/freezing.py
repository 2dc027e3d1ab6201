"""Workers that stand still: when they do, how to wake them, and what they log afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psutil

from codebase_mcp.domain import JobEvent
from codebase_mcp.errors import DatabaseError
from tests.support.processes import PATIENCE_SECONDS, Site
from tests.support.slow_worker import halt_mark
from tests.support.waiting import until

LET_GO = ("job given up", "job blocked", "end of job not recorded; the lease will lapse")
THROWN_OUT_BEFORE = timedelta(seconds=0.5)


def slow_worker(site: Site, *options: str, **knobs: object) -> subprocess.Popen[bytes]:
    """A worker that halts at points, or sleeps at each pass of one; see tests.support.slow_worker."""
    return site.run("tests.support.slow_worker", *options, **knobs)


async def frozen(site: Site, process: subprocess.Popen[bytes]) -> datetime:
    """Waits until a process has stopped itself; the database's time of it."""
    stopping = psutil.Process(process.pid)
    stopped = psutil.STATUS_STOPPED
    await until(lambda: stopping.status() == stopped, what=f"{process.pid} to freeze", seconds=PATIENCE_SECONDS)
    return await site.clock()


async def halted(site: Site, point: str) -> datetime:
    """Waits until a slow worker stands still at a point; the database's time of it."""
    await until(halt_mark(site.data_dir, point).exists, what=f"a halt at {point}", seconds=PATIENCE_SECONDS)
    return await site.clock()


async def wake(site: Site, process: subprocess.Popen[bytes]) -> datetime:
    """Lets a frozen process go on; the database's time just before."""
    now = await site.clock()
    process.send_signal(signal.SIGCONT)
    return now


async def let_go_on(site: Site, point: str) -> datetime:
    """Lets a halted worker go on; the database's time just before."""
    now = await site.clock()
    halt_mark(site.data_dir, point).unlink()
    return now


async def clock_shows(site: Site, moment: datetime) -> None:
    async def is_reached() -> bool:
        try:
            return await site.clock() >= moment
        except DatabaseError:
            return False

    await until(is_reached, what=str(moment), seconds=PATIENCE_SECONDS)


async def log_lines(
    site: Site, event: str | Collection[str], number: int = 1, *, since: datetime | None = None, **values: object
) -> list[dict[str, Any]]:
    """Waits until the workers' log has that many lines about an event, or any of several, with these values."""
    log = site.data_dir / "logs" / "worker.log"
    told = {name: value if isinstance(value, int) else str(value) for name, value in values.items()}
    events = {event} if isinstance(event, str) else set(event)

    def enough() -> list[dict[str, Any]] | None:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        told_of = [line for line in lines if line["event"] in events and told.items() <= line.items()]
        found = [line for line in told_of if since is None or _moment(line) >= since]
        return found if len(found) >= number else None

    return await until(enough, what=f"{number} log lines {events} {told}", seconds=PATIENCE_SECONDS)


async def given_up(site: Site, *, since: datetime, **values: object) -> timedelta:
    """Waits until a worker lets a job go; how long after `since` it did.

    A cancel that has to throw the worker out finds that it has blocked the job a moment before.
    """
    lines = await log_lines(site, LET_GO, since=since - THROWN_OUT_BEFORE, **values)
    return _moment(lines[0]) - since


async def given_back(site: Site, job_id: UUID) -> JobEvent | None:
    """The release of a job whose worker was told to stop and has ended.

    None when the machine was too busy to record it in the second that there is: the worker says so, and leaves the job
    to its lease.
    """
    released = await site.events(job_id, "released")
    if not released:
        await log_lines(site, "release not recorded; the lease will lapse", job_id=job_id)
    return released[-1] if released else None


def _moment(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


async def parsers_of(pid: int) -> list[psutil.Process]:
    """The parsing processes of a worker, which come up beside everything else that it does first."""

    def found() -> list[psutil.Process]:
        return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]

    return await until(found, what="the parsing processes", seconds=PATIENCE_SECONDS)
