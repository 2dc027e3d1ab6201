"""`python -m codebase_mcp.storage.go_back`: makes a database fit for the version before this one again.

Run it with the program that is to be replaced, when no server or worker runs any more. What this version has added
goes; indexes and jobs stay.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import ValidationError

from codebase_mcp.errors import CodebaseMcpError, ConstraintViolatedError, DatabaseError
from codebase_mcp.setting_origins import explain_wrong_settings
from codebase_mcp.settings import Settings
from codebase_mcp.storage.alembic_run import History, move_schema
from codebase_mcp.storage.migrate import expected_revision, installed_revision
from codebase_mcp.storage.opening import OpenedDatabase
from codebase_mcp.storage.tables import CONTROL_SCHEMA, projects

if TYPE_CHECKING:
    from codebase_mcp.storage.database import Database


async def go_back(database: Database) -> list[str]:
    """Moves every schema back by one revision, the control schema last; their names. May be repeated.

    Raises DatabaseError when two hosts have a repository at one path: the older version knows no hosts.
    """
    async with database.transaction() as connection:
        known = (await connection.execute(sa.select(projects.c.schema_name))).scalars().all()
    moved = [schema for schema in known if await _move(database, "project", schema)]
    return [*moved, CONTROL_SCHEMA] if await _move(database, "control", CONTROL_SCHEMA) else moved


async def _move(database: Database, history: History, schema: str) -> bool:
    if await installed_revision(database, schema) != expected_revision(schema):
        return False
    try:
        async with database.maintenance(schema, autocommit=False) as connection:
            await connection.run_sync(move_schema, history, schema, "-1")
    except ConstraintViolatedError as error:
        raise DatabaseError(
            f"In {schema} several hosts have a repository, or an active job, at the same path. Remove all but one with"
            " `codebase-mcp repos remove`, or cancel the job, and run this again."
        ) from error
    return True


async def _main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"error: {explain_wrong_settings(error)}\n")
        return 2
    opened = OpenedDatabase(settings, "codebase-mcp go back", control_seconds=10.0)
    try:
        moved = await go_back(await opened.open())
    except CodebaseMcpError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        await opened.close()
    sys.stdout.write(f"Ready for the version before this one: {', '.join(moved) or 'nothing had to be changed'}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
