"""What every command needs around it: settings, a log, and a service whose database is ready."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from codebase_mcp.cli import screen
from codebase_mcp.errors import DatabaseStartingError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from uuid import UUID

    from codebase_mcp.logs import Role
    from codebase_mcp.service import Service
    from codebase_mcp.settings import Settings

DatabaseNeed = Literal["ready", "launched", "untouched"]

PATIENCE_SECONDS = 1.5
"""After this long, the user is told what we are waiting for."""
START_TURNS = 120
"""So often: a first start creates the database, and one after a crash replays its log."""


def _real_service(settings: Settings, *, is_shared: bool = False) -> Service:
    from codebase_mcp.service import Service

    return Service(settings, is_shared=is_shared)


service_factory: ContextVar[Callable[..., Service]] = ContextVar("service_factory", default=_real_service)


def load_settings() -> Settings:
    """Settings from the environment and the settings file; raises InvalidInputError naming each that is wrong."""
    from pydantic import ValidationError

    from codebase_mcp.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        from codebase_mcp.setting_origins import explain_wrong_settings

        raise explain_wrong_settings(error) from None


def prepare(role: Role, *, needs_database: bool = True) -> Settings:
    """The settings, with the log of this process set up after them.

    Raises InvalidInputError for wrong settings, and when it has to be chosen first which database is meant.
    """
    from codebase_mcp.logs import configure_logging

    settings = load_settings()
    configure_logging(settings, role)
    if needs_database and os.environ.get("DATABASE_URL"):
        from codebase_mcp.service.application_database import require_choice

        require_choice(settings)
    return settings


def run_with_service(work: Callable[[Service], Coroutine[Any, Any, int]], database: DatabaseNeed = "ready") -> int:
    """Open a service, do the work with it, close it; answers the work's exit code.

    `database` says how far it must be before the work: ready, launched (the work looks at it itself) or untouched.
    """
    settings = prepare("cli", needs_database=database == "ready")

    async def session() -> int:
        async with _opened(service_factory.get()(settings), database) as service:
            return await work(service)

    return asyncio.run(session())


def parse_job_id(text: str) -> UUID:
    from uuid import UUID

    try:
        return UUID(text)
    except ValueError:
        raise InvalidInputError(
            f"{text!r} is not a job id; `codebase-mcp jobs list` shows the ids, such as "
            "123e4567-e89b-12d3-a456-426614174000."
        ) from None


@asynccontextmanager
async def _opened(service: Service, database: DatabaseNeed) -> AsyncIterator[Service]:
    try:
        if database != "untouched":
            await service.launch()
        if database == "ready":
            await _wait_until_ready(service.ready)
        yield service
    finally:
        await service.close()


async def _wait_until_ready(ready: Callable[[float], Awaitable[None]]) -> None:
    """A database that is only slow is waited for; any other reason is raised as soon as it is known."""
    for turn in range(START_TURNS):
        try:
            return await ready(PATIENCE_SECONDS)
        except DatabaseStartingError:
            if turn == 0:
                screen.tell("Starting the database; the first time this takes a little longer …")
    return await ready(PATIENCE_SECONDS)
