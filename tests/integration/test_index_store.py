"""Files in the index: put, replaced and removed with everything that belongs to them, under ids of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from codebase_mcp.domain import FileOutcome, FileState, PostingSpace, PreparedBatch
from codebase_mcp.storage import index_store, projects, tables
from codebase_mcp.storage.database import Database, halfvec_array
from codebase_mcp.storage.index_store import Target
from tests.support import index, jobs
from tests.support.jobs import together
from tests.support.waiting import until

SHOP = {
    "shop/cart.py": "class Cart:\n    def total(self):\n        return 0\n",
    "shop/pay.py": "def pay(cart):\n    return cart.total()\n",
}


@pytest.fixture
async def target(database: Database) -> Target:
    return await index.new_target(database)


async def contents(database: Database, target: Target) -> dict[str, str]:
    """Each file's text, put together from its chunks."""
    rows = await jobs.execute(
        database,
        f"SELECT f.relative_path, coalesce(string_agg(c.content, '' ORDER BY c.ordinal), '')"
        f" FROM {target.schema}.code_files f LEFT JOIN {target.schema}.code_chunks c ON c.file_id = f.id"
        " GROUP BY 1 ORDER BY 1",
    )
    return dict(map(tuple, rows))


async def ids_of_term(database: Database, target: Target, space: PostingSpace, term: str) -> list[int]:
    rows = await jobs.execute(
        database,
        f"SELECT ids FROM {target.schema}.lexical_postings WHERE space = :space AND term = :term ORDER BY segment",
        space=space.value,
        term=term,
    )
    return [int(one) for row in rows for one in np.frombuffer(row[0], dtype="<u4")]


async def test_fresh_files_are_stored_whole(database: Database, target: Target, tmp_path: Path) -> None:
    batch = await index.write(database, target, tmp_path, SHOP)
    assert await contents(database, target) == SHOP
    assert await index.rows(database, target, "symbols") == sum(len(file.definitions) for file in batch.files) == 3
    await index.assert_counts_are_true(database, target)
    await index.assert_no_orphans(database, target)
    async with database.transaction("writers", target.schema) as connection:
        known = await index_store.known_files(connection, target.repository_id)
        assert await index_store.known_files(connection, target.repository_id, ["shop/pay.py", "other"]) == {
            "shop/pay.py": known["shop/pay.py"]
        }
    file = next(file for file in batch.files if file.relative_path == "shop/pay.py")
    assert known["shop/pay.py"].content_hash == file.content_hash
    assert (known["shop/pay.py"].mtime_ns, known["shop/pay.py"].index_fingerprint) == (file.mtime_ns, "fingerprint")


