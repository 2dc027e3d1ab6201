"""Stands in for the pool's work; importable, because the pool's processes look it up by name."""

from __future__ import annotations

import os
import signal
import time

from codebase_mcp.domain import PreparedBatch
from codebase_mcp.indexing.pipeline import BatchRequest, prepare_batch
from codebase_mcp.indexing.pool import working_on

POISON = "poison.py"
TAR = "tar.py"

_kept: list[bytes] = []


def prepare_unless_poisoned(request: BatchRequest) -> PreparedBatch:
    """Dies of a file named poison.py and hangs on one named tar.py."""
    names = {path.rpartition("/")[2] for path in request.relative_paths}
    if POISON in names:
        os._exit(1)
    if TAR in names:
        time.sleep(600)
    return prepare_batch(request)


def doubled(number: int) -> int:
    return 2 * number


def own_process_id(_given: object) -> int:
    return os.getpid()


def refuse(reason: str) -> None:
    raise ValueError(reason)


def die(_given: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def take(items: dict[str, int]) -> int:
    """Takes so many megabytes for each item; answers how many in all."""
    for item, megabytes in items.items():
        with working_on(item):
            taken = bytearray(megabytes * 1_000_000)
            time.sleep(0.3 if megabytes > 50 else 0)
            del taken
    return sum(items.values())


def keep(megabytes: int) -> int:
    _kept.append(b"x" * (megabytes * 1_000_000))
    return os.getpid()


def compute(items: dict[str, float]) -> None:
    """Keeps the processor busy for so many seconds for each item."""
    for item, seconds in items.items():
        with working_on(item):
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass


def hang(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
