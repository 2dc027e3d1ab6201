"""The migrations lead to what tables.py declares, from any revision, whoever runs them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql.base import PGDialect

from codebase_mcp.errors import ConstraintViolatedError, DatabaseError, SchemaMismatchError
from codebase_mcp.storage import migrate, tables
from codebase_mcp.storage.alembic_run import History, migration_config, move_schema
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.migrate import (
    check_server,
    expected_revision,
    installed_revision,
    migrate_control,
    migrate_known_projects,
    migrate_project,
)
from codebase_mcp.storage.projects import ensure_project, list_repositories
from tests.support import jobs
from tests.support.postgres import TestServer

CONTROL = tables.CONTROL_SCHEMA
PROJECT = tables.schema_name("migrations")
BOTH: list[tuple[History, str]] = [("control", CONTROL), ("project", PROJECT)]

SNAPSHOT = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid), (SELECT collname FROM pg_collation WHERE oid = a.attcollation)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT c.relname, o.conname, pg_get_constraintdef(o.oid)
        FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid WHERE c.relnamespace = to_regnamespace(:schema)""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = :schema",
    "storage": """
        SELECT relname, reloptions FROM pg_class
        WHERE relnamespace = to_regnamespace(:schema) AND relkind = 'r'""",
    "sequences": """
        SELECT sequencename, data_type, start_value, min_value, max_value, increment_by, cycle, cache_size
        FROM pg_sequences WHERE schemaname = :schema""",
}


@pytest.fixture
def empty_url(postgres: TestServer) -> Iterator[str]:
    with postgres.fresh_database("template1") as url:
        yield url


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    database = Database(empty_url, application_name="tests", control_seconds=5)
    yield database
    await database.close()


async def snapshot(database: Database, schema: str) -> dict[str, set[str]]:
    """Everything that makes up a schema, as PostgreSQL spells it, without the schema's name."""
    async with database.maintenance() as connection:
        rows = {
            kind: (await connection.execute(sa.text(query), {"schema": schema})).all()
            for kind, query in SNAPSHOT.items()
        }
    return {
        kind: {str(row).replace(schema, "S") for row in found if not row[0].startswith("alembic_version")}
        for kind, found in rows.items()
    }


async def create_declared(database: Database) -> None:
    """What tables.py declares, made without migrations."""
    async with database.maintenance(PROJECT, autocommit=False) as connection:
        await connection.execute(sa.text("CREATE EXTENSION vector"))
        for metadata, schema in ((tables.control, CONTROL), (tables.project, PROJECT)):
            await connection.execute(sa.schema.CreateSchema(schema))
            await connection.run_sync(metadata.create_all)


async def move(database: Database, history: History, schema: str, revision: str) -> None:
    async with database.maintenance(schema, autocommit=False) as connection:
        await connection.run_sync(move_schema, history, schema, revision)


async def set_revision(database: Database, schema: str, revision: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.text(f"UPDATE {schema}.alembic_version SET version_num = '{revision}'"))


async def test_migrating_an_empty_database_gives_exactly_the_declared_tables(
    empty: Database, postgres: TestServer
) -> None:
    await migrate_control(empty)
    await migrate_project(empty, PROJECT)
    with postgres.fresh_database("template1") as url:
        declared = Database(url, application_name="tests")
        await create_declared(declared)
        for _, schema in BOTH:
            expected = await snapshot(declared, schema)
            assert expected["columns"]
            assert await snapshot(empty, schema) == expected
        await declared.close()


@pytest.mark.parametrize(("history", "schema"), BOTH)
async def test_alembic_finds_nothing_left_to_migrate(database: Database, history: History, schema: str) -> None:
    await migrate_project(database, PROJECT)
    declared = sa.MetaData()
    for table in (tables.control if history == "control" else tables.project).tables.values():
        table.to_metadata(declared, schema=schema, referred_schema_fn=lambda *_: schema)

    def differences(connection: sa.Connection) -> list[object]:
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == schema,
            "version_table_schema": schema,
        }
        dialect = connection.dialect
        assert isinstance(dialect, PGDialect)
        dialect.ischema_names = {**dialect.ischema_names, "halfvec": tables.HalfVector}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), declared))

    async with database.maintenance() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(("history", "schema"), BOTH)
