"""How a method becomes a tool: `@tool` says what is published of it, `collect_tools` binds it to a service.

To add a tool, write a method of one of the classes in `server/tools/`, decorated; nothing else has to name it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from fastmcp.tools import Tool
from mcp.types import ToolAnnotations

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.server.protocol import PublishedTool
from codebase_mcp.server.schemas import plain_schema

if TYPE_CHECKING:
    from codebase_mcp.offer import AnswerForm, Offer
    from codebase_mcp.service import Service

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
INDEXES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])
_ATTRIBUTE = "__published_tool__"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What is published of a tool beside its signature and docstring."""

    title: str
    annotations: ToolAnnotations
    profiles: frozenset[str]
    render: Callable[[Any], str] | None = None
    """Text form of an answer; None: the answer is structured in every form."""
    meta: Mapping[str, Any] = field(default_factory=dict)


def tool(
    title: str,
    annotations: ToolAnnotations,
    *,
    profiles: Iterable[str],
    render: Callable[[Any], str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Callable[[Method], Method]:
    """Publish the decorated method. Its name, signature and docstring are the tool's; `all` is always a profile."""

    def mark(method: Method) -> Method:
        setattr(method, _ATTRIBUTE, ToolSpec(title, annotations, frozenset({"all", *profiles}), render, meta or {}))
        return method

    return mark


def collect_tools(toolsets: Iterable[object], service: Service, offer: Offer) -> list[Tool]:
    """The tools on offer, in the order in which the toolsets define them."""
    found = [
        (getattr(type(toolset), name), getattr(toolset, name))
        for toolset in toolsets
        for name in vars(type(toolset))
        if hasattr(getattr(type(toolset), name), _ATTRIBUTE)
    ]
    marked = [(getattr(function, _ATTRIBUTE), method) for function, method in found]
    offered = [(spec, method) for spec, method in marked if offer.tools in spec.profiles]
    return [_build(spec, _when_ready(service, method), offer.answers) for spec, method in offered]


def _when_ready(service: Service, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same tool, which waits for the database once its arguments have been validated."""

    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        _refuse_nul(kwargs)
        await service.ready()
        return await method(*args, **kwargs)

    return call


def _refuse_nul(arguments: Mapping[str, Any]) -> None:
    """No tool takes one: neither PostgreSQL nor the file system knows text with it."""
    for name, value in arguments.items():
        if isinstance(value, str) and "\0" in value:
            raise InvalidInputError(f"{name} contains a NUL character. Leave it out.")


def _build(spec: ToolSpec, function: Callable[..., Awaitable[Any]], answers: AnswerForm) -> Tool:
    built = PublishedTool.from_function(
        function, title=spec.title, annotations=spec.annotations, meta=dict(spec.meta) or None
    )
    changes: dict[str, Any] = {"parameters": plain_schema(built.parameters)}
    if spec.render is not None and answers == "text":
        changes |= {"output_schema": None, "render": spec.render}
    return built.model_copy(update=changes)
