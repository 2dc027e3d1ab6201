"""What callers write when they mean nothing, a path on this machine, or as much as is allowed.

Language models fill in every optional argument, and write paths as they met them: as addresses, in quotes, below `~`.
"""

from __future__ import annotations

import os
import re
from typing import TypeVar
from urllib.parse import unquote

from codebase_mcp.errors import InvalidInputError

EVERYTHING = frozenset({"*", "**", "all"})
_ABSENT = EVERYTHING | {"", "any", "null", "none", "nil", "undefined", "n/a"}
_FILE_ADDRESS = re.compile(r"file:(?://(?:localhost|127\.0\.0\.1)?(?=[/~])|(?=/(?!/)))", re.IGNORECASE)
_LARGEST_SHOWN = 10**15

Number = TypeVar("Number", int, float)


def is_absent(value: str) -> bool:
    """Whether an optional argument with this value means that it was left out: "", "null", "any", "*" and the like."""
    return _word(value) in _ABSENT


def is_everything(value: str) -> bool:
    """Whether the value asks for all there is: "*", "all"."""
    return _word(value) in EVERYTHING


def _word(value: str) -> str:
    return value.strip().strip("\"'`").strip().casefold()


def local_path(value: str) -> str:
    """The path that is written as a path, below `~` or as a file:// address; other text without the blanks around it.

    Nothing is looked up: the path may not exist, and its links are not followed.
    """
    text = value.strip()
    if address := _FILE_ADDRESS.match(text):
        text = unquote(text[address.end() :])
    if text.startswith("~"):
        text = os.path.expanduser(text)
    return re.sub(r"^/{2,}", "/", text)


def real_path(path: str) -> str:
    """Where a path leads; itself when it is none."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL, or half of a surrogate pair
        return path


def clamp(name: str, value: Number, least: Number, most: Number) -> tuple[Number, list[str]]:
    """The value within its bounds, and a warning when it was not."""
    if value < least:
        return least, [f"{name}{_shown(value)} raised to {_digits(least)}, the minimum."]
    if value > most:
        return most, [f"{name}{_shown(value)} reduced to {_digits(most)}, the maximum."]
    if value != value:  # noqa: PLR0124  # NaN compares with nothing
        raise InvalidInputError(f"{name} is not a number. Give one from {_digits(least)} to {_digits(most)}.")
    return value, []


def _shown(value: float) -> str:
    return f" {_digits(value)}" if abs(value) < _LARGEST_SHOWN else ""


def _digits(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"
