"""Pydantic's findings in plain words: which value, and what would be right. No URLs, no class names."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

LONGEST_SHOWN_VALUE = 80
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s\"]*@")

_WHOLE_NUMBER = "must be a whole number"
_TRUE_OR_FALSE = "must be true or false"
_DATE_AND_TIME = "must be a date and time such as 2026-01-31T12:00:00Z"
_JOB_ID = "must be a UUID such as 123e4567-e89b-12d3-a456-426614174000"
_REQUIREMENTS = {
    "string_type": "must be a string",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": _TRUE_OR_FALSE,
    "bool_parsing": _TRUE_OR_FALSE,
    "uuid_type": _JOB_ID,
    "uuid_parsing": _JOB_ID,
    "datetime_type": _DATE_AND_TIME,
    "datetime_parsing": _DATE_AND_TIME,
    "datetime_from_date_parsing": _DATE_AND_TIME,
    "path_type": "must be a path",
}


def explain_arguments(error: ValidationError, arguments: Sequence[str]) -> str:
    """One sentence per wrong argument of a call that takes `arguments`, each with the value and what is allowed."""
    return "; ".join(_explain_argument(detail, arguments) for detail in error.errors(include_url=False))


def explain_settings(error: ValidationError, name_of: Callable[[str], str]) -> str:
    """One sentence per wrong setting; `name_of` turns a field into the name that the user typed."""
    return "; ".join(
        f"{name_of(str(detail['loc'][0]))} = {_shown_setting(detail)} {requirement(detail)}"
        for detail in error.errors(include_url=False)
    )


def _shown_setting(detail: ErrorDetails) -> str:
    """Prevents: a secret in an error message."""
    if any(word in str(detail["loc"][0]).lower() for word in ("key", "database_url")):
        return "(not shown)"
    return _URL_CREDENTIALS.sub("***@", shown(detail["input"]))


def requirement(detail: ErrorDetails) -> str:
    """What the value would have to be: "must be at least 1"."""
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    template = _REQUIREMENTS.get(detail["type"])
    if template is None:
        return f"is not allowed ({detail['msg'][:1].lower()}{detail['msg'][1:]})"
    context: Mapping[str, Any] = detail.get("ctx", {})
    return template.format_map(context)


def shown(value: object) -> str:
    """The value as JSON, cut when long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_SHOWN_VALUE else f"{text[:LONGEST_SHOWN_VALUE]}… ({len(text)} characters)"


def closest(word: str, allowed: Sequence[str]) -> str:
    """A hint for a misspelt name: " Did you mean 'limit'?", or nothing."""
    matches = difflib.get_close_matches(word, allowed, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _explain_argument(detail: ErrorDetails, arguments: Sequence[str]) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "the call"
    if detail["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{name} is missing"
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is not an argument{closest(name, arguments)}; allowed are {', '.join(arguments)}"
    return f"{name} = {shown(detail['input'])} {requirement(detail)}"
