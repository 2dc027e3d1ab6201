"""The server's entry in a JSON configuration file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from codebase_mcp.clients import json_edit
from codebase_mcp.clients.errors import ClientConfigError
from codebase_mcp.clients.jsonc import Dialect, parse
from codebase_mcp.clients.server_entry import SERVER_NAME, is_ours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codebase_mcp.clients.record import Undo
    from codebase_mcp.clients.server_entry import EntryFormat, Launch


@dataclass(frozen=True, slots=True)
class JsonEntry:
    """Adds, updates and removes `<key>.codebase-mcp`."""

    key: str
    format: EntryFormat
    launch: Launch
    dialect: Dialect

    @property
    def _path(self) -> tuple[str, str]:
        return (self.key, SERVER_NAME)

    def install(self, text: str) -> tuple[str, Undo]:
        """The text with the entry, and what `uninstall` needs; the same text when all is as it should be."""
        present, entry = self._entry(text)
        if not present:
            new = self.format.new_entry(self.launch)
            after, insertion = json_edit.insert(text, self._path, new, self.dialect)
            self._check(text, after, new)
            return after, {"insertion": asdict(insertion)}
        changes = self.format.changes(entry, self.launch)
        if not changes:
            return text, {}
        after = text
        for path, value in changes:
            after = json_edit.assign(after, (*self._path, *path), value, self.dialect)
        self._check(text, after, _changed(entry, changes))
        return after, {"replaced": json_edit.raw_value(text, self._path, self.dialect)}

    def uninstall(self, text: str, undo: Undo) -> str:
        """The text without the entry, or with the one that was there before."""
        present, entry = self._entry(text)
        if not present or not isinstance(entry, dict) or not is_ours(self.format.words(entry)):
            return text
        if "replaced" in undo:
            return json_edit.replace(text, self._path, undo["replaced"], self.dialect)
        insertion = json_edit.Insertion(**undo["insertion"]) if "insertion" in undo else None
        return json_edit.remove(text, self._path, insertion, self.dialect)

    def _entry(self, text: str) -> tuple[bool, Any]:
        root = parse(text, self._path, self.dialect).root
        servers = root.value.get(self.key) if root is not None and isinstance(root.value, dict) else None
        if not isinstance(servers, dict):
            return False, None
        return SERVER_NAME in servers, servers.get(SERVER_NAME)

    def _check(self, before: str, after: str, entry: object) -> None:
        """Prevents: a file that its client reads differently, whatever the editing did."""
        root, edited = parse(before, self._path, self.dialect).root, parse(after, self._path, self.dialect).root
        wanted: dict[str, Any] = dict(root.value) if root is not None else {}
        wanted[self.key] = {**wanted.get(self.key, {}), SERVER_NAME: entry}
        if edited is None or edited.value != wanted:
            raise ClientConfigError("the file cannot be edited safely. Add the entry by hand.")


def _changed(entry: Mapping[str, Any], changes: Sequence[tuple[tuple[str, ...], object]]) -> dict[str, Any]:
    result = dict(entry)
    for (key, *rest), value in changes:
        result[key] = {**result.get(key, {}), rest[0]: value} if rest else value
    return result
