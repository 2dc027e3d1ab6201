"""Where this server speaks the protocol otherwise than FastMCP does by itself. All of it is here, and tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastmcp.server.context import reset_transport, set_transport
from fastmcp.server.middleware import Middleware
from fastmcp.tools.base import ToolResult
from fastmcp.tools.function_tool import FunctionTool
from mcp.server.stdio import stdio_server
from mcp.types import DiscoverResult, InitializeResult, ServerCapabilities, TextContent, ToolsCapability
from pydantic.json_schema import SkipJsonSchema

if TYPE_CHECKING:
    from fastmcp import FastMCP
    from fastmcp.server.middleware import CallNext, MiddlewareContext
    from mcp.types import DiscoverRequest, InitializeRequest

    from codebase_mcp.server.streams import ClientLines, ClientOutput

TITLE = "Codebase search"


class PublishedTool(FunctionTool):
    """A tool that sends no empty `_meta`, and answers in text when it is given a renderer."""

    render: SkipJsonSchema[Callable[[Any], str] | None] = None

    def get_meta(self) -> dict[str, Any] | None:  # type: ignore[override]
        return self.meta or None

    def convert_result(self, raw_value: Any) -> ToolResult:
        if self.render is None:
            return super().convert_result(raw_value)
        return ToolResult(content=[TextContent(type="text", text=self.render(raw_value))])


class HonestCapabilities(Middleware):
    """Announces tools, which never change, and nothing else: clients ask for whatever is announced, even if empty."""

    async def on_initialize(
        self,
        context: MiddlewareContext[InitializeRequest],
        call_next: CallNext[InitializeRequest, InitializeResult | None],
    ) -> InitializeResult | None:
        result = await call_next(context)
        return result and result.model_copy(update={"capabilities": _capabilities()})

    async def on_discover(
        self,
        context: MiddlewareContext[DiscoverRequest],
        call_next: CallNext[DiscoverRequest, DiscoverResult | dict[str, Any]],
    ) -> DiscoverResult | dict[str, Any]:
        result = await call_next(context)
        if isinstance(result, DiscoverResult):
            return result.model_copy(update={"capabilities": _capabilities()})
        return result


def set_title(server: FastMCP[None]) -> None:
    """FastMCP takes no title; the library below it, which writes the server's info, does."""
    server._mcp_server.title = TITLE


def _capabilities() -> ServerCapabilities:
    return ServerCapabilities(tools=ToolsCapability(list_changed=False))


async def serve_streams(server: FastMCP[None], lines: ClientLines, output: ClientOutput) -> None:
    """What `FastMCP.run_stdio_async` does, over streams of ours instead of the process's."""
    token = set_transport("stdio")
    try:
        async with server._lifespan_manager(), stdio_server(stdin=lines, stdout=output) as (reading, writing):  # type: ignore[arg-type]
            options = server._mcp_server.create_initialization_options()
            await server._mcp_server.run(reading, writing, options)
    finally:
        reset_transport(token)