async def test_going_down_and_up_again_gives_the_same(database: Database, history: History, schema: str) -> None:
    await migrate_project(database, PROJECT)
    before = await snapshot(database, schema)
    await move(database, history, schema, "base")
    assert not any((await snapshot(database, schema)).values())
    await (migrate_control(database) if history == "control" else migrate_project(database, PROJECT))
    assert await snapshot(database, schema) == before
    assert await installed_revision(database, schema) == expected_revision(schema)


JOBS_OF_0001 = """
INSERT INTO codebase_mcp.indexing_jobs (id, repo_path, repo_name, project_id, status, phase, files_total, bytes_total,
  bytes_done, files_indexed, attempt, slot, worker_id, lease_expires_at, started_at, finished_at, completed_at)
VALUES
  ('00000000-0000-4000-8000-000000000001', '/src/a', 'a', 'p', 'running', 'indexing', 9, 900, 100, 1, 3, 1,
   gen_random_uuid(), clock_timestamp() - interval '1 hour', clock_timestamp(), NULL, NULL),
  ('00000000-0000-4000-8000-000000000002', '/src/b', 'b', 'p', 'completed', 'done', 9, 900, 900, 9, 1, NULL,
   NULL, NULL, clock_timestamp(), clock_timestamp(), clock_timestamp())
"""


async def test_jobs_of_the_first_revision_live_on_through_an_upgrade_and_back(database: Database) -> None:
    back_to_the_first = f"-{len(migrate.CONTROL_REVISIONS) - 1}"
    await move(database, "control", CONTROL, back_to_the_first)
    assert await installed_revision(database) == "0001"
    await jobs.execute(database, JOBS_OF_0001)
    await jobs.execute(
        database, "INSERT INTO codebase_mcp.job_events (job_id, event_type) SELECT id, 'created' FROM"
        " codebase_mcp.indexing_jobs",
    )  # fmt: skip
    before = await jobs.execute(database, "SELECT * FROM codebase_mcp.indexing_jobs ORDER BY id")
    await migrate_control(database)
    assert await jobs.try_claim(database) is None, "it belongs to no host yet"
    await jobs.execute(database, "UPDATE codebase_mcp.indexing_jobs SET host_id = :host", host=jobs.HOST.id)
    orphan = await jobs.claim(database)
    assert (orphan.repo_path, orphan.attempt, orphan.recent_seconds) == ("/src/a", 4, 0.0)
    assert orphan.progressed_at is not None
    committed = await jobs.commit(database, orphan, 0)
    assert committed.files_indexed == 2
    assert (await jobs.current(database, UUID(int=0x4000_8000_0000_0000_0002))).progressed_at is None
    await jobs.execute(
        database, "INSERT INTO codebase_mcp.job_events (job_id, event_type) VALUES (:id, 'captured')", id=orphan.id
    )
    await move(database, "control", CONTROL, back_to_the_first)
    after = await jobs.execute(database, "SELECT * FROM codebase_mcp.indexing_jobs ORDER BY id")
    assert (after[0]._fields, after[1]) == (before[0]._fields, before[1])
    kinds = await jobs.execute(database, "SELECT DISTINCT event_type FROM codebase_mcp.job_events ORDER BY 1")
    assert [kind for (kind,) in kinds] == ["created", "resumed"]
    await migrate_control(database)
    assert await installed_revision(database) == expected_revision()


async def test_at_a_start_every_project_is_brought_up_to_date(database: Database) -> None:
    await migrate_project(database, PROJECT)
    async with database.transaction() as connection:
        await ensure_project(connection, "migrations")
        await ensure_project(connection, "never-indexed")
    await move(database, "project", PROJECT, f"-{len(migrate.PROJECT_REVISIONS) - 1}")
    await jobs.execute(database, f"INSERT INTO {PROJECT}.repositories (path, name) VALUES ('/src/shop', 'shop')")
    await migrate_known_projects(database)
    assert await installed_revision(database, PROJECT) == expected_revision(PROJECT)
    assert await installed_revision(database, tables.schema_name("never-indexed")) is None
    async with database.transaction("search", PROJECT) as connection:
        assert [one.finished_version for one in await list_repositories(connection)] == [0]


