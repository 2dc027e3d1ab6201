"""Differences as the user sees them before agreeing: short, and without other servers' secrets."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONGEST_LINE = 400
SHOWN_AROUND = 60
CONTEXT_LINES = 3
_SECRET = re.compile(
    r"""(["']?[\w.-]*(?:key|token|secret|passw|auth|cookie|credential)[\w.-]*["']?\s*[:=]\s*)("[^"]*"|'[^']*')""",
    re.IGNORECASE,
)


def unified_diff(path: Path, before: bytes | None, after: bytes | None) -> list[str]:
    """The lines of a unified diff, without line ends."""
    old, new = _text(before), _text(after)
    start = _common_length(old, new)
    same_end = _common_length(old[start:][::-1], new[start:][::-1])
    lines = _diff(_shown_lines(old, start, len(old) - same_end), _shown_lines(new, start, len(new) - same_end))
    names = ["--- /dev/null" if before is None else f"--- {path}", "+++ /dev/null" if after is None else f"+++ {path}"]
    return names + [_SECRET.sub(r'\1"***"', line) for line in lines]


def _diff(old: list[str], new: list[str]) -> list[str]:
    """The hunks of a unified diff. Only what differs is given to difflib, which takes seconds for long files."""
    start = _common_length(old, new)
    end = _common_length(old[start:][::-1], new[start:][::-1])
    skipped = max(0, start - CONTEXT_LINES)
    old, new = (lines[skipped : len(lines) - max(0, end - CONTEXT_LINES)] for lines in (old, new))
    hunks = list(difflib.unified_diff(old, new, n=CONTEXT_LINES, lineterm=""))[2:]
    return [_with_offset(line, skipped) if line.startswith("@@ ") else line for line in hunks]


def _with_offset(header: str, lines: int) -> str:
    return re.sub(r"([-+])(\d+)", lambda found: f"{found[1]}{int(found[2]) + lines}", header)


def _common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """How many characters, or lines, both begin with."""
    return bisect_left(range(min(len(one), len(other))), True, key=lambda last: one[: last + 1] != other[: last + 1])


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
