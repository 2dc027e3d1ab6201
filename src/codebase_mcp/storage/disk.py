"""Room on the disk of the embedded database. PostgreSQL stops altogether when its log cannot grow."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from codebase_mcp.errors import StorageFullError

if TYPE_CHECKING:
    from codebase_mcp.settings import Settings

RESERVE_SHARE = 0.25
"""A running job goes on until so much of what a start needs is left: room for the log and for a recovery."""


def free_bytes(settings: Settings) -> int:
    """Free bytes on the disk of the data directory, or of where it will be made."""
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_free(settings: Settings, doing: str, *, share: float = 1.0) -> None:
    """Raises StorageFullError with the numbers; an external server's disk is not ours to look at."""
    if not settings.is_embedded:
        return
    needed_bytes = int(settings.min_free_disk_bytes * share)
    left_bytes = free_bytes(settings)
    if left_bytes < needed_bytes:
        raise StorageFullError(
            f"Only {left_bytes / 1e6:,.0f} MB are free on the disk of {settings.data_dir}; {doing} needs "
            f"{needed_bytes / 1e6:,.0f} MB (CODEBASE_MCP_MIN_FREE_DISK_BYTES). Free some space."
        )
