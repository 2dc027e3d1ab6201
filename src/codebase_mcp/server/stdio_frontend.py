"""The client's end of a stdio server: answers the handshake from a recording while the rest is still being imported.

Clients ask for the tools once, when they start a server, and send their first model request without them when that
takes long. Importing what serves calls takes far longer than they wait, and what they ask first always has the same
answer. So these requests are answered at once, and all others wait, in order, until a server is attached. It is then
shown what opened the connection, to which second replies are dropped, and everything that has waited.

A server that nobody has asked anything for long is suspended: its process becomes the program anew (exec), with the
same streams, and loads nothing until the next request comes.

Only the standard library is imported here, and only modules of it that are cheap to import.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from codebase_mcp.server.message_lines import LineBuffer, is_request_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from codebase_mcp.offer import Offer
    from codebase_mcp.server.message_lines import LineContent

STDIN, STDOUT, STDERR = 0, 1, 2
READ_BYTES = 65_536

INTERNAL_ERROR = -32603
REPLAY_ID = "codebase-mcp-replay"
RESUMED = "CODEBASE_MCP_RESUMED_CONNECTION"
"""Environment of a resumed process: what opened the connection, as JSON."""
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

    def __init__(self, recording: Recording) -> None:
        """Takes the standard streams over: what anybody prints goes to stderr, and stdin is at its end for them."""
        self._client_input = os.dup(STDIN)
        self._client_output = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, STDIN)
        os.close(nothing)
        resumed = os.environ.pop(RESUMED, "")
        self._dialogue = Dialogue(recording, json.loads(resumed or "[]"), is_resumed=bool(resumed))
        self._lock = threading.RLock()
        self._write_lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._receiver: Receiver | None = None
        self._failure: str | None = None
        self._has_ended = False
        self._is_hung_up = False
        self._is_needed = threading.Event()
        self._last_activity = time.monotonic()
        self._unfinished = LineBuffer()
        self._pause_read, self._pause_write = os.pipe()
        self._reader = self._start_reading()

    def wait_until_needed(self, handshake_seconds: float) -> None:
        """Until the client has the tools or asks for something else: its first answers are not to wait for imports.

        A client that is slow gets a server all the same after that time; a resumed one only when it asks.
        """
        self._is_needed.wait(None if self._dialogue.is_resumed else handshake_seconds)

    def attach(self, receiver: Receiver) -> None:
        """From now on, lines go to the receiver: first those that open the connection, then those that have waited."""
        with self._lock:
            for line in (*self._dialogue.replay(from_start=True), *self._waiting):
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

        A client that can no longer be written to has hung up, whatever the system says about it: a pipe breaks, a
        terminal goes away, a disk is full. Nothing more is written then.
        """
        if self._dialogue.awaits_replies and self._dialogue.is_repeated_reply(line):
            return
        with self._write_lock:
            self._last_activity = time.monotonic()
            if self._is_hung_up:
                return
            try:
                self._write(line)
            except OSError:
                self._is_hung_up = True
                self.end_input()

    def _write(self, line: bytes) -> None:
        unwritten = memoryview(line)
        while unwritten:
            try:
                unwritten = unwritten[os.write(self._client_output, unwritten) :]
            except BlockingIOError:  # the client, which may share the stream with us, has made it non-blocking
                select.select([], [self._client_output], [])

    @property
    def idle_seconds(self) -> float:
        """Since anything was received or sent."""
        return time.monotonic() - self._last_activity

    def pause(self) -> bool:
        """Detach the receiver and read no more. Blocking.

        False, and all goes on, when a line is just arriving or when a connection like this could not be resumed.
        """
        if not self._dialogue.is_open:
            return False
        os.write(self._pause_write, b".")
        self._reader.join()
        if self._has_ended or not self._unfinished.is_empty:
            self._reader = self._start_reading()
            return False
        with self._lock:
            self._receiver = None
        return True

    def suspend(self) -> None:
        """Become the program anew, which loads nothing until the client asks for something. Only when paused.

        When the program can no longer be started, OSError is raised and lines are read again, for another receiver.
        """
        os.environ[RESUMED] = json.dumps(self._dialogue.openings)
        os.dup2(self._client_input, STDIN)
        os.dup2(self._client_output, STDOUT)
        try:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        except OSError:
            os.dup2(STDERR, STDOUT)
            self._reader = self._start_reading()
            raise

    def _start_reading(self) -> threading.Thread:
        reader = threading.Thread(target=self._read, name="stdio-frontend", daemon=True)
        reader.start()
        return reader

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # stdin may be closed, which is the end of input as well
            while True:
                if self._wait_for_input() == self._pause_read:
                    os.read(self._pause_read, 1)
                    return
                try:
                    data = os.read(self._client_input, READ_BYTES)
                except BlockingIOError:
                    continue
                if not data:
                    break
                self._receive_all(self._unfinished.feed(data))
        self._receive_all(self._unfinished.finish())
        self._end()

    def _wait_for_input(self) -> int:
        """The descriptor that can be read. BrokenPipeError when nobody reads any more what is written."""
        poll = select.poll()
        poll.register(self._client_input, select.POLLIN)
        poll.register(self._pause_read, select.POLLIN)
        poll.register(self._client_output, 0)
        while True:
            ready = dict(poll.poll())
            if ready.get(self._client_output, 0) & (select.POLLERR | select.POLLHUP):
                raise BrokenPipeError
            for descriptor in (self._pause_read, self._client_input):
                if descriptor in ready:
                    return descriptor
            poll.unregister(self._client_output)  # macOS cannot say this of a terminal

    def _receive_all(self, contents: Iterable[LineContent]) -> None:
        for messages, refusals in contents:
            self._last_activity = time.monotonic()
            for message in messages:
                self._receive(message)
            for refusal in refusals:
                self.send(refusal)

    def _receive(self, line: bytes) -> None:
        with self._lock:
            is_served = self._receiver is not None and self._dialogue.is_open
            answer = None if is_served else self._dialogue.answer(line)
            if self._receiver is not None:
                for one in self._dialogue.replay() if answer else [line]:
                    self._receiver.receive(one)
            elif answer is None:
                self._refuse(line) if self._failure else self._waiting.append(line)
        if answer:
            self.send(answer)
        if answer is None or self._dialogue.has_listed_tools:
            self._is_needed.set()

    def _refuse(self, line: bytes) -> None:
        request = _parsed(line)
        if request is not None and is_request_id(request.get("id")):
            error = {"code": INTERNAL_ERROR, "message": self._failure}
            reply = {"jsonrpc": "2.0", "id": request["id"], "error": error}
            self.send(json.dumps(reply).encode() + b"\n")

    def _end(self) -> None:
        with self._lock:
            is_idle = self._receiver is None and not any(map(_is_request, self._waiting))
        if is_idle and self._failure is None:
            os._exit(0)  # nothing has been opened yet, and nobody is left to serve
        self.end_input()


