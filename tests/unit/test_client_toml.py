"""Edits of Codex's config.toml: nothing but the edit changes, and its undo restores every byte."""

from __future__ import annotations

import re
import tomllib

import pytest

from codebase_mcp.clients.errors import ClientConfigError
from codebase_mcp.clients.record import merged
from codebase_mcp.clients.server_entry import EntryFormat, Launch
from codebase_mcp.clients.toml_entry import TomlEntry

ENTRY = {"command": "/opt/bin/codebase-mcp", "args": ["serve"]}
OTHERS = """\
# my settings
model = "x"   # the good one

[mcp_servers.other]
command = 'y'
args = [
  "[mcp_servers.codebase-mcp]", # not a table
]
notes = \"\"\"
[z]
\"\"\"

[projects."/home/me/a b"]
trust_level = "trusted"
"""


def editor(command: str = "/opt/bin/codebase-mcp", **environment: str) -> TomlEntry:
    return TomlEntry("mcp_servers", EntryFormat(), Launch(command, environment=environment))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "# only a comment",
        'model = "x"',
        OTHERS,
        OTHERS.rstrip("\n"),
        OTHERS + "\n\n",
        OTHERS.replace("\n", "\r\n"),
        "mcp_servers.other.command = 'y'\n",
        "[mcp_servers]\n",
    ],
)
def test_installing_adds_the_table_and_uninstalling_restores_every_byte(text: str) -> None:
    installed, undo = editor(A="/b").install(text)
    assert installed.startswith(text)
    assert tomllib.loads(installed)["mcp_servers"]["codebase-mcp"] == {**ENTRY, "env": {"A": "/b"}}
    assert ("\r\n" in installed) == ("\r\n" in text)
    assert installed.endswith("\n") == (not text or text.endswith("\n"))
    assert editor(A="/b").install(installed) == (installed, {})
    assert editor().uninstall(installed, undo) == text


def test_a_moved_command_is_updated_and_still_undone_to_the_byte() -> None:
    installed, first = editor().install(OTHERS)
    updated, second = editor("/new/codebase-mcp").install(installed)
    assert tomllib.loads(updated)["mcp_servers"]["codebase-mcp"]["command"] == "/new/codebase-mcp"
    assert editor().uninstall(updated, merged(first, second)) == OTHERS


def test_an_entry_written_by_hand_keeps_its_form_and_comes_back() -> None:
    by_hand = (
        OTHERS + "\n[mcp_servers.codebase-mcp] # mine\ncommand = 'codebase-mcp' # short\nargs = ['serve']\n# end\n"
    )
    installed, undo = editor(A="/b").install(by_hand)
    assert "# mine" in installed
    assert "# short" in installed
    assert tomllib.loads(installed)["mcp_servers"]["codebase-mcp"] == {**ENTRY, "env": {"A": "/b"}}
    assert editor().uninstall(installed, undo) == by_hand


def test_an_entry_that_was_changed_since_is_not_guessed_back() -> None:
    installed, undo = editor().install("[mcp_servers.codebase-mcp]\ncommand = 'codebase-mcp'\nargs = ['serve']\n")
    with pytest.raises(ClientConfigError, match="was changed since"):
        editor().uninstall(installed.replace("/opt/bin", "/usr/bin"), undo)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_tables_that_the_client_put_below_the_entry_go_and_comments_stay(is_recorded: bool) -> None:
    installed, undo = editor().install(OTHERS)
    since = (
        installed + "startup_timeout_sec = 9\n[mcp_servers.codebase-mcp.tools.search_code]\napproval_mode = 'approve'\n"
    )
    left = editor().uninstall(since + "\n# about z\n[z]\na = 1\n", undo if is_recorded else {})
    assert left == OTHERS + "\n\n# about z\n[z]\na = 1\n"


def test_an_inline_entry_is_removed_as_well() -> None:
    text = (
        "mcp_servers = { a = { command = 'a' }, codebase-mcp = { command = 'codebase-mcp', args = ['serve'] } } # x\n"
    )
    left = editor().uninstall(text, {})
    assert tomllib.loads(left) == {"mcp_servers": {"a": {"command": "a"}}}
    assert left.endswith("# x\n")


def test_servers_in_an_inline_table_cannot_be_extended_and_the_entry_is_shown() -> None:
    with pytest.raises(ClientConfigError, match="cannot be extended") as refusal:
        editor().install("mcp_servers = { a = { command = 'a' } }\n")
    assert '[mcp_servers.codebase-mcp]\ncommand = "/opt/bin/codebase-mcp"' in refusal.value.message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = 1\nb = \n", "line 2, column 5: Invalid value"),
        ("a = [1", "line 1, column 7: Unclosed array"),
        ("a = " + "[" * 5000, "nested too deep"),
        ("mcp_servers = 1", "mcp_servers is not a table"),
        ("[mcp_servers]\ncodebase-mcp = 1", "the entry codebase-mcp is not an object"),
        ("[mcp_servers.codebase-mcp]\ncommand = 'npx'\nargs = ['codebase-mcp']", "belongs to another program"),
    ],
)
def test_a_file_that_cannot_be_edited_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ClientConfigError, match=re.escape(complaint)):
        editor().install(text)
