"""What repositories contain and are called cannot steer the terminal of who looks, nor pretend to be more lines."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from codebase_mcp.answers import JobList, RepositoryList
from codebase_mcp.cli import screen
from codebase_mcp.visible_text import escape_json, escape_line, escape_text
from tests.support.fake_service import (
    FakeService,
    a_hit,
    a_job,
    a_related_answer,
    a_repository,
    a_summary,
    a_symbol,
    a_symbol_answer,
    an_answer,
    an_estimate,
)
from tests.unit.test_cli import Run, run  # noqa: F401  # a fixture

HOSTILE = "a\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\r\u202eb\u2066c\u200bd\u2028e\udcffz"
SHOWN = "a\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\x7f\\r\\u202eb\\u2066c\\u200bd\\u2028e\\xffz"
STORED = HOSTILE.replace("\udcff", "")
FORGED = f"{STORED}\n/etc/passwd:1  root  (function, shop)"
COMMANDS_TO_A_TERMINAL = "\x1b\x07\x9b\x7f\r\u202e\u2066\u200b\u2028"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, SHOWN),
        ("tab\tand\nline", "tab\\tand\\nline"),
        ("\x00\x85\xad\ufeff\U000e0041", "\\x00\\x85\\xad\\ufeff\\U000e0041"),
        ("naïve 漢字 \U0001f600 \\x1b", "naïve 漢字 \U0001f600 \\x1b"),
    ],
)
def test_a_name_is_one_line_without_anything_that_a_terminal_obeys_or_hides(text: str, shown: str) -> None:
    assert escape_line(text) == shown


def test_contents_keep_their_tabs_and_line_ends() -> None:
    assert escape_text("if x:\r\n\treturn '\x1b[0m'\rfoo\n") == "if x:\n\treturn '\\x1b[0m'\\rfoo\n"


def test_json_keeps_its_value() -> None:
    value = [HOSTILE.replace("\udcff", ""), "\U000e0041"]
    text = escape_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert not set(text) & set(COMMANDS_TO_A_TERMINAL)


HIT = a_hit(file_path=f"/src/{FORGED}", content=f"def f():\n\treturn '{STORED}'", symbol=FORGED, repository=FORGED)
SYMBOL = a_symbol(file_path=f"/src/{FORGED}", name=FORGED, qualified_name=FORGED, signature=FORGED, repository=FORGED)
REPOSITORIES = RepositoryList(
    project_id="default", database_name="cb_proj", repositories=[a_repository(name=FORGED, path=f"/src/{FORGED}")]
)
JOBS = JobList(jobs=[a_summary(repo_path=f"/src/{FORGED}")], total_count=1, limit=10, offset=0)
ANSWERS: list[tuple[list[str], FakeService]] = [
    (["search", "x"], FakeService(search=an_answer(HIT, warnings=[FORGED]))),
    (["symbol", "x"], FakeService(find_symbol=a_symbol_answer(SYMBOL, warnings=[FORGED]))),
    (["related", "/a.py", "1"], FakeService(find_related=a_related_answer(HIT))),
    (["repos", "list"], FakeService(list_repositories=REPOSITORIES)),
    (["jobs", "list"], FakeService(list_jobs=JOBS)),
    (["jobs", "show", str(a_job().job_id)], FakeService(job_status=a_job(repo_path=FORGED, error_message=FORGED))),
    (["index", "/src", "--dry-run"], FakeService(estimate_indexing=an_estimate(message=FORGED))),
]


@pytest.mark.parametrize(("tokens", "service"), ANSWERS, ids=lambda value: value[0] if isinstance(value, list) else "")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_command_prints_what_a_terminal_obeys(
    run: Run,  # noqa: F811
    tokens: list[str],
    options: list[str],
    service: FakeService,
) -> None:
    done = run(*tokens, *options, service=service)
    assert done.code == 0, done.err
    assert not set(done.out + done.err) & set(COMMANDS_TO_A_TERMINAL)
    assert "owned" in done.out
    assert not any(line.startswith("/etc/passwd") for line in done.out.splitlines())
    if options:
        json.loads(done.out)


def test_errors_and_questions_are_escaped(run: Run, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert not set(run("search", "x", "--limit", STORED).err) & set(COMMANDS_TO_A_TERMINAL)
    screen.complain(FORGED)
    assert capsys.readouterr().err == f"error: {escape_line(FORGED)}\n"


def test_an_argument_that_is_not_utf8_is_refused_by_name(run: Run) -> None:  # noqa: F811
    done = run("search", "caf\udce9")
    assert done.code == 2
    assert "'caf\\\\xe9' is not UTF-8" in done.err


ON_TERMINAL = f"""
from codebase_mcp.cli import screen
from codebase_mcp.cli.progress import new_display
from codebase_mcp.cli.search import say_hits
from tests.support.fake_service import a_hit, a_running_job
hostile = {HOSTILE!r}
with new_display() as display:
    display.note(hostile)
    display.show(a_running_job(40, stalled_reason=hostile))
say_hits([a_hit(file_path=hostile, content=hostile, symbol=hostile)])
table = screen.new_table("path")
screen.add_row(table, hostile)
screen.say_table(table)
screen.say(hostile, "red")
"""


def test_on_a_terminal_only_our_own_colours_and_movements_are_sent() -> None:
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"},
    )
    os.close(its)
    sent = b""
    try:
        while data := os.read(ours, 65_536):
            sent += data
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, sent.decode()
    text = sent.decode()
    assert text.count("]0;owned") >= 5
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    assert not set(text) & set("\x07\x9b\x7f\u202e\u2066\u200b\u2028")
