"""Which lines reach the protocol library, in which form, and how every other request is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import jsonrpc_message_adapter

from codebase_mcp.server.message_lines import (
    INVALID_REQUEST,
    MAX_DEPTH,
    MAX_LINE_BYTES,
    PARSE_ERROR,
    LineBuffer,
    LineContent,
    read_line,
)

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


def messages(content: LineContent) -> list[dict[str, Any]]:
    """What reaches the protocol library, which takes all of it."""
    for message in content.messages:
        jsonrpc_message_adapter.validate_json(message, by_name=False)
    return [json.loads(message) for message in content.messages]


def refusals(content: LineContent) -> list[tuple[object, int]]:
    """Id and code of each refusal."""
    told = [json.loads(line) for line in content.refusals]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in content.refusals)
    for one in content.refusals:
        jsonrpc_message_adapter.validate_json(one, by_name=False)
    return [(one["id"], one["error"]["code"]) for one in told]


def request(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m"} | members).encode()


@pytest.mark.parametrize(
    "line",
    [
        PING,
        PING + b"\r",
        b'  {"id" : "a", "method":"ping", "jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":3,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"q":"\\ud83d\\ude00 \\\\ud83d"}}',
        request(params={"q": "naïve \U0001f600"}),
        request(params={"limit": float("nan")}),
    ],
)
def test_a_valid_line_passes_as_it_is(line: bytes) -> None:
    assert read_line(line) == LineContent([line], [])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (rb"rocket \ud83d", "rocket �"),
        (rb"\udc00 low first", "� low first"),
        (rb"\ud83d\ud83d\ude00", "�\U0001f600"),
        (b"caf\xe9", "caf�"),
        (b"\xed\xa0\xbd", "�"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\U0001f600"),
        (b"tab\there", "tab\there"),
        (b"nul\0here", "nul\0here"),
    ],
)
def test_text_that_is_not_unicode_or_not_escaped_is_repaired(text: bytes, read: str) -> None:
    content = read_line(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"q":"' + text + b'"}}')
    assert [message["params"]["q"] for message in messages(content)] == [read]
    assert content.refusals == []


@pytest.mark.parametrize(
    "line",
    [
        b"\xef\xbb\xbf" + PING,
        b"\0\0" + PING + b"\0",
        b"\x1e" + PING,
        b'{"id":1,"method":"ping"}',
        b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
        b'{"jsonrpc":null,"id":1.0,"method":"ping"}',
        b"[" + PING + b"]",
    ],
)
def test_what_can_only_mean_one_thing_is_repaired(line: bytes) -> None:
    assert messages(read_line(line)) == [json.loads(PING)]


@pytest.mark.parametrize("between", [b"", b" ", b"\r", b"\xef\xbb\xbf"])
def test_several_messages_on_a_line_are_all_read(between: bytes) -> None:
    content = read_line(between.join([PING, b'{"id":2}', b'{"id":3,"method":}', b'{"method":"x","id":"4"}']))
    assert [message["id"] for message in messages(content)] == [1, "4"]
    assert refusals(content) == [(2, INVALID_REQUEST), (3, PARSE_ERROR)]


def test_the_messages_of_a_batch_are_read_one_by_one() -> None:
    content = read_line(b'[{"id":1,"method":"a"},7,[],{"method":"notifications/x","params":[]},{"id":2,"params":{}}]')
    assert [message["id"] for message in messages(content)] == [1]
    assert refusals(content) == [(None, INVALID_REQUEST), (None, INVALID_REQUEST), (2, INVALID_REQUEST)]


@pytest.mark.parametrize(
    ("line", "identifier", "code"),
    [
        (b"{}", None, INVALID_REQUEST),
        (b"[]", None, INVALID_REQUEST),
        (b"null", None, INVALID_REQUEST),
        (b'"ping"', None, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1}', 1, INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 1, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":"a","method":7}', "a", INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","method":7}', None, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', None, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', None, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}', 1, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":"x"}', 1, INVALID_REQUEST),
        (request(params={"a": json.loads("[" * 300 + "]" * 300)}), 1, INVALID_REQUEST),
        (b'{"method":"m","params":' + b"[" * 100_000 + b"]" * 100_000 + b',"id":7}', 7, PARSE_ERROR),
        (b'{"id":7,"method":"m","params":' + b'{"a":' * 100_000, 7, PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"n":' + b"9" * 5_000 + b"}}", 1, PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"m"}', None, PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"search', 8, PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":9,"method":"m","params":{"q":"\\ud8"}}', 9, PARSE_ERROR),
        (b'{"method":"m","params":{"q":"an " quote"},"jsonrpc":"2.0","id":"ten"}', "ten", PARSE_ERROR),
        (b"{'jsonrpc': '2.0', 'method': 'ping', 'id': 11}", 11, PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":12,"method":"m","params":{"a":1,}}', 12, PARSE_ERROR),
        (b'{"jsonrpc":"2.0","method":"tools/call","params":{"id":13', None, PARSE_ERROR),
        (b"Content-Length: 42", None, PARSE_ERROR),
        (b"\xff\xfe", None, PARSE_ERROR),
    ],
)
def test_any_other_request_is_refused_with_the_id_that_can_be_read(line: bytes, identifier: Any, code: int) -> None:
    content = read_line(line)
    assert content.messages == []
    assert refusals(content) == [(identifier, code)]


def test_a_fraction_as_an_id_is_given_back_in_the_refusal() -> None:
    (refusal,) = read_line(b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}').refusals
    assert json.loads(refusal)["id"] == 1.5


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" \t\r",
        b"\xef\xbb\xbf",
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"a " b"}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":' + b"[" * 5_000,
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":}}',
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":' + b"9" * 5_000 + b"}",
    ],
)
def test_broken_notifications_and_responses_are_not_answered(line: bytes) -> None:
    content = read_line(line)
    assert content.refusals == []
    assert content.messages == []


def test_a_notification_with_a_null_id_stays_a_notification() -> None:
    content = read_line(b'{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}')
    assert messages(content) == [{"jsonrpc": "2.0", "method": "notifications/initialized"}]


def test_nesting_is_bounded_where_brackets_are_structure_and_not_where_they_are_text() -> None:
    arguments = json.loads("[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2))
    assert messages(read_line(request(params={"a": arguments})))
    assert messages(read_line(request(params={"a": "[" * 5_000 + '"' + "{" * 5_000})))
    assert messages(read_line(request(params={"a": [[]] * 5_000})))
    assert refusals(read_line(request(params={"a": [arguments]}))) == [(1, INVALID_REQUEST)]


def fed(data: bytes, step: int) -> list[LineContent]:
    buffer = LineBuffer()
    return [c for start in range(0, len(data), step) for c in buffer.feed(data[start : start + step])]


@pytest.mark.parametrize("step", [1, 7, 1_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n", b""])
def test_lines_are_cut_whatever_their_ends_and_however_they_arrive(end: bytes, step: int) -> None:
    sent = [request(id=number, params={"q": "}"}) for number in range(5)]
    read = fed(b"".join(line + end for line in sent), step)
    assert [message["id"] for content in read for message in messages(content)] == [0, 1, 2, 3, 4]
    assert [content.refusals for content in read if content.refusals] == []


def test_a_broken_line_that_ends_in_a_carriage_return_holds_nothing_up() -> None:
    (broken, whole) = fed(b'{"id":1,"method":"m","params":\r' + PING + b"\r", 1_000)
    assert refusals(broken) == [(1, PARSE_ERROR)]
    assert messages(whole) == [json.loads(PING)]


def test_the_last_line_needs_no_end() -> None:
    buffer = LineBuffer()
    assert list(buffer.feed(b'{"id":1,"method":"m"')) == []
    assert not buffer.is_empty
    assert [refusals(content) for content in buffer.finish()] == [[(1, PARSE_ERROR)]]
    assert buffer.is_empty


@pytest.mark.parametrize(
    ("first", "last", "identifier"),
    [
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"q":"', b'"}}', [5]),
        (b'{"method":"m","params":{"q":"', b'"},"jsonrpc":"2.0","id":6}', [6]),
        (b'{"method":"m","params":{"q":"', b'"},"id":"7","jsonrpc":"2.0"}', ["7"]),
        (b'{"method":"m","params":{"q":"', b'","id":8}}', [None]),
        (b'{"method":"notifications/x","params":{"q":"', b'"}}', []),
        (b'{"jsonrpc":"2.0","id":5,"result":{"q":"', b'"}}', []),
        (b"", b"", [None]),
    ],
)
def test_a_line_that_is_too_long_is_refused_and_forgotten(first: bytes, last: bytes, identifier: list[object]) -> None:
    buffer = LineBuffer()
    assert list(buffer.feed(first)) == []
    for _ in range(MAX_LINE_BYTES // 65_536 + 1):
        assert list(buffer.feed(b"x" * 65_536)) == []
    assert sum(map(len, buffer._pieces)) < 100_000
    refused, following = buffer.feed(last + b"\n" + PING + b"\n")
    assert refusals(refused) == [(one, INVALID_REQUEST) for one in identifier]
    assert messages(following) == [json.loads(PING)]


def test_a_line_as_long_as_is_allowed_is_read() -> None:
    line = request(params={"q": "x" * (MAX_LINE_BYTES - len(request(params={"q": ""})))})
    assert len(line) == MAX_LINE_BYTES
    (content,) = fed(line + b"\n", 65_536)
    assert content.messages == [line]


@given(st.binary(max_size=60) | st.text('{}[]":,\\ud8"id"method 0eE.-\'', max_size=40).map(str.encode))
def test_nothing_that_is_sent_breaks_the_reader_and_all_of_it_is_read_or_answered(noise: bytes) -> None:
    for line in (noise, b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + noise):
        for content in (read_line(line), *fed(line + b"\n", 7)):
            messages(content)
            refusals(content)


@given(st.integers(min_value=0, max_value=200))
def test_a_request_cut_anywhere_is_answered(length: int) -> None:
    line = request(params={"name": "search_code", "arguments": {"query": 'a "quoted" {text}'}})[:length]
    content = read_line(line)
    assert len(content.messages) + len(content.refusals) == bool(line.strip())
