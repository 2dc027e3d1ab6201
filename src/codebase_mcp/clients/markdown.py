"""Usage notes for assistants: a marked block in an instruction file, and a skill."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from codebase_mcp.clients.errors import ClientConfigError

if TYPE_CHECKING:
    from codebase_mcp.clients.record import Undo

BEGIN = "<!-- codebase-mcp:begin -->"
END = "<!-- codebase-mcp:end -->"
SKILL_HEADER = """\
---
name: codebase-mcp
description: >-
  Search the code of indexed repositories by meaning, by symbol and by relation with the codebase-mcp tools
  (search_code, find_symbol, find_related). Use it before grep or reading whole files, whenever you look for where
  something is implemented, defined or used.
---

"""


def usage_notes() -> str:
    """What an assistant should know, as Markdown; block and skill share it."""
    return files("codebase_mcp.clients").joinpath("usage_notes.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class MarkedBlock:
    """The usage notes between two marker lines, at the end of a Markdown file."""

    notes: str

    def install(self, text: str) -> tuple[str, Undo]:
        start, end = _span(text)
        newline = _newline(text[start:end] if start >= 0 else text)
        block = newline.join((BEGIN, *self.notes.strip().splitlines(), END))
        if start >= 0:
            return text[:start] + block + text[end:], {}
        if not text:
            return block + newline, {}
        if text.endswith("\n"):
            return text + newline + block + newline, {}
        return text + 2 * newline + block, {}

    def uninstall(self, text: str, undo: Undo) -> str:
        """The text without the block and the line breaks that `install` put around it."""
        start, end = _span(text)
        if start < 0:
            return text
        newline = _newline(text[start:end])
        before, after = text[:start].removesuffix(newline), text[end:]
        return before + after.removeprefix(newline) if after else before.removesuffix(newline)


@dataclass(frozen=True, slots=True)
class SkillFile:
    """A SKILL.md of ours, replaced and removed as a whole."""

    notes: str

    def install(self, text: str) -> tuple[str, Undo]:
        if text.strip() and BEGIN not in text:
            raise ClientConfigError("a skill of this name exists and is not ours. Rename or remove it.")
        return f"{SKILL_HEADER}{BEGIN}\n{self.notes.strip()}\n{END}\n", {}

    def uninstall(self, text: str, undo: Undo) -> str:
        return "" if BEGIN in text else text


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _span(text: str) -> tuple[int, int]:
    """Where the block stands; (-1, -1) without one. Raises ClientConfigError when a marker is missing."""
    begins, ends = text.count(BEGIN), text.count(END)
    if begins == ends == 0:
        return -1, -1
    start, end = text.find(BEGIN), text.find(END)
    if begins != 1 or ends != 1 or end < start:
        raise ClientConfigError(f"{BEGIN} and {END} must each stand there once, in this order. Correct it by hand.")
    return start, end + len(END)
