"""Two checks of `doctor`: where settings come from, and whether an MCP client's server would get the same database."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

from pydantic import SecretStr

from codebase_mcp.answers import Check, SettingReport
from codebase_mcp.config_file import VARIABLE, config_path
from codebase_mcp.configuration import masked, report_settings
from codebase_mcp.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codebase_mcp.settings import Settings

CLIENT_VARIABLES = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""What the most frugal MCP clients pass on from their environment to a server."""
DECIDING_SETTINGS = ("data_dir", "database_url", "host_id")
DECIDING_VARIABLES = (
    VARIABLE, "CODEBASE_MCP_DATA_DIR", "CODEBASE_MCP_DATABASE_URL", "CODEBASE_MCP_USE_DATABASE_URL",
    "CODEBASE_MCP_HOST_ID",
)  # fmt: skip
FOLDER_VARIABLES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME")
START_SECONDS = 30.0


def check_settings(settings: Settings) -> Check:
    """Which settings differ from their defaults, with the origin of each; a warning when others may read secrets."""
    path = config_path()
    reports = [report for report in report_settings(settings, show_secrets=False) if report.source != "default"]
    detail = "; ".join(f"{report.name} = {report.value} ({report.origin})" for report in reports) or "all defaults"
    fix = _fix_of_secrets(settings, reports) if path.exists() else _fix_of_missing_file()
    return Check(
        name="settings",
        is_ok=True,
        is_warning=fix is not None,
        detail=detail if path.exists() else f"{detail}; no file at {path}",
        fix=fix,
        facts={report.name: report.model_dump(exclude={"name"}) for report in reports},
    )


def _fix_of_secrets(settings: Settings, reports: list[SettingReport]) -> str | None:
    secrets = [
        report.name
        for report in reports
        if report.source == "file" and isinstance(getattr(settings, report.name), SecretStr)
    ]
    if not secrets or not stat.S_IMODE(config_path().stat().st_mode) & 0o077:
        return None
    return f"Other users may read {' and '.join(secrets)}: `chmod 600 {shlex.quote(str(config_path()))}`."


def _fix_of_missing_file() -> str | None:
    if not os.environ.get(VARIABLE):
        return None
    return f"Correct {VARIABLE}, or create that file with `codebase-mcp config set NAME VALUE`."


def check_clients(settings: Settings) -> Check:
    """Blocking. A warning when a server that an MCP client starts, with few variables, would use another database.

    Raises InvalidInputError when such a server would not start.
    """
    if not any(os.environ.get(name) for name in (*DECIDING_VARIABLES, *FOLDER_VARIABLES)):
        return _no_difference()
    database_url = settings.database_url
    ours = {
        "data_dir": str(settings.data_dir),
        "database_url": None if database_url is None else database_url.get_secret_value(),
        "host_id": settings.host_id,
    }
    theirs = _settings_of_a_client({VARIABLE: str(config_path())})
    if differing := [name for name in DECIDING_SETTINGS if theirs[name] != ours[name]]:
        sets = " and ".join(f"`codebase-mcp config set {_arguments(name, ours[name])}`" for name in differing)
        return _difference(differing, ours, theirs, "", f"Run {sets}, or name the value in the client's configuration.")
    if not any(os.environ.get(name) for name in (VARIABLE, "XDG_CONFIG_HOME")):
        return _no_difference()
    theirs = _settings_of_a_client({})
    if differing := [name for name in DECIDING_SETTINGS if theirs[name] != ours[name]]:
        fix = (
            f"`codebase-mcp install` passes {VARIABLE} on. By hand: put {VARIABLE}={config_path()} into `env` of the "
            "server in the client's configuration."
        )
        return _difference(differing, ours, theirs, f" without {VARIABLE}", fix)
    return _no_difference()


def _settings_of_a_client(passed: Mapping[str, str]) -> dict[str, object]:
    """The settings of a process that gets from this one's environment only what clients pass on."""
    inherited = {name: os.environ[name] for name in (*CLIENT_VARIABLES, "PYTHONPATH") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-m", "codebase_mcp", "config", "list", "--json", "--show-secrets"],
        env=inherited | dict(passed),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise InvalidInputError(f"a server that an MCP client starts would fail: {ended.stderr.strip()}")
    return {report["name"]: report["value"] for report in json.loads(ended.stdout)}


def _arguments(name: str, value: str | None) -> str:
    """Of `config set`, which asks for what must not be seen."""
    return f"{name} {shlex.quote(value)}" if name in ("data_dir", "host_id") and value else name


def _no_difference() -> Check:
    return Check(name="settings of MCP clients", is_ok=True, detail="their servers use the same database as this shell")


def _difference(
    names: list[str], ours: Mapping[str, object], theirs: Mapping[str, object], which: str, fix: str
) -> Check:
    values = " and ".join(f"{name} = {_shown(theirs[name])} instead of {_shown(ours[name])}" for name in names)
    detail = f"a server that an MCP client starts{which} would use another database than this shell: {values}"
    return Check(name="settings of MCP clients", is_ok=True, is_warning=True, detail=detail, fix=fix)


def _shown(value: object) -> str:
    if value is None:
        return "(none)"
    return masked(str(value)) if "://" in str(value) else str(value)
