"""Edits of JSON configuration files: nothing but the edit changes, and its undo restores every byte."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codebase_mcp.clients import json_edit
from codebase_mcp.clients.errors import ClientConfigError, ConfigParseError
from codebase_mcp.clients.json_entry import JsonEntry
from codebase_mcp.clients.jsonc import MAX_DEPTH, RELAXED, STRICT, WITH_COMMENTS, Dialect, parse
from codebase_mcp.clients.server_entry import EntryFormat, Launch

LAUNCH = Launch("/opt/bin/codebase-mcp")
ENTRY = {"command": "/opt/bin/codebase-mcp", "args": ["serve"]}


def editor(dialect: Dialect = RELAXED, launch: Launch = LAUNCH, **extra: object) -> JsonEntry:
    return JsonEntry("mcpServers", EntryFormat(extra=extra), launch, dialect)


def member_of_x(indent: str) -> str:
    """The new member on lines of its own, two levels deep."""
    member = '"codebase-mcp": ' + json.dumps({"command": "x", "args": ["serve"]}, indent=indent)
    return ("\n" + member).replace("\n", "\n" + 2 * indent)


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def value_of(text: str) -> Any:
    root = parse(text, (), RELAXED).root
    return None if root is None else root.value


@st.composite
def gaps(draw: st.DrawFn) -> str:
    """White space and comments, as they may stand between two tokens."""
    pieces = st.sampled_from(
        ["", "", " ", "\n", "\r\n", "\t", "\n    ", "/* c */", "/* {,\n} */", '// "x": 1,\n', "//\r\n"]
    )
    return "".join(draw(st.lists(pieces, max_size=3)))


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    scalar = st.one_of(
        st.sampled_from(["true", "null", "-1.5e3", '"// no comment"', '"\\u00e9\\""', '"mcpServers"']),
        st.text(max_size=3).map(lambda text: json.dumps(text, ensure_ascii=False)),
    )
    kinds = [scalar] if depth == 0 else [scalar, objects(depth=depth - 1), arrays(depth=depth - 1)]
    return draw(st.one_of(kinds))


@st.composite
def arrays(draw: st.DrawFn, depth: int = 1) -> str:
    items = [draw(gaps()) + item + draw(gaps()) for item in draw(st.lists(values(depth=depth), max_size=2))]
    trailing = "," + draw(gaps()) if items and draw(st.booleans()) else ""
    return "[" + ",".join(items) + trailing + (draw(gaps()) if not items else "") + "]"


@st.composite
def objects(draw: st.DrawFn, depth: int = 1, extra: str | None = None) -> str:
    keys = draw(st.lists(st.sampled_from(["a", "b", "ü", "mcpServer", "a"]), max_size=3))
    members = [
        f"{draw(gaps())}{json.dumps(key)}{draw(gaps())}:{draw(gaps())}{draw(values(depth=depth))}{draw(gaps())}"
        for key in keys
    ]
    if extra is not None:
        members.insert(draw(st.integers(0, len(members))), f'{draw(gaps())}"mcpServers": {extra}{draw(gaps())}')
    trailing = "," + draw(gaps()) if members and draw(st.booleans()) else ""
    return "{" + ",".join(members) + trailing + (draw(gaps()) if not members else "") + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Configuration files: blank, without servers, with none, or with some."""
    kind = draw(st.sampled_from(["blank", "without", "with"]))
    if kind == "blank":
        return draw(gaps())
    servers = draw(objects()) if kind == "with" else None
    return draw(gaps()) + draw(objects(extra=servers)) + draw(gaps())


@settings(max_examples=50)
@given(documents())
@example("{ }")
@example("{\n}\n")
@example('{"mcpServers": {\n}}')
@example("{ /* c */ }")
@example("// c")
def test_installing_adds_the_entry_and_uninstalling_restores_every_byte(text: str) -> None:
    before = value_of(text) or {}
    installed, undo = editor().install(text)
    servers = before.get("mcpServers", {})
    assert value_of(installed) == {**before, "mcpServers": {**servers, "codebase-mcp": ENTRY}}
    assert editor().install(installed) == (installed, {})
    assert editor().uninstall(installed, json.loads(json.dumps(undo))) == text


@settings(max_examples=50)
@given(documents())
def test_without_a_record_uninstalling_leaves_at_most_an_empty_object(text: str) -> None:
    before = value_of(text) or {}
    installed, _ = editor().install(text)
    left = value_of(editor().uninstall(installed, {}))
    assert left == {**before, "mcpServers": before.get("mcpServers", {})}


@settings(max_examples=50)
@given(documents(), st.sampled_from(["before", "after"]))
def test_what_others_added_beside_the_entry_stays(text: str, where: str) -> None:
    """A client rewrites the file in its own way between installing and uninstalling."""
    installed, undo = editor().install(text)
    value = value_of(installed)
    servers = value["mcpServers"]
    value["mcpServers"] = {"new": {}, **servers} if where == "before" else {**servers, "new": {}}
    left = value_of(editor().uninstall(json.dumps(value, indent=2), undo))
    del value["mcpServers"]["codebase-mcp"]
    assert left == value


