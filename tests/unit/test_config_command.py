"""`codebase-mcp config` as it is typed, over a real settings file."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from codebase_mcp.cli import app as command_line
from codebase_mcp.config_edit import change_setting
from codebase_mcp.config_file import read_config
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.settings import Settings
from tests.support.repositories import folder_for_anybody, ordinary_user
from tests.support.settings import without_settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return without_settings(monkeypatch, tmp_path / "config.toml")


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `codebase-mcp config …`; answers exit code, stdout and stderr."""

    def run_command(*tokens: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return command_line.run(["config", *tokens]), *capsys.readouterr()

    return run_command


# --- showing ---


def test_each_setting_is_listed_with_its_value_and_where_that_comes_from(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('log_to_stderr = true\nproject_id = "p"\n')
    monkeypatch.setenv("CODEBASE_MCP_PROJECT_ID", "q")
    code, out, _ = run("list")
    rows = {
        name: [value, *origin] for name, value, *origin in (line.strip().split(maxsplit=2) for line in out.splitlines())
    }
    assert code == 0
    assert rows["log_to_stderr"] == ["true", f"{config}, line 1"]
    assert rows["project_id"] == ["q", "CODEBASE_MCP_PROJECT_ID"]
    assert rows["lease_seconds"] == ["8", "default"]
    assert rows["database_url"] == ["–", "default"]
    assert rows.keys() - {"setting"} == Settings.model_fields.keys()


def test_the_list_is_json_when_asked(run: Run, config: Path) -> None:
    config.write_text("batch_files = 7")
    listed = {report["name"]: report for report in json.loads(run("list", "--json")[1])}
    assert listed["batch_files"] == {
        "name": "batch_files",
        "value": 7,
        "source": "file",
        "origin": f"{config}, line 1",
    }
    assert listed["database_url"]["value"] is None
    assert listed["tools"] == {"name": "tools", "value": "all", "source": "default", "origin": None}


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ('database_url = "postgresql://me:hunter2@h:5/d?x=y"', "postgresql://me:***@h:5/d?x=y"),
        ('database_url = "postgresql://me:hun/ter@2hunter2@h/d"', "postgresql://me:***@h/d"),
        ('database_url = "postgresql://h/d?password=hunter2&x=y"', "postgresql://h/d?password=***&x=y"),
        ('database_url = "host=h password=hunter2"', "***"),
        ('embedding_api_key = "sk-hunter2"', "***"),
    ],
)
def test_secrets_are_hidden_unless_asked_for(run: Run, config: Path, secret: str, shown: str) -> None:
    config.write_text(secret)
    name = secret.partition(" ")[0]
    assert run("get", name) == (0, shown + "\n", "")
    assert "hunter2" not in run("list")[1] + run("list", "--json")[1] + run("get", name, "--json")[1]
    assert run("get", name, "--show-secrets")[1].strip() in secret
    assert "hunter2" in run("list", "--show-secrets")[1]


