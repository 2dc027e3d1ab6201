"""Words on the terminal: colour and live displays on a TTY, plain lines elsewhere.

Names, contents and messages come from repositories, whose authors may not be trusted. Whatever a terminal would obey,
or show in another order or not at all, is written as an escape, and a name never takes more than its line.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from codebase_mcp.visible_text import escape_json, escape_line, escape_text

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table


UNLIMITED_WIDTH = 100_000


def console() -> Console:
    """Standard output; never wraps or decorates what is piped elsewhere."""
    from codebase_mcp.cli.safe_console import SafeConsole

    return SafeConsole(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def error_console() -> Console:
    from codebase_mcp.cli.safe_console import SafeConsole

    return SafeConsole(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def say(text: str, style: str | None = None) -> None:
    """A line of the answer, on standard output."""
    console().print(escape_line(text), style=style, soft_wrap=True)


def say_place(place: str, about: str) -> None:
    """The line above what was found there: a path with a line number, and what it is."""
    target = console()
    target.print(escape_line(place), style="bold cyan", end="", soft_wrap=True)
    target.print(escape_line(about), style="dim", soft_wrap=True)


def say_content(text: str) -> None:
    """Lines of a file."""
    console().print(escape_text(text), soft_wrap=True)


def tell(text: str) -> None:
    """A line about what goes on, on standard error: it never mixes with the answer."""
    error_console().print(escape_line(text), style="dim", soft_wrap=True)


def complain(text: str) -> None:
    error_console().print(f"error: {escape_line(text)}", style="red", soft_wrap=True)


def ask(question: str) -> bool:
    """Whether the user at the terminal answers with yes."""
    sys.stderr.write(f"{escape_line(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def say_json(*models: BaseModel, is_list: bool = False) -> None:
    """One model as a JSON object, or several as an array."""
    texts = [model.model_dump_json(indent=2) for model in models]
    sys.stdout.write(escape_json("[" + ",\n".join(texts) + "]" if is_list else texts[0]) + "\n")


def new_table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
    return table


def add_row(table: Table, *cells: str) -> None:
    table.add_row(*map(escape_line, cells))


def say_table(table: Table) -> None:
    """On a TTY as wide as the window; elsewhere as wide as its contents, so that nothing is cut."""
    target = console()
    if not sys.stdout.isatty():
        target.width = UNLIMITED_WIDTH
    target.print(table)


def duration(seconds: float) -> str:
    """`4 s`, `2 min 5 s`, `3 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(size_bytes: int) -> str:
    """In decimal units: `12.3 MB`."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def moment(when: datetime | None) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else "–"
