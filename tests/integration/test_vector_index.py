"""The approximate index over vectors: when it is built, by whom, and what an interruption leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.errors import DatabaseError, SchemaMismatchError
from codebase_mcp.storage import vector_index
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.vector_index import VectorIndex
from tests.support import index
from tests.support.jobs import together
from tests.support.waiting import until

TEXTS = {f"{n}.py": f"value_{n} = {n}\n" for n in range(6)}


@pytest.fixture
async def over_six(database: Database, tmp_path: Path) -> VectorIndex:
    target = await index.new_target(database)
    await index.write(database, target, tmp_path, TEXTS)
    return VectorIndex(target.schema, target.model_id, index.DIMENSIONS)


async def is_ready(database: Database, one: VectorIndex) -> bool:
    async with database.transaction("writers") as connection:
        return await vector_index.is_ready(connection, one)


async def test_it_is_built_once_there_are_enough_vectors(database: Database, over_six: VectorIndex) -> None:
    assert not await vector_index.build(database, over_six, least_rows=7)
    assert not await is_ready(database, over_six)
    assert await vector_index.build(database, over_six, least_rows=6)
    assert await is_ready(database, over_six)
    assert not await vector_index.build(database, over_six, least_rows=6)


async def test_a_search_can_use_it(database: Database, over_six: VectorIndex) -> None:
    await vector_index.build(database, over_six, least_rows=1)
    nearest = (
        f"SELECT chunk_id FROM {over_six.schema}.embeddings WHERE model_id = {over_six.model_id}"
        f" ORDER BY vector::halfvec({over_six.dimensions}) <=> '[1,0,0,0,0,0,0,0]' LIMIT 2"
    )
    async with database.transaction("search") as connection:
        await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = (await connection.execute(sa.text(f"EXPLAIN {nearest}"))).scalars().all()
    assert any(over_six.name in line for line in plan), plan


@pytest.mark.parametrize("server", [(0, "4GB", "64MB"), (20_000_000, "4GB", "114MB"), (10**9, "400MB", "100MB")])
async def test_the_builder_takes_the_memory_that_the_rows_need_and_the_server_has(
    database: Database, over_six: VectorIndex, monkeypatch: pytest.MonkeyPatch, server: tuple[int, str, str]
) -> None:
    row_bytes, cache, granted = server
    found: list[str] = []

    async def look(connection: AsyncConnection, _index: VectorIndex) -> None:
        found.append(await connection.scalar(sa.text("SHOW maintenance_work_mem")) or "")

    monkeypatch.setattr(vector_index, "_create", look)
    monkeypatch.setattr(vector_index, "ROW_OVERHEAD_BYTES", row_bytes)
    take = vector_index._take_memory

    async def of_a_server(connection: AsyncConnection, one: VectorIndex) -> None:
        await connection.execute(sa.text(f"SET effective_cache_size = '{cache}'"))
        await take(connection, one)

    monkeypatch.setattr(vector_index, "_take_memory", of_a_server)
    await vector_index.build(database, over_six, least_rows=1)
    megabytes = (
        int(found[0].removesuffix("kB")) // 1024 if found[0].endswith("kB") else int(found[0].removesuffix("MB"))
    )
    assert f"{megabytes}MB" == granted


async def test_only_one_of_several_builders_builds(database: Database, over_six: VectorIndex) -> None:
    built = await together(*(vector_index.build(database, over_six, least_rows=1) for _ in range(3)))
    assert built.count(True) == 1
    assert await is_ready(database, over_six)


async def test_what_an_interrupted_build_left_is_replaced(database: Database, over_six: VectorIndex) -> None:
    await vector_index.build(database, over_six, least_rows=1)
    async with database.maintenance() as connection:
        await connection.execute(
            sa.text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:name)"),
            {"name": f"{over_six.schema}.{over_six.name}"},
        )
    assert not await is_ready(database, over_six)
    assert await vector_index.build(database, over_six, least_rows=1)
    assert await is_ready(database, over_six)


async def test_it_can_be_dropped_twice(database: Database, over_six: VectorIndex) -> None:
    await vector_index.build(database, over_six, least_rows=1)
    for _ in range(2):
        async with database.transaction("writers") as connection:
            await vector_index.drop(connection, over_six)
    assert not await is_ready(database, over_six)


async def test_dropping_it_stops_a_build_under_way(database: Database, over_six: VectorIndex) -> None:
    async with database.maintenance() as connection:
        async with database.maintenance(autocommit=False) as writer:
            # The build waits for whoever writes to the table, so it is certainly under way.
            await writer.execute(sa.text(f"LOCK TABLE {over_six.schema}.embeddings IN ROW EXCLUSIVE MODE"))
            building = asyncio.create_task(vector_index.build(database, over_six, least_rows=1))
            await until(lambda: vector_index.exists(connection, over_six), what="the build to begin")
            dropping = asyncio.create_task(vector_index.drop(connection, over_six))
            with pytest.raises(DatabaseError):
                await building
        await dropping
        assert not await vector_index.exists(connection, over_six)


async def test_a_project_that_is_gone_has_no_index_to_build(database: Database) -> None:
    gone = VectorIndex("cb_proj_gone_00000000", 1, 8)
    assert not await is_ready(database, gone)
    with pytest.raises(SchemaMismatchError):
        await vector_index.build(database, gone, least_rows=1)
