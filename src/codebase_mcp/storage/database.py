"""Connections: three pools with their own deadlines, transactions that never hang, and bulk COPY."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.errors import DatabaseError
from codebase_mcp.storage.address import driver_address
from codebase_mcp.storage.driver_errors import (
    SettingsRefusedError,
    classify,
    explain_refusal,
    is_broken_link,
    unreachable,
)
from codebase_mcp.storage.halfvec import encode_halfvec, halfvec_array, halfvec_bytes, halfvec_literal
from codebase_mcp.storage.liveness import Liveness
from codebase_mcp.storage.pool import Pool, single_connection
from codebase_mcp.storage.tables import PROJECT_SCHEMA

__all__ = ["Database", "PoolName", "classify", "copy_rows", "halfvec_array", "halfvec_bytes", "halfvec_literal"]

PoolName = Literal["control", "writers", "search"]

_CONNECT_TIMEOUT_SECONDS = 2.0
_COPY_SECONDS = 30.0
_VECTOR_SCHEMA = (
    "SELECT nspname, to_regtype('halfvec') IS NOT NULL, has_schema_privilege(n.oid, 'USAGE')"
    " FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
)
_EXTEND_SEARCH_PATH = """
SELECT set_config('search_path',
  concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident($1)), false)
"""

# A peer that vanished without a word is given up after about 30 s, and its locks with it.
_TCP_SETTINGS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "20000",
}


_PROBE = "codebase_mcp.session"
_NO_DEADLINES = {"idle_in_transaction_session_timeout": "0", "lock_timeout": "0", "statement_timeout": "0"}


@dataclass(frozen=True, slots=True)
class _PoolLimits:
    size: int
    command_seconds: float
    checkout_seconds: float
    lock_milliseconds: int
    idle_in_transaction_milliseconds: int

    def server_settings(self) -> dict[str, str]:
        """The server gives up a little before the client, whose own deadline costs the connection."""
        return {
            "idle_in_transaction_session_timeout": str(self.idle_in_transaction_milliseconds),
            "lock_timeout": str(self.lock_milliseconds),
            "statement_timeout": str(int(self.command_seconds * 900)),
        }


def _pool_limits(control_seconds: float) -> dict[PoolName, _PoolLimits]:
    control_lock = min(1_000, int(control_seconds * 800))
    return {
        "control": _PoolLimits(2, control_seconds, control_seconds, control_lock, 2_000),
        "writers": _PoolLimits(3, 10.0, 10.0, 5_000, 2_000),
        "search": _PoolLimits(5, 10.0, 3.0, 5_000, 10_000),
    }


class Database:
    """One database as seen from one event loop. Pools open their connections when they are first used.

    `control_seconds` is the deadline of a statement in the control pool: short in a worker, whose renewals must
    not outlast its lease; a server that answers people may wait longer.
    """

    def __init__(self, url: str, *, application_name: str, control_seconds: float = 1.0) -> None:
        self._dsn, self._hosts = driver_address(url)
        self._application_name = application_name
        self._limits = _pool_limits(control_seconds)
        self._pools: dict[PoolName, Pool] = {}
        self._is_pooled = False
        self._liveness = Liveness(self._require_answer)

    def while_it_answers(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Around what people wait for: ends it with DatabaseUnavailableError within 2.5 s of the database going away,
        whatever the deadlines of the statements in it, and lets it take its time while the database answers."""
        return self._liveness.guard()

    @contextlib.asynccontextmanager
    async def transaction(
        self, pool: PoolName = "control", project_schema: str | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that commits at the end of the block.

        After any error or cancellation inside, the connection is thrown away at once (a rollback could hang on a
        dead link), and what the database raised leaves as one of our errors.
        """
        async with self._pool(pool).connection() as connection:
            yield await _in_schema(connection, project_schema)
            await connection.commit()

    @contextlib.asynccontextmanager
    async def snapshot(self, pool: PoolName, project_schema: str | None = None) -> AsyncIterator[AsyncConnection]:
        """A `transaction` that reads one state of the database and writes nothing."""
        async with self._pool(pool).connection() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield await _in_schema(connection, project_schema)
            await connection.commit()

    @contextlib.asynccontextmanager
    async def maintenance(
        self, project_schema: str | None = None, *, autocommit: bool = True
    ) -> AsyncIterator[AsyncConnection]:
        """A connection of its own without deadlines, for VACUUM, CREATE INDEX CONCURRENTLY and migrations.

        With `autocommit=False` it is one transaction, committed at the end of the block.
        """
        connect = functools.partial(self._connect, None)
        async with single_connection(connect, autocommit=autocommit) as connection:
            yield await _in_schema(connection, project_schema)
            await connection.commit()

    async def keeps_sessions(self) -> bool:
        """Whether a connection here is a session of the server, as it is not behind a pooler that deals out servers by
        transaction or statement."""
        async with contextlib.AsyncExitStack() as ends:
            asking, occupying = [await self._connect(self._limits["control"]) for _ in range(2)]
            ends.callback(asking.terminate)
            ends.callback(occupying.terminate)
            try:
                await asking.execute(f"SET {_PROBE} = 'kept'")
                await occupying.execute("BEGIN; SELECT 1")
                kept = await asking.fetchval(f"SELECT current_setting('{_PROBE}', true)", timeout=1)
            except (asyncpg.PostgresError, TimeoutError):
                return False
        return bool(kept == "kept")

    async def close(self) -> None:
        """Close every pooled connection; using the object again opens new ones."""
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.close()

    aclose = close

    async def _require_answer(self, seconds: float) -> None:
        """Raises DatabaseUnavailableError unless the server takes a new connection, or refuses it with a reason."""
        settings = {"application_name": f"{self._application_name} probe"}
        try:
            connection = await asyncpg.connect(self._dsn, host=self._hosts, timeout=seconds, server_settings=settings)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if is_broken_link(error):
                raise unreachable(error) from error
        else:
            connection.terminate()

    def _pool(self, name: PoolName) -> Pool:
        if name not in self._pools:
            limits = self._limits[name]
            connect = functools.partial(self._connect, limits)
            self._pools[name] = Pool(connect, size=limits.size, checkout_seconds=limits.checkout_seconds)
        return self._pools[name]

    async def _connect(self, limits: _PoolLimits | None) -> asyncpg.Connection:
        settings = {"application_name": self._application_name, "jit": "off", "timezone": "UTC"}
        settings |= limits.server_settings() if limits else _NO_DEADLINES
        if not self._hosts:
            settings |= _TCP_SETTINGS
        connection = await self._open(settings, limits.command_seconds if limits else None)
        try:
            await _find_halfvec(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _open(self, settings: dict[str, str], command_seconds: float | None) -> asyncpg.Connection:
        """Poolers take few settings when a connection is opened; what they refuse then is set afterwards."""
        try:
            if not self._is_pooled:
                return await self._open_with(settings, command_seconds)
        except SettingsRefusedError:
            self._is_pooled = True
        connection = await self._open_with({}, command_seconds)
        for name, value in settings.items():
            await connection.fetchval("SELECT set_config($1, $2, false)", name, value)
        return connection

    async def _open_with(self, settings: dict[str, str], command_seconds: float | None) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                self._dsn,
                host=self._hosts,
                timeout=_CONNECT_TIMEOUT_SECONDS,
                command_timeout=command_seconds,
                server_settings=settings,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise explain_refusal(error, is_with_settings=bool(settings)) from error


async def copy_rows(
    connection: AsyncConnection,
    table: sa.Table,
    project_schema: str | None,
    columns: Sequence[str],
    records: Iterable[Sequence[object]],
) -> None:
    """COPY records into a table, in the transaction of `connection`; vectors are given as `halfvec_bytes`.

    A statement must have run in that transaction before: the driver opens it with the first one, and a COPY before
    it would commit by itself.
    """
    driver = await _driver_connection(connection)
    assert driver.is_in_transaction(), f"COPY into {table.name} outside a transaction"
    schema = project_schema if table.schema == PROJECT_SCHEMA else table.schema
    async with _ended_with(driver):
        await driver.copy_records_to_table(table.name, schema_name=schema, columns=list(columns), records=records)


@contextlib.asynccontextmanager
async def _ended_with(driver: asyncpg.Connection) -> AsyncIterator[None]:
    """Prevents: a COPY that waits for ever to send more on a connection that is gone; the driver's own deadline does
    not cover the sending."""
    loop = asyncio.get_running_loop()

    def end(_connection: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has just ended by itself
            scope.reschedule(loop.time())

    async with asyncio.timeout(_COPY_SECONDS) as scope:
        driver.add_termination_listener(end)
        try:
            yield
        finally:
            driver.remove_termination_listener(end)


async def _driver_connection(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


async def _in_schema(connection: AsyncConnection, project_schema: str | None) -> AsyncConnection:
    if project_schema is None:
        return connection
    return await connection.execution_options(schema_translate_map={PROJECT_SCHEMA: project_schema})


async def _find_halfvec(connection: asyncpg.Connection) -> None:
    """Send and receive vectors in wire format, and see to it that statements find their type and its operators,
    whatever schema the extension is in. Before the first migration there is no such type yet."""
    found = await connection.fetchrow(_VECTOR_SCHEMA, timeout=_CONNECT_TIMEOUT_SECONDS)
    if found is None:
        return
    schema, is_on_search_path, may_use = found
    if not may_use:
        raise DatabaseError(
            f"pgvector is in the schema {schema}, which the role of database_url may not use. As its owner, run"
            f' `GRANT USAGE ON SCHEMA "{schema}" TO …` with the name of that role.'
        )
    if not is_on_search_path:
        await connection.fetchval(_EXTEND_SEARCH_PATH, schema, timeout=_CONNECT_TIMEOUT_SECONDS)
    await connection.set_type_codec("halfvec", schema=schema, encoder=encode_halfvec, decoder=bytes, format="binary")
