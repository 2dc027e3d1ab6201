"""Which version of the package runs, and whether the files that it was started from are still there."""

from __future__ import annotations

import os
import re
import sys

from codebase_mcp import __version__

FileIdentity = tuple[int, int, int]


class ProgramFiles:
    """The files of all modules that this process has imported, as they were when each was first seen.

    Imports go on as long as a process lives, and so do its parsing processes, which are started anew when one dies:
    after an upgrade they would mix two versions, and after a removal they fail.
    """

    def __init__(self) -> None:
        self._first_seen: dict[str, FileIdentity | None] = {}
        self.find_change()

    def find_change(self) -> str | None:
        """A file that was changed, replaced or removed; None when there is none. Takes some milliseconds."""
        for path in _imported_files():
            identity = _identity(path)
            if self._first_seen.setdefault(path, identity) != identity:
                return path
        return None


def _imported_files() -> set[str]:
    # Not getattr(): some modules import others when they are asked for an attribute.
    files = (vars(module).get("__file__") for module in list(sys.modules.values()) if hasattr(module, "__dict__"))
    return {file for file in files if isinstance(file, str)}


def _identity(path: str) -> FileIdentity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_older(version: str, than: str = __version__) -> bool:
    """Compares the numbers of two versions."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
