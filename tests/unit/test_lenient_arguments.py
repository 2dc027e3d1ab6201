from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from codebase_mcp.domain import JobStatus
from codebase_mcp.server.lenient_arguments import without_absent


class Call(BaseModel):
    """The arguments of a tool, from which its schema is made."""

    query: str
    line: int
    language: str | None = None
    name: str = "x"
    limit: int = 10
    seconds: float = 2.5
    include_tests: bool | None = None
    explain: bool = False
    status: JobStatus | None = None
    created_after: datetime | None = None


SCHEMA = Call.model_json_schema()
PLAIN = {
    "required": ["query"],
    "properties": {
        "query": {"type": "string"},
        "limit": {"type": "integer", "default": 10},
        "status": {"type": "string", "enum": ["running"]},
        "created_after": {"type": "string", "format": "date-time"},
        "language": {"type": "string"},
    },
}
NO_TEXT = ["limit", "seconds", "include_tests", "explain", "status", "created_after"]


@pytest.mark.parametrize("word", ["", " ", "null", "None", "any", "*", "undefined"])
@pytest.mark.parametrize("name", NO_TEXT)
def test_a_word_that_means_nothing_is_dropped_where_no_text_is_wanted(name: str, word: str) -> None:
    assert without_absent({"query": "x", name: word}, SCHEMA) == {"query": "x"}


@pytest.mark.parametrize("word", ["", "null", "any", "*"])
def test_text_is_left_to_the_service(word: str) -> None:
    given = {"query": word, "language": word, "name": word}
    assert without_absent(given, SCHEMA) == given


@pytest.mark.parametrize("name", [*NO_TEXT, "language", "name"])
def test_null_is_dropped_whatever_the_default(name: str) -> None:
    assert without_absent({name: None}, SCHEMA) == {}


@pytest.mark.parametrize("value", [None, "", "null", "*"])
def test_a_required_argument_is_never_dropped(value: Any) -> None:
    given = {"query": value, "line": value}
    assert without_absent(given, SCHEMA) == given


@pytest.mark.parametrize("given", [{"limit": "ten"}, {"limit": []}, {"explain": {}}, {"limit": 0}, {"explain": False}])
def test_other_values_are_kept_for_the_check_of_types(given: dict[str, Any]) -> None:
    assert without_absent(given, SCHEMA) == given


def test_an_unknown_argument_is_kept_to_be_refused() -> None:
    assert without_absent({"colour": "", "x": None}, SCHEMA) == {"colour": "", "x": None}


def test_schemas_without_alternatives_are_understood_as_well() -> None:
    given = {"query": "", "limit": "", "status": "any", "created_after": "null", "language": ""}
    assert without_absent(given, PLAIN) == {"query": "", "language": ""}
