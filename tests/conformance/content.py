"""Prompts, resources and tools without a dialogue, as the conformance suite wants to find them."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Annotated, Any

from fastmcp import Context
from fastmcp.prompts import Message
from fastmcp.tools import Tool, ToolResult
from mcp.types import AudioContent, EmbeddedResource, ImageContent, TextContent, TextResourceContents
from pydantic import Field

if TYPE_CHECKING:
    from fastmcp import FastMCP

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SILENCE = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0data\0\0\0\0"
PAUSE_SECONDS = 0.05
"""The suite wants to see notifications arrive one by one."""

JSON_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class SchemaTool(Tool):
    """A tool whose input schema is not derived from a function."""

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(content=json.dumps(arguments))


def _text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def _image() -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(PIXEL).decode(), mime_type="image/png")


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def add_tools(app: FastMCP[None]) -> None:
    @app.tool
    def test_simple_text() -> ToolResult:
        """Plain text."""
        return ToolResult(content=[_text("This is a simple text response for testing.")])

    @app.tool
    def test_image_content() -> ToolResult:
        """An image."""
        return ToolResult(content=[_image()])

    @app.tool
    def test_audio_content() -> ToolResult:
        """A sound."""
        audio = base64.b64encode(SILENCE).decode()
        return ToolResult(content=[AudioContent(type="audio", data=audio, mime_type="audio/wav")])

    @app.tool
    def test_embedded_resource() -> ToolResult:
        """A resource inside a result."""
        words = "This is an embedded resource content."
        return ToolResult(content=[_embedded("test://embedded-resource", "text/plain", words)])

    @app.tool
    def test_multiple_content_types() -> ToolResult:
        """Text, an image and a resource."""
        data = json.dumps({"test": "data", "value": 123})
        resource = _embedded("test://mixed-content-resource", "application/json", data)
        return ToolResult(content=[_text("Multiple content types test:"), _image(), resource])

    @app.tool
    def test_error_handling() -> ToolResult:
        """Always fails."""
        raise RuntimeError("This tool intentionally returns an error for testing")

    @app.tool
    def test_custom_header(
        region: Annotated[str, Field(description="Mirrored.", json_schema_extra={"x-mcp-header": "Region"})],
    ) -> ToolResult:
        """An argument that HTTP clients repeat in a header."""
        return ToolResult(content=[_text(region)])

    app.add_tool(
        SchemaTool(
            name="json_schema_2020_12_tool",
            description="Tool with JSON Schema 2020-12 features",
            parameters=JSON_SCHEMA,
        )
    )
    _add_notifying_tools(app)


def _add_notifying_tools(app: FastMCP[None]) -> None:
    @app.tool
    async def test_tool_with_progress(ctx: Context) -> ToolResult:
        """Reports its progress."""
        for percent in (0, 50, 100):
            await ctx.report_progress(percent, 100)
            await asyncio.sleep(PAUSE_SECONDS)
        return ToolResult(content=[_text("Progress was reported.")])

    @app.tool
    async def test_tool_with_logging(ctx: Context) -> ToolResult:
        """Sends log messages."""
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(words)
            await asyncio.sleep(PAUSE_SECONDS)
        return ToolResult(content=[_text("Three messages were sent.")])

    @app.tool
    async def test_logging_tool(ctx: Context) -> ToolResult:
        """Logs to clients that ask for it."""
        await ctx.info("Heard only by clients that ask for a log level.")
        return ToolResult(content=[_text("Done.")])


def add_resources(app: FastMCP[None]) -> None:
    @app.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @app.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """An image."""
        return PIXEL

    @app.resource("test://watched-resource", mime_type="text/plain")
    def watched_resource() -> str:
        """A text that could change."""
        return "This resource is watched."

    @app.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        """Data by id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def add_prompts(app: FastMCP[None]) -> None:
    @app.prompt
    def test_simple_prompt() -> str:
        """No arguments."""
        return "This is a simple prompt for testing."

    @app.prompt
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @app.prompt
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
        """A resource inside a prompt."""
        resource = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [Message(resource), Message("Please process the embedded resource above.")]

    @app.prompt
    def test_prompt_with_image() -> list[Message]:
        """An image inside a prompt."""
        return [Message(_image()), Message("Please analyze the image above.")]

    @app.completion
    def complete(*_: object) -> list[str]:
        return ["paris", "park", "party"]
