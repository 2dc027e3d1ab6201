"""Which command a client has to start: the one of this installation, by its absolute path."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from codebase_mcp.clients.server_entry import DISTRIBUTION, MODULE, SERVER_NAME, Launch
from codebase_mcp.config_file import VARIABLE as CONFIG_VARIABLE
from codebase_mcp.config_file import config_path
from codebase_mcp.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOT_PASSED_ON = ("XDG_DATA_HOME", "XDG_CONFIG_HOME")
TEMPORARY_PLACES = ("/uv/archive-v", "/uv/builds-v", "/pipx/.cache/")
TOOL_PLACES = ("/pipx/venvs/", "/uv/tools/")


def current_launch(
    environment: Mapping[str, str],
    *,
    started_as: str | None = None,
    interpreter: str | None = None,
    find_command: Callable[[str], str | None] = shutil.which,
) -> Launch:
    """How to start the server of this installation. Raises InvalidInputError when it sits where it will not stay."""
    interpreter = interpreter or sys.executable
    script = _script(started_as or sys.argv[0], interpreter, find_command)
    if any(place in f"{script or interpreter}" for place in TEMPORARY_PLACES):
        raise InvalidInputError(
            f"{script or interpreter} is in a cache and may vanish at any time. Install the program for good first:"
            f" uv tool install {DISTRIBUTION}, or pipx install {DISTRIBUTION}."
        )
    # Clients pass neither variable on, and the server would read another settings file than this shell.
    is_moved = any(environment.get(name) for name in (CONFIG_VARIABLE, "XDG_CONFIG_HOME"))
    variables = {CONFIG_VARIABLE: str(config_path())} if is_moved else {}
    launch = Launch(f"{script}", environment=variables)
    if script is None:
        launch = Launch(interpreter, ("-m", MODULE, "serve"), variables)
    _check_encodable(launch)
    return launch


def notes(launch: Launch, environment: Mapping[str, str]) -> list[str]:
    """What the user should know about this command: where it sits, and what the server will not see."""
    found = []
    home = Path(os.path.realpath(launch.command)).parent.parent
    if (home / "pyvenv.cfg").exists() and not any(place in f"{home}/" for place in TOOL_PLACES):
        found.append(f"The command is in the virtual environment {home}. If you move or delete it, run this again.")
    unseen = [
        name
        for name, value in sorted(environment.items())
        if value and name != CONFIG_VARIABLE and (name.startswith("CODEBASE_MCP_") or name in NOT_PASSED_ON)
    ]
    if unseen:
        found.append(
            f"Set in this shell, but clients do not pass it on to the server: {', '.join(unseen)}. "
            "Put such settings into the settings file: codebase-mcp config set."
        )
    return found


def _script(started_as: str, interpreter: str, find_command: Callable[[str], str | None]) -> Path | None:
    """The console script; by the link on PATH that leads to it if there is one, since upgrades keep that."""
    candidates = [Path(started_as), Path(interpreter).parent / SERVER_NAME]
    script = next((path for path in candidates if path.name == SERVER_NAME and os.access(path, os.X_OK)), None)
    if script is None:
        return None
    on_path = find_command(SERVER_NAME)
    if on_path is not None and os.path.realpath(on_path) == os.path.realpath(script):
        script = Path(on_path)
    return script.absolute()


def _check_encodable(launch: Launch) -> None:
    for text in (launch.command, *launch.environment.values()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(f"{text!r} is not UTF-8 and cannot stand in a configuration file.") from None
