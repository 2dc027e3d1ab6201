"""How many tokens a model reads: the o200k vocabulary, offline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpe_openai import Encoding


@cache
def _vocabulary() -> Encoding:
    from bpe_openai import get_encoding

    return get_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """What looks like a control token of a model is counted as the text it is."""
    return len(_vocabulary().encode(text, disallowed_special=()))


def count_json_tokens(value: object) -> int:
    """Of the JSON that clients put into a request: compact, and not limited to ASCII."""
    return count_tokens(compact_json(value))


def compact_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def count_tool_tokens(tools: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """For each tool of a `tools/list` what it takes of every request: its name, description and input schema.

    Titles, annotations, `_meta` and output schemas do not count: clients keep them from the model.
    """
    shown = ("name", "description", "inputSchema")
    return {tool["name"]: count_json_tokens({key: tool[key] for key in shown}) for tool in tools}
