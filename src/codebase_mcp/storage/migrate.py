"""Schemas at the right revision: all that are there at start, a new project's when its first job is claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from codebase_mcp.errors import DatabaseError, DatabaseUnavailableError, SchemaMismatchError
from codebase_mcp.logs import announce
from codebase_mcp.storage.tables import CONTROL_SCHEMA, projects

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.alembic_run import History
    from codebase_mcp.storage.database import Database

# Oldest first. Kept here as well as in the migrations, so that an up-to-date database needs no Alembic. A new revision
# of projects comes with one of the control schema, by which workers of older versions notice and leave.
CONTROL_REVISIONS: Final = ("0001", "0002", "0003")
PROJECT_REVISIONS: Final = ("0001", "0002", "0003")

OLDEST_SERVER = 140_000
OLDEST_VECTOR = (0, 8)

_OTHER_TABLES = sa.text(
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_.*|information_schema|{CONTROL_SCHEMA}|cb_proj_.*)$'"
    " AND NOT EXISTS (SELECT FROM pg_depend d"
    " WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
)

_TRANSACTION_POOLER = (
    "database_url leads to a connection pooler that deals out server connections by transaction, so that deadlines and"
    " other settings of a connection are lost. Use session pooling (PgBouncer: pool_mode=session for this database), or"
    " connect to PostgreSQL directly."
)

# The new extension may be where this role does not look; later connections find it by themselves.
_EXTEND_SEARCH_PATH = sa.text(
    "SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''),"
    " (SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
    " WHERE extname = 'vector')), true)"
)

_LOCK_KEY = 0x636F_6465_6D63_7031
_LOCK_WAIT = "60s"

_FACTS = sa.text(
    "SELECT current_setting('server_version') AS server_version,"
    " CAST(current_setting('server_version_num') AS integer) AS server_version_number,"
    " (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector_version,"
    " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS vector_available,"
    " current_setting('server_encoding') AS encoding,"
    " pg_is_in_recovery() AS is_standby,"
    " CAST(current_setting('transaction_read_only') AS boolean) AS is_read_only"
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server is. `vector_version` is None until the extension is created in this database."""

    server_version: str
    server_version_number: int
    vector_version: str | None
    vector_available: str | None
    encoding: str
    is_standby: bool
    is_read_only: bool


async def check_server(database: Database) -> ServerFacts:
    """The server's versions; raises SchemaMismatchError, saying what to do, when it is too old or lacks pgvector."""
    async with database.transaction() as connection:
        row = (await connection.execute(_FACTS)).one()
    facts = ServerFacts(*row)
    require_supported(facts)
    require_writable(facts)
    return facts


async def require_sessions(database: Database) -> None:
    """Raises SchemaMismatchError behind a pooler that would mix up connections."""
    if not await database.keeps_sessions():
        raise SchemaMismatchError(_TRANSACTION_POOLER)


async def migrate_control(database: Database) -> ServerFacts:
    """Check the server, create the extension and bring the control schema to this program's revision."""
    facts = await check_server(database)
    await _migrate(database, "control", CONTROL_SCHEMA, facts)
    return facts


async def migrate_known_projects(database: Database) -> None:
    """Bring the schemas of all projects to this program's revision; those without one get it with their first job."""
    async with database.transaction() as connection:
        schemas = (await connection.execute(sa.select(projects.c.schema_name))).scalars().all()
    for schema in schemas:
        if await installed_revision(database, schema) is not None:
            await migrate_project(database, schema)


async def migrate_project(database: Database, schema: str) -> None:
    """Create a project's schema if it is missing and bring it to this program's revision."""
    await _migrate(database, "project", schema, None)


async def installed_revision(database: Database, schema: str = CONTROL_SCHEMA) -> str | None:
    """The revision a schema is at; None when it does not exist or is empty."""
    async with database.transaction() as connection:
        return await _read_revision(connection, schema)


def expected_revision(schema: str = CONTROL_SCHEMA) -> str:
    """The revision this program works with."""
    return (CONTROL_REVISIONS if schema == CONTROL_SCHEMA else PROJECT_REVISIONS)[-1]


def require_known(schema: str, revision: str | None) -> None:
    """Raise SchemaMismatchError when a newer program has migrated this schema."""
    known = CONTROL_REVISIONS if schema == CONTROL_SCHEMA else PROJECT_REVISIONS
    if revision is not None and revision not in known:
        raise SchemaMismatchError(
            f"The schema {schema} is at revision {revision}, which this program does not know: a newer codebase-mcp has"
            f" migrated it (this one ends at {known[-1]}). Upgrade codebase-mcp and restart what runs the old one."
        )