class Dialogue:
    """What the client has been answered from the recording, and which era of the protocol it has opened with."""

    def __init__(
        self, recording: Recording, openings: Sequence[dict[str, Any]] = (), *, is_resumed: bool = False
    ) -> None:
        """`openings` are the requests that opened a connection which is resumed: they have been answered before."""
        self._recording = recording
        self._version: str | None = None
        self._is_modern: bool | None = None
        self._pending_replies: set[str] = set()
        self._replayed = 0
        self.openings: list[dict[str, Any]] = []
        self.has_listed_tools = False
        for request in openings:
            self.answer(json.dumps(request).encode())
        self.is_resumed = is_resumed

    @property
    def is_open(self) -> bool:
        """Whether the client has opened the connection, and only by what has been recorded."""
        return self._version is not None or bool(self._is_modern)

    def answer(self, line: bytes) -> bytes | None:
        """The reply to a request, as one line; None for whatever the recording does not answer."""
        request = _parsed(line)
        if request is None or not is_request_id(request.get("id")) or "method" not in request:
            return None
        result = self._result(request)
        is_first, self._is_modern = self._is_modern is None, self._era(request)
        if result is None:
            return None
        if is_first or request["method"] == "initialize":
            self.openings.append(request)
        self.has_listed_tools |= request["method"] == "tools/list"
        return f'{{"jsonrpc":"2.0","id":{json.dumps(request["id"])},"result":{result}}}\n'.encode()

    def replay(self, *, from_start: bool = False) -> list[bytes]:
        """What a server has yet to see to be where the client is. Its replies to that are to be dropped."""
        first, self._replayed = 0 if from_start else self._replayed, len(self.openings)
        shown = {f"{REPLAY_ID}-{number}": request for number, request in enumerate(self.openings) if number >= first}
        self._pending_replies.update(shown)
        return [json.dumps(request | {"id": identifier}).encode() for identifier, request in shown.items()]

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
            return self._recording.result(self._version, method)
        return None

    def _initialize(self, params: Mapping[str, Any]) -> str | None:
        client = params.get("clientInfo")
        is_complete = (
            isinstance(params.get("protocolVersion"), str)
            and isinstance(params.get("capabilities"), dict)
            and isinstance(client, dict)
            and all(isinstance(client.get(key), str) for key in ("name", "version"))
        )
        if not is_complete or self._is_modern or self._version is not None:
            return None
        self._version = self._recording.negotiated(params["protocolVersion"])
        return self._recording.result(self._version, "initialize")

    def _modern_result(self, method: str, params: Mapping[str, Any]) -> str | None:
        meta = params["_meta"]
        version, client = meta[_META + "protocolVersion"], meta.get(_META + "clientInfo")
        is_complete = (
            isinstance(version, str)
            and version in self._recording.modern_versions
            and isinstance(meta.get(_META + "clientCapabilities"), dict)
            and (client is None or isinstance(client, dict))
            and params.get("cursor") is None
        )
        return self._recording.result(version, method) if is_complete and self._is_modern is not False else None


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The message, if the line is one of the protocol; whatever else is left to the server to judge."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_message = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
    return message if is_message and isinstance(message.get("method", ""), str) else None


def _is_request(line: bytes) -> bool:
    message = _parsed(line)
    return message is None or ("method" in message and "id" in message)


def _opens_modern(request: Mapping[str, Any]) -> bool:
    params = request.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    is_enveloped = isinstance(meta, dict) and _META + "protocolVersion" in meta
    return is_enveloped and request["method"] != "initialize"
