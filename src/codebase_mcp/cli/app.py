"""The command line: parses, prints, decides nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from codebase_mcp import __version__
from codebase_mcp.cli import screen
from codebase_mcp.cli.config import config
from codebase_mcp.cli.doctor import doctor
from codebase_mcp.cli.index import index
from codebase_mcp.cli.install import install, uninstall
from codebase_mcp.cli.jobs import jobs
from codebase_mcp.cli.processes import serve, stop, worker
from codebase_mcp.cli.related import related
from codebase_mcp.cli.repos import repos
from codebase_mcp.cli.search import search
from codebase_mcp.cli.symbol import symbol
from codebase_mcp.errors import CodebaseMcpError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

CODES_OF_BAD_INPUT = {
    "VALIDATION_ERROR",
    "JOB_NOT_FOUND",
    "PROJECT_NOT_FOUND",
    "REPOSITORY_NOT_FOUND",
    "FILE_NOT_INDEXED",
    "INVALID_STATUS",
}

app = App(
    name="codebase-mcp",
    help="Local code search for AI assistants, over MCP.\n\n"
    'Example: codebase-mcp index ~/src/shop, then codebase-mcp search "where is tax added"',
    version=f"codebase-mcp {__version__}",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for command in (serve, index, search, symbol, related, jobs, repos, config, doctor, install, uninstall, worker, stop):
    app.command(command)


def run(tokens: Sequence[str]) -> int:
    """Carry out one command line; answers the exit code. Whatever goes wrong ends in one line on stderr."""
    _never_fail_to_print()
    try:
        _refuse_windows()
        _refuse_undecodable(tokens)
        return _run(tokens)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as leaving:  # how Rich ends a program whose output nobody reads
        return EXIT_PIPE_CLOSED if isinstance(leaving.__context__, BrokenPipeError) else _exit_code(leaving)
    except Exception as error:
        return explain(error)[0]


def _run(tokens: Sequence[str]) -> int:
    code = app(tokens, exit_on_error=False, print_error=False) or 0
    sys.stdout.flush()
    return code


def _exit_code(leaving: SystemExit) -> int:
    return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)


def _refuse_undecodable(tokens: Sequence[str]) -> None:
    for token in tokens:
        if not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token):
            raise InvalidInputError(
                f"the argument {os.fsencode(token).decode('utf-8', 'backslashreplace')!r} is not UTF-8. Paths and "
                "queries have to be: rename the file or folder, or set the terminal to UTF-8."
            )


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise InvalidInputError("Windows is not supported. Run codebase-mcp on Linux or macOS, or inside WSL.")


def explain(error: Exception) -> tuple[int, str]:
    """Print in one line what went wrong; answers the exit code and that line."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has enough
        _drop_output()
        return EXIT_PIPE_CLOSED, str(error)
    code, message = _explained(error)
    # Nobody may be there to read it, or the disk full that it goes to.
    with contextlib.suppress(OSError, SystemExit):
        screen.complain(message)
    return code, message


def _drop_output() -> None:
    """What is still buffered must not raise again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_problem(error: Exception) -> str | None:
    """Why standard output cannot be written, if that is what went wrong: then a line end cannot be either."""
    if not isinstance(error, OSError) or error.filename is not None:
        return None
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except OSError as again:
        _drop_output()
        return again.strerror or str(again)
    return None


def _explained(error: Exception) -> tuple[int, str]:
    if isinstance(error, CycloptsError):
        return EXIT_BAD_INPUT, f"VALIDATION_ERROR: {str(error).rstrip()} See `{_help_command(error)}`."
    if isinstance(error, CodebaseMcpError):
        return EXIT_BAD_INPUT if error.code in CODES_OF_BAD_INPUT else EXIT_FAILED, str(error)
    if problem := _output_problem(error):
        return EXIT_FAILED, f"standard output cannot be written ({problem}); what was shown is incomplete."
    from codebase_mcp.logs import current_log_file, log_incident

    incident = log_incident(error, "command failed unexpectedly")
    where = current_log_file() or "the lines above"
    unexpected = f"INTERNAL_ERROR: something unexpected went wrong (incident {incident}). The details are in {where}."
    return EXIT_FAILED, unexpected


def _help_command(error: CycloptsError) -> str:
    return " ".join(("codebase-mcp", *(error.command_chain or ()), "--help"))


def _never_fail_to_print() -> None:
    """A terminal that knows only ASCII shows "?" where we print "✓"; what is written to a closed stream is dropped."""
    import io

    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
