"""Every knob, with its unit, default and range. Read once, from the environment; frozen afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Root keeps data outside its private home, because PostgreSQL runs as another user and must reach it."""
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/codebase-mcp")
    return Path(platformdirs.user_data_dir("codebase-mcp", appauthor=False))


class Settings(BaseSettings):
    """Set any of these as CODEBASE_MCP_<NAME> in the environment, for example CODEBASE_MCP_LOG_LEVEL=debug."""

    model_config = SettingsConfigDict(
        env_prefix="CODEBASE_MCP_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("DATABASE_URL", "CODEBASE_MCP_DATABASE_URL"),
        description="An external PostgreSQL (postgresql://user:password@host/name); empty means the embedded one.",
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="Embedded database, locks and logs.")
    project_id: str = Field("default", description="Project used when neither the call nor a config file names one.")
    worker: Literal["spawn", "inline", "external"] = Field("spawn", description="Who runs the indexing jobs.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line to log.")
    log_to_stderr: bool = Field(False, description="Also write the log to standard error.")

    lease_seconds: float = Field(8.0, ge=2, le=60, description="How long a silent worker keeps a job.")
    renew_seconds: float = Field(1.0, gt=0, le=10, description="How often a worker renews a lease and sees a cancel.")
    poll_seconds: float = Field(0.5, gt=0, le=10, description="How often an idle worker looks for a job.")
    worker_idle_seconds: float = Field(60.0, ge=0, description="A spawned worker leaves after this long without a job.")
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

    @field_validator("data_dir")
    @classmethod
    def _same_for_every_process(cls, data_dir: Path) -> Path:
        """Clients do not expand `~`, and a worker does not start where its server did."""
        return data_dir.expanduser().absolute()

    @property
    def is_embedded(self) -> bool:
        return self.database_url is None

    def as_environment(self) -> dict[str, str]:
        """The environment that gives another process these very settings."""
        values = {f"CODEBASE_MCP_{name.upper()}": str(getattr(self, name)) for name in type(self).model_fields}
        values.pop("CODEBASE_MCP_DATABASE_URL")
        if self.database_url is not None:
            values["DATABASE_URL"] = self.database_url.get_secret_value()
        return values

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"
