"""Bulk COPY belongs to its transaction, and vectors travel in the wire format."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from codebase_mcp.errors import ConstraintViolatedError, DatabaseError
from codebase_mcp.storage import tables
from codebase_mcp.storage.database import Database, copy_rows, halfvec_array, halfvec_bytes, halfvec_literal
from codebase_mcp.storage.migrate import migrate_project

SCHEMA = "cb_proj_test_00000000"
PROJECT = tables.projects


async def project_names(database: Database) -> set[str]:
    async with database.transaction() as connection:
        return set(await connection.scalars(sa.select(PROJECT.c.project_id)))


def vector_rows(count: int, dimensions: int = 4) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((count, dimensions)).astype(np.float32)
    return values.astype(np.float16).astype(np.float32)


EMBEDDING_COLUMNS = ("chunk_id", "model_id", "file_id", "repository_id", "vector")


async def copy_vectors(database: Database, vectors: np.ndarray) -> None:
    records = [(number, 1, 1, 1, vector) for number, vector in enumerate(halfvec_bytes(vectors))]
    async with database.transaction("writers", project_schema=SCHEMA) as connection:
        await connection.execute(sa.text("SELECT 1"))
        await copy_rows(connection, tables.embeddings, SCHEMA, EMBEDDING_COLUMNS, records)


async def test_vectors_survive_copy_and_read(database: Database) -> None:
    await migrate_project(database, SCHEMA)
    vectors = vector_rows(50)
    await copy_vectors(database, vectors)
    query = sa.select(tables.embeddings.c.vector).order_by(tables.embeddings.c.chunk_id)
    async with database.transaction("search", project_schema=SCHEMA) as connection:
        read = (await connection.scalars(query)).all()
    np.testing.assert_array_equal(halfvec_array(read, 4), vectors)


@pytest.mark.parametrize("form", ["text", "wire"])
async def test_the_nearest_vector_is_found_by_either_form_of_the_query(database: Database, form: str) -> None:
    await migrate_project(database, SCHEMA)
    vectors = vector_rows(50)
    await copy_vectors(database, vectors)
    parameter = halfvec_literal(vectors[17]) if form == "text" else halfvec_bytes(vectors[17:18])[0]
    query = sa.text(
        f"SELECT chunk_id FROM {SCHEMA}.embeddings"
        " ORDER BY CAST(vector AS halfvec(4)) <=> CAST(:query AS halfvec(4)) LIMIT 1"
    )
    async with database.transaction("search") as connection:
        assert await connection.scalar(query, {"query": parameter}) == 17


async def insert_and_copy(database: Database, *copied: tuple[str, str]) -> None:
    async with database.transaction("writers") as connection:
        await connection.execute(sa.insert(PROJECT).values(project_id="before", schema_name="before"))
        await copy_rows(connection, PROJECT, None, ("project_id", "schema_name"), copied)


async def test_a_copy_that_fails_undoes_its_transaction(database: Database) -> None:
    with pytest.raises(DatabaseError, match="invalid byte sequence"):
        await insert_and_copy(database, ("good", "good"), ("bad\0", "bad"))
    assert await project_names(database) == set()


async def test_a_copy_that_violates_a_constraint_names_it(database: Database) -> None:
    with pytest.raises(ConstraintViolatedError) as caught:
        await insert_and_copy(database, ("a", "same"), ("b", "same"))
    assert caught.value.constraint == "projects_schema_name_key"
    assert await project_names(database) == set()


async def test_a_copy_before_any_statement_is_refused(database: Database) -> None:
    with pytest.raises(AssertionError, match="outside a transaction"):
        async with database.transaction("writers") as connection:
            await copy_rows(connection, PROJECT, None, ("project_id", "schema_name"), [("a", "a")])
    assert await project_names(database) == set()
