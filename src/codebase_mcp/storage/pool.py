"""A pool of connections in which nothing ever waits for a link that hangs."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from codebase_mcp.storage.driver_errors import classify, is_broken_link, unreachable

Connect = Callable[[], Awaitable[asyncpg.Connection]]

_DIALECT = "postgresql+asyncpg://"  # only the dialect: addresses and settings are the connector's

_IDLE_SECONDS = 5.0
"""A connection unused for longer is asked for a sign of life before it is used again."""
_SIGN_OF_LIFE_SECONDS = 1.0


class Pool:
    """At most `size` connections to one database, opened when they are first needed."""

    def __init__(self, connect: Connect, *, size: int, checkout_seconds: float) -> None:
        self._engine = _engine(
            connect, pool_size=size, max_overflow=0, pool_timeout=checkout_seconds, pool_use_lifo=True
        )
        self._a_link_broke_at = float("-inf")
        sa.event.listen(self._engine.sync_engine, "connect", _note_opening_time)
        sa.event.listen(self._engine.sync_engine, "checkin", _note_idleness)
        sa.event.listen(self._engine.sync_engine, "checkout", self._refuse_a_doubtful_connection)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection, given back after success and thrown away after anything else."""
        connection = await _checked_out(self._engine.connect())
        try:
            yield connection
        except BaseException as error:
            _discard(connection)
            if is_broken_link(error):
                self._a_link_broke_at = time.monotonic()
            raise_ours(error)
        await connection.close()

    async def close(self) -> None:
        await self._engine.dispose()

    def _refuse_a_doubtful_connection(self, dbapi_connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        """Have the pool open a new connection in place of one that the server has closed (it restarted), or one opened
        before another was seen to break: so an outage costs one error, not one for each connection."""
        driver = dbapi_connection.driver_connection
        if driver.is_closed() or record.info["opened_at"] < self._a_link_broke_at:
            raise sa.exc.DisconnectionError("this connection may be broken")
        if time.monotonic() - record.info.get("idle_since", math.inf) > _IDLE_SECONDS:
            self._require_a_sign_of_life(driver)

    def _require_a_sign_of_life(self, driver: asyncpg.Connection) -> None:
        """Prevents: a statement with a long deadline on a link that went silent for good while nobody used it (the
        machine slept, a firewall forgot it)."""
        try:
            sa.util.await_only(driver.fetchval("SELECT 1", timeout=_SIGN_OF_LIFE_SECONDS))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            self._a_link_broke_at = time.monotonic()
            raise sa.exc.DisconnectionError("this connection gives no sign of life") from error


@contextlib.asynccontextmanager
async def single_connection(connect: Connect, *, autocommit: bool) -> AsyncIterator[AsyncConnection]:
    """A connection outside any pool, closed at the end of the block."""
    isolation_level = "AUTOCOMMIT" if autocommit else "READ COMMITTED"
    engine = _engine(connect, isolation_level=isolation_level, poolclass=NullPool)
    connection = await _checked_out(engine.connect())
    try:
        yield connection
    except BaseException as error:
        _discard(connection)
        raise_ours(error)
    await connection.close()


def _engine(connect: Connect, **options: Any) -> AsyncEngine:
    engine = create_async_engine(_DIALECT, async_creator=connect, **options)
    sa.event.listen(engine.sync_engine, "invalidate", _hang_up)
    return engine


def raise_ours(error: BaseException) -> NoReturn:
    """Raise the error as one of ours if it came from the database, else as it is."""
    ours = classify(error)
    if ours is None:
        raise error
    raise ours from error


async def _checked_out(connecting: AsyncConnection) -> AsyncConnection:
    try:
        return await connecting
    except OSError as error:
        raise unreachable(error) from error
    except Exception as error:
        raise_ours(error)


def _discard(connection: AsyncConnection) -> None:
    """Drop the link without a word to the server. Nothing here awaits, so neither a hung link nor a cancellation
    can keep the connection checked out."""
    sync_connection = connection.sync_connection
    if sync_connection is not None and not sync_connection.closed:
        sync_connection.invalidate()
        sync_connection.close()


def _hang_up(dbapi_connection: Any, _record: object, _error: object) -> None:
    """Before the pool says goodbye to a connection that it gives up: on a hung link it would wait 2 s for an answer."""
    dbapi_connection.driver_connection.terminate()


def _note_idleness(_dbapi_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _note_opening_time(_dbapi_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["opened_at"] = time.monotonic()
    record.info.pop("idle_since", None)
