"""Where the value of each setting comes from, and what is wrong with one, by the name under which it was set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from codebase_mcp import config_file
from codebase_mcp.complaints import explain_settings
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.settings import Settings, values_of, variable_of

if TYPE_CHECKING:
    from pydantic import ValidationError

_FIXES = {
    "environment": "Correct or unset the environment variable.",
    "file": "Correct the file, or remove the line with `codebase-mcp config unset NAME`.",
}


@dataclass(frozen=True)
class Origin:
    """`name` is an environment variable, a file with a line, or empty for a default."""

    source: Literal["environment", "file", "default"]
    name: str = ""


def find_origins() -> dict[str, Origin]:
    """The origin of each setting of this process, by the setting's name. Raises InvalidInputError for a bad file."""
    file = config_file.read_config(config_file.config_path())
    in_file = {name: Origin("file", file.location_of(name)) for name in values_of(file)}
    in_environment = {name: Origin("environment", variable) for name, variable in variables_in_use().items()}
    return {name: Origin("default") for name in Settings.model_fields} | in_file | in_environment


def variables_in_use() -> dict[str, str]:
    """Setting → the environment variable that sets it, as it is spelt there."""
    spellings = {name.upper(): name for name, value in os.environ.items() if value}
    variables = {name: variable_of(name) for name in Settings.model_fields}
    return {name: spellings[variable] for name, variable in variables.items() if variable in spellings}


def explain_wrong_settings(error: ValidationError) -> InvalidInputError:
    """Names each wrong value by its environment variable, or by its line of the settings file."""
    origins = find_origins()

    def label(name: str) -> str:
        origin = origins[name]
        return f"{origin.name}: {name}" if origin.source == "file" else origin.name or variable_of(name)

    sources = {origins[str(detail["loc"][0])].source for detail in error.errors()}
    fixes = [fix for source, fix in _FIXES.items() if source in sources] or [_FIXES["environment"]]
    sentences = explain_settings(error, label)
    return InvalidInputError(f"{sentences}. {' '.join(fixes)}")
