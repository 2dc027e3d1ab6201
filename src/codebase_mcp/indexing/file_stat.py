"""What is recorded of a file's stat, so that a later look can tell without reading whether it may have changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from codebase_mcp.domain import FileStat

if TYPE_CHECKING:
    import os

FINE_TICK_NS = 50_000_000
"""Longer than a tick of the clock that systems stamp files with, which is 10 ms at most."""
COARSE_TICK_NS = 2_500_000_000
"""The same where stamps are whole seconds, or even two (FAT)."""
_FINE_STEP_NS = 10_000_000
"""A stamp that is no multiple of this comes from a file system that keeps fractions of a second."""

UNSETTLED = 0
"""In place of a ctime that a later write could get as well. No file has it, so that the next look reads the file."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def found_stat(status: os.stat_result) -> FileStat:
    """As a look finds it, in the range of the database's integers.

    Network file systems number inodes in 64 bits without a sign, and some file systems date files to the year 2446.
    """
    return FileStat(
        status.st_size,
        _clamped(status.st_mtime_ns),
        _clamped(status.st_ctime_ns),
        status.st_ino - 2**64 if status.st_ino > _HIGHEST else status.st_ino,
    )


def recorded_stat(status: os.stat_result, now_ns: int | None = None) -> FileStat:
    """As it is kept of a file whose reading begins now.

    Prevents: a write that follows the reading within the same tick of the file system's clock from going unnoticed.
    """
    found = found_stat(status)
    age_ns = abs((time.time_ns() if now_ns is None else now_ns) - status.st_ctime_ns)
    tick_ns = FINE_TICK_NS if status.st_ctime_ns % _FINE_STEP_NS else COARSE_TICK_NS
    return found._replace(ctime_ns=UNSETTLED) if age_ns < tick_ns else found


def _clamped(nanoseconds: int) -> int:
    return min(max(nanoseconds, _LOWEST), _HIGHEST)
