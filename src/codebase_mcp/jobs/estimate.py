"""How long a job may take: from jobs that completed on this machine, else from a measured default rate."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

DEFAULT_BYTES_PER_SECOND = 1_500_000.0
"""Source bytes per second on a two-core laptop."""
SIMILAR = 10
"""A job that read less than one tenth of the size tells about its overhead, not about its rate."""
STARTING_SECONDS = 1.5
"""A worker that starts cold needs about this long before it claims."""
_IGNORED = frozenset({".git", ".hg", ".svn", "node_modules", ".venv", "venv", "__pycache__", ".tox"})


def estimated_seconds(size_bytes: int, completed: Sequence[tuple[int, float]]) -> float:
    """Size over a weighted mean rate of completed jobs given as (bytes, seconds); similar sizes weigh more."""
    weighted = [
        (math.exp(-abs(math.log((size_bytes + 1) / job_bytes))), job_bytes / seconds)
        for job_bytes, seconds in completed
        if seconds > 0 and job_bytes >= size_bytes / SIMILAR
    ]
    total = sum(weight for weight, _ in weighted)
    rate = sum(weight * rate for weight, rate in weighted) / total if total else DEFAULT_BYTES_PER_SECOND
    return round(STARTING_SECONDS + size_bytes / rate, 1)


def size_at_a_glance(root: Path, *, max_file_bytes: int, seconds: float = 0.15) -> int | None:
    """Bytes of the files that might be indexed; None when the tree is too large to be walked in that time. Blocking."""
    deadline = time.monotonic() + seconds
    size_bytes, folders = 0, [str(root)]
    while folders:
        if time.monotonic() > deadline:
            return None
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _IGNORED:
                            folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        file_bytes = entry.stat(follow_symlinks=False).st_size
                        size_bytes += file_bytes if file_bytes <= max_file_bytes else 0
        except OSError:
            continue  # an estimate may leave out what cannot be read; the job itself reports it
    return size_bytes
