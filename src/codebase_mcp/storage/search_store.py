"""What a search reads, in small statements by primary key or index; nothing here writes.

The connection's `schema_translate_map` names the project; text statements take the schema's name, which
`tables.schema_name` made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import sqlalchemy as sa

from codebase_mcp.storage import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection


INDEX_CANDIDATES = 200
"""Chunks fetched through the vector index: several belong to one file, so more than the files wanted."""
MAX_SYMBOL_ROWS = 2_000
LAST_JOBS = 3


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The files of one repository, column by column, in no particular order."""

    ids: NDArray[np.int64]
    first_chunk_ids: NDArray[np.int64]
    chunk_counts: NDArray[np.int64]
    definition_counts: NDArray[np.int64]
    reference_counts: NDArray[np.int64]
    paths: list[str]
    languages: list[str]
    roles: list[str]


class SymbolRow(NamedTuple):
    file_id: int
    name: str
    folded_name: str
    kind: str
    start_line: int
    end_line: int
    depth: int
    is_declaration: bool


class ChunkLines(NamedTuple):
    id: int
    start_line: int
    end_line: int


class ChunkRow(NamedTuple):
    id: int
    start_line: int
    end_line: int
    kind: str
    symbol: str | None
    content: str


class Restriction(NamedTuple):
    """Only vectors of these files or of these chunks."""

    column: Literal["file_id", "chunk_id"]
    ids: Sequence[int]


class StoredVector(NamedTuple):
    """The vector of a chunk in text form, with the number of the model that made it."""

    model_id: int
    literal: str
    dimensions: int


class Fate(NamedTuple):
    """What became of a file in the last job that met it, when it is not in the index."""

    state: str
    reason: str | None


class FileCosines(NamedTuple):
    """Cosines of a file's chunks, in parallel lists; [None] for a file that has no vector of the model."""

    file_id: int
    chunk_ids: list[int | None]
    cosines: list[float | None]


async def file_columns(connection: AsyncConnection, schema: str, repository_id: int) -> FileColumns:
    # Aggregated by the server: eight arrays arrive several times faster than a row for each file.
    statement = sa.text(
        "SELECT array_agg(id), array_agg(first_chunk_id), array_agg(chunk_count), array_agg(definition_count),"
        " array_agg(reference_count), array_agg(relative_path), array_agg(language), array_agg(role)"
        f" FROM {schema}.code_files WHERE repository_id = :repository_id"
    )
    row = (await connection.execute(statement, {"repository_id": repository_id})).one()
    numbers = [np.array(column or [], dtype=np.int64) for column in row[:5]]
    return FileColumns(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], *(list(c or []) for c in row[5:]))


async def stem_postings(connection: AsyncConnection, schema: str, repository_id: int) -> list[tuple[str, bytes]]:
    """Each stem of the repository's file names with little-endian uint32 file ids; deleted files included."""
    statement = sa.text(
        f"SELECT term, string_agg(ids, CAST('' AS bytea)) FROM {schema}.lexical_postings"
        " WHERE repository_id = :repository_id AND space = 'stem' GROUP BY term"
    )
    rows = await connection.execute(statement, {"repository_id": repository_id})
    return [(term, ids) for term, ids in rows]


async def term_postings(
    connection: AsyncConnection, schema: str, repository_ids: Sequence[int], terms: Sequence[str]
) -> list[tuple[str, bytes, bytes]]:
    """(term, ids, impacts) of the chunks that hold any of `terms`, one row for each segment."""
    statement = sa.text(
        f"SELECT term, ids, impacts FROM {schema}.lexical_postings"
        " WHERE repository_id = ANY(:repository_ids) AND space = 'chunk' AND term = ANY(:terms)"
    )
    arguments = {"repository_ids": list(repository_ids), "terms": list(terms)}
    return [(term, ids, impacts) for term, ids, impacts in await connection.execute(statement, arguments)]


async def document_frequencies(
    connection: AsyncConnection, schema: str, repository_ids: Sequence[int], terms: Sequence[str]
) -> dict[str, int]:
    """In how many chunks each of the terms occurs, deleted ones included; terms that occur nowhere are left out."""
    statement = sa.text(
        f"SELECT term, sum(df) FROM {schema}.lexical_postings"
        " WHERE repository_id = ANY(:repository_ids) AND space = 'chunk' AND term = ANY(:terms) GROUP BY term"
    )
    arguments = {"repository_ids": list(repository_ids), "terms": list(terms)}
    return {term: int(df) for term, df in await connection.execute(statement, arguments)}


