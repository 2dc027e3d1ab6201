"""What searches read of definitions and of the kinds of chunks; nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from codebase_mcp.storage import tables
from codebase_mcp.storage.search_store import in_order_of_paths

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

MAX_ROWS = 2_000
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Kinds:
    """Where things of which kind begin, column by column: (id, first line, kind), of chunks or of files' definitions.

    `ids` are those of chunks, or of the files that the definitions are in.
    """

    ids: NDArray[np.int64]
    start_lines: NDArray[np.int64]
    kinds: NDArray[np.str_]


class DefinitionRow(NamedTuple):
    file_id: int
    name: str
    folded_name: str
    kind: str
    start_line: int
    end_line: int
    depth: int
    parent: str | None
    is_declaration: bool


@dataclass(frozen=True, slots=True)
class Which:
    """Only definitions of these kinds, and of these files."""

    kinds: Collection[str]
    file_ids: Sequence[int] | None


async def definitions_named(
    connection: AsyncConnection, repository_ids: Sequence[int], folded_names: Sequence[str], which: Which
) -> list[DefinitionRow]:
    """Definitions with one of these folded names; when there are very many, the outermost and longest of them."""
    is_named = tables.symbols.c.folded_name == sa.any_(sa.literal(list(folded_names), sa.ARRAY(sa.Text)))
    return await _found(connection, repository_ids, is_named, which)


async def definitions_beginning(
    connection: AsyncConnection, repository_ids: Sequence[int], prefix: str, which: Which
) -> list[DefinitionRow]:
    """Definitions whose folded name goes on after this prefix, the shortest names first."""
    name = tables.symbols.c.folded_name
    # The column sorts by code points, so that names with a prefix are one range of its index.
    begins = sa.and_(name > prefix, name < prefix + _LAST)
    return await _found(connection, repository_ids, begins, which, sa.func.length(name))


async def _found(
    connection: AsyncConnection,
    repository_ids: Sequence[int],
    condition: sa.ColumnElement[bool],
    which: Which,
    *first: sa.ColumnElement[Any],
) -> list[DefinitionRow]:
    symbols = tables.symbols.c
    statement = _select().where(
        condition,
        symbols.repository_id == sa.any_(sa.literal(list(repository_ids), sa.ARRAY(sa.BigInteger))),
        symbols.kind.in_(sorted(which.kinds)),
    )
    if which.file_ids is not None:
        statement = statement.where(
            symbols.file_id == sa.any_(sa.literal(list(which.file_ids), sa.ARRAY(sa.BigInteger)))
        )
    length = symbols.start_line - symbols.end_line
    order = (*first, symbols.is_declaration, symbols.depth, length, *in_order_of_paths())
    statement = statement.join(tables.code_files, tables.code_files.c.id == symbols.file_id)
    statement = statement.join(tables.repositories, tables.repositories.c.id == symbols.repository_id)
    return [DefinitionRow(*row) for row in await connection.execute(statement.order_by(*order).limit(MAX_ROWS))]


async def folded_names(connection: AsyncConnection, schema: str, repository_ids: Sequence[int]) -> list[str]:
    """Every folded name that is defined, headings of prose aside, each once."""
    statement = sa.text(
        f"SELECT array_agg(DISTINCT folded_name) FROM {schema}.symbols"
        " WHERE repository_id = ANY(:ids) AND kind <> 'section'"
    )
    return await connection.scalar(statement, {"ids": list(repository_ids)}) or []


async def chunk_kinds(connection: AsyncConnection, schema: str, repository_ids: Sequence[int]) -> Kinds:
    return await _kinds(connection, f"SELECT id, start_line, kind FROM {schema}.code_chunks", repository_ids)


async def definition_kinds(connection: AsyncConnection, schema: str, repository_ids: Sequence[int]) -> Kinds:
    return await _kinds(connection, f"SELECT file_id AS id, start_line, kind FROM {schema}.symbols", repository_ids)


async def _kinds(connection: AsyncConnection, rows: str, repository_ids: Sequence[int]) -> Kinds:
    # Three arrays for each kind arrive several times faster than a row for each chunk.
    statement = sa.text(
        f"SELECT kind, array_agg(id), array_agg(start_line) FROM ({rows} WHERE repository_id = ANY(:ids)) AS found"
        " GROUP BY kind ORDER BY kind"
    )
    found = (await connection.execute(statement, {"ids": list(repository_ids)})).all()
    counts = [len(ids) for _, ids, _ in found]
    return Kinds(
        ids=np.array([one for _, ids, _ in found for one in ids], dtype=np.int64),
        start_lines=np.array([line for _, _, lines in found for line in lines], dtype=np.int64),
        kinds=np.repeat(np.array([kind for kind, _, _ in found], dtype=np.str_), counts),
    )


async def definitions_of_files(
    connection: AsyncConnection, file_ids: Sequence[int], kinds: Collection[str]
) -> list[DefinitionRow]:
    """The definitions of these kinds in these files, in order of their lines."""
    symbols = tables.symbols.c
    statement = (
        _select()
        .where(symbols.file_id == sa.any_(sa.literal(list(file_ids), sa.ARRAY(sa.BigInteger))))
        .where(symbols.kind.in_(sorted(kinds)))
        .order_by(symbols.file_id, symbols.start_line)
    )
    return [DefinitionRow(*row) for row in await connection.execute(statement)]


def _select() -> sa.Select[Any]:
    columns = tables.symbols.c
    return sa.select(
        columns.file_id, columns.name, columns.folded_name, columns.kind, columns.start_line, columns.end_line,
        columns.depth, columns.parent, columns.is_declaration,
    )  # fmt: skip
