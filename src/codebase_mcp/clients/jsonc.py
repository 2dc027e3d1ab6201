"""A parser of JSON with comments that remembers where everything stands, so that edits can leave the rest alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codebase_mcp.clients.errors import ConfigParseError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DEPTH = 200

_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a client's own parser accepts beyond strict JSON."""

    comments: bool = False
    trailing_commas: bool = False


STRICT = Dialect()
WITH_COMMENTS = Dialect(comments=True)
RELAXED = Dialect(comments=True, trailing_commas=True)


@dataclass(slots=True)
class Node:
    """A value and its place: text[start:end]. `members` are those of an object on the path that was asked for."""

    start: int
    end: int
    value: Any
    members: list[Member] = field(default_factory=list)
    last_token_end: int = 0
    """Of an object: where its last value, comma or comment ends; what follows is white space up to the brace."""

    def member(self, key: str) -> Member | None:
        """The member of that name; of several the last, as in every parser of the clients."""
        return next((member for member in reversed(self.members) if member.key == key), None)


@dataclass(slots=True)
class Member:
    """`"key": value` of an object."""

    key: str
    lead: int
    """Where the token before the key ends: the brace, a comma or a comment."""
    start: int
    node: Node
    comma: int | None = None
    """Position of the comma behind the value, if there is one."""


@dataclass(frozen=True, slots=True)
class Document:
    text: str
    root: Node | None
    """None: nothing but white space and comments."""


def parse(text: str, path: tuple[str, ...], dialect: Dialect = STRICT) -> Document:
    """Parse all of it, and note the places of the members of each object above `path`.

    Raises ConfigParseError with line and column.
    """
    return _Parser(text, dialect).document(path)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class _Parser:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self.text = text
        self.dialect = dialect
        self.position = 0
        self.token_end = 0
        self.depth = 0

    def document(self, path: tuple[str, ...]) -> Document:
        self._skip()
        if self.position == len(self.text):
            return Document(self.text, None)
        root = self._value(path)
        self._skip()
        if self.position != len(self.text):
            raise self._error("expected the end of the file")
        return Document(self.text, root)

    def _value(self, path: tuple[str, ...] = ()) -> Node:
        if not path and (node := self._strict_value()) is not None:
            return node
        first = self._peek()
        if first == "{":
            return self._nested(lambda: self._object(path))
        if first == "[":
            return self._nested(self._array)
        if first == '"':
            return self._scalar(_STRING, "unterminated or malformed string")
        return self._scalar(_SCALAR, "expected a value")

    def _strict_value(self) -> Node | None:
        """The value by the standard library, which is many times faster; None when it has comments or is wrong."""
        start = self.position
        try:
            value, end = _DECODER.raw_decode(self.text, start)
        except (ValueError, RecursionError):
            return None
        self._advance(end)
        return Node(start, end, value)

    def _nested(self, parse_it: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep")
        node = parse_it()
        self.depth -= 1
        return node

    def _scalar(self, pattern: re.Pattern[str], complaint: str) -> Node:
        start = self.position
        match = pattern.match(self.text, start)
        if match is None:
            raise self._error(complaint)
        try:
            value = json.loads(match.group())
        except ValueError:
            raise self._error("a number with too many digits") from None
        self._advance(match.end())
        return Node(start, match.end(), value)

    def _object(self, path: tuple[str, ...]) -> Node:
        node = Node(self.position, 0, {})
        self._advance(self.position + 1)
        self._skip()
        while self._peek() != "}":
            member = self._member(path)
            node.members.append(member)
            node.value[member.key] = member.node.value
            member.comma = self._comma("}")
            if member.comma is None:
                break
        return self._close(node, "}")

    def _member(self, path: tuple[str, ...]) -> Member:
        lead, start = self.token_end, self.position
        if self._peek() != '"':
            raise self._error("expected a key in double quotes")
        key = self._scalar(_STRING, "unterminated or malformed string").value
        self._skip()
        if self._peek() != ":":
            raise self._error("expected ':'")
        self._advance(self.position + 1)
        self._skip()
        return Member(key, lead, start, self._value(path[1:] if path[:1] == (key,) else ()))

    def _array(self) -> Node:
        node = Node(self.position, 0, [])
        self._advance(self.position + 1)
        self._skip()
        while self._peek() != "]":
            node.value.append(self._value().value)
            if self._comma("]") is None:
                break
        return self._close(node, "]")

    def _comma(self, closing: str) -> int | None:
        """Step over the comma behind a value, if there is one; it may stand before `closing` only in some dialects."""
        self._skip()
        if self._peek() != ",":
            return None
        comma = self.position
        self._advance(comma + 1)
        self._skip()
        if self._peek() == closing and not self.dialect.trailing_commas:
            self.position = comma
            raise self._error(f"a comma before '{closing}'")
        return comma

    def _close(self, node: Node, closing: str) -> Node:
        if self._peek() != closing:
            raise self._error(f"expected ',' or '{closing}'")
        node.last_token_end = self.token_end
        self._advance(self.position + 1)
        node.end = self.position
        return node

    def _skip(self) -> None:
        """Step over white space and comments; `token_end` stays behind the last comment."""
        while True:
            match = _SPACE.match(self.text, self.position)
            self.position = match.end() if match else self.position
            comment = _COMMENT.match(self.text, self.position)
            if comment is None:
                return
            if not self.dialect.comments:
                raise self._error("comments are not allowed in this file")
            self._advance(comment.end())

    def _advance(self, position: int) -> None:
        self.position = self.token_end = position

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _error(self, complaint: str) -> ConfigParseError:
        if self.position >= len(self.text):
            complaint = f"{complaint}, found the end of the file"
        before = self.text[: self.position]
        line_start = max(before.rfind("\n"), before.rfind("\r")) + 1
        line = before.count("\n") + 1
        return ConfigParseError(complaint, line, self.position - line_start + 1)
