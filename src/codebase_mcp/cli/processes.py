"""`codebase-mcp serve`, `worker` and `stop`: the long-lived processes."""

from __future__ import annotations

import math
import os
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.session import prepare, run_with_service, service_factory
from codebase_mcp.offer import AnswerForm, Offer, ToolProfile

if TYPE_CHECKING:
    from codebase_mcp.service import Service


def serve(
    *,
    transport: Annotated[
        Literal["stdio", "http"], Parameter(help="stdio for a client that starts us; http for one that connects.")
    ] = "stdio",
    host: Annotated[str, Parameter(help="Address to listen on, with --transport http.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on, with --transport http.")] = 8321,
    tools: Annotated[
        ToolProfile | None, Parameter(help="Which tools to offer: all, those that search, or those for jobs.")
    ] = None,
    answers: Annotated[
        AnswerForm | None, Parameter(help="Whether searches are answered in text, or in fields for programs.")
    ] = None,
) -> int:
    """Run the MCP server; this is the command to put into a client's configuration.

    On stdio it ends with its client. Over HTTP it answers at http://HOST:PORT/mcp, without authentication: keep it on a
    loopback address. Indexing jobs go on in the worker after either ends.

    Example: codebase-mcp serve --transport http --port 8321
    """
    settings = prepare("serve")
    make_service = service_factory.get()
    from codebase_mcp.server.run import listen, serve_http, serve_stdio

    offer = Offer(tools or settings.tools, answers or settings.answers)
    if transport == "http":
        listener = listen(host, port)
        address, port = listener.getsockname()[:2]
        screen.tell(f"Serving MCP at http://{host}:{port}/mcp")
        if not ip_address(address).is_loopback:
            screen.tell("Whoever reaches this address can search and remove what is indexed: there is no password.")
        serve_http(lambda: make_service(settings, is_shared=True), listener, offer)
        return 0
    if sys.stdin.isatty():
        screen.tell("Serving MCP on standard input, which is meant for a client. Ctrl-C ends it.")
    from codebase_mcp.server.stdio_frontend import StdioFrontend, load_recording

    frontend = StdioFrontend(load_recording(offer))
    serve_stdio(lambda: make_service(settings), frontend, offer, settings.serve_idle_seconds or math.inf)
    return 0


def worker(
    *,
    spawned: Annotated[bool, Parameter(show=False, negative=())] = False,
    ignore_host_lock: Annotated[bool, Parameter(show=False, negative=())] = False,
    stop: Annotated[bool, Parameter(help="Stop the workers on this host instead, and say which.", negative=())] = False,
) -> int:
    """Run a worker that carries out indexing jobs, until it is told to stop.

    Servers start one by themselves; run this where CODEBASE_MCP_WORKER=external says that you do. What a stopped worker
    was doing goes on when another starts; a client that is open starts one by itself.

    Example: CODEBASE_MCP_WORKER=external codebase-mcp worker
    """
    if stop:
        return run_with_service(_stop_workers, database="untouched")
    if spawned:
        from codebase_mcp.settings import take_settings_of_older_version

        take_settings_of_older_version(os.environ)
    settings = prepare("worker")
    from codebase_mcp.jobs.worker import work_until_told

    return work_until_told(settings, is_spawned=spawned, ignore_host_lock=ignore_host_lock)


async def _stop_workers(service: Service) -> int:
    for sentence in await service.stop_workers():
        screen.say(sentence)
    return 0


def stop() -> int:
    """Stop this host's workers and the embedded database.

    Running jobs are released and continue when a worker starts again.

    Example: codebase-mcp stop
    """

    async def work(service: Service) -> int:
        for sentence in await service.stop_everything():
            screen.say(sentence)
        return 0

    return run_with_service(work, database="untouched")
