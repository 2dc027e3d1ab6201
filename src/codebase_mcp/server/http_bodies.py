"""The bodies of HTTP requests in the form that the protocol library takes, as `message_lines` makes it of lines.

That library refuses most of what it cannot parse without the id of the request, and some of it with no answer at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codebase_mcp.server.message_lines import LineBuffer, LineContent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SEVERAL = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"A request over HTTP carries one message; this one'
    b' carries several. Send each by itself."}}\n'
)


class RepairedBodies:
    """ASGI middleware: what can be repaired goes on repaired, anything else is answered with a JSON-RPC error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        content = await _read_body(receive)
        if content is None:
            return  # the client has hung up
        if len(content.messages) == 1 and not content.refusals:
            body = content.messages[0]
            await self._app(_with_length(scope, len(body)), _replay(body, receive), send)
        elif refusal := (content.refusals or ([SEVERAL] if content.messages else [])):
            await _refuse(send, refusal[0])
        else:
            await self._app(_with_length(scope, 0), _replay(b"", receive), send)


async def _read_body(receive: Receive) -> LineContent | None:
    """What the body carries, in bounded memory; None when the client is gone before its end."""
    lines, found = LineBuffer(), LineContent([], [])
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        # A body is one message, which may be written over several lines.
        lines.append(message.get("body", b""))
        has_more = message.get("more_body", False)
    for content in lines.finish():
        found.messages.extend(content.messages)
        found.refusals.extend(content.refusals)
    return found


def _with_length(scope: Scope, size_bytes: int) -> Scope:
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")]
    return {**scope, "headers": [*kept, (b"content-length", str(size_bytes).encode())]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body first, and afterwards what else comes: the client's hanging up."""
    bodies: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return bodies.pop() if bodies else await receive()

    return replayed


async def _refuse(send: Send, refusal: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(refusal)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": refusal})
