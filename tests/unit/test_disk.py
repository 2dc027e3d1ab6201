"""Room on the disk of the embedded database, and what is said when it is short."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from codebase_mcp.errors import StorageFullError
from codebase_mcp.settings import Settings
from codebase_mcp.storage import disk


def settings(tmp_path: Path, least_bytes: int, url: str | None = None) -> Settings:
    secret = None if url is None else SecretStr(url)
    return Settings(data_dir=tmp_path / "not" / "yet", min_free_disk_bytes=least_bytes, database_url=secret)


def test_the_room_is_that_of_the_folder_the_data_will_be_in(tmp_path: Path) -> None:
    assert abs(disk.free_bytes(settings(tmp_path, 0)) - shutil.disk_usage(tmp_path).free) < 1_000_000_000


def test_too_little_room_is_refused_with_the_numbers(tmp_path: Path) -> None:
    disk.require_free(settings(tmp_path, 0), "a start")
    with pytest.raises(StorageFullError, match=r"a start needs 8,000,000,000 MB") as refused:
        disk.require_free(settings(tmp_path, 8 * 10**15), "a start")
    assert refused.value.is_transient


def test_a_running_job_needs_less_than_a_start(tmp_path: Path) -> None:
    with pytest.raises(StorageFullError, match=r"indexing needs 2,000,000,000 MB"):
        disk.require_free(settings(tmp_path, 8 * 10**15), "indexing", share=disk.RESERVE_SHARE)


def test_the_disk_of_an_external_server_is_not_looked_at(tmp_path: Path) -> None:
    disk.require_free(settings(tmp_path, 8 * 10**15, "postgresql://db.example/x"), "a start")