async def chunks_with_terms(
    connection: AsyncConnection, schema: str, repository_ids: Sequence[int], terms: Sequence[str]
) -> list[tuple[str, bytes]]:
    """(term, chunk ids) from the postings, deleted chunks included; a term may come several times."""
    statement = sa.text(
        f"SELECT term, ids FROM {schema}.lexical_postings"
        " WHERE repository_id = ANY(:repository_ids) AND space = 'chunk' AND term = ANY(:terms)"
    )
    arguments = {"repository_ids": list(repository_ids), "terms": list(terms)}
    return [(term, ids) for term, ids in await connection.execute(statement, arguments)]


async def symbols_named(
    connection: AsyncConnection, repository_ids: Sequence[int], folded_names: Sequence[str]
) -> list[SymbolRow]:
    """Definitions with these folded names; when there are very many, the outermost and longest of them."""
    symbols = tables.symbols.c
    statement = (
        sa.select(
            symbols.file_id, symbols.name, symbols.folded_name, symbols.kind, symbols.start_line, symbols.end_line,
            symbols.depth, symbols.is_declaration,
        )
        .where(
            symbols.folded_name == sa.any_(sa.literal(list(folded_names), sa.ARRAY(sa.Text))),
            symbols.repository_id == sa.any_(sa.literal(list(repository_ids), sa.ARRAY(sa.BigInteger))),
        )
        .join(tables.code_files, tables.code_files.c.id == symbols.file_id)
        .join(tables.repositories, tables.repositories.c.id == symbols.repository_id)
        .order_by(symbols.is_declaration, symbols.depth, (symbols.start_line - symbols.end_line), *in_order_of_paths())
        .limit(MAX_SYMBOL_ROWS)
    )  # fmt: skip
    return [SymbolRow(*row) for row in await connection.execute(statement)]


def in_order_of_paths() -> tuple[sa.ColumnElement[Any], ...]:
    """How definitions are ordered that are equal otherwise: never by a row's number, which depends on the history."""
    path, root = tables.code_files.c.relative_path, tables.repositories.c.path
    return root.collate("C"), path.collate("C"), tables.symbols.c.start_line, tables.symbols.c.name.collate("C")


# A sub-select is evaluated once for the whole statement; a cast parameter might be parsed anew for each row.
_QUERY = "(SELECT CAST(CAST(:vector AS text) AS halfvec))"


async def nearest_files_by_scan(
    connection: AsyncConnection,
    schema: str,
    model: int,
    vector: str,
    *,
    repository_ids: Sequence[int],
    only: Restriction | None,
    limit: int,
) -> list[tuple[int, float]]:
    """(file id, best cosine) of the files nearest to a vector, exactly: `limit` of them and the equals of the last."""
    restriction = "" if only is None else f" AND {only.column} = ANY(:only)"
    statement = sa.text(
        f"SELECT file_id, 1 - min(vector <=> {_QUERY}) AS cosine FROM {schema}.embeddings"
        f" WHERE repository_id = ANY(:repository_ids) AND model_id = :model{restriction}"
        f" GROUP BY file_id HAVING min(vector <=> {_QUERY}) <> 'NaN'"
        f" ORDER BY 2 DESC FETCH FIRST {limit:d} ROWS WITH TIES"
    )
    arguments: dict[str, object] = {"vector": vector, "repository_ids": list(repository_ids), "model": model}
    if only is not None:
        arguments["only"] = list(only.ids)
    return [(file_id, cosine) for file_id, cosine in await connection.execute(statement, arguments)]


async def nearest_files_by_index(
    connection: AsyncConnection,
    schema: str,
    model: int,
    vector: str,
    *,
    dimensions: int,
    repository_ids: Sequence[int],
    only: Restriction | None,
) -> list[tuple[int, float]]:
    """(file id, cosine) of the chunks nearest to a vector through the HNSW index, best first; files repeat.

    `vector_index.prepare_scan` must have said yes in this transaction.
    """
    restriction = "" if only is None else f" AND {only.column} = ANY(:only)"
    distance = f"(vector::halfvec({dimensions:d})) <=> CAST({_QUERY} AS halfvec({dimensions:d}))".replace("::", r"\:\:")
    statement = sa.text(
        f"SELECT file_id, 1 - ({distance}) FROM {schema}.embeddings"
        f" WHERE model_id = {model:d} AND repository_id = ANY(:repository_ids){restriction}"
        f" ORDER BY {distance} LIMIT {INDEX_CANDIDATES}"
    )
    arguments: dict[str, object] = {"vector": vector, "repository_ids": list(repository_ids)}
    if only is not None:
        arguments["only"] = list(only.ids)
    return [(file_id, cosine) for file_id, cosine in await connection.execute(statement, arguments)]


async def header_cosines(
    connection: AsyncConnection, schema: str, model: int, vector: str, file_ids: Sequence[int]
) -> list[FileCosines]:
    """The cosine of every chunk of these files; a file that no longer exists has no row at all."""
    statement = sa.text(
        f"SELECT f.id, array_agg(e.chunk_id), array_agg(1 - (e.vector <=> {_QUERY})) FROM {schema}.code_files f"
        f" LEFT JOIN {schema}.embeddings e ON e.file_id = f.id AND e.model_id = :model"
        " WHERE f.id = ANY(:file_ids) GROUP BY f.id"
    )
    arguments = {"vector": vector, "model": model, "file_ids": list(file_ids)}
    return [FileCosines(*row) for row in await connection.execute(statement, arguments)]


