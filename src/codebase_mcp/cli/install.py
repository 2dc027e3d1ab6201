"""`codebase-mcp install` and `uninstall`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import YesOption
from codebase_mcp.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codebase_mcp.clients.catalog import Client, Scope
    from codebase_mcp.clients.installer import Change, Part, Workplace
    from codebase_mcp.clients.server_entry import Launch

ClientOption = Annotated[
    list[str] | None,
    Parameter(name="--client", help="Only this client; may be given several times.", negative=()),
]
DryRunOption = Annotated[bool, Parameter(help="Show the changes and make none.", negative=())]

EXIT_INCOMPLETE = 1
"""A file was left alone, or the user declined."""


def install(
    *,
    client: ClientOption = None,
    scope: Annotated[
        Literal["user", "project"], Parameter(help="Connect in all your projects, or in the current one only.")
    ] = "user",
    instructions: Annotated[
        bool | None, Parameter(help="Also add a marked block of usage notes to CLAUDE.md, AGENTS.md or GEMINI.md.")
    ] = None,
    index: Annotated[bool | None, Parameter(help="Index the current repository afterwards.")] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> int:
    """Connect AI assistants: those of Claude Code, Codex, Cursor, VS Code, Gemini CLI and opencode that are installed.

    Adds this server to the configuration of each, and a skill that says when to use it. The changes are shown before
    you are asked; everything else in the files stays byte for byte, and `codebase-mcp uninstall` undoes them. Exit code
    0 when all are connected, 1 when a file was left alone or you declined, 2 for a wrong argument.

    Example: codebase-mcp install --client claude --client codex
    """
    from codebase_mcp.clients.launch import current_launch

    workplace = _open_workplace(current_launch(os.environ))
    clients = _selected(workplace, client) or _installed(workplace)
    _tell_circumstances(workplace, clients, scope)
    parts: list[Part] = ["server", "skill", "instructions"] if instructions else ["server", "skill"]
    changes = [change for part in parts for change in workplace.plan_install(clients, scope, part)]
    code = _carry_out(changes, workplace.install, dry_run=dry_run, yes=yes)
    if code is None:
        return EXIT_INCOMPLETE
    for change in changes:
        if not dry_run and not change.problem and not change.is_needed:
            workplace.join(change)
    if instructions is None:
        code = max(code, _offer_instructions(workplace, clients, scope, is_asking=not yes and not dry_run))
    if dry_run:
        return code
    return max(code, _offer_index(workplace.project, index, yes=yes))


def uninstall(
    *,
    client: ClientOption = None,
    scope: Annotated[
        Literal["user", "project"] | None,
        Parameter(
            help="Only your own files, or only those of the current project; when left out, all that were edited."
        ),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> int:
    """Disconnect AI assistants: take out what `codebase-mcp install` added, and nothing else.

    A file that nobody changed since is as it was before, to the byte. Indexes are kept; `codebase-mcp repos remove`
    deletes them. Exit code 0 when nothing is left, 1 when a file was left alone or you declined, 2 for a wrong
    argument.

    Example: codebase-mcp uninstall --dry-run
    """
    workplace = _open_workplace()
    clients = _selected(workplace, client) or list(workplace.known)
    _tell_whose_home()
    changes = workplace.plan_uninstall(clients, scope)
    code = _carry_out(changes, lambda change: workplace.uninstall(change, clients), dry_run=dry_run, yes=yes)
    if code is None:
        return EXIT_INCOMPLETE
    for change in changes:
        if not dry_run and not change.problem and not change.is_needed:
            workplace.uninstall(change, clients)
    return code


def _open_workplace(launch: Launch | None = None) -> Workplace:
    from codebase_mcp.clients import record
    from codebase_mcp.clients.catalog import Machine, known_clients
    from codebase_mcp.clients.installer import Workplace
    from codebase_mcp.clients.server_entry import SERVER_NAME, Launch

    known = known_clients(Machine.current())
    launch = launch or Launch(SERVER_NAME)
    return Workplace(known, _project_root(Path.cwd()), record.Record(record.default_path()), launch)


def _project_root(folder: Path) -> Path:
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)


def _selected(workplace: Workplace, names: Sequence[str] | None) -> list[Client]:
    from codebase_mcp.complaints import closest

    by_id = {client.id: client for client in workplace.known}
    unknown = next((name for name in names or () if name not in by_id), None)
    if unknown is not None:
        raise InvalidInputError(
            f"--client {unknown} is not known{closest(unknown, list(by_id))}; known are {', '.join(by_id)}."
        )
    return [by_id[name] for name in dict.fromkeys(names or ())]


def _installed(workplace: Workplace) -> list[Client]:
    found = [client for client in workplace.known if client.is_installed]
    if not found:
        names = ", ".join(client.id for client in workplace.known)
        raise InvalidInputError(f"no assistant was found on this machine. Name one with --client: {names}.")
    return found


def _tell_circumstances(workplace: Workplace, clients: Sequence[Client], scope: Scope) -> None:
    from codebase_mcp.clients.launch import notes

    screen.tell(f"Connecting {', '.join(client.title for client in clients)}.")
    _tell_whose_home()
    for client in clients:
        if not client.is_installed:
            screen.tell(f"{client.title} was not found here; it is configured because you named it.")
        if scope == "project" and client.project_note:
            screen.tell(client.project_note)
    for note in notes(workplace.launch, os.environ):
        screen.tell(note)
    if scope == "project":
        screen.tell(
            f"The files in {workplace.project} will name a command of this machine. Do not commit them for others."
        )


def _tell_whose_home() -> None:
    """Under sudo it depends on the system whose home directory is meant."""
    import pwd

    home = Path.home()
    user = os.environ.get("SUDO_USER")
    if os.geteuid() != 0 or not user or user == "root":
        return
    owner = pwd.getpwuid(home.stat().st_uid).pw_name
    if owner == user:
        screen.tell(f"Running as root: the files in {home} are edited and stay {user}'s.")
    else:
        screen.tell(f"Running as root: the files in {home} are edited. For {user}'s assistants, run it without sudo.")


def _carry_out(changes: Sequence[Change], apply: Callable[[Change], None], *, dry_run: bool, yes: bool) -> int | None:
    """Show the changes, ask, make them; answers the exit code, or None when the user declined."""
    needed = [change for change in changes if change.is_needed]
    for change in needed:
        _show(change)
    code = 0
    for change in changes:
        if change.problem:
            code = EXIT_INCOMPLETE
            screen.complain(f"{change.target.titles}: {change.problem}")
    if not needed:
        screen.say("Nothing to change.")
    elif not dry_run:
        if not yes and not _is_confirmed(f"Change {_counted(len(needed))}?"):
            screen.tell("Nothing was changed.")
            return None
        code = max(code, _apply(needed, apply))
    return code


def _apply(changes: Sequence[Change], apply: Callable[[Change], None]) -> int:
    from codebase_mcp.clients.errors import ClientConfigError

    code = 0
    for change in changes:
        try:
            apply(change)
        except ClientConfigError as error:
            screen.complain(f"{change.target.titles}: {error.message}")
            code = EXIT_INCOMPLETE
        else:
            verb = "Removed" if change.after is None else "Created" if change.before is None else "Changed"
            screen.say(f"{verb} {change.target.path} ({change.target.titles})", "green")
    screen.tell("Assistants that are running notice it when they are restarted.")
    return code


def _show(change: Change) -> None:
    from codebase_mcp.clients.diff import unified_diff

    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in unified_diff(change.target.path, change.before, change.after):
        screen.say(line, styles.get(line[:1]))
    screen.say("")


def _offer_instructions(workplace: Workplace, clients: Sequence[Client], scope: Scope, *, is_asking: bool) -> int:
    """The block changes what all sessions read, so that it is asked for on its own."""
    changes = workplace.plan_install(clients, scope, "instructions")
    needed = [change for change in changes if change.is_needed]
    if not needed:
        return 0
    if not is_asking or not sys.stdin.isatty():
        paths = ", ".join(str(change.target.path) for change in needed)
        screen.tell(f"--instructions also adds usage notes to {paths}.")
        return 0
    screen.say("Usage notes make assistants prefer the index to grep. They can be added as a marked block:")
    return _carry_out(changes, workplace.install, dry_run=False, yes=False) or 0


def _offer_index(project: Path, wanted: bool | None, *, yes: bool) -> int:
    from codebase_mcp.cli.index import index

    if wanted is None and ((project / ".git").exists() and not yes and sys.stdin.isatty()):
        wanted = screen.ask(f"Index {project} now?")
    return index(str(project)) if wanted else 0


def _is_confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise InvalidInputError("changes need a confirmation. Add --yes, or --dry-run to see them only.")
    return screen.ask(question)


def _counted(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"
