"""What `doctor` says about settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from codebase_mcp.answers import Check
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.service.settings_check import check_clients, check_settings
from codebase_mcp.settings import Settings
from tests.support.settings import without_settings


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The settings file of a user with a home of their own, which CODEBASE_MCP_CONFIG does not name."""
    path = without_settings(monkeypatch, tmp_path / ".config" / "codebase-mcp" / "config.toml")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CODEBASE_MCP_CONFIG")
    path.parent.mkdir(parents=True)
    return path


def state(check: Check) -> str:
    assert check.is_ok
    assert (check.fix is not None) == check.is_warning
    return "warning" if check.is_warning else "content"


def test_each_value_that_is_not_the_default_is_shown_with_its_origin(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('log_level = "debug"\ndatabase_url = "postgresql://u:hunter2@h/d"\n')
    config.chmod(0o600)
    monkeypatch.setenv("CODEBASE_MCP_PROJECT_ID", "p")
    check = check_settings(Settings())
    assert state(check) == "content"
    assert f"log_level = debug ({config}, line 1)" in check.detail
    assert "project_id = p (CODEBASE_MCP_PROJECT_ID)" in check.detail
    assert "database_url = postgresql://u:***@h/d" in check.detail
    assert check.facts["project_id"] == {"value": "p", "source": "environment", "origin": "CODEBASE_MCP_PROJECT_ID"}
    assert "hunter2" not in check.model_dump_json()


def test_no_settings_are_all_defaults(config: Path) -> None:
    check = check_settings(Settings())
    assert (state(check), check.detail) == ("content", f"all defaults; no file at {config}")


def test_a_file_with_secrets_that_others_may_read_is_a_warning(config: Path) -> None:
    config.write_text('embedding_api_key = "sk-x"\n')
    config.chmod(0o640)
    check = check_settings(Settings())
    assert state(check) == "warning"
    assert check.fix == f"Other users may read embedding_api_key: `chmod 600 {config}`."
    config.write_text('log_level = "debug"\n')
    assert state(check_settings(Settings())) == "content"


def test_a_named_file_that_does_not_exist_is_a_warning(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(config.parent / "other.toml"))
    check = check_settings(Settings())
    assert state(check) == "warning"
    assert str(check.fix).startswith("Correct CODEBASE_MCP_CONFIG, or create that file with `codebase-mcp config set")


def test_settings_in_the_file_reach_the_servers_of_clients(config: Path) -> None:
    config.write_text('data_dir = "/srv/x"\ndatabase_url = "postgresql://h/d"\n')
    assert state(check_clients(Settings())) == "content"


def test_a_database_that_only_the_shell_knows_is_a_warning(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_DATA_DIR", "/srv/our x")
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", "postgresql://u:hunter2@h/d")
    config.write_text('data_dir = "/srv/theirs"\n')
    check = check_clients(Settings())
    assert state(check) == "warning"
    assert "data_dir = /srv/theirs instead of /srv/our x" in check.detail
    assert "database_url = (none) instead of postgresql://u:***@h/d" in check.detail
    assert "`codebase-mcp config set data_dir '/srv/our x'` and `codebase-mcp config set database_url`" in str(
        check.fix
    )
    config.write_text('data_dir = "/srv/our x"\ndatabase_url = "postgresql://u:hunter2@h/d"\n')
    assert state(check_clients(Settings())) == "content"


def test_a_file_that_only_the_shell_knows_is_a_warning(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('data_dir = "/srv/other"\n')
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(other))
    check = check_clients(Settings())
    assert state(check) == "warning"
    assert "starts without CODEBASE_MCP_CONFIG would use another database" in check.detail
    assert f"put CODEBASE_MCP_CONFIG={other} into `env` of the server" in str(check.fix)
    config.write_text('data_dir = "/srv/other"\n')
    assert state(check_clients(Settings())) == "content"


def test_a_server_that_would_not_start_is_a_failure(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config.write_text("broken")
    (tmp_path / "other.toml").write_text("")
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(InvalidInputError, match=r"a server that an MCP client starts would fail: .* is not valid TOML"):
        check_clients(Settings())
