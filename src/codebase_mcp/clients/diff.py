"""Differences as the user sees them before agreeing: short, and without other servers' secrets."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_LINE = 400
SHOWN_AROUND = 60
_SECRET = re.compile(
    r"""(["']?[\w.-]*(?:key|token|secret|passw|auth|cookie|credential)[\w.-]*["']?\s*[:=]\s*)("[^"]*"|'[^']*')""",
    re.IGNORECASE,
)


def unified_diff(path: Path, before: bytes | None, after: bytes | None) -> list[str]:
    """The lines of a unified diff, without line ends."""
    old, new = _text(before), _text(after)
    start = _common_length(old, new)
    same_end = _common_length(old[start:][::-1], new[start:][::-1])
    lines = difflib.unified_diff(
        _shown_lines(old, start, len(old) - same_end),
        _shown_lines(new, start, len(new) - same_end),
        "/dev/null" if before is None else str(path),
        "/dev/null" if after is None else str(path),
        lineterm="",
    )
    return [_SECRET.sub(r'\1"***"', line) for line in lines]


def _common_length(one: str, other: str) -> int:
    """How many characters both texts begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")


def _shown_lines(text: str, start: int, end: int) -> list[str]:
    """The lines; of a long one only what is near the difference, which is text[start:end]."""
    shown, position = [], 0
    for line in text.splitlines(keepends=True):
        stripped = line.rstrip("\r\n")
        if len(stripped) > LONGEST_LINE:
            low = min(len(stripped), max(0, start - position - SHOWN_AROUND))
            high = max(low, min(len(stripped), end - position + SHOWN_AROUND))
            stripped = f"…{stripped[low:high][: LONGEST_LINE * 4]}…"
        shown.append(stripped)
        position += len(line)
    return shown
