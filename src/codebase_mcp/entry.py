"""Where the program starts. `serve`, as clients start it, answers the handshake before anything else is imported.

Only the standard library is imported here at first: an assistant that starts a server waits for its tools, and sends
its first request without them when that takes long. Every other command line goes to `cli.app`.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, get_args

from codebase_mcp.interpreter import restart_undisturbed
from codebase_mcp.offer import AnswerForm, Offer, ToolProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codebase_mcp.server.stdio_frontend import StdioFrontend

HANDSHAKE_SECONDS = 0.05
"""Imports begin at the latest after this; until then nothing competes with the first answers."""

STDERR = 2
_CHOICES: dict[str, tuple[str, ...]] = {"tools": get_args(ToolProfile), "answers": get_args(AnswerForm)}


def main() -> None:
    """Entry point of `codebase-mcp` and `python -m codebase_mcp`."""
    _open_standard_streams()
    restart_undisturbed()
    sys.exit(run(sys.argv[1:]))


def _open_standard_streams() -> None:
    """Prevents: a file or a connection that gets the number of a stream which whoever started us has closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; answers the exit code."""
    offer = _client_offer(arguments)
    if offer is None:
        from codebase_mcp.cli.app import run as run_command_line

        return run_command_line(arguments)
    return _serve_client(offer)


def _client_offer(arguments: Sequence[str]) -> Offer | None:
    """What to offer, when this is how a client starts a server and all of it is valid."""
    if sys.platform == "win32" or arguments[:1] != ["serve"] or os.isatty(0):
        return None
    given = _options(arguments[1:])
    if given is None:
        return None
    configured = _configured() if given.keys() < _CHOICES.keys() else {}
    if configured is None:
        return None
    wanted: dict[str, Any] = {name: given.get(name) or configured.get(name) for name in _CHOICES}
    offer = {name: value for name, value in wanted.items() if value}
    return Offer(**offer) if all(value in _CHOICES[name] for name, value in offer.items()) else None


def _options(arguments: Sequence[str]) -> dict[str, str] | None:
    """`--tools search --answers=text` as a dictionary; None when there is anything else."""
    given: dict[str, str] = {}
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if len(words) % 2:
        return None
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("--")
        if not option.startswith("--") or name not in _CHOICES or name in given:
            return None
        given[name] = value
    return given


def _configured() -> dict[str, str] | None:
    """What the environment and the settings file say; None when that file is wrong, which the command line explains."""
    from codebase_mcp.config_file import config_path, read_config
    from codebase_mcp.errors import InvalidInputError

    try:
        values = read_config(config_path()).values
    except InvalidInputError:
        return None
    variables = {name: os.environ.get(f"CODEBASE_MCP_{name.upper()}", "") for name in _CHOICES}
    return {name: variables[name] or str(values.get(name, "")) for name in _CHOICES}


def _serve_client(offer: Offer) -> int:
    from codebase_mcp.server.stdio_frontend import StdioFrontend, load_recording

    # Until the server runs there is nothing to close, and a signal may come in the middle of any import.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Otherwise a thread that has a request to answer waits 5 ms each time for the one that imports.
    sys.setswitchinterval(0.001)
    frontend = StdioFrontend(load_recording(offer))
    frontend.wait_until_needed(HANDSHAKE_SECONDS)
    # What is imported stays: looking for garbage among it would take a tenth of the time until the first answer.
    gc.disable()
    try:
        return _serve(frontend, offer)
    except Exception as error:
        from codebase_mcp.cli.app import explain

        code, message = explain(error)
        frontend.fail(message)
        return code


def _serve(frontend: StdioFrontend, offer: Offer) -> int:
    from codebase_mcp.cli.session import prepare, service_factory
    from codebase_mcp.server.run import serve_stdio

    settings = prepare("serve")
    make_service = service_factory.get()
    serve_stdio(lambda: make_service(settings), frontend, offer, settings.serve_idle_seconds or math.inf)
    return 0
