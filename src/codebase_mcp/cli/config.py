"""`codebase-mcp config …`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption
from codebase_mcp.cli.session import load_settings

if TYPE_CHECKING:
    from codebase_mcp.answers import SettingReport

SettingName = Annotated[str, Parameter(help="The setting, in lower case without CODEBASE_MCP_: data_dir.")]
ShowSecretsOption = Annotated[bool, Parameter(help="Print passwords and keys as they are.", negative=())]

config = App(name="config", help="Settings.\n\nExample: codebase-mcp config set data_dir ~/indexes")


@config.command(name="list")
def list_settings(*, show_secrets: ShowSecretsOption = False, json: JsonOption = False) -> int:
    """List every setting with its value and where that comes from: an environment variable, the file, or the default.

    Example: codebase-mcp config list
    """
    from codebase_mcp.configuration import report_settings

    reports = report_settings(load_settings(), show_secrets=show_secrets)
    if json:
        screen.say_json(*reports, is_list=True)
        return 0
    table = screen.new_table("setting", "value", "from")
    for report in reports:
        screen.add_row(table, report.name, _text(report) or "–", report.origin or report.source)
    screen.say_table(table)
    return 0


@config.command
def get(name: SettingName, /, *, show_secrets: ShowSecretsOption = False, json: JsonOption = False) -> int:
    """Print the value in use; an empty line when there is none. Passwords and keys are printed as ***.

    Example: codebase-mcp config get data_dir
    """
    from codebase_mcp.configuration import refuse_unknown, report_settings

    refuse_unknown(name)
    reports = report_settings(load_settings(), show_secrets=show_secrets)
    (report,) = (report for report in reports if report.name == name)
    if json:
        screen.say_json(report)
    else:
        screen.say(_text(report))
    return 0


@config.command(name="set")
def set_value(
    name: SettingName,
    value: Annotated[
        str | None,
        Parameter(help="When left out, it is asked for, or read from standard input.", allow_leading_hyphen=True),
    ] = None,
    /,
) -> int:
    """Write a setting into the settings file, for the command line, servers and workers that start from now on.

    The rest of the file stays as it is. A value that is not valid is refused.

    Example: codebase-mcp config set data_dir ~/indexes
    """
    from codebase_mcp.config_file import config_path
    from codebase_mcp.configuration import refuse_unknown, set_setting

    refuse_unknown(name)
    variable = set_setting(name, _asked_for(name) if value is None else value)
    screen.say(f"{name} is set in {config_path()}.")
    if variable:
        screen.tell(f"In this shell {variable} comes before it.")
    return 0


@config.command
def unset(name: SettingName, /) -> int:
    """Remove a setting from the settings file; its default applies again.

    Example: codebase-mcp config unset data_dir
    """
    from codebase_mcp.config_file import config_path
    from codebase_mcp.configuration import unset_setting

    is_removed = unset_setting(name)
    screen.say(f"{name} is {'no longer' if is_removed else 'not'} set in {config_path()}.")
    return 0


@config.command
def path() -> int:
    """Print the path of the settings file, whether it exists or not; CODEBASE_MCP_CONFIG names another one.

    Example: codebase-mcp config path
    """
    from codebase_mcp.config_file import config_path

    screen.say(str(config_path()))
    return 0


def _asked_for(name: str) -> str:
    """Prevents: a key in the history of the shell."""
    import getpass

    return getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline().strip()


def _text(report: SettingReport) -> str:
    """As it would stand in the environment."""
    if isinstance(report.value, bool):
        return str(report.value).lower()
    return "" if report.value is None else str(report.value)
