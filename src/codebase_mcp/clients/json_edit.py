"""Edits of JSON text that change nothing but what they are about; each insertion has an exact inverse."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from codebase_mcp.clients.errors import ClientConfigError
from codebase_mcp.clients.jsonc import STRICT, Dialect, Node, parse

DEFAULT_INDENT = "  "
_SAME_LINE_COMMENT = re.compile(r"[ \t]*(?://[^\r\n]*|/\*.*?\*/)", re.DOTALL)
_INDENTED_KEY = re.compile(r'^([ \t]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Insertion:
    """What `insert` did, as far as the text alone does not show it.

    `depth` counts the members of the path that existed. `inner` is what stood between the braces of the object that
    took the new member when it had no members, and `blank` the whole text when it had no value at all.
    """

    depth: int
    inner: str | None = None
    blank: str | None = None


def insert(text: str, path: tuple[str, ...], value: object, dialect: Dialect = STRICT) -> tuple[str, Insertion]:
    """Add the member at `path`, with the objects above it that are missing. The member must not exist yet."""
    root = parse(text, path, dialect).root
    if root is None:
        return _filled_blank(text, path, value), Insertion(0, blank=text)
    holder, depth = _deepest(root, path)
    for key in reversed(path[depth + 1 :]):
        value = {key: value}
    inner = None if holder.members else text[holder.start + 1 : holder.end - 1]
    return _with_member(text, holder, path[depth], value), Insertion(depth, inner)


def remove(text: str, path: tuple[str, ...], insertion: Insertion | None = None, dialect: Dialect = STRICT) -> str:
    """Take the member at `path` out again, and what `insertion` created above it once that is empty.

    A text without that member is returned as it is.
    """
    root = parse(text, path, dialect).root
    if root is None or not _has(root, path):
        return text
    depth, inner = len(path) - 1, None
    if insertion is not None:
        depth = _outermost_emptied(root, path, insertion.depth)
        inner = insertion.inner if depth == insertion.depth else None
    holder = _at(root, path[:depth])
    text = _without_member(text, holder, path[depth], inner)
    if insertion is None or insertion.blank is None:
        return text
    is_as_created = "".join(text.split()) == "".join(insertion.blank.split()) + "{}"
    return insertion.blank if is_as_created else text


def replace(text: str, path: tuple[str, ...], raw: str, dialect: Dialect = STRICT) -> str:
    """Put the JSON text `raw` where the value at `path` stands."""
    node = _at(_root(text, path, dialect), path)
    return text[: node.start] + raw + text[node.end :]


def assign(text: str, path: tuple[str, ...], value: object, dialect: Dialect = STRICT) -> str:
    """Set the value at `path`, whether or not there is one."""
    root = _root(text, path, dialect)
    if _has(root, path):
        return replace(text, path, json.dumps(value, ensure_ascii=False), dialect)
    return insert(text, path, value, dialect)[0]


def raw_value(text: str, path: tuple[str, ...], dialect: Dialect = STRICT) -> str:
    """The JSON text of the value at `path`."""
    node = _at(_root(text, path, dialect), path)
    return text[node.start : node.end]


def _root(text: str, path: tuple[str, ...], dialect: Dialect) -> Node:
    root = parse(text, path, dialect).root
    if root is None:
        raise KeyError(text)
    return root


def _at(node: Node, path: tuple[str, ...]) -> Node:
    for key in path:
        member = node.member(key)
        if member is None:
            raise KeyError(key)
        node = member.node
    return node


def _has(root: Node, path: tuple[str, ...]) -> bool:
    try:
        _at(root, path)
    except KeyError:
        return False
    return True


def _deepest(root: Node, path: tuple[str, ...]) -> tuple[Node, int]:
    """The innermost object of `path` that exists, and how many keys lead to it."""
    node = root
    for depth in range(len(path)):
        if not isinstance(node.value, dict):
            name = ".".join(path[:depth]) or "the whole file"
            raise ClientConfigError(f"{name} is {_kind(node.value)} where an object is expected")
        member = node.member(path[depth])
        if member is None:
            return node, depth
        node = member.node
    raise ClientConfigError(f"{'.'.join(path)} exists already")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "true or false", str: "a string", list: "an array"}.get(type(value), "a number")


def _outermost_emptied(root: Node, path: tuple[str, ...], created_depth: int) -> int:
    """How far up the removal of `path` leaves objects that were created for it and hold nothing else."""
    depth = len(path) - 1
    while depth > created_depth and len(_at(root, path[:depth]).members) == 1:
        depth -= 1
    return depth


def _filled_blank(text: str, path: tuple[str, ...], value: object) -> str:
    for key in reversed(path):
        value = {key: value}
    document = json.dumps(value, indent=DEFAULT_INDENT, ensure_ascii=False) + "\n"
    newline = _newline(text)
    before = "" if not text.strip() else text if text.endswith("\n") else text + newline
    return before + document.replace("\n", newline)


def _with_member(text: str, holder: Node, key: str, value: object) -> str:
    if not holder.members:
        return _into_empty(text, holder, key, value)
    last = holder.members[-1]
    inside = text[holder.start : holder.end]
    if "\n" not in inside and "\r" not in inside:
        return _onto_line(text, holder, key, value)
    indent = _indent_at(text, last.start)
    member = _newline(text) + indent + _pretty(text, indent, key, value)
    at = _after_comments(text, last.node.end if last.comma is None else last.comma + 1)
    if last.comma is not None:
        return text[:at] + member + "," + text[at:]
    return text[: last.node.end] + "," + text[last.node.end : at] + member + text[at:]


def _onto_line(text: str, holder: Node, key: str, value: object) -> str:
    """A new last member of an object that stands on one line, in the spacing of that line."""
    first, last = holder.members[0], holder.members[-1]
    colon = text[first.start : first.node.start]
    separators = (", ", ": ") if colon.endswith((" ", "\t")) else (",", ":")
    gap = separators[0][1:]
    dumped = json.dumps({key: value}, separators=separators, ensure_ascii=False)[1:-1]
    if last.comma is not None:
        at = last.comma + 1
        return f"{text[:at]}{gap}{dumped},{text[at:]}"
    return f"{text[: last.node.end]},{gap}{dumped}{text[last.node.end :]}"


def _into_empty(text: str, holder: Node, key: str, value: object) -> str:
    at = holder.last_token_end
    rest = text[at : holder.end - 1]
    if _is_one_line(text) and holder.start > 0 and text[: holder.start].strip(" \t\r\n\ufeff"):
        spaced = '": ' in text
        separators = (", ", ": ") if spaced else (",", ":")
        dumped = json.dumps({key: value}, separators=separators, ensure_ascii=False)[1:-1]
        return text[:at] + dumped + text[at:]
    outer = _line_indent(text, holder.start)
    indent = outer + _indent_unit(text)
    newline = _newline(text)
    closing = "" if "\n" in rest or "\r" in rest else newline + outer
    return text[:at] + newline + indent + _pretty(text, indent, key, value) + closing + text[at:]


def _without_member(text: str, holder: Node, key: str, inner: str | None) -> str:
    index = max(i for i, member in enumerate(holder.members) if member.key == key)
    member = holder.members[index]
    end = member.node.end if member.comma is None else member.comma + 1
    if len(holder.members) == 1:
        return _emptied(text, holder, member.lead, end, inner)
    text = text[: member.lead] + text[end:]
    if member.comma is None:
        previous = holder.members[index - 1].comma
        assert previous is not None
        text = text[:previous] + text[previous + 1 :]
    return text


def _emptied(text: str, holder: Node, start: int, end: int, inner: str | None) -> str:
    """The object without its only member; between its braces what stood there before, or else only the comments."""
    start, end = start - holder.start - 1, end - holder.start - 1
    left = text[holder.start + 1 : holder.end - 1]
    left = left[:start] + left[end:]
    if inner is not None and left.split() == inner.split():
        left = inner
    elif not left.strip():
        left = ""
    return text[: holder.start + 1] + left + text[holder.end - 1 :]


def _after_comments(text: str, position: int) -> int:
    while match := _SAME_LINE_COMMENT.match(text, position):
        position = match.end()
    return position


def _pretty(text: str, indent: str, key: str, value: object) -> str:
    dumped = json.dumps(value, indent=_indent_unit(text), ensure_ascii=False)
    return f"{json.dumps(key)}: " + dumped.replace("\n", _newline(text) + indent)


def _indent_unit(text: str) -> str:
    match = _INDENTED_KEY.search(text)
    return match.group(1) if match else DEFAULT_INDENT


def _indent_at(text: str, position: int) -> str:
    """The white space before a member that starts a line; of one that does not, its line's own and a step."""
    line_start = _line_start(text, position)
    before = text[line_start:position]
    return before if not before.strip(" \t") else _line_indent(text, position) + _indent_unit(text)


def _line_indent(text: str, position: int) -> str:
    line = text[_line_start(text, position) : position]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _line_start(text: str, position: int) -> int:
    return max(text.rfind("\n", 0, position), text.rfind("\r", 0, position)) + 1


def _newline(text: str) -> str:
    """The line end of the first line."""
    at = text.find("\n")
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"


def _is_one_line(text: str) -> bool:
    return "\n" not in text.strip() and "\r" not in text.strip()
