"""An index written without jobs: prepared batches of small texts, put where a job would put them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from codebase_mcp.domain import ParsedFile, PreparedBatch
from codebase_mcp.indexing.embed import EmbedderIdentity
from codebase_mcp.indexing.pipeline import BatchRequest, prepare_batch
from codebase_mcp.storage import index_store, projects, segments
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.digest import canonical_digest
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.migrate import migrate_project
from codebase_mcp.storage.segments import Merge
from tests.support.jobs import HOST

SCHEMA = "cb_proj_test_00000000"
DIMENSIONS = 8
TABLES_OF_FILES = ("code_files", "code_chunks", "embeddings", "symbols")


class FakeEmbedder:
    """Vectors that depend on the text alone; counts what it was asked, and fails as listed."""

    identity = EmbedderIdentity("fake", "hash", "1")
    dimensions = DIMENSIONS
    cosine_scale = 1.0
    is_service = False

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.failures: list[Exception | None] = []

    async def prepare(self, *, seconds: float | None = None) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def document_texts(self, files: Sequence[ParsedFile]) -> list[str]:
        return [header for file in files for header in file.headers]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        self.texts.extend(texts)
        return fake_vectors(texts)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = fake_vectors([text])[0]
        return vector


def fake_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    raw = [np.frombuffer(hashlib.sha256(text.encode()).digest()[:DIMENSIONS], np.uint8) for text in texts]
    rows = np.array(raw, dtype=np.float32).reshape(-1, DIMENSIONS) - 127.5
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


async def new_target(database: Database, path: str = "/src/shop", schema: str = SCHEMA) -> Target:
    await migrate_project(database, schema)
    async with database.transaction("writers", schema) as connection:
        repository = await projects.ensure_repository(connection, HOST.id, path, path.rpartition("/")[2])
        model_id = await projects.ensure_model(connection, FakeEmbedder.identity, DIMENSIONS)
    return Target(schema, repository.id, model_id, "fingerprint", uuid4())


def prepared(folder: Path, texts: Mapping[str, str]) -> PreparedBatch:
    """What the pool would answer for files with these texts."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return prepare_batch(BatchRequest(folder, tuple(texts), {}, 1_000_000))


def vectors_of(batch: PreparedBatch) -> NDArray[np.float32]:
    return fake_vectors([header for file in batch.files for header in file.headers])


async def reserve(database: Database, target: Target, batch: PreparedBatch) -> index_store.ReservedIds:
    chunks = sum(len(file.chunks) for file in batch.files)
    async with database.transaction("writers") as connection:
        return await index_store.reserve_ids(connection, target.schema, chunks=chunks, files=len(batch.files))


async def put(database: Database, target: Target, batch: PreparedBatch) -> None:
    ids = await reserve(database, target, batch)
    async with database.transaction("writers", target.schema) as connection:
        await connection.execute(sa.select(1))
        await index_store.replace_files(connection, target, batch, ids, vectors_of(batch))


async def write(database: Database, target: Target, folder: Path, texts: Mapping[str, str]) -> PreparedBatch:
    batch = prepared(folder, texts)
    await put(database, target, batch)
    return batch


async def remove(database: Database, target: Target, *paths: str) -> int:
    async with database.transaction("writers", target.schema) as connection:
        known = await index_store.known_files(connection, target.repository_id, paths)
        return await index_store.remove_files(connection, target.repository_id, [file.id for file in known.values()])


async def digest(database: Database, target: Target) -> str:
    async with database.transaction("search", target.schema) as connection:
        return await canonical_digest(connection, target.schema, target.repository_id)


async def rows(database: Database, target: Target, table: str) -> int:
    async with database.transaction("search", target.schema) as connection:
        statement = f"SELECT count(*) FROM {target.schema}.{table} WHERE repository_id = :id"
        return int(await connection.scalar(sa.text(statement), {"id": target.repository_id}) or 0)


async def segments_by_level(database: Database, target: Target) -> dict[int, int]:
    async with database.transaction("search") as connection:
        statement = f"SELECT level, count(*) FROM {target.schema}.lexical_segments WHERE repository_id = :id GROUP BY 1"
        rows = await connection.execute(sa.text(statement), {"id": target.repository_id})
        return dict(map(tuple, rows))


async def plan(database: Database, target: Target, fan_in: int) -> Merge | None:
    async with database.transaction("writers", target.schema) as connection:
        return await segments.plan_merge(connection, target.schema, target.repository_id, fan_in=fan_in)


async def run_merge(database: Database, merge: Merge, *, most_steps: int | None = None) -> None:
    """Carries a merge out, or only its first steps."""
    for after, up_to in merge.steps()[:most_steps]:
        async with database.transaction("writers", merge.schema) as connection:
            if after is None:
                await segments.open_target(connection, merge)
            await segments.merge_step(connection, merge, after, up_to)
            if up_to is None:
                await segments.close_sources(connection, merge)


async def assert_counts_are_true(database: Database, target: Target) -> None:
    async with database.transaction("search", target.schema) as connection:
        repository = await projects.repository(connection, target.repository_id)
    counted = await rows(database, target, "code_files"), await rows(database, target, "code_chunks")
    assert (repository.file_count, repository.chunk_count) == counted


async def assert_no_orphans(database: Database, target: Target) -> None:
    """Every chunk, vector and symbol belongs to a file that exists, and every chunk has its vector."""
    async with database.transaction("search") as connection:
        for table in ("code_chunks", "embeddings", "symbols"):
            statement = (
                f"SELECT count(*) FROM {target.schema}.{table} t WHERE NOT EXISTS"
                f" (SELECT 1 FROM {target.schema}.code_files f WHERE f.id = t.file_id)"
            )
            assert await connection.scalar(sa.text(statement)) == 0, table
    assert await rows(database, target, "embeddings") == await rows(database, target, "code_chunks")