async def test_every_space_of_postings_names_the_stored_rows(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await index.write(database, target, tmp_path, {"first.py": "x = 1\n"})
    await index.write(database, target, tmp_path, SHOP)
    rows = await jobs.execute(
        database, f"SELECT relative_path, id, first_chunk_id FROM {target.schema}.code_files ORDER BY 1"
    )
    files = {path: (file_id, chunk_id) for path, file_id, chunk_id in rows}
    assert await ids_of_term(database, target, PostingSpace.STEM, "cart") == [files["shop/cart.py"][0]]
    assert await ids_of_term(database, target, PostingSpace.DIRECTORY, "shop") == sorted(
        files[path][0] for path in SHOP
    )
    assert files["shop/pay.py"][1] in await ids_of_term(database, target, PostingSpace.CHUNK, "pay")
    assert await index.segments_by_level(database, target) == {0: 2}


async def test_vectors_lie_beside_their_chunks(database: Database, target: Target, tmp_path: Path) -> None:
    batch = await index.write(database, target, tmp_path, SHOP)
    rows = await jobs.execute(
        database,
        f"SELECT e.vector, e.file_id = c.file_id FROM {target.schema}.embeddings e"
        f" JOIN {target.schema}.code_chunks c ON c.id = e.chunk_id ORDER BY c.id",
    )
    stored = halfvec_array([row[0] for row in rows], index.DIMENSIONS)
    np.testing.assert_allclose(stored, index.vectors_of(batch), atol=1e-3)
    assert all(row[1] for row in rows)


async def test_a_replaced_file_leaves_nothing_of_the_old_one(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await index.write(database, target, tmp_path, SHOP)
    await index.write(database, target, tmp_path, {"shop/cart.py": "def empty():\n    return []\n"})
    assert await contents(database, target) == SHOP | {"shop/cart.py": "def empty():\n    return []\n"}
    names = await jobs.execute(database, f"SELECT name FROM {target.schema}.symbols ORDER BY 1")
    assert [row[0] for row in names] == ["empty", "pay"]
    await index.assert_counts_are_true(database, target)
    await index.assert_no_orphans(database, target)


async def test_files_without_chunks_are_kept_as_files(database: Database, target: Target, tmp_path: Path) -> None:
    texts = {"a/__init__.py": "", "b.py": "x = 1\n", "c/__init__.py": ""}
    await index.write(database, target, tmp_path, texts)
    assert await contents(database, target) == texts
    await index.write(database, target, tmp_path, {"b.py": "", "c/__init__.py": "y = 2\n"})
    assert await contents(database, target) == texts | {"b.py": "", "c/__init__.py": "y = 2\n"}
    await index.assert_counts_are_true(database, target)


async def test_a_batch_without_files_writes_nothing(database: Database, target: Target) -> None:
    await index.put(database, target, PreparedBatch((), (), {}))
    assert await index.segments_by_level(database, target) == {}


async def test_removed_files_leave_no_rows_behind(database: Database, target: Target, tmp_path: Path) -> None:
    await index.write(database, target, tmp_path, SHOP | {"stays.py": "x = 1\n"})
    chunks = await index.rows(database, target, "code_chunks")
    removed = await index.remove(database, target, *SHOP)
    assert await contents(database, target) == {"stays.py": "x = 1\n"}
    assert removed == chunks - 1
    await index.assert_counts_are_true(database, target)
    await index.assert_no_orphans(database, target)
    async with database.transaction("search", target.schema) as connection:
        repository = await projects.repository(connection, target.repository_id)
    assert repository.deleted_chunk_count == removed


async def test_removing_nothing_is_no_deletion(database: Database, target: Target, tmp_path: Path) -> None:
    await index.write(database, target, tmp_path, SHOP)
    assert await index.remove(database, target, "unknown.py") == 0
    assert await contents(database, target) == SHOP


async def test_every_change_raises_the_version(database: Database, target: Target, tmp_path: Path) -> None:
    versions = []
    await index.write(database, target, tmp_path, SHOP)
    for path in SHOP:
        async with database.transaction("search", target.schema) as connection:
            versions.append((await projects.repository(connection, target.repository_id)).version)
        await index.remove(database, target, path)
    assert versions == sorted(set(versions))


async def test_as_many_vectors_as_chunks_or_nothing(database: Database, target: Target, tmp_path: Path) -> None:
    batch = index.prepared(tmp_path, SHOP)
    ids = await index.reserve(database, target, batch)
    with pytest.raises(ValueError, match="1 vectors for 2 chunks"):
        async with opened_batch(database, target) as connection:
            await index_store.replace_files(connection, target, batch, ids, index.vectors_of(batch)[:1])
    assert await contents(database, target) == {}
    assert await index.rows(database, target, "code_chunks") == 0


async def test_a_touched_file_keeps_its_content(database: Database, target: Target, tmp_path: Path) -> None:
    await index.write(database, target, tmp_path, SHOP)
    touched = [FileOutcome("shop/pay.py", FileState.UNCHANGED, size_bytes=7, mtime_ns=8)]
    async with database.transaction("writers", target.schema) as connection:
        before = await index_store.known_files(connection, target.repository_id)
        await index_store.touch_files(connection, target.repository_id, touched)
    async with database.transaction("writers", target.schema) as connection:
        after = await index_store.known_files(connection, target.repository_id)
    assert after["shop/cart.py"] == before["shop/cart.py"]
    assert (after["shop/pay.py"].size_bytes, after["shop/pay.py"].mtime_ns) == (7, 8)
    assert after["shop/pay.py"].content_hash == before["shop/pay.py"].content_hash


async def test_ids_reserved_at_once_are_contiguous_and_never_shared(database: Database, target: Target) -> None:
    sizes = [(5, 2), (1, 1), (0, 3), (400, 1), (7, 0)] * 4

    async def reserve(chunks: int, files: int) -> tuple[range, range]:
        async with database.transaction("writers") as connection:
            ids = await index_store.reserve_ids(connection, target.schema, chunks=chunks, files=files)
        first_chunk, first_file = ids.first_chunk_id, ids.first_file_id
        return range(first_chunk, first_chunk + chunks), range(first_file, first_file + files)

    reserved = await together(*(reserve(*size) for size in sizes))
    for kind in (0, 1):
        taken = sorted(one for pair in reserved for one in pair[kind])
        assert taken == list(range(1, sum(size[kind] for size in sizes) + 1))


async def test_whoever_reserves_ids_waits_for_the_one_before(database: Database, target: Target) -> None:
    async with database.transaction("writers") as connection:
        first = await index_store.reserve_ids(connection, target.schema, chunks=3, files=1)
        batch = PreparedBatch((), (), {})
        second = asyncio.create_task(index.reserve(database, target, batch))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await until(lambda: jobs.scalar(database, waiting), what="the second to wait")
        assert not second.done()
    await second
    assert (first.first_chunk_id, first.first_file_id) == (1, 1)


async def test_an_open_batch_is_invisible_until_it_commits(database: Database, target: Target, tmp_path: Path) -> None:
    await index.write(database, target, tmp_path, SHOP)
    batch = index.prepared(tmp_path, {"shop/pay.py": "def pay():\n    raise RuntimeError\n"})
    ids = await index.reserve(database, target, batch)
    async with opened_batch(database, target) as connection:
        await index_store.replace_files(connection, target, batch, ids, index.vectors_of(batch))
        assert await contents(database, target) == SHOP
    assert (await contents(database, target))["shop/pay.py"].endswith("RuntimeError\n")


@asynccontextmanager
async def opened_batch(database: Database, target: Target) -> AsyncIterator[sa.ext.asyncio.AsyncConnection]:
    async with database.transaction("writers", target.schema) as connection:
        await connection.execute(sa.select(1))
        yield connection


async def test_an_interrupted_batch_leaves_nothing(database: Database, target: Target, tmp_path: Path) -> None:
    await index.write(database, target, tmp_path, SHOP)
    before = await index.digest(database, target)
    batch = index.prepared(tmp_path, {"shop/pay.py": "x = 2\n", "new.py": "y = 1\n"})
    ids = await index.reserve(database, target, batch)
    with pytest.raises(asyncio.CancelledError):  # noqa: PT012
        async with opened_batch(database, target) as connection:
            await index_store.replace_files(connection, target, batch, ids, index.vectors_of(batch))
            raise asyncio.CancelledError
    assert await index.digest(database, target) == before
    await index.assert_counts_are_true(database, target)


async def test_two_repositories_of_one_project_share_nothing_but_the_tables(
    database: Database, target: Target, tmp_path: Path
) -> None:
    other = await index.new_target(database, "/src/other")
    await index.write(database, target, tmp_path, SHOP)
    await index.write(database, other, tmp_path, SHOP)
    assert await index.digest(database, target) == await index.digest(database, other)
    await index.remove(database, target, *SHOP)
    assert await index.rows(database, other, "code_files") == 2
    async with database.transaction("writers", target.schema) as connection:
        await projects.delete_repository(connection, other.repository_id)
        assert [one.id for one in await projects.list_repositories(connection)] == [target.repository_id]
    for table in (*index.TABLES_OF_FILES, "lexical_postings", "lexical_segments"):
        assert await index.rows(database, other, table) == 0


def test_spellings_of_one_name_fold_to_one() -> None:
    assert {index_store.folded(name) for name in ("ErrorHandler", "errorHandler", "error_handler")} == {"errorhandler"}


# --- projects ---


async def test_a_repository_keeps_its_row_and_takes_a_new_name(database: Database, target: Target) -> None:
    async with database.transaction("writers", target.schema) as connection:
        renamed = await projects.ensure_repository(connection, jobs.HOST.id, "/src/shop", "store")
    assert (renamed.id, renamed.name) == (target.repository_id, "store")


async def test_a_model_is_registered_once(database: Database) -> None:
    async with database.transaction("writers") as connection:
        ids = {await projects.ensure_model(connection, index.FakeEmbedder.identity, 8) for _ in range(2)}
    assert len(ids) == 1


async def test_a_project_has_a_schema_once_it_is_migrated_and_is_forgotten_when_dropped(database: Database) -> None:
    async with database.transaction("writers") as connection:
        assert await projects.project_schema(connection, "mine") is None
        schema = await projects.ensure_project(connection, "mine")
        assert await projects.ensure_project(connection, "mine") == schema == tables.schema_name("mine")
        assert not await projects.schema_exists(connection, schema)
    await index.new_target(database, schema=schema)
    async with database.transaction("writers") as connection:
        assert await projects.schema_exists(connection, schema)
        assert await projects.schema_size_bytes(connection, schema) > 0
        await projects.drop_project(connection, "mine", schema)
        assert await projects.project_schema(connection, "mine") is None
        assert not await projects.schema_exists(connection, schema)
        assert await projects.schema_size_bytes(connection, schema) == 0
