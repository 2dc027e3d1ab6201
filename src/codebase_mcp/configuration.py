"""The verbs of `codebase-mcp config`: show settings with their origins, change the settings file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from codebase_mcp.answers import SettingReport
from codebase_mcp.complaints import explain_settings
from codebase_mcp.config_file import config_path, read_config
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.setting_origins import Origin, find_origins, variables_in_use
from codebase_mcp.settings import APPLICATION_VARIABLE, Settings, similar_setting, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codebase_mcp.config_file import ConfigFile

HIDDEN = "***"
_PASSWORD = re.compile(r"(?<=://)([^:@/?#]*):.*@")
_PASSWORD_IN_QUERY = re.compile(r"(?i)(password=)[^&\s]*")


class _GivenSettings(Settings):
    """Only what is given counts: neither the environment nor the file is read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def report_settings(settings: Settings, *, show_secrets: bool) -> list[SettingReport]:
    """Every setting of this process, in the order in which they are documented."""
    origins = find_origins()
    if settings.database_url is not None and origins["database_url"].source == "default":
        origins["database_url"] = Origin("environment", APPLICATION_VARIABLE)
    return [
        SettingReport(
            name=name,
            value=_plain(getattr(settings, name), show_secrets=show_secrets),
            source=origins[name].source,
            origin=origins[name].name or None,
        )
        for name in Settings.model_fields
    ]


def refuse_unknown(name: str) -> None:
    if name not in Settings.model_fields:
        raise InvalidInputError(
            f"{name!r} is not a setting{similar_setting(name)}. `codebase-mcp config list` shows all."
        )


def set_setting(name: str, text: str) -> str | None:
    """Write a setting into the settings file; the variable that hides it from this process, if any.

    Raises InvalidInputError, and writes nothing, when the value or what it makes with the others is not valid.
    """
    refuse_unknown(name)
    if not text.strip():
        raise InvalidInputError(f"the value of {name} is empty. `codebase-mcp config unset {name}` removes a setting.")
    from codebase_mcp.config_edit import change_setting  # parses TOML for itself, which takes time to import

    values = values_of(read_config(config_path())) | {name: text}
    value = _plain(getattr(_validated(values, {}), name), show_secrets=True)
    change_setting(config_path(), name, value, _refuse_invalid)
    return variables_in_use().get(name)


def unset_setting(name: str) -> bool:
    """Remove a setting, or a line that is none, from the settings file; False when it is not there.

    Raises InvalidInputError, and writes nothing, when a valid file would become invalid.
    """
    from codebase_mcp.config_edit import change_setting

    file = read_config(config_path())
    if name not in file.values:
        refuse_unknown(name)
        return False
    change_setting(config_path(), name, None, _refuse_invalid if _is_valid(file) else lambda _: None)
    return True


def _is_valid(file: ConfigFile) -> bool:
    """A file with several mistakes is mended one by one."""
    try:
        _refuse_invalid(file)
    except InvalidInputError:
        return False
    return True


def _refuse_invalid(file: ConfigFile) -> None:
    """Both as a client's server sees the file, without this environment, and as this process would."""
    values = values_of(file)
    _validated(values, {})
    _validated(values, variables_in_use())


def _validated(values: dict[str, Any], variables: Mapping[str, str]) -> Settings:
    """The settings of a file with these values, under these environment variables."""
    overriding = {name: os.environ[variable] for name, variable in variables.items()}
    try:
        return _GivenSettings(**(values | overriding))
    except ValidationError as error:
        where = f"with {', '.join(variables.values())} in the environment, " if variables else ""
        sentences = explain_settings(error, lambda name: _label(name, variables))
        raise InvalidInputError(f"{where}{sentences}. Nothing was written.") from None


def _label(name: str, variables: Mapping[str, str]) -> str:
    return variables.get(name, name)


def _plain(value: object, *, show_secrets: bool) -> str | int | float | bool | None:
    """As TOML and JSON know it."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return secret if show_secrets else masked(secret)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    assert value is None or isinstance(value, str | int | Path)
    return str(value) if isinstance(value, Path) else value


def masked(secret: str) -> str:
    """Of an address, all but the password."""
    if "://" not in secret:
        return HIDDEN
    return _PASSWORD_IN_QUERY.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}@", secret))
