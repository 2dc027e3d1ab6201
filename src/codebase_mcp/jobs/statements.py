"""The named statements of queries.sql, and how to execute one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@cache
def statements() -> dict[str, sa.TextClause]:
    """Statements by name, with the parts that several of them share put in."""
    text = files("codebase_mcp.jobs").joinpath("queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    bodies = dict(zip(parts[::2], parts[1::2], strict=True))
    shared = {name: bodies.pop(name).strip() for name in list(bodies) if name.isupper()}
    for name, words in shared.items():
        bodies = {statement: body.replace(name, words) for statement, body in bodies.items()}
    return {name: sa.text(body) for name, body in bodies.items()}


async def rows(connection: AsyncConnection, name: str, arguments: Mapping[str, Any]) -> Sequence[sa.RowMapping]:
    return (await connection.execute(statements()[name], arguments)).mappings().all()


async def row(connection: AsyncConnection, name: str, arguments: Mapping[str, Any]) -> sa.RowMapping | None:
    """The first row, if any."""
    found = await rows(connection, name, arguments)
    return found[0] if found else None
