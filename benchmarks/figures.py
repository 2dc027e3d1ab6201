"""Numbers and where they were taken: spreads of samples, the machine, the commit."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Spread:
    """Order statistics of samples, in the samples' unit; the percentiles are samples that occurred (nearest rank)."""

    samples: int
    p50: float
    p95: float
    max: float

    def as_json(self) -> dict[str, float]:
        return {name: rounded(value) for name, value in asdict(self).items()}


def spread(samples: Sequence[float]) -> Spread | None:
    """None when there are no samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    return Spread(len(ordered), _nearest_rank(ordered, 0.5), _nearest_rank(ordered, 0.95), ordered[-1])


def _nearest_rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def milliseconds(samples: Sequence[float]) -> dict[str, float] | None:
    """The spread of durations given in seconds, in milliseconds."""
    found = spread([1e3 * sample for sample in samples])
    return None if found is None else found.as_json()


def rounded(value: float) -> float:
    """Four significant digits; more are noise."""
    if value == 0 or isinstance(value, int):
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


def rates(seconds: float, *, files: int = 0, chunks: int = 0, size_bytes: int = 0) -> dict[str, float]:
    """Work and its pace; what was not counted is left out."""
    counted = {"files": files, "chunks": chunks, "megabytes": size_bytes / 1e6}
    done = {name: rounded(amount) for name, amount in counted.items() if amount}
    paces = {f"{name}_per_second": rounded(amount / seconds) for name, amount in counted.items() if amount and seconds}
    return {"seconds": rounded(seconds), **done, **paces}


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def commit() -> dict[str, Any]:
    """The commit of the checkout that is measured; null outside git."""
    head = _output("git", "rev-parse", "HEAD")
    changes = _output("git", "status", "--porcelain", "--", "src")
    return {"commit": head, "is_modified": bool(changes) if head else None}


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
