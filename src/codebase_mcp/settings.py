"""Every setting, with its unit, default and range. Read once, from environment and settings file; frozen afterwards."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from codebase_mcp import config_file
from codebase_mcp.complaints import closest, shown
from codebase_mcp.domain import HOST_ID_PATTERN, PROJECT_ID_PATTERN
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.offer import AnswerForm, ToolProfile

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from codebase_mcp.config_file import ConfigFile

PREFIX = "CODEBASE_MCP_"
APPLICATION_VARIABLE = "DATABASE_URL"
"""Where applications, and the shells of people who work on them, commonly keep the address of their database."""


def default_data_dir() -> Path:
    """Root keeps data outside its private home, because PostgreSQL runs as another user and must reach it."""
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/codebase-mcp")
    return Path(platformdirs.user_data_dir("codebase-mcp", appauthor=False))


_EMBEDDING_DEFAULTS = {"ollama": {"embedding_url": "http://127.0.0.1:11434", "embedding_model": "nomic-embed-text"}}
_EMBEDDING_EXAMPLES = {"embedding_url": "http://127.0.0.1:8000/v1", "embedding_model": "nomic-embed-text"}


class Settings(BaseSettings):
    """Arguments come before the environment (CODEBASE_MCP_LOG_LEVEL=debug), that before `config.toml`
    (log_level = "debug"), and that before the defaults.

    Raises InvalidInputError when the file cannot be used, ValidationError for a wrong value.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    use_database_url: bool = Field(
        False, description="Whether DATABASE_URL, which usually belongs to another application, selects the database."
    )
    database_url: SecretStr | None = Field(
        None,
        validate_default=True,
        description="An external PostgreSQL (postgresql://user:password@host/name); empty means the embedded one.",
    )
    embedding_provider: Literal["local", "ollama", "openai"] = Field(
        "local", description="Who makes vectors: the model that ships with this program, or a service."
    )
    embedding_url: str | None = Field(
        None, validate_default=True, description="Address of the embedding service; openai needs one."
    )
    embedding_model: str | None = Field(
        None, validate_default=True, description="Model of the embedding service; openai needs one."
    )
    embedding_api_key: SecretStr | None = Field(
        None,
        validate_default=True,
        description="Sent to the embedding service as a bearer token; for openai also OPENAI_API_KEY.",
    )
    embedding_dimensions: int | None = Field(
        None, ge=1, le=4000, description="Length of vectors to ask the service for; empty means the model's own."
    )
    embedding_batch_texts: int = Field(32, ge=1, le=2048, description="Most texts in one request to the service.")
    embedding_concurrency: int = Field(2, ge=1, le=32, description="Most requests to the service at once.")
    embedding_timeout_seconds: float = Field(30.0, gt=0, le=600, description="How long the service may take to answer.")
    embedding_max_characters: int = Field(
        4_000, ge=100, le=100_000, description="Of each chunk, at most this much is sent to the service."
    )
    host_id: str | None = Field(
        None, description="Identity of this host in a database that several share; empty: made once, kept in data_dir."
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="Embedded database, locks and logs.")
    project_id: str = Field("default", description="Project used when neither the call nor a config file names one.")
    tools: ToolProfile = Field("all", description="Which tools the server offers.")
    answers: AnswerForm = Field("text", description="Form in which searches are answered over MCP.")
    worker: Literal["spawn", "inline", "external"] = Field("spawn", description="Who runs the indexing jobs.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line to log.")
    log_to_stderr: bool = Field(False, description="Also write the log to standard error.")

    lease_seconds: float = Field(8.0, ge=2, le=60, description="How long a silent worker keeps a job.")
    renew_seconds: float = Field(1.0, gt=0, le=10, description="How often a worker renews a lease and sees a cancel.")
    poll_seconds: float = Field(0.5, gt=0, le=10, description="How often an idle worker looks for a job.")
    worker_idle_seconds: float = Field(60.0, ge=0, description="A spawned worker leaves after this long without a job.")
    serve_idle_seconds: float = Field(
        900.0, ge=0, description="A server on stdio without a message for this long gives its memory back; 0 never."
    )
    watch_seconds: float = Field(3.0, gt=0, le=60, description="How often a server looks for jobs without a worker.")

    batch_files: int = Field(32, ge=1, le=1000, description="Most files in one committed batch.")
    batch_bytes: int = Field(1_000_000, ge=1_000, description="Most source bytes in one committed batch.")
    pool_processes: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=64, description="Processes that parse."
    )
    checkpoint_files: int = Field(500, ge=1, description="A progress event is written at least every so many files.")
    checkpoint_seconds: float = Field(30.0, gt=0, description="... and at least this often.")
    retention_days: int = Field(7, ge=1, description="Finished jobs and their events are kept this long.")
    max_file_bytes: int = Field(1_000_000, ge=1_000, description="Larger files are skipped, with the reason.")
    min_free_disk_bytes: int = Field(1_000_000_000, ge=0, description="With less free on the data disk no job starts.")
    vector_index_rows: int = Field(50_000, ge=1, description="A project with more vectors gets an HNSW index.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = config_file.read_config(config_file.config_path())
        return init_settings, env_settings, InitSettingsSource(settings_cls, values_of(file))

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: object, field: ValidationInfo) -> object:
        """Pydantic takes true for 1."""
        if isinstance(value, bool) and cls.model_fields[str(field.field_name)].annotation is not bool:
            raise ValueError("must not be true or false")
        return value

    @field_validator("database_url")
    @classmethod
    def _or_that_of_the_application(cls, url: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        """DATABASE_URL counts only when it was asked for; then, its absence must not select another database."""
        given = "" if url is None else url.get_secret_value().strip()
        if not given and others.data.get("use_database_url"):
            given = application_database_url()
            if not given:
                raise ValueError("must be set, here or as DATABASE_URL, when use_database_url is true")
        return SecretStr(given) if given else None

    @field_validator("data_dir")
    @classmethod
    def _same_for_every_process(cls, data_dir: Path) -> Path:
        """Clients do not expand `~`, and a worker does not start where its server did."""
        if "\0" in str(data_dir):
            raise ValueError("must not contain a NUL character")
        try:
            return data_dir.expanduser().absolute()
        except RuntimeError:
            raise ValueError("must begin with ~/ or /: there is no such user") from None

    @field_validator("host_id")
    @classmethod
    def _nameable(cls, host_id: str | None) -> str | None:
        if host_id is not None and not HOST_ID_PATTERN.fullmatch(host_id):
            raise ValueError("must be 1 to 100 letters, digits, dots, hyphens and underscores")
        return host_id

    @field_validator("project_id")
    @classmethod
    def _storable(cls, project_id: str) -> str:
        if not PROJECT_ID_PATTERN.fullmatch(project_id):
            raise ValueError("must be 1 to 255 letters, digits, hyphens and underscores")
        return project_id

    @field_validator("renew_seconds")
    @classmethod
    def _in_time_for_the_lease(cls, renew_seconds: float, others: ValidationInfo) -> float:
        """By the time that a worker stops trusting its lease it must have had a second chance to renew it."""
        lease_seconds = others.data.get("lease_seconds")
        if lease_seconds is not None and renew_seconds > (longest := _trust_seconds(lease_seconds) / 2):
            raise ValueError(
                f"must be at most {longest:g} with lease_seconds = {lease_seconds:g}: "
                "a worker that renews too seldom loses its jobs"
            )
        return renew_seconds

    @field_validator("embedding_url", "embedding_model")
    @classmethod
    def _complete(cls, value: str | None, others: ValidationInfo) -> str | None:
        """No service is guessed for openai: source code must not leave the machine because a line was forgotten."""
        provider, name = others.data.get("embedding_provider"), str(others.field_name)
        value = (value or "").strip() or None
        if value is not None and name == "embedding_url":
            _check_address(value)
        if provider == "openai" and value is None:
            raise ValueError(f"must be set for the provider openai, for example {_EMBEDDING_EXAMPLES[name]}")
        return value or _EMBEDDING_DEFAULTS.get(str(provider), {}).get(name)

    @field_validator("embedding_api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        """Prevents: a key with a line break, which the HTTP library would quote in its complaint."""
        value = "" if key is None else key.get_secret_value().strip()
        if not value and others.data.get("embedding_provider") == "openai":
            value = os.environ.get("OPENAI_API_KEY", "").strip()
        if not value:
            return None
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ValueError("must be printable ASCII without blanks")
        return SecretStr(value)

    @property
    def trust_seconds(self) -> float:
        """Without a good renewal for so long, a worker stops: before the lease lapses, and so that a cancel which it
        cannot see takes effect within 5 s."""
        return _trust_seconds(self.lease_seconds)

    @property
    def is_embedded(self) -> bool:
        return self.database_url is None

    def as_environment(self) -> dict[str, str]:
        """The environment that gives another process these very settings, whatever the settings file says by then."""
        values = {variable_of(name): _as_text(getattr(self, name)) for name in type(self).model_fields}
        values |= {variable_of("use_database_url"): "false", config_file.VARIABLE: os.devnull}
        return values

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"


def application_database_url() -> str:
    """What DATABASE_URL says, whether or not it counts here; empty when it is not set."""
    return os.environ.get(APPLICATION_VARIABLE, "").strip()


def take_settings_of_older_version(environment: MutableMapping[str, str]) -> None:
    """For a worker started by a server of a version before 0.3, which says by DATABASE_URL what database it uses."""
    if environment.get(APPLICATION_VARIABLE) and variable_of("use_database_url") not in environment:
        environment[variable_of("use_database_url")] = "true"


def variable_of(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def values_of(file: ConfigFile) -> dict[str, object]:
    """What a settings file sets; as in the environment, an empty text counts as none.

    Raises InvalidInputError for a name that is no setting, and for a data directory that would depend on where a
    process was started.
    """
    for name, value in file.values.items():
        if name not in Settings.model_fields:
            raise _unknown_setting(file, name)
        if name == "data_dir" and isinstance(value, str) and value and not value.startswith(("/", "~")):
            raise InvalidInputError(
                f"{file.location_of(name)}: data_dir = {shown(value)} must be an absolute path or begin with ~/. "
                "Correct the file."
            )
    return {name: value for name, value in file.values.items() if value != ""}


def _unknown_setting(file: ConfigFile, name: str) -> InvalidInputError:
    if isinstance(file.values[name], dict):
        return InvalidInputError(
            f"{file.location_of(name)}: [{name}] is a table. Settings stand at the top level, without tables."
        )
    return InvalidInputError(
        f"{file.location_of(name)}: {name} is not a setting{similar_setting(name)}. Correct the file, or remove the "
        f"line with `codebase-mcp config unset {shlex.quote(name)}`."
    )


def similar_setting(name: str) -> str:
    """A hint for a misspelt name, or for that of an environment variable: " (did you mean data_dir?)", or nothing."""
    return closest(name.lower().removeprefix(PREFIX.lower()), list(Settings.model_fields))


def _trust_seconds(lease_seconds: float) -> float:
    return min(lease_seconds - 2, 4.5)


def _as_text(value: object) -> str:
    """As it stands in the environment, where an empty value counts as none."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


def _check_address(url: str) -> None:
    """Prevents: a password that ends up in messages, and requests to what is no web address."""
    example = "must be an address such as http://127.0.0.1:11434"
    try:
        parts = urlsplit(url.strip())
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(example) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url.strip()):
        raise ValueError(example)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user or password; put a key into embedding_api_key")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path, without ? or #")
