"""Arguments of a tool call as they are meant, before their types are checked.

Models fill in optional arguments that they have no value for: null, "", "null", "any". Of strings the service knows
better, because a repository may be called so; of numbers, booleans, dates and choices it is certain here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codebase_mcp.lenient import is_absent

if TYPE_CHECKING:
    from collections.abc import Mapping


def without_absent(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a tool with this input schema, without the optional ones that mean to be left out."""
    required = schema.get("required", ())
    described = schema.get("properties", {})
    optional = described.keys() - set(required)
    return {
        name: value
        for name, value in arguments.items()
        if name not in optional or not _means_nothing(value, described[name])
    }


def _means_nothing(value: object, argument: Mapping[str, Any]) -> bool:
    if isinstance(value, str):
        return not _is_any_text(argument) and is_absent(value)
    return value is None


def _is_any_text(argument: Mapping[str, Any]) -> bool:
    """Whether an argument takes whatever text there is: one with a format or a list of choices does not."""
    choices = argument.get("anyOf", [argument])
    return any(choice.get("type") == "string" and not {"format", "enum"} & choice.keys() for choice in choices)
