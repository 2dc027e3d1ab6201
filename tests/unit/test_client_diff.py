"""What the user is shown before a file is changed."""

from __future__ import annotations

import difflib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.clients.diff import LONGEST_LINE, unified_diff

LINES = st.lists(st.sampled_from(["a", "b", "-1", "+2 @@ -3", "@@ x"]), max_size=12)


@given(LINES, LINES)
def test_it_is_a_unified_diff_of_both_texts(old: list[str], new: list[str]) -> None:
    shown = unified_diff(Path("f"), "\n".join(old).encode(), "\n".join(new).encode())
    assert shown[:2] == ["--- f", "+++ f"]
    rebuilt, position = [], 0
    for line in shown[2:]:
        if line.startswith("@@ "):
            first, length, *_ = *line.split()[1].removeprefix("-").split(","), "1"
            start = int(first) - (length != "0")
            rebuilt += old[position:start]
            position = start
        elif line[0] == "+":
            rebuilt.append(line[1:])
        else:
            assert old[position] == line[1:]
            position += 1
            rebuilt += [line[1:]] if line[0] == " " else []
    assert rebuilt + old[position:] == new


def test_a_small_change_of_a_long_file_has_the_lines_of_difflib() -> None:
    old = [f"line {number}" for number in range(50)]
    new = [*old[:40], "new", *old[40:]]
    shown = unified_diff(Path("f"), "\n".join(old).encode(), "\n".join(new).encode())
    assert shown == list(difflib.unified_diff(old, new, "f", "f", lineterm=""))


def test_a_missing_file_is_dev_null() -> None:
    assert unified_diff(Path("f"), None, b"a\n") == ["--- /dev/null", "+++ f", "@@ -0,0 +1 @@", "+a"]
    assert unified_diff(Path("f"), b"a\n", None) == ["--- f", "+++ /dev/null", "@@ -1 +0,0 @@", "-a"]


def test_values_of_keys_and_tokens_are_hidden_in_json_and_toml() -> None:
    text = b'"apiKey": "abc"\nAUTH_TOKEN = \'abc\'\n"GITHUB_TOKEN":"abc"\n"command": "abc"\n'
    shown = unified_diff(Path("f"), None, text)[3:]
    assert shown == ['+"apiKey": "***"', '+AUTH_TOKEN = "***"', '+"GITHUB_TOKEN":"***"', '+"command": "abc"']


def test_of_a_long_line_the_part_that_changes_is_shown() -> None:
    old = "x" * 10 * LONGEST_LINE + "y" * 10 * LONGEST_LINE
    new = old.replace("xy", "x NEW y")
    (removed, added) = unified_diff(Path("f"), old.encode(), new.encode())[3:]
    assert "x NEW y" in added
    assert len(removed) < len(added) < LONGEST_LINE
