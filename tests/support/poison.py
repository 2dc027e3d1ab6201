"""Stands in for the pool's work; importable, because the pool's processes look it up by name."""

from __future__ import annotations

import os
import signal
import time

from codebase_mcp.domain import PreparedBatch
from codebase_mcp.indexing.pipeline import BatchRequest, prepare_batch

POISON = "poison.py"
TAR = "tar.py"


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


def hang(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
