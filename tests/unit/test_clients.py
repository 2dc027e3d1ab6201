"""The scripted model that real assistants are run against, and how the findings are told."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from benchmarks.clients.__main__ import _answer, _first_request, _health
from benchmarks.clients.model_api import Script, scripted_model

ARGUMENTS = {"query": "x"}
SEARCH = "mcp__codebase-mcp__search_code"
PATHS = {
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
    "gemini": "/v1beta/models/m:streamGenerateContent",
}


def body_of(dialect: str, tools: list[str], result: str | None = None) -> dict[str, Any]:
    """A request as the assistants of that protocol send it, with the result of the last call."""
    functions = [{"name": name} for name in tools]
    match dialect:
        case "anthropic":
            block = {"type": "tool_result", "content": [{"type": "text", "text": result}]}
            return {"stream": True, "tools": functions, "messages": [{"content": [block] if result else "go"}]}
        case "responses":
            item = {"type": "function_call_output", "output": result}
            namespace = {"type": "namespace", "name": "mcp__codebase_mcp", "tools": functions}
            return {"stream": True, "tools": [namespace], "input": [item] if result else []}
        case "chat":
            message = {"role": "tool", "content": result} if result else {"role": "user", "content": "go"}
            return {"stream": True, "tools": [{"function": one} for one in functions], "messages": [message]}
        case _:
            part = {"functionResponse": {"response": {"output": result}}} if result else {"text": "go"}
            return {"tools": [{"functionDeclarations": functions}], "contents": [{"parts": [part]}]}


def ask(url: str, body: dict[str, Any]) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("dialect", PATHS)
def test_the_model_searches_once_and_sees_the_result(dialect: str) -> None:
    script = Script(ARGUMENTS)
    with scripted_model(script) as url:
        asked = ask(url + PATHS[dialect], body_of(dialect, [SEARCH]))
        ended = ask(url + PATHS[dialect], body_of(dialect, [SEARCH], "src/a.py:1-2"))
    assert SEARCH in asked
    assert '\\"query\\": \\"x\\"' in asked or '"query": "x"' in asked
    assert "done" in ended
    assert SEARCH not in ended
    assert script.result() == "src/a.py:1-2"
    assert (_first_request(script), _answer(script)) == ("yes, 1 of our tools", "text, 12 characters")


def test_a_tool_that_comes_late_is_said_to_be_late() -> None:
    script = Script(ARGUMENTS)
    with scripted_model(script) as url:
        ask(url + "/v1/messages", {"messages": [{"content": "a title, please"}]})  # offers no tools: not a turn
        ask(url + "/v1/messages", body_of("anthropic", ["Bash", "ToolSearch"]))
        ask(url + "/v1/messages", body_of("anthropic", ["ToolSearch", SEARCH], "loaded"))
        ask(url + "/v1/messages", body_of("anthropic", ["ToolSearch", SEARCH], '{"results":[]}'))
    assert _first_request(script) == "NO (0 of our tools), in request 2"
    assert _answer(script) == "JSON, 14 characters"


@pytest.mark.parametrize(
    ("said", "health"),
    [
        ("codebase-mcp: /x/codebase-mcp serve - ✔ Connected", "connected"),
        ("✗ codebase-mcp: /x/codebase-mcp serve (stdio) - Disconnected", "disconnected"),
        ("WARNING: /tmp/codebase-mcp-1\ncodebase-mcp  /x  serve  -  enabled  Unsupported", "enabled"),
        ("\x1b[34m●\x1b[39m  ✓ codebase-mcp \x1b[90mconnected\n      \x1b[90m/x/codebase-mcp serve", "connected"),
        ("something else", "something else"),
    ],
)
def test_the_health_is_what_the_assistant_says_of_the_server(said: str, health: str) -> None:
    assert _health(said) == health
