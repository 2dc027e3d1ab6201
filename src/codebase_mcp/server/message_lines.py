"""What a client's input carries: messages in the form that the protocol library takes, and refusals of all else.

That library drops what it cannot parse, and requests whose id or parameters have a wrong type, without an answer, and
the client waits for ever. So nothing else reaches it: what can be repaired is (byte order marks, lone surrogates,
control characters, several messages on a line, a missing `jsonrpc`), and any other request gets a JSON-RPC error, with
its id if that can be read. Notifications and responses are never answered, broken or not.

Only the standard library is imported here, and only modules of it that are cheap to import.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 4 * 1024 * 1024
"""As much as the same server takes over HTTP."""
MAX_DEPTH = 100
"""Nesting of arrays and objects in a message. The protocol library stops at 200, and what it calls earlier."""
KEPT_END_BYTES = 16_384
"""Kept of each end of a line that is too long: clients write the id first or last."""
MAX_ID_CHARACTERS = 1_000

PARSE_ERROR = -32700
INVALID_REQUEST = -32600

_PADDING = re.compile("[\\s\0\x1e\ufeff\ufffe]*")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,"]|[^\s\[\]{}:,"]+', re.DOTALL)
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|([\[{])|([\]}])', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LAST_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?[\d.eE+-]+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_DECODER = json.JSONDecoder(strict=False)


class LineContent(NamedTuple):
    """What a line carries: `messages`, each for the protocol library, and `refusals`, each a line for the client."""

    messages: list[bytes]
    refusals: list[bytes]


class LineBuffer:
    """Cuts what is read into messages, in memory that is bounded whatever is sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._tail: bytes | None = None
        """The end of a line that is too long; None while it is not."""

    @property
    def is_empty(self) -> bool:
        return not self._size_bytes

    def feed(self, data: bytes) -> Iterator[LineContent]:
        """What has become complete. A message that is whole counts although its line end has not come, or is a CR."""
        first, *others = data.split(b"\n")
        self.append(first)
        for part in others:
            yield from self.finish()
            self.append(part)
        if self._tail is None and data.rstrip()[-1:] in (b"}", b"]") and self._has_whole_end():
            yield from self.finish()

    def finish(self) -> Iterator[LineContent]:
        """What the line carries so far, which ends here."""
        head, tail = b"".join(self._pieces), self._tail
        self._pieces, self._size_bytes, self._tail = [], 0, None
        if tail is not None:
            yield _refuse_long_line(head, tail)
            return
        parts = head.split(b"\r") if b"\r" in head and not _is_whole(head) else [head]
        yield from (read_line(part) for part in parts if part.strip())

    def append(self, part: bytes) -> None:
        """Add what belongs to the message that is being read, line ends and all."""
        self._size_bytes += len(part)
        if self._tail is None and self._size_bytes <= MAX_LINE_BYTES:
            if part:
                self._pieces.append(part)
            return
        if self._tail is None:
            self._pieces, self._tail = [b"".join([*self._pieces, part])[:KEPT_END_BYTES]], b""
        self._tail = (self._tail + part)[-KEPT_END_BYTES:]

    def _has_whole_end(self) -> bool:
        text = b"".join(self._pieces)
        self._pieces = [text]
        return _is_whole(text) or (b"\r" in text and _is_whole(text.rstrip().rsplit(b"\r", 1)[-1]))


def read_line(line: bytes) -> LineContent:
    """The messages of one line, as they came if there is nothing to repair, and the refusals of what is none."""
    if not line.strip():
        return LineContent([], [])
    return LineContent([line], []) if _is_plain(line) else _repaired(_decoded(line))


def _is_plain(line: bytes) -> bool:
    """Whether the protocol library takes the line as it is."""
    try:
        message = json.loads(line.decode())
        if _SURROGATE_ESCAPE.search(line):
            json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # of all three, Unicode errors included
        return False
    is_valid = isinstance(message, dict) and message.get("jsonrpc") == "2.0" and _fault(message) is None
    return is_valid and not _is_deep(line)


def _is_whole(line: bytes) -> bool:
    """Whether the line is one or more complete messages."""
    text, position = _decoded(line), 0
    try:
        while (position := _skip_padding(text, position)) < len(text):
            _, position = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError):
        return False
    return True


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return line.decode("utf-8", "replace")


def _repaired(text: str) -> LineContent:
    content = LineContent([], [])
    position = _skip_padding(text, 0)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            fragment = _scan(text, position)
            end = fragment.end
            content.refusals.extend(fragment.refusal(PARSE_ERROR, f"The message is not valid JSON: {_reason(error)}."))
        else:
            _sort(value, content, is_deep=_is_deep(text[position:end].encode("utf-8", "replace")))
        position = _skip_padding(text, end)
    return content