async def existing_files(connection: AsyncConnection, file_ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """(repository id, relative path) of those of the files that exist."""
    files = tables.code_files.c
    statement = sa.select(files.id, files.repository_id, files.relative_path).where(
        files.id == sa.any_(sa.literal(list(file_ids), sa.ARRAY(sa.BigInteger)))
    )
    return {row[0]: (row[1], row[2]) for row in await connection.execute(statement)}


async def chunks_with_lines(
    connection: AsyncConnection, schema: str, places: Sequence[tuple[int, int]]
) -> list[ChunkLines]:
    """The chunks in which these lines are, each given as (file id, line)."""
    statement = sa.text(
        f"SELECT DISTINCT c.id, c.start_line, c.end_line FROM {schema}.code_chunks c"
        " JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:lines AS integer[])) AS place(file_id, line)"
        " ON c.file_id = place.file_id AND place.line BETWEEN c.start_line AND c.end_line ORDER BY c.id"
    )
    arguments = {"file_ids": [file_id for file_id, _ in places], "lines": [line for _, line in places]}
    return [ChunkLines(*row) for row in await connection.execute(statement, arguments)]


# Kept, because making and hashing such a statement for each search takes longer than carrying it out.
_CHUNKS_BY_ID = sa.select(
    tables.code_chunks.c.id, tables.code_chunks.c.start_line, tables.code_chunks.c.end_line,
    tables.code_chunks.c.kind, tables.code_chunks.c.symbol, tables.code_chunks.c.content,
).where(tables.code_chunks.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger))))  # fmt: skip


async def chunks_by_id(connection: AsyncConnection, chunk_ids: Sequence[int]) -> dict[int, ChunkRow]:
    rows = await connection.execute(_CHUNKS_BY_ID, {"ids": list(chunk_ids)})
    return {row[0]: ChunkRow(*row) for row in rows}


async def line_count(connection: AsyncConnection, file_id: int) -> int:
    """How many lines a file has; 0 for an empty one."""
    chunks = tables.code_chunks.c
    statement = sa.select(sa.func.coalesce(sa.func.max(chunks.end_line), 0)).where(chunks.file_id == file_id)
    return int(await connection.scalar(statement) or 0)


async def stored_vector(
    connection: AsyncConnection, schema: str, chunk_id: int, model_id: int | None
) -> StoredVector | None:
    """The vector of a chunk: that of the model, else of the latest. None when it has none, or one without direction."""
    statement = sa.text(
        "SELECT model_id, CAST(vector AS text), vector_dims(vector) FROM"
        f" {schema}.embeddings WHERE chunk_id = :chunk_id AND l2_norm(vector) > 0"
        " ORDER BY model_id = :model_id DESC NULLS LAST, model_id DESC LIMIT 1"
    )
    row = (await connection.execute(statement, {"chunk_id": chunk_id, "model_id": model_id or 0})).one_or_none()
    return StoredVector(*row) if row else None


async def fate_of_file(
    connection: AsyncConnection, project_id: str, host_id: str | None, repo_path: str, relative_path: str
) -> Fate | None:
    """What the repository's last jobs did with a file; None when they did not meet it."""
    statement = sa.text(
        f"SELECT f.state, f.reason FROM (SELECT id, created_at FROM {tables.CONTROL_SCHEMA}.indexing_jobs"
        " WHERE project_id = :project_id AND host_id IS NOT DISTINCT FROM CAST(:host_id AS text)"
        f" AND repo_path = :repo_path ORDER BY created_at DESC LIMIT {LAST_JOBS}) j"
        f" JOIN {tables.CONTROL_SCHEMA}.job_files f ON f.job_id = j.id AND f.relative_path = :relative_path"
        " ORDER BY j.created_at DESC LIMIT 1"
    )
    arguments = {
        "project_id": project_id, "host_id": host_id, "repo_path": repo_path, "relative_path": relative_path,
    }  # fmt: skip
    row = (await connection.execute(statement, arguments)).one_or_none()
    return Fate(*row) if row else None


async def owners_of_chunks(connection: AsyncConnection, chunk_ids: Sequence[int]) -> list[int]:
    """The files, each once, to which those of the chunks belong that exist."""
    chunks = tables.code_chunks.c
    statement = (
        sa.select(chunks.file_id)
        .distinct()
        .where(chunks.id == sa.any_(sa.literal(list(chunk_ids), sa.ARRAY(sa.BigInteger))))
    )
    return [row[0] for row in await connection.execute(statement)]
