"""The four model protocols that assistants speak: what a request offers and reports, and how a reply is written."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

Event = tuple[str | None, Any]
"""Name and data of a server-sent event."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What the assistant put before the model: names of tools, and the text of each result so far."""

    tools: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`name` as the model saw it."""

    name: str
    arguments: dict[str, Any]


class Dialect(ABC):
    """One protocol. `path` is a part of the address that its requests go to."""

    path: str

    @abstractmethod
    def read(self, body: dict[str, Any]) -> ModelRequest: ...

    @abstractmethod
    def reply(self, body: dict[str, Any], call: ToolCall | None, words: str) -> list[Event]:
        """The events of a streamed reply: a tool call, else words."""


def _text(content: Any) -> str:
    """The text of a result that is a string or a list of parts."""
    if isinstance(content, list):
        return "\n".join(
            part.get("text", json.dumps(part)) if isinstance(part, dict) else str(part) for part in content
        )
    return content if isinstance(content, str) else json.dumps(content)


class AnthropicMessages(Dialect):
    path = "/messages"

    def read(self, body: dict[str, Any]) -> ModelRequest:
        blocks = [
            block
            for message in body.get("messages", [])
            if isinstance(message["content"], list)
            for block in message["content"]
        ]
        results = tuple(_text(block.get("content", "")) for block in blocks if block["type"] == "tool_result")
        return ModelRequest(tuple(tool["name"] for tool in body.get("tools", []) if "name" in tool), results)

    def reply(self, body: dict[str, Any], call: ToolCall | None, words: str) -> list[Event]:
        if call is None:
            block: dict[str, Any] = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": words}
        else:
            block = {"type": "tool_use", "id": f"toolu_{time.time_ns()}", "name": call.name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(call.arguments)}
        message = {
            "id": f"msg_{time.time_ns()}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        stop = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
        events = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ]
        return [(event["type"], event) for event in events]


class OpenaiResponses(Dialect):
    path = "/responses"

    def read(self, body: dict[str, Any]) -> ModelRequest:
        names: list[str] = []
        for tool in body.get("tools", []):
            inner = [f"{tool['name']}.{one['name']}" for one in tool.get("tools", [])]
            names += inner or [tool.get("name") or tool["type"]]
        outputs = [item for item in body.get("input", []) if item.get("type") == "function_call_output"]
        return ModelRequest(tuple(names), tuple(_text(item.get("output")) for item in outputs))

    def reply(self, body: dict[str, Any], call: ToolCall | None, words: str) -> list[Event]:
        now = time.time_ns()
        if call is None:
            text = {"type": "output_text", "text": words, "annotations": []}
            item: dict[str, Any] = {"type": "message", "id": f"msg_{now}", "role": "assistant", "content": [text]}
        else:
            namespace, _, name = call.name.rpartition(".")
            item = {"type": "function_call", "id": f"fc_{now}", "call_id": f"call_{now}", "name": name}
            item |= {"arguments": json.dumps(call.arguments)} | ({"namespace": namespace} if namespace else {})
        item["status"] = "completed"
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        done = {"id": f"resp_{now}", "object": "response", "status": "completed", "model": body.get("model")}
        done |= {"output": [item], "usage": usage}
        begun = done | {"status": "in_progress", "output": []}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        ]
        return [(event["type"], event) for event in events]


class OpenaiChat(Dialect):
    path = "/chat/completions"

    def read(self, body: dict[str, Any]) -> ModelRequest:
        names = tuple(tool["function"]["name"] for tool in body.get("tools", []))
        results = [message["content"] for message in body.get("messages", []) if message["role"] == "tool"]
        return ModelRequest(names, tuple(_text(content) for content in results))

    def reply(self, body: dict[str, Any], call: ToolCall | None, words: str) -> list[Event]:
        delta: dict[str, Any] = {"role": "assistant", "content": words}
        if call is not None:
            function = {"name": call.name, "arguments": json.dumps(call.arguments)}
            one = {"index": 0, "id": f"call_{time.time_ns()}", "type": "function", "function": function}
            delta = {"role": "assistant", "content": None, "tool_calls": [one]}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body.get("model")}
        end = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if call else "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return [
            (None, chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
            (None, chunk | {"choices": [end], "usage": usage}),
            (None, "[DONE]"),
        ]


class GeminiGenerate(Dialect):
    path = "eneratecontent"  # generateContent and streamGenerateContent, in lower case

    def read(self, body: dict[str, Any]) -> ModelRequest:
        declared = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
        parts = [part for content in body.get("contents", []) for part in content.get("parts", [])]
        answers = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
        return ModelRequest(tuple(declared), tuple(_text(answer.get("output", answer)) for answer in answers))

    def reply(self, body: dict[str, Any], call: ToolCall | None, words: str) -> list[Event]:
        part: dict[str, Any] = {"text": words}
        if call is not None:
            part = {"functionCall": {"name": call.name, "args": call.arguments}}
        candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        return [(None, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "scripted"})]


DIALECTS: tuple[Dialect, ...] = (OpenaiChat(), OpenaiResponses(), AnthropicMessages(), GeminiGenerate())
