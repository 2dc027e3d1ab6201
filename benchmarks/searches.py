"""Searches through MCP on a finished index, and what that index takes on the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpora import BenchmarkError
from benchmarks.figures import milliseconds, rounded
from benchmarks.installation import Installation, Server, until
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.settings import Settings
from codebase_mcp.storage import embedded, projects, vector_index
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.tables import schema_name
from codebase_mcp.storage.vector_index import VectorIndex

VECTOR_INDEX_SECONDS = 120.0


async def vector_index_built(
    database: Database, settings: Settings, seconds: float = VECTOR_INDEX_SECONDS
) -> dict[str, Any]:
    """Waits until the worker has built the approximate index, which it does after the job and only for many rows."""
    embedder = open_embedder(settings)
    started = time.monotonic()
    async with database.transaction() as connection:
        schema = schema_name(settings.project_id)
        index = VectorIndex(
            schema, await projects.ensure_model(connection, embedder.identity, embedder.dimensions), embedder.dimensions
        )

    async def built() -> bool:
        async with database.transaction() as connection:
            return await vector_index.is_ready(connection, index)

    try:
        await until(built, "the vector index is built", seconds)
    except BenchmarkError:
        return {"is_built": False, "seconds_after_the_last_job": None}
    return {"is_built": True, "seconds_after_the_last_job": rounded(time.monotonic() - started)}


async def time_searches(server: Server, queries: Sequence[str], **arguments: object) -> dict[str, Any]:
    """Each query once, with default arguments but for those given; `in_server` leaves the protocol out."""
    through_mcp: list[float] = []
    in_server: list[float] = []
    without_results = 0
    for query in queries:
        answer, seconds = await server.timed("search_code", query=query, **arguments)
        through_mcp.append(seconds)
        in_server.append(answer["latency_ms"] / 1e3)
        without_results += not answer["results"]
    return {
        "through_mcp": milliseconds(through_mcp),
        "in_server": milliseconds(in_server),
        "without_results": without_results,
    }


async def time_first_searches(installation: Installation, queries: Sequence[str]) -> dict[str, Any]:
    """A server of its own for each query: until it takes calls, and then its first search."""
    launches: list[float] = []
    searches: list[float] = []
    for query in queries:
        begun = time.perf_counter()
        async with installation.server() as server:
            launched = time.perf_counter()
            await server.ready("search_code", query=query)
            launches.append(launched - begun)
            searches.append(time.perf_counter() - launched)
    return {"server_start": milliseconds(launches), "first_search": milliseconds(searches)}


async def index_size(database: Database, settings: Settings) -> dict[str, float]:
    """Megabytes of the project's tables with their indexes, and of the whole database directory and its log."""
    async with database.transaction() as connection:
        tables = await projects.schema_size_bytes(connection, schema_name(settings.project_id))
    folder = embedded.Layout(settings.data_dir).database
    sizes = {"tables": tables, "directory": _size(folder), "directory_log": _size(folder / "pg_wal")}
    return {f"{name}_megabytes": rounded(size_bytes / 1e6) for name, size_bytes in sizes.items()}


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:  # the database removes files of its own at any time
            continue
    return total
