"""A mutant: the sources with one guard less. An edit says where it belongs, and fails loudly when it fits no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class DoesNotApplyError(Exception):
    """A mutant's text is not in the sources exactly once."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement. `old` stands once in the file or, with `within`, once in the part that begins with it.

    Such a part is a statement of the SQL file, or a function or class of a module.
    """

    path: str
    old: str
    new: str
    within: str | None = None


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard less. `removes` says what, in the words of the table; the quickest of `tests` come first."""

    name: str
    removes: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def mutated(source: str, edit: Edit) -> str:
    """The source with the edit; raises DoesNotApplyError when it does not say where."""
    start, end = 0, len(source)
    if edit.within is not None:
        start = _only(source, edit.within, edit)
        end = start + _length_of_part(source[start:], is_sql=edit.path.endswith(".sql"))
    at = _only(source[start:end], edit.old, edit) + start
    return source[:at] + edit.new + source[at + len(edit.old) :]


def _only(text: str, wanted: str, edit: Edit) -> int:
    found = text.count(wanted)
    if found != 1:
        raise DoesNotApplyError(f"{edit.path}: {wanted!r} is there {found} times (within {edit.within!r})")
    return text.index(wanted)


def _length_of_part(text: str, *, is_sql: bool) -> int:
    """Up to the next statement, or the next line that is indented no deeper than the first one."""
    following = r"\n-- name: " if is_sql else rf"\n {{0,{len(text) - len(text.lstrip(' '))}}}(?=[^\s)])"
    match = re.search(following, text)
    return match.start() if match else len(text)


def apply(root: Path, mutant: Mutant) -> Callable[[], None]:
    """Changes the files below `root`; what it answers changes them back."""
    before = {edit.path: (root / edit.path).read_text("utf-8") for edit in mutant.edits}
    after = dict(before)
    for edit in mutant.edits:
        after[edit.path] = mutated(after[edit.path], edit)
    for path, text in after.items():
        (root / path).write_text(text, "utf-8")

    def undo() -> None:
        for path, text in before.items():
            (root / path).write_text(text, "utf-8")

    return undo
