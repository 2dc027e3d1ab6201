"""What is answered from a recording, and what is left to the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.offer import Offer
from codebase_mcp.server.stdio_frontend import Dialogue, load_recording

META = "io.modelcontextprotocol/"
CLIENT = {"name": "client", "version": "1"}
OPENING = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT}
ENVELOPE = {"_meta": {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}}}


class Conversation:
    """Asks a dialogue over the real recording."""

    def __init__(self, offer: Offer | None = None) -> None:
        self.dialogue = Dialogue(load_recording(offer or Offer()))
        self._id = 0

    def ask(self, method: str, params: dict[str, Any] | None = None, **message: Any) -> dict[str, Any] | None:
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method} | message
        return self.send(message if params is None else message | {"params": params})

    def send(self, message: Any) -> dict[str, Any] | None:
        reply = self.dialogue.answer(json.dumps(message).encode())
        if reply is None:
            return None
        assert reply.endswith(b"\n")
        assert reply.count(b"\n") == 1
        answer = json.loads(reply)
        assert answer["id"] == message["id"]
        return answer["result"]

    def replayed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.dialogue.replay(from_start=True)]


@pytest.fixture
def conversation() -> Conversation:
    return Conversation()


@pytest.fixture
def greeted(conversation: Conversation) -> Conversation:
    assert conversation.ask("initialize", OPENING) is not None
    return conversation


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_client_is_greeted_in_the_version_that_it_speaks(conversation: Conversation, version: str) -> None:
    greeting = conversation.ask("initialize", OPENING | {"protocolVersion": version})
    assert greeting is not None
    assert greeting["protocolVersion"] == version
    assert len(conversation.ask("tools/list")["tools"]) == 11  # type: ignore[index]


@pytest.mark.parametrize("version", ["1999-01-01", "2026-07-28"])
def test_a_version_without_a_handshake_is_answered_with_the_latest_that_has_one(
    conversation: Conversation, version: str
) -> None:
    greeting = conversation.ask("initialize", OPENING | {"protocolVersion": version})
    assert greeting is not None
    assert greeting["protocolVersion"] == "2025-11-25"


def test_a_modern_client_is_answered_without_a_handshake(conversation: Conversation) -> None:
    found = conversation.ask("server/discover", ENVELOPE)
    assert found is not None
    assert found["supportedVersions"] == ["2026-07-28"]
    assert len(conversation.ask("tools/list", ENVELOPE)["tools"]) == 11  # type: ignore[index]


@pytest.mark.parametrize(("tools", "count"), [("all", 11), ("search", 4), ("jobs", 8)])
def test_the_tools_are_those_of_the_profile(tools: Any, count: int) -> None:
    conversation = Conversation(Offer(tools=tools))
    conversation.ask("initialize", OPENING)
    assert len(conversation.ask("tools/list")["tools"]) == count  # type: ignore[index]


@pytest.mark.parametrize("identifier", [0, 7, "seven", "", "naïve \U0001f600"])
def test_a_reply_has_the_id_of_its_request(greeted: Conversation, identifier: object) -> None:
    assert greeted.ask("ping", id=identifier) == {}


def test_a_progress_token_changes_nothing(greeted: Conversation) -> None:
    assert greeted.ask("tools/list", {"_meta": {"progressToken": 1}}) is not None


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        [],
        OPENING | {"protocolVersion": 1},
        OPENING | {"capabilities": None},
        OPENING | {"clientInfo": {"name": "client"}},
        OPENING | {"clientInfo": "client"},
    ],
)
def test_an_incomplete_handshake_is_left_to_the_server(conversation: Conversation, params: Any) -> None:
    assert conversation.ask("initialize", params) is None
    assert conversation.ask("tools/list") is None


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search_code"}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "2"}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": []},
        {"jsonrpc": "2.0", "id": 1, "method": "resources/templates/list"},
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": ENVELOPE},
        {"jsonrpc": "2.0", "id": 1, "method": 7},
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
        {"jsonrpc": "2.0", "id": True, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"id": 1, "method": "ping"},
        [{"jsonrpc": "2.0", "id": 1, "method": "ping"}],
        "ping",
    ],
)
def test_everything_else_is_left_to_the_server(greeted: Conversation, message: Any) -> None:
    assert greeted.send(message) is None


@pytest.mark.parametrize("line", [b"{", b"\xff", b"nul", b"[" * 100_000, b'{"id":' + b"9" * 5_000 + b"}"])
def test_what_is_no_message_is_left_to_the_server(greeted: Conversation, line: bytes) -> None:
    assert greeted.dialogue.answer(line) is None


@pytest.mark.parametrize(
    "envelope",
    [
        {f"{META}protocolVersion": "2026-07-28"},
        {f"{META}protocolVersion": "2099-01-01", f"{META}clientCapabilities": {}},
        {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}, f"{META}clientInfo": "client"},
        {f"{META}protocolVersion": ["2026-07-28"], f"{META}clientCapabilities": {}},
    ],
)
def test_a_wrong_envelope_is_left_to_the_server(conversation: Conversation, envelope: dict[str, Any]) -> None:
    assert conversation.ask("server/discover", {"_meta": envelope}) is None


def test_a_modern_connection_stays_modern(conversation: Conversation) -> None:
    conversation.ask("server/discover", ENVELOPE)
    assert conversation.ask("initialize", OPENING) is None
    assert conversation.ask("ping") is None


def test_the_server_is_shown_what_opened_the_connection(greeted: Conversation) -> None:
    greeted.ask("tools/list")
    greeted.ask("ping")
    (opening,) = greeted.replayed()
    assert (opening["method"], opening["params"]) == ("initialize", OPENING)


def test_a_ping_before_the_handshake_is_shown_as_well_because_it_decides_the_era(conversation: Conversation) -> None:
    conversation.ask("ping")
    conversation.ask("initialize", OPENING)
    assert [request["method"] for request in conversation.replayed()] == ["ping", "initialize"]


def test_only_the_reply_to_what_was_shown_is_dropped_and_only_once(greeted: Conversation) -> None:
    (opening,) = greeted.replayed()
    dialogue = greeted.dialogue
    reply = json.dumps({"jsonrpc": "2.0", "id": opening["id"], "result": {}}).encode()
    assert not dialogue.is_repeated_reply(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    assert not dialogue.is_repeated_reply(json.dumps({"jsonrpc": "2.0", "method": "x", "id": opening["id"]}).encode())
    assert dialogue.is_repeated_reply(reply)
    assert not dialogue.awaits_replies
    assert not dialogue.is_repeated_reply(reply)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
METHODS = ["initialize", "server/discover", "tools/list", "prompts/list", "ping", "tools/call"]
META_KEYS = [f"{META}protocolVersion", f"{META}clientInfo", f"{META}clientCapabilities"]
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "protocolVersion": JSON | st.just("2025-06-18"),
        "capabilities": JSON,
        "clientInfo": JSON | st.just(CLIENT),
        "cursor": JSON,
        "_meta": JSON | st.dictionaries(st.sampled_from(META_KEYS), JSON | st.just("2026-07-28")),
    },
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"jsonrpc": JSON | st.just("2.0"), "method": JSON | st.sampled_from(METHODS)},
            optional={"id": JSON | st.integers(), "params": JSON | PARAMS},
        ),
        max_size=4,
    )
)
def test_whatever_is_sent_is_answered_or_left_to_the_server(messages: list[dict[str, Any]]) -> None:
    conversation = Conversation()
    for message in messages:
        conversation.send(message)
