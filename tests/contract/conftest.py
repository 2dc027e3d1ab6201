"""A server over a service without a database, and clients of it in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.client import CallToolResult

from codebase_mcp.offer import Offer
from codebase_mcp.server.app import build_server
from tests.support.fake_service import FakeService

Connect = Callable[..., AbstractAsyncContextManager["Caller"]]


class Caller:
    """Calls tools and keeps the progress it hears."""

    def __init__(self, client: Client[Any], progress: list[tuple[float, float | None, str | None]]) -> None:
        self.client = client
        self.progress = progress

    async def call(self, tool: str, **arguments: Any) -> CallToolResult:
        return await self.client.call_tool(tool, arguments, raise_on_error=False)

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """The text of the error that the call must end in."""
        result = await self.call(tool, **arguments)
        assert result.is_error, result
        assert result.structured_content is None
        (content,) = result.content
        return str(content.text)

    async def answer(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.call(tool, **arguments)
        assert not result.is_error, result
        assert result.structured_content is not None
        return result.structured_content


@pytest.fixture
def connect() -> Connect:
    @asynccontextmanager
    async def connected(service: FakeService, **offer: Any) -> AsyncIterator[Caller]:
        heard: list[tuple[float, float | None, str | None]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        server = build_server(service, Offer(**{"answers": "structured"} | offer))  # type: ignore[arg-type]
        async with Client(server, progress_handler=hear) as client:
            yield Caller(client, heard)

    return connected
