"""A worker that stands still at named points, its event loop with it.

`python -m tests.support.slow_worker [--jobs N] [--pace POINT=SECONDS]... [--halt POINT=TIMES]...`: it takes N jobs at
once, sleeps at every pass of some points, and halts at the n-th pass of others until it is told to go on.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from pathlib import Path

from codebase_mcp.jobs import worker
from codebase_mcp.logs import get_logger
from codebase_mcp.settings import Settings
from tests.support.doomed_worker import run

LOOK_SECONDS = 0.02


class Brakes:
    """What happens at each point; `halt` and `pace` map points to passes and seconds."""

    def __init__(self, data_dir: Path, halt: dict[str, int], pace: dict[str, float]) -> None:
        self._data_dir = data_dir
        self._halt = halt
        self._pace = pace
        self._passes: Counter[str] = Counter()

    def on_point(self, point: str) -> None:
        self._passes[point] += 1
        time.sleep(self._pace.get(point, 0))
        if self._passes[point] == self._halt.get(point):
            self._stand_still(point)

    def _stand_still(self, point: str) -> None:
        mark = halt_mark(self._data_dir, point)
        mark.touch()
        while mark.exists():
            time.sleep(LOOK_SECONDS)
        get_logger(__name__).info("goes on", point=point)


def halt_mark(data_dir: Path, point: str) -> Path:
    """The file that is there as long as a worker halts at `point`; deleting it lets the worker go on."""
    return data_dir / f"halted-{point}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=worker.MAX_RUNNING_JOBS)
    parser.add_argument("--halt", action="append", default=[])
    parser.add_argument("--pace", action="append", default=[])
    given = parser.parse_args()
    halts = {point: int(times) for point, times in (option.split("=") for option in given.halt)}
    paces = {point: float(seconds) for point, seconds in (option.split("=") for option in given.pace)}
    # Several workers that take one job each run three jobs side by side; one worker alone would take all three.
    worker.MAX_RUNNING_JOBS = given.jobs
    asyncio.run(run(Brakes(Settings().data_dir, halts, paces).on_point))


if __name__ == "__main__":
    main()
