from __future__ import annotations

import io
import re
from typing import Any

import pytest

from codebase_mcp.cli import screen
from codebase_mcp.cli.index import say_outcome
from codebase_mcp.cli.progress import BarDisplay, LineDisplay, Rate, describe, new_display
from codebase_mcp.cli.search import _say_hit
from codebase_mcp.domain import JobPhase, JobStatus
from tests.support.fake_service import a_hit, a_job, a_running_job, a_summary


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called by the test itself: pytest exchanges the streams once more after the fixtures."""
    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setattr("sys.stderr", shown)
    return shown


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_the_rate_counts_from_the_first_look() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.of(a_running_job(1, chunks_created=1000)) is None
    clock.now += 0.5
    assert rate.of(a_running_job(1, chunks_created=1200)) is None
    clock.now += 3.5
    assert rate.of(a_running_job(2, chunks_created=1800)) == 200


def test_lines_come_at_steps_at_changes_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with LineDisplay(clock) as display:
        display.show(a_running_job(0, phase=JobPhase.DISCOVERING))
        display.show(a_running_job(0))
        display.show(a_running_job(9))
        display.show(a_running_job(10))
        clock.now += 9
        display.show(a_running_job(11))
        clock.now += 2
        display.show(a_running_job(12))
        display.show(a_running_job(12, status=JobStatus.BLOCKED))
    shown = [line.split("·")[0].strip() for line in capsys.readouterr().err.splitlines()]
    assert shown == ["0 % discovering", "0 % indexing", "10 % indexing", "12 % indexing", "12 % blocked"]


def test_a_terminal_gets_a_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with new_display() as display:
        assert isinstance(display, BarDisplay)
        display.show(a_running_job(42))
        display.note("The database cannot be reached.")
        display.show(a_running_job(99))
    assert "\x1b[" in terminal.getvalue()
    assert "99 % indexing · 12/12 files" in plain(terminal.getvalue())


def test_a_name_with_markup_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    job = a_running_job(5, status=JobStatus.BLOCKED, progress_message="[bold]odd[/wrong] name")
    with new_display() as display:
        display.show(job)
    say_outcome(a_job(status=JobStatus.FAILED, error_type="X", error_message="[/red] odd"))
    assert "[bold]odd[/wrong] name" in plain(terminal.getvalue())
    assert "X: [/red] odd" in plain(terminal.getvalue())


def test_code_is_highlighted_with_its_line_numbers_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    _say_hit(a_hit(), {})
    assert "\x1b[" in terminal.getvalue()
    assert re.search(r"10 +def add_tax\(price\):", plain(terminal.getvalue()))


def test_an_unknown_language_is_shown_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    _say_hit(a_hit(language="klingon", content="Qapla'", content_form="lines"), {})
    assert "Qapla'" in plain(terminal.getvalue())


def test_a_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    table = screen.new_table("job", "path")
    table.add_row(str(a_summary().job_id), "/deep" * 60)
    screen.say_table(table)
    assert max(map(len, plain(terminal.getvalue()).splitlines())) <= 120


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (11_400, "3 h 10 min")],
)
def test_durations_are_told_in_two_units(seconds: float, expected: str) -> None:
    assert screen.duration(seconds) == expected


@pytest.mark.parametrize(
    ("size_bytes", "expected"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (5_300_000, "5.3 MB"), (7e9, "7.0 GB")]
)
def test_sizes_are_told_in_decimal_units(size_bytes: Any, expected: str) -> None:
    assert screen.size(size_bytes) == expected


def test_the_description_leaves_out_what_is_not_known_yet() -> None:
    job = a_running_job(0, files_total=0, files_scanned=0, chunks_created=0, estimated_time_remaining_seconds=None)
    assert describe(job, None) == "indexing"
    assert describe(a_running_job(50), 310.4).endswith("1,234 chunks · 310 chunks/s · about 12 s left")
