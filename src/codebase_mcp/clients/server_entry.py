"""The entry that makes a client start this program: its fields in each client's words, and whose an entry is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from codebase_mcp.clients.errors import ClientConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVER_NAME = "codebase-mcp"
DISTRIBUTION = "codebase-mcp-server"
MODULE = "codebase_mcp"


@dataclass(frozen=True, slots=True)
class Launch:
    """How a client starts the server: an absolute command, its arguments, and what its environment must hold."""

    command: str
    arguments: tuple[str, ...] = ("serve",)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntryFormat:
    """How one client writes the entry of a stdio server.

    `extra` holds fields that are added when they are missing and never changed. With `is_single_list`, command and
    arguments are one list.
    """

    environment_key: str = "env"
    is_single_list: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)

    def new_entry(self, launch: Launch) -> dict[str, Any]:
        first = {name: value for name, value in self.extra.items() if name == "type"}
        environment = {self.environment_key: dict(launch.environment)} if launch.environment else {}
        return {**first, **self._command_fields(launch, ()), **environment, **self.extra}

    def changes(self, entry: object, launch: Launch) -> list[tuple[tuple[str, ...], object]]:
        """The fields of an existing entry of ours that differ from what they should be: [(path, value)].

        Arguments behind `serve`, other variables and other fields stay. Raises ClientConfigError when the entry
        starts another program.
        """
        if not isinstance(entry, dict):
            raise ClientConfigError(f"the entry {SERVER_NAME} is not an object")
        words = self.words(entry)
        if not is_ours(words):
            raise ClientConfigError(
                f"the entry {SERVER_NAME} belongs to another program ({_described(entry, words)}). "
                "Rename or remove that entry, then run the command again."
            )
        wanted = {
            **self._command_fields(launch, _behind_serve(words)),
            **{k: v for k, v in self.extra.items() if k not in entry},
        }
        changed: list[tuple[tuple[str, ...], object]] = [
            ((key,), value) for key, value in wanted.items() if entry.get(key) != value
        ]
        return changed + self._environment_changes(entry, launch)

    def words(self, entry: Mapping[str, Any]) -> list[str]:
        """Command and arguments of an entry; empty for one that starts nothing, such as a remote server."""
        command, arguments = entry.get("command"), entry.get("args")
        parts = command if isinstance(command, list) else [command]
        parts = [*parts, *(arguments if isinstance(arguments, list) else [])]
        return [part for part in parts if isinstance(part, str)]

    def _command_fields(self, launch: Launch, more: Sequence[str]) -> dict[str, Any]:
        arguments = [*launch.arguments, *more]
        if self.is_single_list:
            return {"command": [launch.command, *arguments]}
        return {"command": launch.command, "args": arguments}

    def _environment_changes(self, entry: Mapping[str, Any], launch: Launch) -> list[tuple[tuple[str, ...], object]]:
        current = entry.get(self.environment_key, {})
        if not isinstance(current, dict):
            raise ClientConfigError(f"{SERVER_NAME}.{self.environment_key} is not an object")
        return [
            ((self.environment_key, name), value)
            for name, value in launch.environment.items()
            if current.get(name) != value
        ]


def is_ours(words: Sequence[str]) -> bool:
    """Whether a command line starts this program's server, however it is installed.

    `uvx codebase-mcp` and `npx codebase-mcp` start programs of other people that have the same name.
    """
    if "serve" not in words:
        return False
    before = words[: words.index("serve")]
    if not before:
        return False
    return (
        PurePath(before[0]).name == SERVER_NAME
        or (MODULE in before and "-m" in before)
        or any(DISTRIBUTION in word for word in before)
    )


def _behind_serve(words: Sequence[str]) -> list[str]:
    return list(words[words.index("serve") + 1 :])


def _described(entry: Mapping[str, Any], words: Sequence[str]) -> str:
    if words:
        return " ".join(words)
    return str(entry.get("url") or entry.get("httpUrl") or "no command")
