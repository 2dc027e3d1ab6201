"""A model on loopback that follows a script: it calls `search_code` as soon as it is offered, then ends the turn.

What the assistant sent is kept, so that one can read what a model would have seen.
"""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from benchmarks.clients.dialects import DIALECTS, Dialect, Event, ModelRequest, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL = "search_code"
TOOL_SEARCH = "ToolSearch"
"""With it, Claude Code offers names of tools only; the model loads what it wants."""
MOST_TURNS = 8


@dataclass(slots=True)
class Script:
    """What the model asks for, and the requests that it was sent. Only requests that offer tools count as turns."""

    arguments: dict[str, Any]
    requests: list[ModelRequest] = field(default_factory=list)
    calls: list[ToolCall | None] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_call(self, request: ModelRequest) -> ToolCall | None:
        with self._lock:
            call = self._choose(request) if request.tools else None
            if request.tools:
                self.requests.append(request)
                self.calls.append(call)
            return call

    def _choose(self, request: ModelRequest) -> ToolCall | None:
        has_asked = any(call is not None and call.name.endswith(TOOL) for call in self.calls)
        if has_asked or len(self.requests) >= MOST_TURNS:
            return None
        offered = next((name for name in request.tools if name.endswith(TOOL)), None)
        if offered is not None:
            return ToolCall(offered, self.arguments)
        if TOOL_SEARCH in request.tools:
            return ToolCall(TOOL_SEARCH, {"query": f"+{TOOL}", "max_results": 5})
        return _pastime(request)

    def result(self) -> str | None:
        """What the model saw as the answer of `search_code`; None when it could not ask."""
        for position, call in enumerate(self.calls):
            if call is not None and call.name.endswith(TOOL) and position + 1 < len(self.requests):
                return self.requests[position + 1].results[-1]
        return None


def _pastime(request: ModelRequest) -> ToolCall | None:
    """A call that keeps the turn going until the tool is there."""
    for name, arguments in (
        ("exec_command", {"cmd": "sleep 1"}),
        ("shell", {"command": ["sleep", "1"]}),
        ("bash", {"command": "sleep 1", "description": "waits"}),
        ("run_shell_command", {"command": "sleep 1", "description": "waits"}),
    ):
        if name in request.tools:
            return ToolCall(name, arguments)
    return None


@contextmanager
def scripted_model(script: Script) -> Iterator[str]:
    """Serves on a free port of loopback; yields its address."""

    class Handler(_Handler):
        model = script

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    model: Script
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send_json({})

    def do_GET(self) -> None:
        self._send_json({"object": "list", "data": [{"id": "scripted", "object": "model"}], "models": []})

    def do_POST(self) -> None:
        body = self._body()
        dialect = next((one for one in DIALECTS if one.path in self.path.lower()), None)
        if dialect is None or "count_tokens" in self.path or "counttokens" in self.path.lower():
            return self._send_json({"input_tokens": 1, "totalTokens": 1})
        try:
            return self._reply(dialect, body)
        except BrokenPipeError:
            return None  # the assistant has heard enough

    def _reply(self, dialect: Dialect, body: dict[str, Any]) -> None:
        request = dialect.read(body)
        events = dialect.reply(body, self.model.next_call(request), _words(body))
        is_streamed = body.get("stream") or "stream" in self.path.lower()
        if is_streamed:
            return self._send_events(events)
        return self._send_json(events[-1][1] if events[-1][0] is None else _whole(body))

    def _body(self) -> dict[str, Any]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raw = b"".join(self._chunks())
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        return json.loads(raw or b"{}")

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send_json(self, data: Any) -> None:
        self._send("application/json", json.dumps(data).encode())

    def _send_events(self, events: list[Event]) -> None:
        lines = []
        for name, data in events:
            text = data if isinstance(data, str) else json.dumps(data)
            lines.append(f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n")
        self._send("text/event-stream", "".join(lines).encode())

    def _send(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _words(body: dict[str, Any]) -> str:
    """Gemini CLI's requests beside the turn want JSON of a schema of theirs: which model to take, for example."""
    configuration = body.get("generationConfig", {})
    schema = configuration.get("responseJsonSchema") or configuration.get("responseSchema")
    return "done" if schema is None else json.dumps(_instance(schema))


def _instance(schema: dict[str, Any]) -> Any:
    """The least that satisfies a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = str(schema.get("type", "string")).lower()
    if kind == "object":
        return {name: _instance(one) for name, one in schema.get("properties", {}).items()}
    return {"array": [], "number": 1, "integer": 1, "boolean": False}.get(kind, "done")


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    """A message that is not streamed, in the protocol of Claude Code, which asks so for titles."""
    return {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [{"type": "text", "text": "done"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
