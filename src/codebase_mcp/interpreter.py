"""Keeps what a developer's shell says to their own Python programs away from this one. Imports next to nothing."""

from __future__ import annotations

import os
import sys

SEARCH_PATH = "PYTHONPATH"
MODES = (
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONINSPECT",
    "PYTHONOPTIMIZE",
    "PYTHONTRACEMALLOC",
    "PYTHONVERBOSE",
    "PYTHONWARNINGS",
)
"""They would take away what this program needs (docstrings), write where only the protocol may, or make it slow."""

LIBRARY_SETTINGS = "FASTMCP_"
"""Read when FastMCP is imported, and meant for servers that somebody writes with it."""


def restart_undisturbed() -> None:
    """Forget settings of libraries, and become this very command again (exec) when one of Python's variables is set.

    With PYTHONPATH go modules which would be imported in place of those that were installed with this program. Where
    this program itself comes from PYTHONPATH it stays: then its parts may do so as well.
    """
    for name in [name for name in os.environ if name.upper().startswith(LIBRARY_SETTINGS)]:
        del os.environ[name]
    disturbing = {name for name in (SEARCH_PATH, *MODES) if os.environ.get(name)}
    if _home() in map(os.path.abspath, os.environ.get(SEARCH_PATH, "").split(os.pathsep)):
        disturbing.discard(SEARCH_PATH)
    if disturbing and sys.platform != "win32":
        environment = {name: value for name, value in os.environ.items() if name not in disturbing}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def leave_working_directory() -> None:
    """Forget the folder that `python -m` has put first on the search path, unless this program lies there."""
    if not sys.flags.safe_path and sys.path and os.path.abspath(sys.path[0]) == os.getcwd() != _home():
        del sys.path[0]


def _home() -> str:
    """The folder on the search path in which this package was found."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
