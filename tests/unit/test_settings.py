"""Where settings come from, which source wins, and what is said of a wrong one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from codebase_mcp import config_file
from codebase_mcp.cli.session import load_settings
from codebase_mcp.configuration import report_settings
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.service.inputs import resolve_project
from codebase_mcp.setting_origins import Origin, find_origins
from codebase_mcp.settings import Settings, take_settings_of_older_version
from tests.support.repositories import folder_for_anybody, ordinary_user
from tests.support.settings import without_settings


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The path of a settings file that does not exist yet."""
    return without_settings(monkeypatch, tmp_path / "config.toml")


def refusal() -> str:
    with pytest.raises(InvalidInputError) as raised:
        load_settings()
    return raised.value.message


# --- which source wins ---


def test_an_argument_beats_the_environment_which_beats_the_file_which_beats_the_default(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().log_level == "info"
    config.write_text('log_level = "debug"')
    assert Settings().log_level == "debug"
    monkeypatch.setenv("CODEBASE_MCP_LOG_LEVEL", "warning")
    assert Settings().log_level == "warning"
    assert Settings(log_level="error").log_level == "error"


def test_a_project_comes_from_the_call_the_repository_the_environment_the_file_or_the_default(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def project(explicit: str | None = None) -> str:
        return resolve_project(explicit, [tmp_path], Settings().project_id)

    assert project() == "default"
    config.write_text('project_id = "file"')
    assert project() == "file"
    monkeypatch.setenv("CODEBASE_MCP_PROJECT_ID", "environment")
    assert project() == "environment"
    (tmp_path / ".codebase-mcp").mkdir()
    (tmp_path / ".codebase-mcp" / "config.json").write_text(json.dumps({"project_id": "repository"}))
    assert project() == "repository"
    assert project("call") == "call"


def test_every_spelling_of_the_database_in_the_environment_beats_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def database() -> str | None:
        url = Settings().database_url
        return url.get_secret_value() if url else None

    config.write_text('database_url = "postgresql://file/d"')
    assert database() == "postgresql://file/d"
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", "postgresql://ours/d")
    assert database() == "postgresql://ours/d"
    monkeypatch.setenv("DATABASE_URL", "postgresql://application/d")
    assert database() == "postgresql://ours/d"
    assert Settings(database_url=None).is_embedded
    assert Settings(database_url=SecretStr("postgresql://given/d")).database_url == SecretStr("postgresql://given/d")


def test_an_empty_value_counts_as_none_in_the_environment_and_in_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('log_level = "debug"\ndatabase_url = ""\nproject_id = ""\n')
    monkeypatch.setenv("CODEBASE_MCP_LOG_LEVEL", "")
    settings = Settings()
    assert (settings.log_level, settings.database_url, settings.project_id) == ("debug", None, "default")


def test_the_file_may_use_the_types_of_toml(config: Path) -> None:
    config.write_text('lease_seconds = 20\nlog_to_stderr = true\nbatch_files = "7"\ndata_dir = "~/x" # a comment\n')
    settings = Settings()
    assert (settings.lease_seconds, settings.log_to_stderr, settings.batch_files) == (20.0, True, 7)
    assert settings.data_dir == Path.home() / "x"


def test_the_origin_of_each_value_is_known(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('\nlog_level = "debug"\nproject_id = "p"\n"batch_files" = 3\n')
    monkeypatch.setenv("CODEBASE_MCP_PROJECT_ID", "q")
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("CODEBASE_MCP_WORKER", "")
    origins = find_origins()
    assert origins["log_level"] == Origin("file", f"{config}, line 2")
    assert origins["batch_files"] == Origin("file", f"{config}, line 4")
    assert origins["project_id"] == Origin("environment", "CODEBASE_MCP_PROJECT_ID")
    assert origins["database_url"] == Origin("environment", "CODEBASE_MCP_DATABASE_URL")
    assert origins["worker"] == Origin("default")


def test_the_database_of_an_application_counts_only_when_it_was_asked_for(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", " postgresql://application/d ")
    assert Settings().is_embedded
    monkeypatch.setenv("CODEBASE_MCP_USE_DATABASE_URL", "true")
    assert Settings().database_url == SecretStr("postgresql://application/d")
    (report,) = [report for report in report_settings(Settings(), show_secrets=False) if report.name == "database_url"]
    assert (report.source, report.origin) == ("environment", "DATABASE_URL")
    config.write_text('database_url = "postgresql://ours/d"')
    assert Settings().database_url == SecretStr("postgresql://ours/d")
    config.write_text("")
    monkeypatch.delenv("DATABASE_URL")
    assert "must be set, here or as DATABASE_URL, when use_database_url is true" in refusal()


def test_a_worker_of_an_older_server_uses_the_database_of_that_server() -> None:
    """It is started by the new program's files and the old program's environment."""
    older = {"DATABASE_URL": "postgresql://h/d"}
    take_settings_of_older_version(older)
    assert older["CODEBASE_MCP_USE_DATABASE_URL"] == "true"
    ours = Settings().as_environment() | {"DATABASE_URL": "postgresql://application/d"}
    take_settings_of_older_version(ours)
    assert ours["CODEBASE_MCP_USE_DATABASE_URL"] == "false"


# --- where the file is ---


def test_the_file_is_in_the_configuration_folder_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Path
) -> None:
    monkeypatch.delenv("CODEBASE_MCP_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = config_file.config_path()
    assert path == tmp_path / "codebase-mcp" / "config.toml"
    path.parent.mkdir()
    path.write_text('log_level = "debug"')
    assert Settings().log_level == "debug"


def test_the_path_of_the_file_may_begin_with_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", "~/mine.toml")
    assert config_file.config_path() == tmp_path / "mine.toml"


def test_a_home_directory_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", "~no-such-user/config.toml")
    assert refusal().startswith("CODEBASE_MCP_CONFIG = ~no-such-user/config.toml: there is no such user.")


@pytest.mark.usefixtures("config")
def test_without_a_home_directory_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEBASE_MCP_CONFIG")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    assert config_file.config_path() == Path(os.devnull)
    assert Settings(data_dir=Path("/srv/x")).log_level == "info"


def test_a_file_that_does_not_exist_sets_nothing(config: Path) -> None:
    assert Settings() == Settings(log_level="info")
    config.symlink_to("gone.toml")
    assert Settings().log_level == "info"


def test_a_link_to_the_file_is_followed(config: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text('log_level = "debug"')
    config.symlink_to("dotfiles.toml")
    assert Settings().log_level == "debug"


def test_no_file_is_read_when_it_is_said_to_be_nowhere(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", os.devnull)
    assert Settings().log_level == "info"


# --- what is wrong with a file ---


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("log_level = debug", "is not valid TOML: Invalid value (at line 1, column 13). Correct the file."),
        ("log_level =", "is not valid TOML: Invalid value (at end of document)"),
        ("log_level = 'info'\nlog_level = 'debug'", "is not valid TOML: Cannot overwrite a value (at "),
        ("a = " + "[" * 50_000, "is not valid TOML"),
        ("data_dirr = '/x'", ", line 1: data_dirr is not a setting (did you mean data_dir?). Correct the file, or "),
        ("\nCODEBASE_MCP_DATA_DIR = '/x'", ", line 2: CODEBASE_MCP_DATA_DIR is not a setting (did you mean data_dir?)"),
        ("DATABASE_URL = '/x'", "is not a setting (did you mean database_url?)"),
        ("'two words' = 1", "remove the line with `codebase-mcp config unset 'two words'`."),
        ("[codebase_mcp]\ndata_dir = '/x'", "[codebase_mcp] is a table. Settings stand at the top level"),
        ("lease_seconds = 'soon'", ', line 1: lease_seconds = "soon" must be a number. Correct the file, or remove'),
        ("log_level = 'loud'", ", line 1: log_level = \"loud\" must be one of 'debug', 'info', 'warning' or 'error'"),
        ("# a\nbatch_files = 0", ", line 2: batch_files = 0 must be at least 1"),
        ("batch_files = true", "batch_files = true must not be true or false"),
        ("batch_files = 1.5", "batch_files = 1.5 must be a whole number"),
        ("log_to_stderr = 'perhaps'", 'log_to_stderr = "perhaps" must be true or false'),
        ("project_id = 7", "project_id = 7 must be a string"),
        ("project_id = 2026-01-31", 'project_id = "2026-01-31" must be a string'),
        ("project_id = 'a b'", 'project_id = "a b" must be 1 to 255 letters, digits, hyphens and underscores'),
        ("data_dir = ['/x']", 'data_dir = ["/x"] must be a path'),
        ("data_dir = 'x'", ', line 1: data_dir = "x" must be an absolute path or begin with ~/. Correct the file.'),
        ("data_dir = '~no-such-user/x'", 'data_dir = "~no-such-user/x" must begin with ~/ or /: there is no such user'),
        ('data_dir = "/a\\u0000b"', "must not contain a NUL character"),
        ("renew_seconds = 2\nlease_seconds = 3", "renew_seconds = 2 must be at most 0.5 with lease_seconds = 3: a wor"),
        ("lease_seconds = 3", "CODEBASE_MCP_RENEW_SECONDS = 1.0 must be at most 0.5 with lease_seconds = 3"),
        ("embedding_provider = 'openai'", "CODEBASE_MCP_EMBEDDING_URL = null must be set for the provider openai"),
        ("tools = 'few'", "tools = \"few\" must be one of 'all', 'search' or 'jobs'"),
        ("answers = 'xml'", "answers = \"xml\" must be one of 'text' or 'structured'"),
        ("# " + "x" * 100_000, "has 100,002 bytes, more than the 100,000 that a configuration may have."),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_wrong_in_the_file_is_said_with_the_path_and_the_line(
    config: Path, content: str, complaint: str
) -> None:
    config.write_text(content)
    message = refusal()
    assert complaint in message
    assert message.startswith(str(config)) or "CODEBASE_MCP_" in message
    assert len(message) < 700


def test_a_file_that_is_no_text_is_refused(config: Path) -> None:
    config.write_bytes(b'project_id = "caf\xe9"')
    assert refusal() == f"{config} is not UTF-8 text (invalid continuation byte). Correct or remove it."


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_read(config: Path) -> None:
    config.write_bytes(b'\xef\xbb\xbflog_level = "debug"\r\nbatch_files = 0\r\n')
    assert f"{config}, line 2: batch_files = 0" in refusal()


def test_what_is_no_file_is_refused(config: Path) -> None:
    config.mkdir()
    assert refusal() == f"{config} is not a file. Put a TOML file there, or remove it."
    config.rmdir()
    os.mkfifo(config)
    assert "is not a file" in refusal()
    config.unlink()
    config.symlink_to(config.name)
    assert "cannot be read (Too many levels of symbolic links)" in refusal()


@pytest.mark.parametrize("closed", ["config.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """Prevents: another database than the one that the file names."""
    with folder_for_anybody() as folder:
        (folder / "config.toml").write_text('log_level = "debug"')
        monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(folder / "config.toml"))
        with ordinary_user(folder):
            (folder / closed).chmod(0)
            assert "cannot be read (Permission denied). Make it readable for this user" in refusal()


@pytest.mark.parametrize(
    "content",
    [
        'embedding_api_key = "sk top hunter2"',
        'embedding_api_key = ["sk-hunter2"]',
        'database_url = ["postgresql://u:hunter2@h/d"]',
        'database_url = "postgresql://u:hunter2@h/d" x',
        'embedding_api_keys = "sk-hunter2"',
        'embedding_url = "http://u:hunter2@h/"',
    ],
)
def test_secrets_in_a_wrong_file_are_not_repeated(config: Path, content: str) -> None:
    config.write_text(content)
    assert "hunter2" not in refusal()


def test_mistakes_of_both_sources_are_named_with_both_ways_out(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("batch_files = 0")
    monkeypatch.setenv("CODEBASE_MCP_RETENTION_DAYS", "0")
    message = refusal()
    assert f"{config}, line 1: batch_files = 0 must be at least 1" in message
    assert 'CODEBASE_MCP_RETENTION_DAYS = "0" must be at least 1' in message
    assert "Correct or unset the environment variable. Correct the file, or remove the line" in message


# --- for other processes ---


def test_another_process_gets_the_settings_of_the_file_even_when_it_changes(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('data_dir = "/srv/file"\nlog_level = "debug"\n')
    settings = Settings()
    environment = settings.as_environment()
    config.write_text('data_dir = "/srv/other"\ndatabase_url = "postgresql://h/d"\nembedding_dimensions = 64\n')
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
