"""Input schemas as models and their providers read them best: plain types, no composition, no bounds.

Some providers refuse `anyOf`, `$ref`, `"null"` or unknown formats, and every key costs tokens in each request. What a
schema no longer says, validation still does: null counts as absent, values out of range are clamped.
"""

from __future__ import annotations

from typing import Any

_DROPPED = frozenset({"title", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_REFUSED_FORMATS = frozenset({"uuid"})


def plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same object schema with each argument as one plain type."""
    definitions = schema.get("$defs", {})
    arguments = {name: _plain(argument, definitions) for name, argument in schema.get("properties", {}).items()}
    return {key: value for key, value in schema.items() if key != "$defs"} | {"properties": arguments}


def _plain(argument: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    merged = {key: value for key, value in argument.items() if key not in ("anyOf", "$ref", "default")}
    for choice in argument.get("anyOf", [argument]):
        resolved = definitions[choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice
        if resolved.get("type") != "null":
            merged = {**_cleaned(resolved), **merged}
    if argument.get("default") is not None:
        merged["default"] = argument["default"]
    return _cleaned(merged)


def _cleaned(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in schema.items()
        if key not in _DROPPED and key not in ("anyOf", "$ref") and not (key == "format" and value in _REFUSED_FORMATS)
    }