def _sort(value: object, content: LineContent, *, is_deep: bool, is_in_batch: bool = False) -> None:
    """Put a parsed value where it belongs. The messages of a batch are taken one by one."""
    if isinstance(value, list) and value and not is_in_batch:
        for one in value:
            _sort(one, content, is_deep=is_deep, is_in_batch=True)
        return
    if not isinstance(value, dict):
        content.refusals.append(_refusal(None, INVALID_REQUEST, "A message must be a JSON object."))
        return
    message = _completed(value)
    fault = f"is nested deeper than {MAX_DEPTH} levels" if is_deep else _fault(message)
    if fault is None:
        content.messages.append(_encoded(message))
    elif _is_request(message):
        content.refusals.append(_refusal(message.get("id"), INVALID_REQUEST, f"The message {fault}."))


def _completed(message: dict[str, Any]) -> dict[str, Any]:
    """With what a client may have left out or written otherwise, where it can only mean one thing."""
    completed = dict(message)
    if message.get("jsonrpc") in (None, 2):
        completed["jsonrpc"] = "2.0"
    identifier = message.get("id")
    if isinstance(identifier, float) and identifier.is_integer():
        completed["id"] = int(identifier)
    if identifier is None and str(message.get("method")).startswith("notifications/"):
        completed.pop("id", None)
    return completed


def _fault(message: dict[str, Any]) -> str | None:
    """What is wrong with a message, to be read after "The message"; None if the protocol library takes it."""
    if message.get("jsonrpc") != "2.0":
        return 'must have "jsonrpc": "2.0"'
    if "method" not in message and ("result" in message or "error" in message):
        return None
    if not isinstance(message.get("method"), str):
        return "must have a method, which is a string"
    if "id" in message and not is_request_id(message["id"]):
        return "must have a string or an integer as its id"
    if not isinstance(message.get("params", {}), dict | None):
        return "must have an object as its params"
    return None


def is_request_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_request(message: dict[str, Any]) -> bool:
    """Whether somebody waits for an answer: neither a response nor a notification."""
    if "method" not in message:
        return not ("result" in message or "error" in message)
    return "id" in message or not isinstance(message["method"], str)


class _Fragment(NamedTuple):
    """What can be read of broken JSON: members of its outermost object, as they are written, and where it ends."""

    members: dict[str, str]
    end: int

    def refusal(self, code: int, message: str) -> list[bytes]:
        """One for a request, none for what expects no answer."""
        members = self.members
        if "id" not in members and members.get("method", "").strip("\"'").startswith("notifications/"):
            return []
        if "method" not in members and ("result" in members or "error" in members):
            return []
        return [_refusal(_read_id(members.get("id", "null")), code, message)]


def _scan(text: str, start: int) -> _Fragment:
    """Read broken JSON from `start`, as far as it goes."""
    members: dict[str, str] = {}
    depth, key, previous = 0, "", ""
    end = len(text)
    for match in _TOKEN.finditer(text, start):
        token = match[0]
        if token == '"':  # a string that does not end
            break
        if depth == 1 and token == ":":
            key = previous.strip("\"'")
        elif depth == 1 and previous == ":":
            members.setdefault(key, token)
        depth += (token in ("{", "[")) - (token in ("}", "]"))
        if depth <= 0 and token in ("}", "]"):
            end = match.end()
            break
        previous = token
    if "id" not in members and (last := _LAST_ID.search(text, max(start, end - KEPT_END_BYTES), end)):
        members["id"] = last[1]
    return _Fragment(members, end)


def _read_id(token: str) -> object:
    try:
        return json.loads(token, strict=False) if len(token) <= MAX_ID_CHARACTERS else None
    except ValueError:
        return None


def _refuse_long_line(head: bytes, tail: bytes) -> LineContent:
    fragment = _scan(_decoded(head), _skip_padding(_decoded(head), 0))
    last = _LAST_ID.search(_decoded(tail))
    if last and "id" not in fragment.members:
        fragment.members["id"] = last[1]
    mebibytes = MAX_LINE_BYTES // 1024**2
    return LineContent([], fragment.refusal(INVALID_REQUEST, f"The message is longer than {mebibytes} MiB."))


def _refusal(identifier: object, code: int, message: str) -> bytes:
    """A JSON-RPC error as a line; its id is null unless it is one that the client can have meant."""
    is_number = isinstance(identifier, float) and identifier - identifier == 0
    if not (is_request_id(identifier) or is_number):
        identifier = None
    return _encoded({"jsonrpc": "2.0", "id": identifier, "error": {"code": code, "message": message}}) + b"\n"


def _encoded(message: dict[str, Any]) -> bytes:
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # halves of surrogate pairs: those that fit are joined, the others replaced
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _is_deep(line: bytes) -> bool:
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:
        return False
    depth = deepest = 0
    for match in _BRACKETS.finditer(line.decode("utf-8", "replace")):
        depth += bool(match[1]) - bool(match[2])
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH


def _skip_padding(text: str, position: int) -> int:
    found = _PADDING.match(text, position)
    return found.end() if found else position


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number in it has too many digits"