def test_one_value_is_printed_bare(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('log_to_stderr = true\nlog_level = "debug"\nlease_seconds = 9.5\n')
    monkeypatch.setenv("CODEBASE_MCP_LOG_LEVEL", "error")
    assert run("get", "log_level") == (0, "error\n", "")
    assert run("get", "log_to_stderr")[1] == "true\n"
    assert run("get", "lease_seconds")[1] == "9.5\n"
    assert run("get", "watch_seconds")[1] == "3\n"
    assert run("get", "embedding_dimensions")[1] == "\n"
    assert json.loads(run("get", "log_level", "--json")[1])["source"] == "environment"


def test_the_path_is_printed_even_of_a_broken_file(run: Run, config: Path) -> None:
    assert run("path") == (0, f"{config}\n", "")
    config.write_text("broken")
    assert run("path") == (0, f"{config}\n", "")


# --- changing ---


def test_a_setting_is_written_with_its_type_to_a_file_of_the_users_own(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = config.parent / "not" / "yet"
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(folder / "config.toml"))
    assert run("set", "batch_files", "7") == (0, f"batch_files is set in {folder}/config.toml.\n", "")
    run("set", "log_to_stderr", "yes")
    run("set", "lease_seconds", "9.5")
    run("set", "data_dir", "~/x")
    text = (folder / "config.toml").read_text()
    assert text == f'batch_files = 7\nlog_to_stderr = true\nlease_seconds = 9.5\ndata_dir = "{Path.home()}/x"\n'
    assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["config.toml"]


def test_a_relative_data_directory_is_that_of_the_shell(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run("set", "data_dir", "indexes")
    assert config.read_text() == f'data_dir = "{tmp_path}/indexes"\n'


def test_everything_else_in_the_file_stays(run: Run, config: Path) -> None:
    before = "# mine\n\n'batch_files'   = 3   # few\nlog_level=\"debug\"\r\n\n# the end"
    config.write_bytes(before.encode())
    config.chmod(0o644)
    run("set", "batch_files", "4")
    assert config.read_bytes().decode() == before.replace("= 3", "= 4")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    run("set", "project_id", "p")
    assert config.read_text().startswith("# mine\n\n'batch_files'   = 4   # few\n")
    run("unset", "project_id")
    run("set", "batch_files", "3")
    assert config.read_bytes().decode().rstrip("\n") == before


@pytest.mark.parametrize(
    ("before", "arguments", "complaint"),
    [
        ("", ("batch_files", "many"), 'batch_files = "many" must be a whole number. Nothing was written.'),
        ("", ("batch_files", "-1"), 'batch_files = "-1" must be at least 1. Nothing was written.'),
        ("", ("log_level", "loud"), "log_level = \"loud\" must be one of 'debug', 'info', 'warning' or 'error'"),
        ("", ("project_id", "a b"), 'project_id = "a b" must be 1 to 255 letters'),
        ("", ("data_dir", " "), "the value of data_dir is empty. `codebase-mcp config unset data_dir` removes"),
        ("", ("data_dirr", "/x"), "'data_dirr' is not a setting (did you mean data_dir?). `codebase-mcp config list`"),
        ("", ("CODEBASE_MCP_TOOLS", "all"), "is not a setting (did you mean tools?)"),
        ("", ("renew_seconds", "3"), 'renew_seconds = "3" must be at most 2.25 with lease_seconds = 8: a worker that'),
        ("lease_seconds = 3.0\nrenew_seconds = 0.5\n", ("renew_seconds", "1"), "at most 0.5 with lease_seconds = 3"),
        ("", ("embedding_provider", "openai"), "embedding_url = null must be set for the provider openai"),
        ("", ("embedding_api_key", "sk hunter2"), "embedding_api_key = (not shown) must be printable ASCII"),
        ("project_idd = 1\n", ("project_id", "p"), "line 1: project_idd is not a setting (did you mean project_id?)"),
        ("broken", ("project_id", "p"), "is not valid TOML"),
        ("batch_files = 0\n", ("project_id", "p"), "batch_files = 0 must be at least 1. Nothing was written."),
        ("", ("data_dir", "/\udcff"), "is not UTF-8. Paths and queries have to be"),
        ("", ("database_url", "x" * 100_000), "would have more than 100,000 bytes"),
    ],
)
def test_what_would_not_be_valid_is_refused_and_nothing_written(
    run: Run, config: Path, before: str, arguments: tuple[str, str], complaint: str
) -> None:
    config.write_text(before)
    code, out, err = run("set", *arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert "hunter2" not in err
    assert config.read_text() == before


def test_a_value_that_this_environment_makes_invalid_is_refused(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBASE_MCP_LEASE_SECONDS", "3")
    monkeypatch.setenv("CODEBASE_MCP_RENEW_SECONDS", "0.5")
    assert run("set", "renew_seconds", "2")[0] == 0
    monkeypatch.delenv("CODEBASE_MCP_RENEW_SECONDS")
    code, _, err = run("set", "renew_seconds", "1")
    assert code == 2
    assert "with CODEBASE_MCP_LEASE_SECONDS in the environment, renew_seconds = 1 must be at most 0.5" in err
    assert config.read_text() == "renew_seconds = 2\n"


def test_a_variable_that_comes_before_the_file_is_named(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", "postgresql://h/d")
    code, _, err = run("set", "database_url", "postgresql://h/e")
    assert (code, err) == (0, "In this shell CODEBASE_MCP_DATABASE_URL comes before it.\n")
    assert config.read_text() == 'database_url = "postgresql://h/e"\n'


def test_a_secret_can_be_given_on_standard_input(run: Run, config: Path) -> None:
    assert run("set", "embedding_api_key", stdin="sk-hunter2\n")[0] == 0
    assert config.read_text() == 'embedding_api_key = "sk-hunter2"\n'
    assert "is empty" in run("set", "embedding_api_key")[2]


def test_a_setting_is_removed_and_removing_it_again_changes_nothing(run: Run, config: Path) -> None:
    config.write_text('# a\nlog_level = "debug" # b\nproject_id = "p"\n')
    assert run("unset", "log_level") == (0, f"log_level is no longer set in {config}.\n", "")
    assert config.read_text() == '# a\nproject_id = "p"\n'
    assert run("unset", "log_level") == (0, f"log_level is not set in {config}.\n", "")
    assert "did you mean log_level?" in run("unset", "loglevel")[2]


def test_a_file_with_several_mistakes_is_mended_line_by_line(run: Run, config: Path) -> None:
    config.write_text("batch_filess = 1\nbatch_files = 0\n'two words' = 1\n")
    for name in ("batch_filess", "two words", "batch_files"):
        assert run("unset", name)[0] == 0
    assert run("list")[0] == 0


def test_removing_a_setting_that_another_one_rests_on_is_refused(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("lease_seconds = 20\nrenew_seconds = 2.25\n")
    assert run("unset", "lease_seconds")[0] == 0
    config.write_text("lease_seconds = 3\nrenew_seconds = 0.5\n")
    assert "renew_seconds = 1.0 must be at most 0.5 with lease_seconds = 3" in run("unset", "renew_seconds")[2]
    # A client's server does not have this variable.
    monkeypatch.setenv("CODEBASE_MCP_RENEW_SECONDS", "0.5")
    assert "renew_seconds = 1.0 must be at most 0.5 with lease_seconds = 3" in run("unset", "renew_seconds")[2]
    assert config.read_text() == "lease_seconds = 3\nrenew_seconds = 0.5\n"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_the_file_stays_a_link(run: Run, config: Path, tmp_path: Path, exists: bool) -> None:
    (tmp_path / "dotfiles").mkdir()
    target = tmp_path / "dotfiles" / "codebase.toml"
    if exists:
        target.write_text("# mine\n")
    config.symlink_to(target)
    assert run("set", "batch_files", "4")[0] == 0
    assert config.is_symlink()
    assert target.read_text().endswith("batch_files = 4\n")


def test_a_folder_that_cannot_be_written_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder_for_anybody() as folder:
        path = folder / "config.toml"
        path.write_text("batch_files = 3\n")
        monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(path))
        with ordinary_user(folder):
            folder.chmod(0o555)
            code, _, err = run("set", "batch_files", "4")
        assert code == 2
        assert f"{path} cannot be written (Permission denied). Give this user write access to {folder}" in err
        assert path.read_text() == "batch_files = 3\n"


def test_where_there_is_no_file_by_choice_nothing_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", os.devnull)
    assert "no settings file is in use (CODEBASE_MCP_CONFIG is /dev/null" in run("set", "batch_files", "4")[2]


def test_a_write_that_fails_leaves_the_file_and_no_other(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("batch_files = 3\n")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InvalidInputError, match=r"cannot be written \(No space left on device"):
        change_setting(config, "batch_files", 4, lambda _: None)
    assert config.read_text() == "batch_files = 3\n"
    assert list(config.parent.iterdir()) == [config]


def test_changes_at_the_same_time_are_all_kept(config: Path) -> None:
    names = [f"setting_{number}" for number in range(8)]
    ready = threading.Barrier(len(names))

    def change(name: str) -> None:
        ready.wait(10)
        change_setting(config, name, 1, lambda _: None)

    threads = [threading.Thread(target=change, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_config(config).values) == names


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes the files of others")
def test_the_owner_of_a_file_keeps_it_when_root_changes_it(run: Run, config: Path) -> None:
    config.write_text("")
    os.chown(config, 65534, 65534)
    run("set", "batch_files", "4")
    assert (config.stat().st_uid, config.stat().st_gid) == (65534, 65534)