@pytest.mark.parametrize("history", ["control", "project"])
def test_the_revisions_listed_in_code_are_those_of_the_migrations(history: History) -> None:
    scripts = ScriptDirectory.from_config(migration_config(history))
    found = [script.revision for script in scripts.walk_revisions()][::-1]
    assert found == list(migrate.CONTROL_REVISIONS if history == "control" else migrate.PROJECT_REVISIONS)


@pytest.mark.parametrize(("history", "schema"), BOTH)
async def test_a_schema_of_a_newer_program_is_refused_and_left_alone(
    database: Database, history: History, schema: str
) -> None:
    await migrate_project(database, PROJECT)
    await set_revision(database, schema, "9999")
    with pytest.raises(SchemaMismatchError, match=r"revision 9999.*Upgrade codebase-mcp"):
        await (migrate_control(database) if history == "control" else migrate_project(database, PROJECT))
    assert await installed_revision(database, schema) == "9999"


async def test_a_schema_that_does_not_exist_has_no_revision(database: Database) -> None:
    assert await installed_revision(database, "cb_proj_none") is None


def test_a_database_that_is_up_to_date_is_opened_without_alembic(database_url: str) -> None:
    code = """
import asyncio, sys
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.migrate import migrate_control

async def main():
    database = Database(sys.argv[1], application_name="test", control_seconds=10)
    await migrate_control(database)
    await database.close()

asyncio.run(main())
sys.exit("alembic was imported" if "alembic" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", code, database_url], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_two_processes_may_migrate_at_once(empty: Database, empty_url: str) -> None:
    code = """
import asyncio, sys
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.migrate import migrate_control, migrate_project

async def main():
    database = Database(sys.argv[1], application_name="test", control_seconds=20)
    await migrate_control(database)
    await migrate_project(database, sys.argv[2])
    await database.close()

sys.stdin.readline()
asyncio.run(main())
"""
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, empty_url, PROJECT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    outcomes = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    assert [(racer.returncode, stderr) for racer, (_, stderr) in zip(racers, outcomes, strict=True)] == [(0, b"")] * 2
    for _, schema in BOTH:
        assert await installed_revision(empty, schema) == expected_revision(schema)


async def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    async with empty.maintenance() as connection:
        await connection.execute(sa.text(f"CREATE SCHEMA {PROJECT}"))
        await connection.execute(sa.text(f"CREATE TABLE {PROJECT}.symbols (id int)"))
    await migrate_control(empty)
    with pytest.raises(DatabaseError, match="already exists"):
        await migrate_project(empty, PROJECT)
    assert await installed_revision(empty, PROJECT) is None
    assert len((await snapshot(empty, PROJECT))["storage"]) == 1


async def test_the_facts_of_the_server_are_known(database: Database, empty: Database) -> None:
    facts = await check_server(database)
    assert facts.server_version.startswith(str(facts.server_version_number // 10_000))
    assert facts.vector_version == facts.vector_available
    assert (await check_server(empty)).vector_version is None


async def test_a_user_who_may_not_create_the_extension_is_told_who_may(postgres: TestServer, empty_url: str) -> None:
    postgres.execute("DROP ROLE IF EXISTS lodger")
    postgres.execute("CREATE ROLE lodger LOGIN")
    database = Database(
        sa.make_url(empty_url).set(username="lodger").render_as_string(hide_password=False), application_name="tests"
    )
    with pytest.raises(DatabaseError, match="CREATE EXTENSION vector"):
        await migrate_control(database)
    await database.close()
    postgres.execute("DROP ROLE lodger")


async def test_the_limit_of_running_jobs_is_a_constraint_of_the_migrated_table(database: Database) -> None:
    job = sa.text(
        "INSERT INTO codebase_mcp.indexing_jobs (id, repo_path, repo_name, project_id, host_id, status, slot,"
        " worker_id, lease_expires_at)"
        " VALUES (gen_random_uuid(), :path, 'r', 'p', 'h', 'running', :slot, gen_random_uuid(), now())"
    )

    async def run(path: str, slot: int) -> None:
        async with database.transaction() as connection:
            await connection.execute(job, {"path": path, "slot": slot})

    await run("/one", 1)
    with pytest.raises(ConstraintViolatedError, match="one_job_per_slot"):
        await run("/two", 1)
    with pytest.raises(ConstraintViolatedError, match="job_slot_exists"):
        await run("/two", 4)
