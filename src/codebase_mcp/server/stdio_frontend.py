"""The client's end of a stdio server: answers the handshake from a recording while the rest is still being imported.

Clients ask for the tools once, when they start a server, and send their first model request without them when that
takes long. Importing what serves calls takes far longer than they wait, and what they ask first always has the same
answer. So these requests are answered at once, and all others wait, in order, until a server is attached. It is then
shown the requests that open a connection, whose second replies are dropped, and everything that has waited.

Only the standard library is imported here, and only modules of it that are cheap to import.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codebase_mcp.offer import Offer

STDIN, STDOUT, STDERR = 0, 1, 2
READ_BYTES = 65_536

INTERNAL_ERROR = -32603
REPLAY_ID = "codebase-mcp-replay"
_META = "io.modelcontextprotocol/"
_LISTS = frozenset({"tools/list", "resources/list", "prompts/list"})


class Recording:
    """Answers by protocol version and method, each as the JSON text of its result.

    The file has one JSON value a line: first, for each version, which line answers which method (counted from 0 after
    the first), and which versions are of the modern protocol; then the results.
    """

    def __init__(self, text: str) -> None:
        index, *self._results = text.splitlines()
        described = json.loads(index)
        self._lines: dict[str, dict[str, int]] = described["versions"]
        self.modern_versions = frozenset(described["modern"])
        self._latest_handshake: str = described["latest_handshake"]

    def negotiated(self, requested: str) -> str:
        """The version of the handshake protocol that is spoken with a client that asks for this one."""
        is_known = requested in self._lines and requested not in self.modern_versions
        return requested if is_known else self._latest_handshake

    def result(self, version: str, method: str) -> str | None:
        line = self._lines.get(version, {}).get(method)
        return None if line is None else self._results[line]


def load_recording(offer: Offer) -> Recording:
    """What a server with this offer says in a handshake. `make recording` writes it."""
    path = os.path.join(os.path.dirname(__file__), "recordings", f"{offer.tools}-{offer.answers}.jsonl")
    with open(path, encoding="utf-8") as file:
        return Recording(file.read())


class Receiver(Protocol):
    """What the frontend hands its lines to once a server is there. Called from the frontend's thread."""

    def receive(self, line: bytes) -> None: ...

    def end(self) -> None: ...


