"""`python -m tests.support.handshake_recorder`: writes what FastMCP answers in a handshake, for the stdio frontend.

One file for each profile and form of answers, in the format that `Recording` describes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any, get_args

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from codebase_mcp.offer import AnswerForm, Offer, ToolProfile
from codebase_mcp.server import stdio_frontend
from codebase_mcp.server.app import build_server
from codebase_mcp.server.protocol import serve_streams
from tests.support.fake_service import FakeService

FOLDER = Path(stdio_frontend.__file__).parent / "recordings"
CLIENT = {"name": "recorder", "version": "1"}
LISTS = ("tools/list", "resources/list", "prompts/list")


class Client:
    """A client inside this process: the streams that a server reads and writes."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    async def write(self, text: str) -> None:
        self._replies.put_nowait(json.loads(text))

    async def flush(self) -> None: ...

    async def ask(self, method: str, params: dict[str, Any]) -> str:
        """The result, as compact JSON."""
        await self._lines.put(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        reply = await self._replies.get()
        return json.dumps(reply["result"], ensure_ascii=False, separators=(",", ":"))

    async def end(self) -> None:
        await self._lines.put(None)


async def handshake(version: str, offer: Offer) -> dict[str, str]:
    """The result of each method that is recorded, with a client that speaks this version."""
    client = Client()
    server = build_server(FakeService(), offer)  # type: ignore[arg-type]
    serving = asyncio.create_task(serve_streams(server, client, client))  # type: ignore[arg-type]
    if version in MODERN_PROTOCOL_VERSIONS:
        prefix = "io.modelcontextprotocol/"
        meta = {f"{prefix}protocolVersion": version, f"{prefix}clientInfo": CLIENT, f"{prefix}clientCapabilities": {}}
        results = {name: await client.ask(name, {"_meta": meta}) for name in ("server/discover", *LISTS)}
    else:
        opening = {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT}
        results = {"initialize": await client.ask("initialize", opening)}
        results |= {name: await client.ask(name, {}) for name in (*LISTS, "ping")}
    await client.end()
    await serving
    return results


async def record(offer: Offer) -> str:
    """The text of one file: equal results are written once."""
    lines: dict[str, int] = {}
    versions = {}
    for version in (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS):
        results = await handshake(version, offer)
        versions[version] = {name: lines.setdefault(text, len(lines)) for name, text in results.items()}
    index = {
        "latest_handshake": LATEST_HANDSHAKE_VERSION,
        "modern": list(MODERN_PROTOCOL_VERSIONS),
        "versions": versions,
    }
    return "".join(f"{line}\n" for line in (json.dumps(index), *lines))


def recordings() -> list[tuple[Path, Offer]]:
    offers = itertools.product(get_args(ToolProfile), get_args(AnswerForm))
    return [(FOLDER / f"{tools}-{answers}.jsonl", Offer(tools, answers)) for tools, answers in offers]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path, offer in recordings():
        path.write_text(asyncio.run(record(offer)), encoding="utf-8")


if __name__ == "__main__":
    main()
