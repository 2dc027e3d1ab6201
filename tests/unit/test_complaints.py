from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codebase_mcp.complaints import (
    LONGEST_SHOWN_VALUE,
    explain_arguments,
    explain_settings,
    nearest,
    shown,
    unknown_value,
)
from codebase_mcp.domain import JobStatus


class Call(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = ""
    limit: int = Field(1, ge=1, le=50)
    job_id: UUID | None = None
    status: JobStatus | None = None
    colour: Literal["red", "green"] = "red"
    is_on: bool | None = None
    seconds: float = Field(1, gt=0)
    since: datetime | None = None
    code: str = Field("ab", min_length=2, max_length=4, pattern="^[a-z]+$")


def complaint(**arguments: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Call(**arguments)
    return explain_arguments(caught.value, list(Call.model_fields))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"query": 3}, "query = 3 must be a string"),
        ({"limit": 0}, "limit = 0 must be at least 1"),
        ({"limit": 51}, "limit = 51 must be at most 50"),
        ({"limit": "many"}, 'limit = "many" must be a whole number'),
        ({"limit": 1.5}, "limit = 1.5 must be a whole number"),
        ({"limit": None}, "limit = null must be a whole number"),
        ({"is_on": "perhaps"}, 'is_on = "perhaps" must be true or false'),
        ({"seconds": 0}, "seconds = 0 must be more than 0.0"),
        ({"seconds": "x"}, 'seconds = "x" must be a number'),
        ({"colour": "blue"}, "colour = \"blue\" must be one of 'red' or 'green'"),
        ({"code": "a"}, 'code = "a" must have at least 2 characters'),
        ({"code": "abcde"}, 'code = "abcde" must have at most 4 characters'),
        ({"code": "ABC"}, 'code = "ABC" must match ^[a-z]+$'),
        ({"limitt": 3}, "limitt is not an argument (did you mean limit?); allowed are query, limit, "),
        ({"code_only": True}, "code_only is not an argument; allowed are query, limit, "),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(arguments: dict[str, Any], expected: str) -> None:
    assert complaint(**arguments).startswith(expected)


def test_a_bad_id_is_shown_with_an_example_of_a_good_one() -> None:
    told = complaint(job_id="job-7")
    assert told == 'job_id = "job-7" must be a UUID such as 123e4567-e89b-12d3-a456-426614174000'


def test_a_bad_time_is_shown_with_an_example_of_a_good_one() -> None:
    assert complaint(since="yesterday").endswith("must be a date and time such as 2026-01-31T12:00:00Z")


def test_an_unknown_state_lists_those_that_exist() -> None:
    told = complaint(status="done")
    assert all(f"'{status}'" in told for status in JobStatus)


def test_several_mistakes_are_all_named() -> None:
    told = complaint(limit=0, query=3)
    assert "limit = 0" in told
    assert "query = 3" in told


def test_no_complaint_carries_pydantics_own_words() -> None:
    told = complaint(limit=0, query=3, job_id="x", since=[], extra=1)
    assert "pydantic" not in told
    assert "http" not in told
    assert "type=" not in told


def test_a_kind_of_error_without_words_of_its_own_is_still_explained() -> None:
    class Even(BaseModel):
        number: int = Field(multiple_of=2)

    with pytest.raises(ValidationError) as caught:
        Even(number=3)
    told = explain_arguments(caught.value, ["number"])
    assert told == "number = 3 is not allowed (input should be a multiple of 2)"


def test_a_setting_is_named_as_it_is_typed() -> None:
    with pytest.raises(ValidationError) as caught:
        Call(limit=99)
    assert explain_settings(caught.value, str.upper) == "LIMIT = 99 must be at most 50"


@given(st.text())
def test_a_long_value_is_cut(text: str) -> None:
    assert len(shown(text)) <= LONGEST_SHOWN_VALUE + len("… (0000000 characters)")


NAMES = ["python", "pony", "test", "created_after", "include_tests", "go", "bat", "class"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("pyhton", "python"), ("tests", "test"), ("Klass", "class"), ("includetests", "include_tests"), ("GO", "go")],
)
def test_a_name_that_is_spelt_nearly_so_is_found(word: str, expected: str) -> None:
    assert nearest(word, NAMES) == expected


@pytest.mark.parametrize("word", ["any", "cat", "created_before", "include_docs", "null", "", "xy", "x" * 5_000])
def test_a_name_that_only_shares_letters_is_not(word: str) -> None:
    assert nearest(word, NAMES) is None


def test_an_unknown_value_is_told_with_the_known_ones() -> None:
    assert unknown_value("role", "tests", ["test", "docs"]) == (
        "role 'tests' is not known. Did you mean 'test'? Known are test, docs."
    )
    assert unknown_value("role", "any" * 100, ["test"]).endswith(" is not known. Known are test.")
    assert len(unknown_value("role", "any" * 100, ["test"])) < 130
