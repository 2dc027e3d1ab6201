"""The name that somebody asks for, and how well a definition answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codebase_mcp.domain import Role
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.indexing.terms import file_stem, fold_name, parent_name
from codebase_mcp.search.definitions import TYPE_KINDS
from codebase_mcp.search.models import SymbolMatch
from codebase_mcp.storage.symbol_store import DefinitionRow

MAX_NAME_LENGTH = 500
MATCHES: tuple[SymbolMatch, ...] = ("exact", "folded", "prefix", "fuzzy")
_ROLE_ORDER = {Role.SOURCE: 0, Role.GENERATED: 1, Role.VENDORED: 1}
_NEVER_MAIN = frozenset({"extension", "section"})
_SEPARATOR = re.compile(r"::|->|\.|#|\\|/")
_ARGUMENTS = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]")


@dataclass(frozen=True, slots=True)
class AskedName:
    """`last` is the definition's own name, `owner` what is written before it; `whole` is both, as written."""

    whole: str
    last: str
    owner: str | None

    @property
    def folded(self) -> str:
        return fold_name(self.last)

    def spells(self, name: str) -> SymbolMatch | None:
        """How it spells a name: exactly, but for case and underscores, or not at all."""
        if name in (self.whole, self.last):
            return "exact"
        return "folded" if fold_name(name) in (fold_name(self.whole), self.folded) else None


def asked_name(text: str) -> AskedName:
    """Read `Session.get()`, `a::b<T>` or `class Session`; InvalidInputError for what holds no name."""
    if not text.strip():
        raise InvalidInputError("name is empty. Give the name of a function, class or other definition.")
    if len(text) > MAX_NAME_LENGTH:
        raise InvalidInputError(
            f"name has {len(text):,} characters, the limit is {MAX_NAME_LENGTH}. Give one name; search_code takes text."
        )
    whole = text.strip().strip("`'\"").rstrip(";")
    plain = whole
    while (shorter := _ARGUMENTS.sub("", plain)) != plain:
        plain = shorter
    parts = [part for part in _SEPARATOR.split(plain.split()[-1] if plain.split() else "") if part.strip("@&*$~!?")]
    if not parts:
        raise InvalidInputError(f"name {text[:80]!r} holds no name. Give one such as 'Session.get'.")
    return AskedName(whole, parts[-1].lstrip("@&*$"), parts[-2].lstrip("@&*$") if len(parts) > 1 else None)


def owner_value(asked: AskedName, row: DefinitionRow, path: str) -> int:
    """2 when it belongs to the owner that was asked for, 1 when its file or directory is called so, else 0."""
    if asked.owner is None:
        return 0
    owner = fold_name(asked.owner)
    parent = _SEPARATOR.split(row.parent)[-1] if row.parent else ""
    if fold_name(_ARGUMENTS.sub("", parent)) == owner:
        return 2
    return 1 if owner in (fold_name(file_stem(path)), fold_name(parent_name(path))) else 0


def order(match: SymbolMatch, owner: int, row: DefinitionRow, role: str) -> tuple[int, ...]:
    """Sorts by match, then the owner's, then main definitions before announcements, then what things are for."""
    return (
        MATCHES.index(match),
        -owner,
        row.is_declaration,
        row.kind in _NEVER_MAIN,
        _ROLE_ORDER.get(Role(role), 2),
        row.kind not in TYPE_KINDS,
        row.depth,
        row.start_line - row.end_line,
    )


def qualified(row: DefinitionRow, language: str) -> str | None:
    """Its name behind that of what it is defined in or belongs to; None at the top level."""
    if row.parent is None or row.kind == "section":
        return None
    return f"{row.parent}{'::' if language in ('c++', 'rust') else '.'}{row.name}"
