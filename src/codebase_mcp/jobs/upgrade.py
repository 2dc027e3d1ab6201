"""Which version of the package runs, and whether another one has taken its place on the disk."""

from __future__ import annotations

import re
from pathlib import Path

import codebase_mcp
from codebase_mcp import __version__

_SOURCE = Path(codebase_mcp.__file__)
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


def version_on_disk() -> str | None:
    """The version that a process started now would have; None while the files are being replaced."""
    # The source and not the package's metadata: those of an editable installation are as old as the installation.
    try:
        found = _VERSION.search(_SOURCE.read_text("utf-8"))
    except OSError:
        return None
    return found[1] if found else None


def is_replaced() -> bool:
    """Whether this process runs another version than the one that is installed now."""
    return version_on_disk() not in (None, __version__)


def is_older(version: str, than: str = __version__) -> bool:
    """Compares the numbers of two versions."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
