"""`codebase-mcp index --dry-run`: an estimate in words and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codebase_mcp.cli import screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codebase_mcp.answers import DirectoryShare, EstimateReport, LanguageShare, LeftOutGroup

ROWS_SHOWN = 10
EXAMPLES_SHOWN = 2


def say_estimate(report: EstimateReport, *, as_json: bool) -> int:
    """The whole report; the exit code."""
    if as_json:
        screen.say_json(report)
        return 0
    screen.say(report.message, "green")
    screen.say(f"Of {report.files_found:,} files: {_fates(report)}.")
    screen.say(f"The time rests on {report.rests_on}.")
    for warning in report.warnings:
        screen.say(f"Note: {warning}", "yellow")
    _say_shares("language", [(one.language, one) for one in report.languages])
    _say_shares("directory", [(one.path, one) for one in report.largest_directories])
    _say_left_out(report.left_out, is_measured=report.is_left_out_measured)
    return 0


def _fates(report: EstimateReport) -> str:
    fates = [f"{report.files_to_index:,} to index", f"{report.files_unchanged:,} unchanged"]
    if report.files_failed_before:
        fates.append(f"{report.files_failed_before:,} failed before (--retry-failed tries them again)")
    left_out = report.files_found - report.files_to_index - report.files_unchanged - report.files_failed_before
    fates.append(f"{left_out:,} left out by name, kind, size or content")
    if report.files_to_remove:
        fates.append(f"and {report.files_to_remove:,} to remove from the index")
    return ", ".join(fates)


def _say_shares(title: str, shares: Sequence[tuple[str, LanguageShare | DirectoryShare]]) -> None:
    if not shares:
        return
    table = screen.new_table(title, "files", "size")
    for name, share in shares[:ROWS_SHOWN]:
        screen.add_row(table, name, f"{share.files:,}", screen.size(share.size_bytes))
    screen.say("")
    screen.say_table(table)
    if len(shares) > ROWS_SHOWN:
        screen.say(f"… and {len(shares) - ROWS_SHOWN} more")


def _say_left_out(groups: Sequence[LeftOutGroup], *, is_measured: bool) -> None:
    if not groups:
        return
    table = screen.new_table("left out", "files", "size", "for example")
    for group in groups:
        examples = ", ".join(group.examples[:EXAMPLES_SHOWN])
        screen.add_row(table, group.reason, f"{group.files:,}", screen.size(group.size_bytes), examples)
    screen.say("")
    screen.say_table(table)
    if not is_measured:
        screen.say("There was no time to measure all that is left out.")
