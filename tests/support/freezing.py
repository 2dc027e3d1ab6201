"""Workers that stand still: when they do, how to wake them, and what they log afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import datetime, timedelta
from typing import Any

import psutil

from tests.support.processes import PATIENCE_SECONDS, Site
from tests.support.slow_worker import halt_mark
from tests.support.waiting import until


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
        return await site.clock() >= moment

    await until(is_reached, what=str(moment), seconds=PATIENCE_SECONDS)


async def log_lines(
    site: Site, event: str, number: int = 1, *, since: datetime | None = None, **values: object
) -> list[dict[str, Any]]:
    """Waits until the workers' log has that many lines about an event with these values."""
    log = site.data_dir / "logs" / "worker.log"
    told = {name: value if isinstance(value, int) else str(value) for name, value in values.items()}
    wanted = {"event": event} | told

    def enough() -> list[dict[str, Any]] | None:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        found = [line for line in lines if wanted.items() <= line.items() and (since is None or _moment(line) >= since)]
        return found if len(found) >= number else None

    return await until(enough, what=f"{number} log lines {wanted}", seconds=PATIENCE_SECONDS)


async def given_up(site: Site, *, since: datetime, **values: object) -> timedelta:
    """Waits until a worker gives a job up; how long after `since` it did."""
    return _moment((await log_lines(site, "job given up", since=since, **values))[0]) - since


def _moment(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])
