"""`codebase-mcp install` and `uninstall`, in scratch homes."""

from __future__ import annotations

import io
import json
import os
import pty
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.cli import app as command_line
from codebase_mcp.clients import record
from codebase_mcp.clients.catalog import Machine, known_clients
from codebase_mcp.clients.installer import Workplace
from codebase_mcp.clients.jsonc import RELAXED, parse
from codebase_mcp.clients.launch import current_launch, notes
from codebase_mcp.clients.markdown import BEGIN
from codebase_mcp.clients.server_entry import Launch
from codebase_mcp.errors import InvalidInputError

SIX = ("claude", "codex", "cursor", "vscode", "gemini", "opencode")
USER_FILES = {
    "claude": ".claude.json",
    "codex": ".codex/config.toml",
    "cursor": ".cursor/mcp.json",
    "vscode": ".config/Code/User/mcp.json",
    "gemini": ".gemini/settings.json",
    "opencode": ".config/opencode/opencode.json",
}
PROJECT_FILES = {
    "claude": ".mcp.json",
    "codex": ".codex/config.toml",
    "cursor": ".cursor/mcp.json",
    "vscode": ".vscode/mcp.json",
    "gemini": ".gemini/settings.json",
    "opencode": "opencode.json",
}
EXISTING = {
    "claude": b'{\n  "numStartups": 4,\n  "mcpServers": {},\n  "projects": {"/a": {"mcpServers": {}}}\n}',
    "codex": b'model = "x" # good\r\n\r\n[mcp_servers.other]\r\ncommand = "y"\r\n',
    "cursor": b'\xef\xbb\xbf{"mcpServers":{"other":{"command":"y"}}}',
    "vscode": b'// mine\n{\n\t"servers": {\n\t\t"other": {"command": "y"}, // keep\n\t},\n\t"inputs": [],\n}\n',
    "gemini": b'{\r\n    /* mine */\r\n    "theme": "dark" // last\r\n}\r\n',
    "opencode": b'{\n  "$schema": "https://opencode.ai/config.json"\n}\n',
}


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without clients, with an empty repository as the working directory."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    (project / ".git").mkdir(parents=True)
    monkeypatch.chdir(project)
    for name in list(os.environ):
        if (
            name.startswith(("CODEBASE_MCP_", "XDG_", "CLAUDE", "CODEX", "GEMINI", "OPENCODE"))
            or name == "DATABASE_URL"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return home


@pytest.fixture
def run(home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run_command(*tokens: str) -> Outcome:
        capfd.readouterr()
        code = command_line.run(tokens)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return run_command


def give(folder: Path, files_of: dict[str, str], *clients: str) -> None:
    for client in clients:
        path = folder / files_of[client]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(EXISTING[client])


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below it: mode and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found


def entry_in(path: Path) -> Any:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".toml":
        return tomllib.loads(text)["mcp_servers"]["codebase-mcp"]
    root = parse(text, (), RELAXED).root
    assert root is not None
    (servers,) = [root.value[key] for key in ("mcpServers", "servers", "mcp") if key in root.value]
    return servers["codebase-mcp"]


def expected_entry(client: str, **environment: str) -> dict[str, Any]:
    command = str(Path(sys.executable).parent / "codebase-mcp")
    entry: dict[str, Any] = {"command": command, "args": ["serve"]}
    if environment:
        entry["env"] = environment
    if client in ("claude", "cursor", "vscode"):
        entry["type"] = "stdio"
    if client == "claude":
        entry["alwaysLoad"] = True
    if client == "opencode":
        entry = {"type": "local", "command": [command, "serve"]}
        if environment:
            entry["environment"] = environment
    return entry


@pytest.mark.parametrize("client", SIX)
@pytest.mark.parametrize("scope", ["user", "project"])
def test_a_client_without_files_is_connected_and_disconnected_without_a_trace(
    run: Run, home: Path, tmp_path: Path, client: str, scope: str
) -> None:
    before = tree(tmp_path)
    done = run("install", "--client", client, "--scope", scope, "--instructions", "--yes")
    assert done.code == 0, done.err
    config = home / USER_FILES[client] if scope == "user" else tmp_path / "project" / PROJECT_FILES[client]
    assert entry_in(config) == expected_entry(client)
    assert run("uninstall", "--client", client, "--yes").code == 0
    assert tree(tmp_path) == before


@pytest.mark.parametrize("client", SIX)
@pytest.mark.parametrize("scope", ["user", "project"])
def test_an_existing_configuration_gets_one_entry_and_every_byte_back(
    run: Run, home: Path, tmp_path: Path, client: str, scope: str
) -> None:
    folder, names = (home, USER_FILES) if scope == "user" else (tmp_path / "project", PROJECT_FILES)
    give(folder, names, client)
    (folder / names[client]).chmod(0o600)
    before = tree(tmp_path)
    assert run("install", "--client", client, "--scope", scope, "--yes").code == 0
    assert entry_in(folder / names[client]) == expected_entry(client)
    assert stat.S_IMODE((folder / names[client]).stat().st_mode) == 0o600
    installed = tree(tmp_path)
    again = run("install", "--client", client, "--scope", scope, "--yes")
    assert (again.code, again.out) == (0, "Nothing to change.\n")
    assert tree(tmp_path) == installed
    assert run("uninstall", "--yes").code == 0
    assert tree(tmp_path) == before


def test_all_that_are_found_are_connected(run: Run, home: Path) -> None:
    give(home, USER_FILES, *SIX)
    done = run("install", "--yes")
    assert done.code == 0
    assert "Connecting Claude Code, Codex, Cursor, VS Code, Gemini CLI, opencode." in done.err
    for client in SIX:
        assert entry_in(home / USER_FILES[client]) == expected_entry(client)
    assert BEGIN in (home / ".claude/skills/codebase-mcp/SKILL.md").read_text()
    assert BEGIN in (home / ".agents/skills/codebase-mcp/SKILL.md").read_text()
    assert "--instructions also adds usage notes" in done.err


def test_a_client_is_also_found_by_its_command(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "bin").mkdir()
    (home / "bin/codex").write_text("#!/bin/sh\n")
    (home / "bin/codex").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/bin")
    assert run("install", "--yes").code == 0
    assert entry_in(home / ".codex/config.toml") == expected_entry("codex")
    assert not (home / ".claude.json").exists()


def test_without_any_client_the_names_are_given(run: Run) -> None:
    done = run("install", "--yes")
    assert done.code == 2
    assert "no assistant was found" in done.err
    assert "claude, codex, cursor, vscode, vscode-insiders, vscodium, gemini, opencode" in done.err


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_an_unknown_client_is_refused_with_the_known_ones(run: Run, verb: str) -> None:
    done = run(verb, "--client", "claud", "--yes")
    assert done.code == 2
    assert "--client claud is not known (did you mean claude?); known are claude, codex" in done.err


def test_a_dry_run_shows_the_difference_and_changes_nothing(run: Run, home: Path, tmp_path: Path) -> None:
    give(home, USER_FILES, "gemini")
    before = tree(tmp_path)
    done = run("install", "--dry-run")
    assert done.code == 0
    assert f"--- {home}/.gemini/settings.json" in done.out
    assert '+    "mcpServers": {' in done.out
    assert f"+++ {home}/.agents/skills/codebase-mcp/SKILL.md" in done.out
    assert tree(tmp_path) == before


def test_without_a_terminal_and_without_yes_nothing_is_written(run: Run, home: Path, tmp_path: Path) -> None:
    give(home, USER_FILES, "gemini")
    before = tree(tmp_path)
    done = run("install")
    assert done.code == 2
    assert "Add --yes, or --dry-run" in done.err
    assert tree(tmp_path) == before


def test_a_broken_configuration_is_left_alone_and_the_others_are_connected(run: Run, home: Path) -> None:
    give(home, USER_FILES, "claude", "codex", "gemini")
    (home / ".claude.json").write_bytes(b'{\n  "a": 1,\n}')
    (home / ".codex/config.toml").write_bytes(b"a = \xff\n")
    done = run("install", "--yes")
    assert done.code == 1
    assert f"error: Claude Code: {home}/.claude.json: line 2, column 9: a comma before '}}'" in done.err
    assert f"error: Codex: {home}/.codex/config.toml: line 1, column 5: not UTF-8" in done.err
    assert (home / ".claude.json").read_bytes() == b'{\n  "a": 1,\n}'
    assert entry_in(home / ".gemini/settings.json") == expected_entry("gemini")
    assert run("uninstall", "--yes").code == 0


def test_an_entry_of_another_program_is_left_alone(run: Run, home: Path) -> None:
    text = '{"mcpServers": {"codebase-mcp": {"command": "uvx", "args": ["codebase-mcp"]}}}'
    (home / ".claude.json").write_text(text)
    done = run("install", "--yes")
    assert done.code == 1
    assert "the entry codebase-mcp belongs to another program (uvx codebase-mcp)" in done.err
    assert run("uninstall", "--yes").code == 0
    assert (home / ".claude.json").read_text() == text


def test_a_read_only_configuration_is_left_alone(run: Run, home: Path) -> None:
    give(home, USER_FILES, "claude", "cursor")
    (home / ".claude.json").chmod(0o444)
    done = run("install", "--yes")
    assert done.code == 1
    assert f"{home}/.claude.json is read-only" in done.err
    assert (home / ".claude.json").read_bytes() == EXISTING["claude"]
    assert entry_in(home / ".cursor/mcp.json") == expected_entry("cursor")


def test_links_into_a_folder_of_dotfiles_stay_links(run: Run, home: Path, tmp_path: Path) -> None:
    give(tmp_path / "dotfiles", USER_FILES, "claude", "codex")
    (home / ".claude.json").symlink_to(tmp_path / "dotfiles/.claude.json")
    (home / ".codex").symlink_to(tmp_path / "dotfiles/.codex")
    before = tree(tmp_path)
    assert run("install", "--yes").code == 0
    assert (home / ".claude.json").is_symlink()
    assert entry_in(tmp_path / "dotfiles/.claude.json") == expected_entry("claude")
    assert run("uninstall", "--yes").code == 0
    assert tree(tmp_path) == before


def test_a_dangling_link_is_left_alone(run: Run, home: Path) -> None:
    (home / ".claude").mkdir()
    (home / ".claude.json").symlink_to("missing/claude.json")
    done = run("install", "--yes")
    assert done.code == 1
    assert f"{home}/.claude.json is a symbolic link to {home}/missing/claude.json, which does not exist" in done.err
    assert not (home / "missing").exists()


def test_the_settings_file_of_the_shell_is_passed_on(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", "~/my.toml")
    monkeypatch.setenv("CODEBASE_MCP_DATA_DIR", "/data")
    for client in SIX:
        done = run("install", "--client", client, "--yes")
        assert entry_in(home / USER_FILES[client]) == expected_entry(client, CODEBASE_MCP_CONFIG=f"{home}/my.toml")
        assert "do not pass it on to the server: CODEBASE_MCP_DATA_DIR." in done.err


def test_a_settings_file_that_the_shell_finds_elsewhere_is_passed_on_as_well(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CODEBASE_MCP_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "moved"))
    assert run("install", "--client", "claude", "--yes").code == 0
    expected = str(home / "moved/codebase-mcp/config.toml")
    assert entry_in(home / USER_FILES["claude"]) == expected_entry("claude", CODEBASE_MCP_CONFIG=expected)


def test_variables_of_the_clients_move_their_files(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home / name))
    assert run("install", *(token for client in SIX for token in ("--client", client)), "--yes").code == 0
    for path in (
        "CLAUDE_CONFIG_DIR/.claude.json",
        "CLAUDE_CONFIG_DIR/skills/codebase-mcp/SKILL.md",
        "CODEX_HOME/config.toml",
        "GEMINI_CLI_HOME/.gemini/settings.json",
        "XDG_CONFIG_HOME/opencode/opencode.json",
        "XDG_CONFIG_HOME/Code/User/mcp.json",
    ):
        assert (home / path).exists()
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME"):
        monkeypatch.delenv(name)
    assert run("uninstall", "--yes").code == 0
    assert tree(home) == {}


def test_an_opencode_configuration_with_comments_is_preferred(run: Run, home: Path) -> None:
    give(home, USER_FILES, "opencode")
    (home / ".config/opencode/opencode.jsonc").write_text("{ // mine\n}\n")
    assert run("install", "--yes").code == 0
    assert entry_in(home / ".config/opencode/opencode.jsonc") == expected_entry("opencode")
    assert (home / ".config/opencode/opencode.json").read_bytes() == EXISTING["opencode"]


@pytest.mark.parametrize(("added", "is_kept"), [('"$schema": "x"', False), ('"theme": "x"', True)])
def test_of_a_file_that_we_made_only_what_others_wrote_is_kept(run: Run, home: Path, added: str, is_kept: bool) -> None:
    config = home / USER_FILES["opencode"]
    run("install", "--client", "opencode", "--yes")
    config.write_text(config.read_text().replace("{", "{" + added + ",", 1))
    assert run("uninstall", "--yes").code == 0
    assert config.exists() == is_kept
    if is_kept:
        assert json.loads(config.read_text()) == json.loads("{" + added + "}")


def test_a_shared_skill_stays_as_long_as_one_client_uses_it(run: Run, home: Path) -> None:
    skill = home / ".agents/skills/codebase-mcp/SKILL.md"
    run("install", "--client", "codex", "--client", "cursor", "--yes")
    assert run("uninstall", "--client", "cursor", "--yes").code == 0
    assert skill.exists()
    run("install", "--client", "gemini", "--yes")
    assert run("uninstall", "--client", "codex", "--yes").code == 0
    assert skill.exists()
    assert run("uninstall", "--client", "gemini", "--yes").code == 0
    assert tree(home) == {}


def test_uninstalling_without_the_record_removes_the_entries_and_our_own_files(run: Run, home: Path) -> None:
    give(home, USER_FILES, *SIX)
    run("install", "--yes", "--instructions")
    record.default_path().unlink()
    assert run("uninstall", "--yes").code == 0
    for client in SIX:
        left = (home / USER_FILES[client]).read_bytes()
        assert b"codebase-mcp" not in left
    assert not (home / ".agents/skills/codebase-mcp").exists()


def test_a_record_that_cannot_be_read_is_named(run: Run, home: Path) -> None:
    give(home, USER_FILES, "claude")
    record.default_path().parent.mkdir(parents=True)
    record.default_path().write_text("{")
    done = run("install", "--yes")
    assert done.code == 2
    assert f"{record.default_path()}, which says what was installed, cannot be read" in done.err


def test_a_project_of_elsewhere_is_undone_as_well(run: Run, home: Path, tmp_path: Path) -> None:
    run("install", "--client", "claude", "--scope", "project", "--yes")
    os.chdir(home)
    assert run("uninstall", "--scope", "user", "--yes").out == "Nothing to change.\n"
    assert run("uninstall", "--yes").code == 0
    assert list((tmp_path / "project").iterdir()) == [tmp_path / "project/.git"]


def test_a_client_that_rewrites_its_file_meanwhile_loses_nothing(home: Path) -> None:
    give(home, USER_FILES, "claude")
    path = home / ".claude.json"
    workplace = a_workplace(home)
    (change,) = workplace.plan_install(workplace.known[:1], "user", "server")
    newer = [EXISTING["claude"].replace(b"4", b"5"), EXISTING["claude"].replace(b"4", b"6")]
    path.write_bytes(newer[0])
    workplace.install(change, before_rename=lambda: path.write_bytes(newer.pop()) and None if len(newer) > 1 else None)
    value = json.loads(path.read_text())
    assert value["numStartups"] == 6
    assert "codebase-mcp" in value["mcpServers"]
    (change,) = workplace.plan_uninstall(workplace.known[:1], "user")
    workplace.uninstall(change, workplace.known[:1])
    assert path.read_bytes() == EXISTING["claude"].replace(b"4", b"6")


def a_workplace(home: Path) -> Workplace:
    machine = Machine(home, {}, is_macos=False, find_command=lambda name: None)
    return Workplace(known_clients(machine), home, record.Record(home / "record.json"), Launch("/opt/codebase-mcp"))


def test_macos_has_the_files_of_vscode_elsewhere(home: Path) -> None:
    machine = Machine(home, {}, is_macos=True)
    (vscode,) = [client for client in known_clients(machine) if client.id == "vscode"]
    assert vscode.user.config == home / "Library/Application Support/Code/User/mcp.json"


def instructions_of(run: Run, *clients: str, scope: str = "project") -> Outcome:
    named = [token for client in clients for token in ("--client", client)]
    return run("install", *named, "--scope", scope, "--instructions", "--yes")


@pytest.mark.parametrize(
    ("present", "clients", "edited"),
    [
        ([], SIX, ["AGENTS.md", "GEMINI.md"]),
        (["CLAUDE.md"], ["claude"], ["CLAUDE.md"]),
        (["AGENTS.md"], ["claude"], ["AGENTS.md"]),
        (["AGENTS.md", "CLAUDE.md"], ["claude", "codex"], ["AGENTS.md", "CLAUDE.md"]),
        (["AGENTS.override.md", "AGENTS.md"], ["codex"], ["AGENTS.override.md"]),
        (["CLAUDE.md"], ["opencode"], ["CLAUDE.md"]),
    ],
)
def test_usage_notes_go_where_the_client_reads(
    run: Run, tmp_path: Path, present: list[str], clients: list[str], edited: list[str]
) -> None:
    project = tmp_path / "project"
    for name in present:
        (project / name).write_text("# Rules\n")
    before = tree(tmp_path)
    assert instructions_of(run, *clients).code == 0
    assert sorted(path.name for path in project.glob("*.md") if BEGIN in path.read_text()) == sorted(edited)
    assert run("uninstall", "--yes").code == 0
    assert tree(tmp_path) == before


def test_no_file_is_made_that_would_hide_another(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "project/CLAUDE.md").write_text("# Rules\n")
    (home / ".config/opencode").mkdir(parents=True)
    done = instructions_of(run, "codex")
    assert done.code == 1
    assert "AGENTS.md: not created, because opencode would then no longer read" in done.err
    assert not (tmp_path / "project/AGENTS.md").exists()


def test_gemini_may_have_other_names_for_its_instructions(run: Run, home: Path) -> None:
    (home / ".gemini").mkdir()
    (home / ".gemini/settings.json").write_text('{"context": {"fileName": ["RULES.md", "GEMINI.md"]}}')
    assert instructions_of(run, "gemini", scope="user").code == 0
    assert BEGIN in (home / ".gemini/RULES.md").read_text()


def test_one_file_behind_two_links_is_edited_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project/AGENTS.md").write_text("# Rules\n")
    (tmp_path / "project/CLAUDE.md").symlink_to("AGENTS.md")
    assert instructions_of(run, "claude", "codex").code == 0
    assert (tmp_path / "project/AGENTS.md").read_text().count(BEGIN) == 1


def test_secrets_of_other_servers_are_not_shown(run: Run, home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").write_text('{\n "mcpServers": {\n  "a": {"env": {"API_KEY": "s3cret"}}\n }\n}\n')
    shown = run("install", "--dry-run").out
    assert '"API_KEY": "***"' in shown
    assert "s3cret" not in shown


def test_of_a_long_line_only_the_change_is_shown(run: Run, home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").write_text(json.dumps({"a": "x" * 9_000, "mcpServers": {"b": {}}, "c": "y" * 9_000}))
    done = run("install", "--dry-run")
    assert '"codebase-mcp": {' in done.out
    assert max(len(line) for line in done.out.splitlines()) < 1_000


def test_the_repository_is_indexed_when_asked_for(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed: list[str] = []
    monkeypatch.setattr("codebase_mcp.cli.index.index", lambda path: indexed.append(path) or 0)
    (tmp_path / "project/deep").mkdir()
    os.chdir(tmp_path / "project/deep")
    assert run("install", "--client", "codex", "--yes").code == 0
    assert indexed == []
    assert run("install", "--client", "codex", "--yes", "--index").code == 0
    assert indexed == [str(tmp_path / "project")]


def on_a_terminal(home: Path, answers: str, *tokens: str) -> tuple[int, str]:
    """The real command with a terminal as its standard input."""
    controller, terminal = pty.openpty()
    os.write(controller, answers.encode())
    done = subprocess.run(
        [sys.executable, "-m", "codebase_mcp", *tokens],
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=60,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    os.close(controller)
    os.close(terminal)
    return done.returncode, done.stderr


def test_on_a_terminal_files_notes_and_index_are_asked_for_one_by_one(home: Path) -> None:
    (home / ".codex").mkdir()
    code, asked = on_a_terminal(home, "y\ny\nn\n", "install")
    assert code == 0
    assert asked.count("[y/N]") == 3
    assert entry_in(home / ".codex/config.toml")["args"] == ["serve"]
    assert BEGIN in (home / ".codex/AGENTS.md").read_text()
    code, asked = on_a_terminal(home, "n\n", "uninstall")
    assert code == 1
    assert "Nothing was changed." in asked
    assert on_a_terminal(home, "y\n", "uninstall")[0] == 0
    assert list(home.rglob("*")) == [home / ".codex"]


def a_script(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_command_is_the_link_on_the_path_that_leads_to_this_installation(tmp_path: Path) -> None:
    script = a_script(tmp_path / "uv/tools/codebase-mcp-server/bin/codebase-mcp")
    link = tmp_path / "bin/codebase-mcp"
    link.parent.mkdir()
    link.symlink_to(script)
    found = current_launch(
        {}, started_as="/x/pytest", interpreter=str(script.parent / "python"), find_command=lambda name: str(link)
    )
    assert found == Launch(str(link))
    other = a_script(tmp_path / "other/codebase-mcp")
    found = current_launch({}, started_as=str(script), interpreter="/x/python", find_command=lambda name: str(other))
    assert found == Launch(str(script))


def test_without_a_script_the_interpreter_is_the_command() -> None:
    found = current_launch({}, started_as="-m", interpreter="/x/python", find_command=lambda name: None)
    assert found == Launch("/x/python", ("-m", "codebase_mcp", "serve"))


def test_a_command_in_a_cache_is_refused(tmp_path: Path) -> None:
    script = a_script(tmp_path / "uv/archive-v0/abc/bin/codebase-mcp")
    with pytest.raises(InvalidInputError, match="uv tool install codebase-mcp-server"):
        current_launch({}, started_as=str(script))


def test_a_virtual_environment_is_mentioned_and_that_of_a_tool_is_not(tmp_path: Path) -> None:
    for folder, is_mentioned in (("project/.venv", True), ("pipx/venvs/codebase-mcp-server", False)):
        script = a_script(tmp_path / folder / "bin/codebase-mcp")
        (tmp_path / folder / "pyvenv.cfg").write_text("")
        assert bool(notes(Launch(str(script)), {})) == is_mentioned


def test_under_sudo_it_is_said_whose_files_are_edited(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    monkeypatch.setenv("SUDO_USER", "ada")
    (home / ".codex").mkdir()
    done = run("install", "--yes")
    assert f"Running as root: the files in {home} are edited. For ada's assistants, run it without sudo." in done.err