class StdioFrontend:
    """Owns the streams that the client gave this process; nothing else can read or write them."""

    def __init__(self, recording: Recording | None = None) -> None:
        """Takes the standard streams over: what anybody prints goes to stderr, and stdin is at its end for them."""
        self._client_input = os.dup(STDIN)
        self._client_output = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, STDIN)
        os.close(nothing)
        self._dialogue = Dialogue(recording)
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._receiver: Receiver | None = None
        self._failure: str | None = None
        self._has_ended = False
        self._is_past_handshake = threading.Event()
        threading.Thread(target=self._read, name="stdio-frontend", daemon=True).start()

    def wait_for_handshake(self, timeout_seconds: float) -> None:
        """Until the client has the tools or asks for something else; its first answers are not to wait for imports."""
        self._is_past_handshake.wait(timeout_seconds)

    def attach(self, receiver: Receiver) -> None:
        """From now on, lines go to the receiver: first those that open the connection, then those that have waited."""
        with self._lock:
            for line in (*self._dialogue.replay(), *self._waiting):
                receiver.receive(line)
            self._waiting.clear()
            self._receiver = receiver
            if self._has_ended:
                receiver.end()

    def end_input(self) -> None:
        """Let the receiver see the end of input, as when the client hangs up. May be called from any thread."""
        with self._lock:
            self._has_ended = True
            if self._receiver is not None:
                self._receiver.end()

    def fail(self, message: str) -> None:
        """Refuse the requests that wait, and those to come: there will be no server."""
        with self._lock:
            self._failure = message
            for line in self._waiting:
                self._refuse(line)
            self._waiting.clear()

    def send(self, line: bytes) -> None:
        """Write a line to the client, unless it is a reply that the client already has. Blocking.

        A client that no longer reads has hung up: nothing more is written.
        """
        if self._dialogue.awaits_replies and self._dialogue.is_repeated_reply(line):
            return
        with self._write_lock:
            try:
                while line:
                    line = line[os.write(self._client_output, line) :]
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EBADF):
                    raise
                self.end_input()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):  # stdin may be closed, which is the end of input as well
            while data := os.read(self._client_input, READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._receive(line)
        if rest.strip():
            self._receive(rest)
        self._end()

    def _receive(self, line: bytes) -> None:
        if not line.strip():
            return
        with self._lock:
            if self._receiver is not None:
                self._receiver.receive(line)
                return
            answer = self._dialogue.answer(line)
            if answer is None:
                self._refuse(line) if self._failure else self._waiting.append(line)
        if answer is not None:
            self.send(answer)
        if self._dialogue.has_listed_tools or (answer is None and _is_request(line)):
            self._is_past_handshake.set()

    def _refuse(self, line: bytes) -> None:
        request = _parsed(line)
        if request is not None and _is_id(request.get("id")):
            error = {"code": INTERNAL_ERROR, "message": self._failure}
            reply = {"jsonrpc": "2.0", "id": request["id"], "error": error}
            self.send(json.dumps(reply).encode() + b"\n")

    def _end(self) -> None:
        with self._lock:
            is_idle = self._receiver is None and not any(map(_is_request, self._waiting))
        if is_idle:
            os._exit(0)  # nothing has been opened yet, and nobody is left to serve
        self.end_input()


class Dialogue:
    """What the client has been answered from the recording, and which era of the protocol it has opened with."""

    def __init__(self, recording: Recording | None) -> None:
        self._recording = recording
        self._version: str | None = None
        self._is_modern: bool | None = None
        self._openings: list[dict[str, Any]] = []
        self._pending_replies: set[str] = set()
        self.has_listed_tools = False

    def answer(self, line: bytes) -> bytes | None:
        """The reply to a request, as one line; None for whatever the recording does not answer."""
        request = _parsed(line)
        if self._recording is None or request is None or not _is_id(request.get("id")):
            return None
        result = self._result(request)
        is_first, self._is_modern = self._is_modern is None, self._era(request)
        if result is None:
            return None
        if is_first or request["method"] == "initialize":
            self._openings.append(request)
        self.has_listed_tools |= request["method"] == "tools/list"
        return f'{{"jsonrpc":"2.0","id":{json.dumps(request["id"])},"result":{result}}}\n'.encode()

    def replay(self) -> list[bytes]:
        """The requests that a server has to have seen to be where the client is. Their replies are to be dropped."""
        lines = []
        for number, request in enumerate(self._openings):
            replayed = request | {"id": f"{REPLAY_ID}-{number}"}
            self._pending_replies.add(replayed["id"])
            lines.append(json.dumps(replayed).encode())
        return lines

    @property
    def awaits_replies(self) -> bool:
        return bool(self._pending_replies)

    def is_repeated_reply(self, line: bytes) -> bool:
        reply = _parsed(line)
        if reply is None or "method" in reply or reply.get("id") not in self._pending_replies:
            return False
        self._pending_replies.discard(reply["id"])
        return True

    def _era(self, request: Mapping[str, Any]) -> bool:
        """Whether the connection is modern, which its first request decides once and for all."""
        return _opens_modern(request) if self._is_modern is None else self._is_modern

    def _result(self, request: Mapping[str, Any]) -> str | None:
        method, params = request["method"], request.get("params", {})
        if not isinstance(params, dict):
            return None
        if _opens_modern(request):
            return self._modern_result(method, params)
        if method == "initialize":
            return self._initialize(params)
        if method == "ping" and not self._is_modern:
            return "{}"
        if method in _LISTS and self._version is not None and params.get("cursor") is None:
            return self._recorded(self._version, method)
        return None

    def _initialize(self, params: Mapping[str, Any]) -> str | None:
        client = params.get("clientInfo")
        is_complete = (
            isinstance(params.get("protocolVersion"), str)
            and isinstance(params.get("capabilities"), dict)
            and isinstance(client, dict)
            and all(isinstance(client.get(key), str) for key in ("name", "version"))
        )
        if not is_complete or self._is_modern or self._version is not None or self._recording is None:
            return None
        self._version = self._recording.negotiated(params["protocolVersion"])
        return self._recorded(self._version, "initialize")

    def _modern_result(self, method: str, params: Mapping[str, Any]) -> str | None:
        meta = params["_meta"]
        version, client = meta[_META + "protocolVersion"], meta.get(_META + "clientInfo")
        is_complete = (
            self._recording is not None
            and isinstance(version, str)
            and version in self._recording.modern_versions
            and isinstance(meta.get(_META + "clientCapabilities"), dict)
            and (client is None or isinstance(client, dict))
            and params.get("cursor") is None
        )
        return self._recorded(version, method) if is_complete and self._is_modern is not False else None

    def _recorded(self, version: str, method: str) -> str | None:
        return None if self._recording is None else self._recording.result(version, method)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The message, if the line is one of the protocol; whatever else is left to the server to judge."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_message = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
    return message if is_message and isinstance(message.get("method", ""), str) else None


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_request(line: bytes) -> bool:
    message = _parsed(line)
    return message is None or ("method" in message and "id" in message)


def _opens_modern(request: Mapping[str, Any]) -> bool:
    params = request.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    is_enveloped = isinstance(meta, dict) and _META + "protocolVersion" in meta
    return is_enveloped and request["method"] != "initialize"
