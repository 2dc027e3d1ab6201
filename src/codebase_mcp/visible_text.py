"""Text of unknown origin in a form that shows all of it and commands nothing."""

from __future__ import annotations

import re

INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, ESC and the C1 set among them
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"  # widths, marks, bidi, separators
    "\ud800-\udfff"  # halves of pairs, and bytes that are no UTF-8
    "\U000110bd\U000110cd\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""What goes between the brackets of a character class."""
_IN_TEXT = re.compile(f"[{INVISIBLE}]")
_IN_LINE = re.compile(f"[{INVISIBLE}\t\n]")
_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def escape_line(text: str) -> str:
    """A name or a message as one line: also a tab or a line end in it is an escape."""
    return text if text.isascii() and text.isprintable() else _IN_LINE.sub(_escaped, text)


def escape_text(text: str) -> str:
    """Contents, which keep their tabs and line ends."""
    return text if text.isascii() and text.isprintable() else _IN_TEXT.sub(_escaped, text.replace("\r\n", "\n"))


def escape_json(text: str) -> str:
    """JSON with the same value, in ASCII wherever a character cannot be seen."""
    return _IN_TEXT.sub(_escaped_in_json, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that could not be decoded
        return f"\\x{code - 0xDC00:02x}"
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _NAMED.get(character) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")


def _escaped_in_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start]:02x}{units[start + 1]:02x}" for start in range(0, len(units), 2))
