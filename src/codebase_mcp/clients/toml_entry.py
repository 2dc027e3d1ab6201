"""The server's entry in a TOML configuration file: a table `[mcp_servers.codebase-mcp]`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codebase_mcp.clients.errors import ClientConfigError, ConfigParseError
from codebase_mcp.clients.server_entry import SERVER_NAME, is_ours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codebase_mcp.clients.record import Undo
    from codebase_mcp.clients.server_entry import EntryFormat, Launch

_PLACE = re.compile(r"(?P<complaint>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")
_HEADER = re.compile(r"[ \t]*\[")
_KEEPS_ITS_PLACE = re.compile(r"\s*(#.*)?$")


@dataclass(frozen=True, slots=True)
class TomlEntry:
    """Adds, updates and removes `[<key>.codebase-mcp]`."""

    key: str
    format: EntryFormat
    launch: Launch

    def install(self, text: str) -> tuple[str, Undo]:
        """The text with the entry, and what `uninstall` needs; the same text when all is as it should be."""
        servers = _parse(text).get(self.key, {})
        if not isinstance(servers, dict):
            raise ClientConfigError(f"{self.key} is not a table")
        if SERVER_NAME not in servers:
            return self._with_new_table(text)
        changes = self.format.changes(servers[SERVER_NAME], self.launch)
        if not changes:
            return text, {}
        after = self._changed(text, changes)
        return after, {"replaced": _differing_lines(text, after)}

    def uninstall(self, text: str, undo: Undo) -> str:
        """The text without the entry, or with the one that was there before."""
        servers = _parse(text).get(self.key, {})
        entry = servers.get(SERVER_NAME) if isinstance(servers, dict) else None
        if not isinstance(entry, dict) or not is_ours(self.format.words(entry)):
            return text
        if "replaced" in undo:
            old, new = undo["replaced"]
            if text.count(new) != 1:
                raise ClientConfigError(f"the entry {SERVER_NAME} was changed since. Restore or remove it by hand.")
            return text.replace(new, old)
        inserted = undo.get("inserted", "")
        candidates = [text.replace(inserted, "")] if inserted and text.count(inserted) == 1 else []
        return self._first_good(text, [*candidates, self._without_sections(text), self._deleted(text)])

    def _with_new_table(self, text: str) -> tuple[str, Undo]:
        newline = "\r\n" if "\r\n" in text else "\n"
        gap = "" if not text else newline if text.endswith("\n") else 2 * newline
        table = newline.join(self._table_lines()) + (newline if not text or text.endswith("\n") else "")
        entry = self.format.new_entry(self.launch)
        document = _parse(text)
        wanted = {**document, self.key: {**document.get(self.key, {}), SERVER_NAME: entry}}
        if _parsed_or_none(text + gap + table) != wanted:
            raise ClientConfigError(
                f"{self.key} is written in a form that cannot be extended. Add the entry by hand:\n{table}"
            )
        return text + gap + table, {"inserted": gap + table}

    def _table_lines(self) -> list[str]:
        import tomlkit

        lines = [f"[{self.key}.{SERVER_NAME}]"]
        for name, value in self.format.new_entry(self.launch).items():
            item = tomlkit.item(value)
            if isinstance(value, dict):
                item = tomlkit.inline_table()
                item.update(value)
            lines.append(f"{name} = {item.as_string()}")
        return lines

    def _changed(self, text: str, changes: list[tuple[tuple[str, ...], object]]) -> str:
        import tomlkit

        document, wanted = tomlkit.parse(text), _parse(text)
        table: Any = document[self.key]
        table, plain = table[SERVER_NAME], wanted[self.key][SERVER_NAME]
        for (name, *rest), value in changes:
            if rest and name not in table:
                table[name] = tomlkit.inline_table()
                plain[name] = {}
            holder, target = (table[name], plain[name]) if rest else (table, plain)
            holder[rest[0] if rest else name] = value
            target[rest[0] if rest else name] = value
        after = tomlkit.dumps(document)
        if _parsed_or_none(after) != wanted:
            raise ClientConfigError(f"the entry {SERVER_NAME} cannot be changed safely. Change it by hand.")
        return after

    def _without_sections(self, text: str) -> str:
        """Without the lines from the entry's headers to the next header; comments above that one stay."""
        name = rf"(?:{SERVER_NAME}|\"{SERVER_NAME}\"|'{SERVER_NAME}')"
        ours = re.compile(rf"[ \t]*\[[ \t]*{self.key}[ \t]*\.[ \t]*{name}[ \t]*[.\]]")
        kept: list[str] = []
        dropped: list[str] = []
        is_dropping = False
        for line in text.splitlines(keepends=True):
            if _HEADER.match(line):
                was_dropping, is_dropping = is_dropping, ours.match(line) is not None
                if was_dropping and not is_dropping:
                    kept += _trailing_comments(dropped)
                dropped = []
            (dropped if is_dropping else kept).append(line)
        return "".join(kept)

    def _deleted(self, text: str) -> str:
        import tomlkit

        document = tomlkit.parse(text)
        servers: Any = document[self.key]
        del servers[SERVER_NAME]
        return tomlkit.dumps(document)

    def _first_good(self, text: str, candidates: list[str]) -> str:
        """The first candidate that lost the entry and nothing else."""
        wanted = _parse(text)
        del wanted[self.key][SERVER_NAME]
        for candidate in candidates:
            parsed = _parsed_or_none(candidate)
            if parsed is not None and {self.key: {}, **parsed} == wanted:
                return candidate
        raise ClientConfigError(f"the entry {SERVER_NAME} cannot be removed safely. Remove it by hand.")


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _parse_error(str(error), text) from None
    except RecursionError:
        raise ClientConfigError("nested too deep") from None


def _parsed_or_none(text: str) -> Mapping[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _parse_error(message: str, text: str) -> ConfigParseError:
    match = _PLACE.match(message)
    if match is None or match["line"] is None:
        complaint = match["complaint"] if match else message
        return ConfigParseError(complaint, text.count("\n") + 1, len(text) - text.rfind("\n"))
    return ConfigParseError(match["complaint"], int(match["line"]), int(match["column"]))


def _differing_lines(before: str, after: str) -> list[str]:
    """The run of lines that differs, in both texts, with the line above it, which makes it easier to find again."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    start = max(0, start - 1)
    return ["".join(old[start : len(old) - end]), "".join(new[start : len(new) - end])]


def _trailing_comments(lines: list[str]) -> list[str]:
    """The blank lines and comments at the end of a section: they belong to the next one."""
    keep = len(lines)
    while keep > 0 and _KEEPS_ITS_PLACE.match(lines[keep - 1]):
        keep -= 1
    return lines[keep:]