async def _migrate(database: Database, history: History, schema: str, facts: ServerFacts | None) -> None:
    revision = await installed_revision(database, schema)
    require_known(schema, revision)
    needs_extension = facts is not None and facts.vector_version is None
    if revision == expected_revision(schema) and not needs_extension:
        return
    async with database.maintenance(schema, autocommit=False) as connection:
        await connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
        if needs_extension:
            await _create_extension(connection)
            await connection.execute(_EXTEND_SEARCH_PATH)
        if facts is not None and revision is None:
            await _announce_company(connection)
        await _upgrade(connection, history, schema)
    if needs_extension:
        await database.close()  # connections opened before do not know the vector type


async def _upgrade(connection: AsyncConnection, history: History, schema: str) -> None:
    """Under the lock; somebody else may have migrated while we waited for it."""
    from codebase_mcp.storage.alembic_run import move_schema

    revision = await _read_revision(connection, schema)
    require_known(schema, revision)
    if revision != expected_revision(schema):
        await connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
        await connection.run_sync(move_schema, history, schema, "head")


async def _announce_company(connection: AsyncConnection) -> None:
    """Prevents: a schema that nobody expected in the database of another application."""
    if others := await connection.scalar(_OTHER_TABLES):
        name = await connection.scalar(sa.func.current_database())
        announce(
            f"The database {name} holds {others} other table{'s' * (others > 1)}. codebase-mcp now creates its schema"
            f" {CONTROL_SCHEMA} there, and one schema cb_proj_… for each project; nothing else is touched. To use"
            " another database, set CODEBASE_MCP_DATABASE_URL."
        )


async def _create_extension(connection: AsyncConnection) -> None:
    try:
        async with connection.begin_nested():
            await connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"))
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        raise DatabaseError(
            "This database user may not create the extension pgvector. Run `CREATE EXTENSION vector` in this database"
            " as a superuser, then start codebase-mcp again."
        ) from error


async def _read_revision(connection: AsyncConnection, schema: str) -> str | None:
    table = sa.table("alembic_version", sa.column("version_num"), schema=schema)
    name = f"{connection.dialect.identifier_preparer.format_table(table)}"
    if await connection.scalar(sa.select(sa.func.to_regclass(name))) is None:
        return None
    return await connection.scalar(sa.select(table.c.version_num))


def require_supported(facts: ServerFacts) -> None:
    """Raise SchemaMismatchError, saying what to do, for a server or an extension that is too old or absent."""
    if facts.server_version_number < OLDEST_SERVER:
        raise SchemaMismatchError(
            f"The database is PostgreSQL {facts.server_version}; codebase-mcp needs 14 or newer."
            " Upgrade it, or unset database_url to use the embedded one."
        )
    if facts.encoding != "UTF8":
        raise SchemaMismatchError(
            f"The database has the encoding {facts.encoding}, which cannot hold all source code. Create one with UTF8"
            " (createdb --encoding=UTF8 --template=template0 NAME) and name it in database_url."
        )
    version = facts.vector_version or facts.vector_available
    if version is None:
        raise SchemaMismatchError(
            "The database server lacks the extension pgvector. Install pgvector 0.8 or newer on it (for example the"
            " package postgresql-<version>-pgvector), or unset database_url to use the embedded database."
        )
    if _version_tuple(version) < OLDEST_VECTOR:
        raise SchemaMismatchError(
            f"The database has pgvector {version}; codebase-mcp needs 0.8 or newer. Upgrade it on the server, then run"
            " `ALTER EXTENSION vector UPDATE` in this database."
        )


def require_writable(facts: ServerFacts) -> None:
    """Raise DatabaseUnavailableError for a standby, which may be promoted, and DatabaseError for a read-only role."""
    if facts.is_standby:
        raise DatabaseUnavailableError(
            "The database is a standby and read-only. Name the primary server in database_url, or add"
            " target_session_attrs=read-write to it."
        )
    if facts.is_read_only:
        raise DatabaseError(
            "Transactions of this database user are read-only (default_transaction_read_only). Run `ALTER ROLE … SET"
            " default_transaction_read_only = off` (or ALTER DATABASE, where that says it), or use another user."
        )


def _version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