PRETTY = """{
  "mcpServers": {
    "codebase-mcp": {
      "command": "x",
      "args": [
        "serve"
      ]
    }
  }
}"""
WITH_TABS = """{
\t"mcpServers": {
\t\t"a": {}%s // mine%s
\t}
}
"""
WITH_TRAILING_COMMAS = """{
    "mcpServers": {
        "a": {},%s
    },
}"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", PRETTY + "\n"),
        ("{}", PRETTY),
        ('{"a":1}', '{"a":1,"mcpServers":{"codebase-mcp":{"command":"x","args":["serve"]}}}'),
        ('{"a": 1}', '{"a": 1, "mcpServers": {"codebase-mcp": {"command": "x", "args": ["serve"]}}}'),
        (WITH_TABS % ("", ""), WITH_TABS % (",", member_of_x("\t"))),
        (crlf(WITH_TRAILING_COMMAS % ""), crlf(WITH_TRAILING_COMMAS % (member_of_x("    ") + ","))),
    ],
)
def test_the_entry_is_written_in_the_style_of_the_file(text: str, expected: str) -> None:
    assert editor(launch=Launch("x")).install(text)[0] == expected


def test_an_entry_of_ours_keeps_what_others_wrote_into_it() -> None:
    text = """{"mcpServers": {"codebase-mcp": {"command": "codebase-mcp", "args": ["serve", "--tools", "search"],
        "timeout": 5, /* mine */ "env": {"A": "b"}}}}"""
    launch = Launch("/opt/bin/codebase-mcp", environment={"CODEBASE_MCP_CONFIG": "/c.toml"})
    installed, undo = editor(launch=launch, type="stdio").install(text)
    assert "/* mine */" in installed
    assert value_of(installed)["mcpServers"]["codebase-mcp"] == {
        "type": "stdio",
        "command": "/opt/bin/codebase-mcp",
        "args": ["serve", "--tools", "search"],
        "timeout": 5,
        "env": {"A": "b", "CODEBASE_MCP_CONFIG": "/c.toml"},
    }
    assert editor(launch=launch, type="stdio").install(installed) == (installed, {})
    assert editor(launch=launch).uninstall(installed, undo) == text


def test_a_field_that_the_user_turned_off_stays_off() -> None:
    text = json.dumps({"mcpServers": {"codebase-mcp": {**ENTRY, "alwaysLoad": False}}})
    assert editor(alwaysLoad=True).install(text) == (text, {})


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "uvx", "args": ["codebase-mcp", "serve"]},
        {"command": "npx", "args": ["-y", "codebase-mcp"]},
        {"command": "codebase-mcp"},
        {"type": "http", "url": "http://127.0.0.1:8000/mcp"},
    ],
)
def test_an_entry_of_another_program_is_neither_changed_nor_removed(entry: dict[str, Any]) -> None:
    text = json.dumps({"mcpServers": {"codebase-mcp": entry}})
    with pytest.raises(ClientConfigError, match="belongs to another program"):
        editor().install(text)
    assert editor().uninstall(text, {}) == text


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "codebase-mcp", "args": ["serve"]},
        {"command": "/somewhere/codebase-mcp", "args": ["serve", "--tools", "all"]},
        {"command": "python3", "args": ["-m", "codebase_mcp", "serve"]},
        {"command": "uvx", "args": ["--from", "codebase-mcp-server", "codebase-mcp", "serve"]},
    ],
)
def test_an_entry_written_by_hand_is_recognised(entry: dict[str, Any]) -> None:
    text = json.dumps({"mcpServers": {"codebase-mcp": entry}})
    assert value_of(editor().install(text)[0])["mcpServers"]["codebase-mcp"]["command"] == LAUNCH.command
    assert value_of(editor().uninstall(text, {})) == {"mcpServers": {}}


@pytest.mark.parametrize(
    ("text", "dialect", "complaint"),
    [
        ('{\n  "a": 1,\n}', WITH_COMMENTS, "line 2, column 9: a comma before '}'"),
        ('{"a": 1 // c\n}', STRICT, "line 1, column 9: comments are not allowed in this file"),
        ('{"a": 1', RELAXED, "line 1, column 8: expected ',' or '}', found the end of the file"),
        ('{"a": 1}\n}', RELAXED, "line 2, column 1: expected the end of the file"),
        ("{'a': 1}", RELAXED, "line 1, column 2: expected a key in double quotes"),
        ('{\r\n"a" 1}', RELAXED, "line 2, column 5: expected ':'"),
        ('{"a": }', RELAXED, "line 1, column 7: expected a value"),
        ('{"a": "b\n"}', RELAXED, "line 1, column 7: unterminated or malformed string"),
        ('{"a": /* }', RELAXED, "line 1, column 7: expected a value"),
        ("[" * (MAX_DEPTH + 1), RELAXED, "nested more than 200 levels deep"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(text: str, dialect: Dialect, complaint: str) -> None:
    with pytest.raises(ConfigParseError, match=re.escape(complaint)):
        editor(dialect).install(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "the whole file is an array where an object is expected"),
        ('{"mcpServers": null}', "mcpServers is null where an object is expected"),
        ('{"mcpServers": "x"}', "mcpServers is a string where an object is expected"),
        ('{"mcpServers": {"codebase-mcp": 1}}', "the entry codebase-mcp is not an object"),
    ],
)
def test_a_value_of_another_kind_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ClientConfigError, match=complaint):
        editor().install(text)


def test_an_edit_that_would_change_anything_else_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_edit, "insert", lambda text, *_: (text.replace("1", "2"), json_edit.Insertion(0)))
    with pytest.raises(ClientConfigError, match="cannot be edited safely"):
        editor().install('{"a": 1}')


def test_of_equal_keys_the_last_counts_as_in_the_clients() -> None:
    text = '{"mcpServers": {"old": {}}, "mcpServers": {"new": {}}}'
    installed, undo = editor().install(text)
    assert installed.startswith('{"mcpServers": {"old": {}}, "mcpServers": {"new": {}, "codebase-mcp"')
    assert editor().uninstall(installed, undo) == text


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_strict_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    text = json.dumps(value)
    root = parse(text, ()).root
    assert root is not None
    assert json.dumps(root.value) == text
