"""Serve until the client hangs up or a signal arrives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import math
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.leaving import Departure, told_to_stop
from codebase_mcp.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastmcp import FastMCP

    from codebase_mcp.offer import Offer
    from codebase_mcp.server.stdio_frontend import StdioFrontend
    from codebase_mcp.server.streams import ClientLines
    from codebase_mcp.service import Service

# FastMCP's store of sessions checks the types of its own calls, for which it is compiled anew at every start.
os.environ.setdefault("PY_KEY_VALUE_DISABLE_BEARTYPE", "true")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
IDLE_CHECK_SECONDS = 10.0
OPEN_REQUESTS_SECONDS = 1
"""How long an HTTP server that was told to stop lets running requests finish."""

logger = get_logger(__name__)


def serve_stdio(
    make_service: Callable[[], Service], frontend: StdioFrontend, offer: Offer, idle_seconds: float = math.inf
) -> None:
    """Speak MCP through the frontend until its input ends or the process is told to stop.

    After `idle_seconds` without a message, and without active jobs, the process is suspended: it starts anew and loads
    nothing until the client asks for something.
    """
    departure = Departure()
    while asyncio.run(_serve_until_idle(*_build(make_service, offer), frontend, departure, idle_seconds)):
        logger.info("suspended", idle_seconds=idle_seconds)
        try:
            frontend.suspend()
        except OSError:
            logger.exception("could not be suspended")
            idle_seconds = math.inf
    logger.info("stopped serving")


async def _serve_until_idle(
    service: Service, server: FastMCP[None], frontend: StdioFrontend, departure: Departure, idle_seconds: float
) -> bool:
    """Whether it ended because nobody has asked for anything and there are no jobs; the frontend is then paused."""
    from codebase_mcp.server.protocol import serve_streams
    from codebase_mcp.server.streams import ClientLines, ClientOutput

    with told_to_stop(STOP_SIGNALS, frontend.end_input, departure):
        logger.info("serving", transport="stdio")
        lines = ClientLines(departure.begin)
        frontend.attach(lines)
        gc.freeze()
        gc.enable()
        idling = asyncio.create_task(_pause_when_idle(service, frontend, lines, idle_seconds))
        try:
            await serve_streams(server, lines, ClientOutput(frontend))
            return idling.done() and idling.result()
        finally:
            idling.cancel()


async def _pause_when_idle(service: Service, frontend: StdioFrontend, lines: ClientLines, idle_seconds: float) -> bool:
    is_paused = False
    while not is_paused:
        await asyncio.sleep(min(idle_seconds, IDLE_CHECK_SECONDS))
        if frontend.idle_seconds >= idle_seconds and not await service.is_needed():
            is_paused = await asyncio.to_thread(frontend.pause)
    lines.finish()
    return True


def listen(host: str, port: int) -> socket.socket:
    """Claim an address for `serve_http`; raises InvalidInputError when it cannot be listened on."""
    # Left to itself, Uvicorn would end the process with an exit code of its own.
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family)
    except (OSError, OverflowError) as error:
        raise InvalidInputError(
            f"cannot listen on {host}:{port} ({error}). Choose another --host or --port, or stop what listens there."
        ) from error


def serve_http(make_service: Callable[[], Service], listener: socket.socket, offer: Offer) -> None:
    """Speak MCP over streamable HTTP, at the path /mcp, until the process is told to stop.

    There is no authentication: on a loopback address, requests from web pages of other origins are refused.
    """
    host, port = listener.getsockname()[:2]
    _, server = _build(make_service, offer)
    departure = Departure()

    from starlette.middleware import Middleware as ASGIMiddleware

    from codebase_mcp.server.http_bodies import RepairedBodies

    async def serve() -> None:
        # Uvicorn repeats a signal once it has stopped; unheard, the repetition would kill us before the service closes.
        _on_stop_signals(departure.begin)
        logger.info("serving", transport="http", host=host, port=port)
        await server.run_http_async(
            show_banner=False,
            host=host,
            port=port,
            sockets=[listener],
            host_origin_protection="auto",
            middleware=[ASGIMiddleware(RepairedBodies)],
            uvicorn_config={
                "timeout_graceful_shutdown": OPEN_REQUESTS_SECONDS,
                "log_config": None,
                "access_log": False,
            },
        )

    asyncio.run(serve())
    logger.info("stopped serving")


def _build(make_service: Callable[[], Service], offer: Offer) -> tuple[Service, FastMCP[None]]:
    # Slow to import: whatever can go wrong before should do so first, and what is slow as well goes on beside.
    service = make_service()
    preloading = threading.Thread(target=_preload, args=[service], name="preloading", daemon=True)
    preloading.start()
    from codebase_mcp.server.app import build_server

    return service, build_server(service, offer)


def _preload(service: Service) -> None:
    """What the first call of a tool would wait for: the model, and the store of sessions that FastMCP imports late."""
    service.preload()
    for name in ("key_value.aio.adapters.pydantic", "key_value.aio.stores.memory"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _on_stop_signals(begin: Callable[[], None]) -> None:
    """Beside Uvicorn, which hears the first two itself, and knows no SIGHUP."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)
