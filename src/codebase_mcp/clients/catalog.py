"""The clients that can be connected: how each is recognised, and which files it reads."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from codebase_mcp.clients import files
from codebase_mcp.clients.errors import ClientConfigError
from codebase_mcp.clients.json_entry import JsonEntry
from codebase_mcp.clients.jsonc import RELAXED, STRICT, WITH_COMMENTS, Dialect, parse
from codebase_mcp.clients.server_entry import EntryFormat, Launch
from codebase_mcp.clients.toml_entry import TomlEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Scope = Literal["user", "project"]

STDIO = {"type": "stdio"}


@dataclass(frozen=True)
class Machine:
    """What decides where clients keep their files."""

    home: Path
    environment: Mapping[str, str]
    is_macos: bool
    find_command: Callable[[str], str | None] = shutil.which

    @staticmethod
    def current() -> Machine:
        return Machine(Path.home(), os.environ, sys.platform == "darwin")

    def folder(self, variable: str, default: str) -> Path:
        """The folder that an environment variable moves, or `default` below the home directory."""
        value = self.environment.get(variable, "")
        return Path(value).expanduser().absolute() if value else self.home / default

    @property
    def application_support(self) -> Path:
        if self.is_macos:
            return self.home / "Library/Application Support"
        return self.folder("XDG_CONFIG_HOME", ".config")


@dataclass(frozen=True)
class Files:
    """The files of one scope. `instructions` are alternatives: the client reads the first one that exists."""

    config: Path
    skills: Path
    instructions: tuple[Path, ...] = ()
    new_instructions: Path | None = None
    """Which of them is made when there is none; None: the first."""

    @property
    def instructions_to_edit(self) -> Path | None:
        """None when the client has no such file in this scope."""
        existing = (path for path in self.instructions if path.exists())
        return next(existing, self.new_instructions or next(iter(self.instructions), None))


@dataclass(frozen=True)
class Client:
    """One MCP client."""

    id: str
    title: str
    marks: tuple[Path, ...]
    """Files or folders that show that it is installed."""
    commands: tuple[str, ...]
    key: str
    """The member of the configuration that holds the servers."""
    format: EntryFormat
    user: Files
    project: Callable[[Path], Files]
    dialect: Dialect | None = STRICT
    """None: the configuration is TOML."""
    user_config_lock: Path | None = None
    """A folder that the client makes while it writes its user configuration."""
    project_note: str = ""
    find_command: Callable[[str], str | None] = field(default=shutil.which, repr=False)

    @property
    def is_installed(self) -> bool:
        return any(mark.exists() for mark in self.marks) or any(self.find_command(name) for name in self.commands)

    def files(self, scope: Scope, project: Path) -> Files:
        return self.user if scope == "user" else self.project(project)

    def entry(self, launch: Launch) -> JsonEntry | TomlEntry:
        """The editor of its configuration file."""
        if self.dialect is None:
            return TomlEntry(self.key, self.format, launch)
        return JsonEntry(self.key, self.format, launch, self.dialect)


def known_clients(machine: Machine) -> list[Client]:
    return [
        _claude(machine),
        _codex(machine),
        _cursor(machine),
        _vscode(machine, "vscode", "VS Code", "Code", "code"),
        _vscode(machine, "vscode-insiders", "VS Code Insiders", "Code - Insiders", "code-insiders"),
        _vscode(machine, "vscodium", "VSCodium", "VSCodium", "codium"),
        _gemini(machine),
        _opencode(machine),
    ]


def _claude(machine: Machine) -> Client:
    moved = "CLAUDE_CONFIG_DIR" in machine.environment and machine.environment["CLAUDE_CONFIG_DIR"] != ""
    folder = machine.folder("CLAUDE_CONFIG_DIR", ".claude")
    config = folder / ".claude.json" if moved else machine.home / ".claude.json"
    legacy = folder / ".config.json"
    config = legacy if legacy.exists() else config

    def project(root: Path) -> Files:
        # AGENTS.md is read where there is no CLAUDE.md; a new CLAUDE.md would hide what others write there.
        instructions = (root / "CLAUDE.md", root / ".claude/CLAUDE.md", root / "AGENTS.md")
        return Files(root / ".mcp.json", root / ".claude/skills", instructions, root / "AGENTS.md")

    return Client(
        "claude",
        "Claude Code",
        marks=(folder, config),
        commands=("claude",),
        key="mcpServers",
        format=EntryFormat(extra={**STDIO, "alwaysLoad": True}),
        user=Files(config, folder / "skills", (folder / "CLAUDE.md", folder / "AGENTS.md")),
        project=project,
        user_config_lock=config.with_name(config.name + ".lock"),
        find_command=machine.find_command,
    )


def _codex(machine: Machine) -> Client:
    folder = machine.folder("CODEX_HOME", ".codex")

    def project(root: Path) -> Files:
        return Files(
            root / ".codex/config.toml", root / ".agents/skills", _codex_instructions(root), root / "AGENTS.md"
        )

    return Client(
        "codex",
        "Codex",
        marks=(folder,),
        commands=("codex",),
        key="mcp_servers",
        dialect=None,
        format=EntryFormat(),
        user=Files(
            folder / "config.toml",
            machine.home / ".agents/skills",
            _codex_instructions(folder),
            folder / "AGENTS.md",
        ),
        project=project,
        project_note="Codex reads a project's .codex/config.toml only when the project is trusted.",
        find_command=machine.find_command,
    )


def _codex_instructions(folder: Path) -> tuple[Path, ...]:
    return (folder / "AGENTS.override.md", folder / "AGENTS.md")


def _cursor(machine: Machine) -> Client:
    folder = machine.home / ".cursor"

    def project(root: Path) -> Files:
        return Files(root / ".cursor/mcp.json", root / ".agents/skills", (root / "AGENTS.md",))

    return Client(
        "cursor",
        "Cursor",
        marks=(folder,),
        commands=("cursor", "cursor-agent"),
        key="mcpServers",
        dialect=RELAXED,
        format=EntryFormat(extra=STDIO),
        user=Files(folder / "mcp.json", machine.home / ".agents/skills"),
        project=project,
        find_command=machine.find_command,
    )


def _vscode(machine: Machine, name: str, title: str, product: str, command: str) -> Client:
    folder = machine.application_support / product

    def project(root: Path) -> Files:
        return Files(root / ".vscode/mcp.json", root / ".agents/skills", (root / "AGENTS.md",))

    return Client(
        name,
        title,
        marks=(folder / "User",),
        commands=(command,),
        key="servers",
        dialect=RELAXED,
        format=EntryFormat(extra=STDIO),
        user=Files(folder / "User/mcp.json", machine.home / ".agents/skills"),
        project=project,
        find_command=machine.find_command,
    )


def _gemini(machine: Machine) -> Client:
    home = machine.folder("GEMINI_CLI_HOME", "")
    folder = home / ".gemini"
    user_names = _context_files(folder / "settings.json") or ["GEMINI.md"]

    def project(root: Path) -> Files:
        names = _context_files(root / ".gemini/settings.json") or user_names
        return Files(root / ".gemini/settings.json", root / ".agents/skills", tuple(root / name for name in names))

    return Client(
        "gemini",
        "Gemini CLI",
        marks=(folder,),
        commands=("gemini",),
        key="mcpServers",
        dialect=WITH_COMMENTS,
        format=EntryFormat(),
        user=Files(folder / "settings.json", home / ".agents/skills", tuple(folder / name for name in user_names)),
        project=project,
        find_command=machine.find_command,
    )


def _context_files(settings: Path) -> list[str]:
    """The names that `context.fileName` gives to Gemini's instruction files; none when it is not set."""
    try:
        root = parse((files.read(settings) or b"").decode(), (), WITH_COMMENTS).root
        names = root.value["context"]["fileName"] if root is not None else []
    except (ClientConfigError, UnicodeDecodeError, KeyError, TypeError):
        return []
    names = [names] if isinstance(names, str) else names
    return [name for name in names if isinstance(name, str) and name] if isinstance(names, list) else []


def _opencode(machine: Machine) -> Client:
    folder = machine.folder("XDG_CONFIG_HOME", ".config") / "opencode"

    def project(root: Path) -> Files:
        return Files(_opencode_config(root), root / ".agents/skills", (root / "AGENTS.md", root / "CLAUDE.md"))

    return Client(
        "opencode",
        "opencode",
        marks=(folder,),
        commands=("opencode",),
        key="mcp",
        dialect=RELAXED,
        format=EntryFormat("environment", is_single_list=True, extra={"type": "local"}),
        user=Files(
            _opencode_config(folder),
            machine.home / ".agents/skills",
            (folder / "AGENTS.md", machine.home / ".claude/CLAUDE.md"),
        ),
        project=project,
        find_command=machine.find_command,
    )


def _opencode_config(folder: Path) -> Path:
    """Of several the one that the client reads last, whose entries win."""
    names = ("opencode.jsonc", "opencode.json")
    return next((folder / name for name in names if (folder / name).exists()), folder / "opencode.json")
