"""Tools that ask the client: by a request of their own in the older protocol, by an unfinished result in the newer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastmcp import Context
from fastmcp.exceptions import McpError
from fastmcp.tools import ToolResult
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

if TYPE_CHECKING:
    from fastmcp import FastMCP
    from mcp.types import InputRequest

DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
OPTIONS = ["option1", "option2", "option3"]
TITLED = [{"const": f"value{number}", "title": f"Choice {number}"} for number in (1, 2, 3)]
CHOICES = {
    "untitledSingle": {"type": "string", "enum": OPTIONS},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}
USER = {"username": {"type": "string"}, "email": {"type": "string"}}


def _answer(words: str) -> ToolResult:
    return ToolResult(content=[TextContent(type="text", text=words)])


def _user_says(words: str) -> SamplingMessage:
    return SamplingMessage(role="user", content=TextContent(type="text", text=words))


def add_requests_to_the_client(app: FastMCP[None]) -> None:
    """The older protocol, in which a server sends requests itself."""

    async def ask(ctx: Context, message: str, properties: dict[str, Any]) -> str:
        schema = {"type": "object", "properties": properties}
        result = await ctx.session.elicit(message, schema, related_request_id=ctx.request_id)
        return f"action={result.action}, content={result.content}"

    @app.tool
    async def test_sampling(prompt: str, ctx: Context) -> ToolResult:
        """Asks the client's model."""
        result = await ctx.session.create_message(
            [_user_says(prompt)], max_tokens=100, related_request_id=ctx.request_id
        )
        return _answer(f"LLM response: {getattr(result.content, 'text', '')}")

    @app.tool
    async def test_elicitation(message: str, ctx: Context) -> ToolResult:
        """Asks the user."""
        return _answer(f"User response: {await ask(ctx, message, USER)}")

    @app.tool
    async def test_elicitation_sep1034_defaults(ctx: Context) -> ToolResult:
        """Asks with defaults."""
        return _answer(f"Elicitation completed: {await ask(ctx, 'Please correct what is wrong.', DEFAULTS)}")

    @app.tool
    async def test_elicitation_sep1330_enums(ctx: Context) -> ToolResult:
        """Asks with choices."""
        return _answer(f"Elicitation completed: {await ask(ctx, 'Please choose.', CHOICES)}")


def _elicit(message: str, name: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(words: str) -> CreateMessageRequest:
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[_user_says(words)], max_tokens=100))


ASK_NAME = {"user_name": _elicit("What is your name?", "name")}
ASK_MODEL = {"capital_question": _sample("What is the capital of France?")}
ASK_ROOTS = {"client_roots": ListRootsRequest()}
CONFIRM = {"confirm": _elicit("Please confirm", "ok", "boolean")}
ALL_AT_ONCE = ASK_NAME | {"greeting": _sample("Generate a greeting")} | ASK_ROOTS
STEPS: tuple[dict[str, InputRequest], ...] = (
    {"step1": _elicit("Step 1: What is your name?", "name")},
    {"step2": _elicit("Step 2: What is your favorite color?", "color")},
)


def add_unfinished_results(app: FastMCP[None]) -> None:
    """The newer protocol, in which a result names what is missing and the client calls again."""

    def one_round(name: str, requests: dict[str, InputRequest], state: str | None = None) -> None:
        @app.tool(name=name, output_schema=None)
        async def asks_once(ctx: Context) -> ToolResult | InputRequiredResult:
            """Asks once, then answers."""
            answers = ctx.input_responses or {}
            if not set(requests) <= set(answers):
                return InputRequiredResult(input_requests=requests, request_state=state)
            said = {key: answer.model_dump(mode="json") for key, answer in answers.items()}
            return _answer(f"state-{'ok' if ctx.request_state == state else 'lost'} {said}")

    one_round("test_input_required_result_elicitation", ASK_NAME)
    one_round("test_input_required_result_sampling", ASK_MODEL)
    one_round("test_input_required_result_list_roots", ASK_ROOTS)
    one_round("test_input_required_result_request_state", CONFIRM, "one")
    one_round("test_input_required_result_tampered_state", CONFIRM, "one")
    one_round("test_input_required_result_multiple_inputs", ALL_AT_ONCE, "all")
    one_round("test_streaming_elicitation", ASK_NAME)
    _add_more_rounds(app)
    _add_demands_on_the_client(app)


def _add_more_rounds(app: FastMCP[None]) -> None:
    @app.tool(output_schema=None)
    async def test_input_required_result_multi_round(ctx: Context) -> ToolResult | InputRequiredResult:
        """Asks twice."""
        done = int(ctx.request_state or 0) if ctx.input_responses else 0
        if done < len(STEPS):
            return InputRequiredResult(input_requests=STEPS[done], request_state=str(done + 1))
        return _answer("Both steps are done.")

    @app.prompt
    async def test_input_required_result_prompt(ctx: Context) -> str | InputRequiredResult:
        """Asks for its context."""
        if ctx.input_responses:
            return f"Context: {ctx.input_responses['user_context'].model_dump(mode='json')}"
        return InputRequiredResult(
            input_requests={"user_context": _elicit("What context should the prompt use?", "context")}
        )


def _add_demands_on_the_client(app: FastMCP[None]) -> None:
    @app.tool(output_schema=None)
    async def test_input_required_result_capabilities(ctx: Context) -> ToolResult | InputRequiredResult:
        """Asks only what the client can answer."""
        if ctx.input_responses:
            return _answer("Thank you.")
        able = ctx.session.client_capabilities
        asked: dict[str, InputRequest] = {}
        if able is not None and able.sampling is not None:
            asked |= ASK_MODEL
        if able is not None and able.elicitation is not None:
            asked |= ASK_NAME
        return InputRequiredResult(input_requests=asked)

    @app.tool
    async def test_missing_capability(ctx: Context) -> ToolResult:
        """Needs sampling."""
        able = ctx.session.client_capabilities
        if able is None or able.sampling is None:
            needed = {"requiredCapabilities": {"sampling": {}}}
            raise McpError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling", needed)
        return _answer("The client can sample.")
