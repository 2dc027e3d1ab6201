"""Pydantic's findings in plain words: which value, and what would be right. No URLs, no class names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

LONGEST_SHOWN_VALUE = 80
LETTERS_FOR_A_MISTAKE = 3
MOST_MISTAKES = 3
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


def closest(word: str, allowed: Iterable[str]) -> str:
    """A hint for a misspelt name, such as " (did you mean limit?)"; nothing when none is spelt nearly so."""
    match = nearest(word, allowed)
    return "" if match is None else f" (did you mean {match}?)"


def unknown_value(name: str, value: str, known: Sequence[str]) -> str:
    """Says of a value that is not one of the known ones which are, and which is spelt nearly so."""
    match = nearest(value, known)
    hint = "" if match is None else f" Did you mean {str(match)!r}?"
    return f"{name} {value[:LONGEST_SHOWN_VALUE]!r} is not known.{hint} Known are {', '.join(known)}."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is spelt nearly like a word, up to one mistake in three letters; None when none is.

    Of three letters and fewer, a name with one mistake is another name.
    """
    wanted = word.strip().casefold()[:LONGEST_SHOWN_VALUE]
    alike = [name for name in known if abs(len(name) - len(wanted)) <= _most_mistakes(wanted, name)]
    distances = [(edit_distance(wanted, name.casefold()), name) for name in alike]
    near = [(distance, name) for distance, name in distances if distance <= _most_mistakes(wanted, name)]
    return min(near)[1] if near else None


def _most_mistakes(word: str, name: str) -> int:
    longer = max(len(word), len(name))
    return 0 if longer <= LETTERS_FOR_A_MISTAKE else min(longer // LETTERS_FOR_A_MISTAKE, MOST_MISTAKES)


def edit_distance(first: str, second: str) -> int:
    """Letters to change, insert, delete or swap with their neighbour to make one of the other."""
    before: list[int] = []
    last = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        row = [i]
        for j, other in enumerate(second, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if before and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _explain_argument(detail: ErrorDetails, arguments: Sequence[str]) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "the call"
    if detail["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{name} is missing"
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{name} is not an argument{closest(name, arguments)}; allowed are {', '.join(arguments)}"
    return f"{name} = {shown(detail['input'])} {requirement(detail)}"
