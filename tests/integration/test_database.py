"""Transactions, their deadlines and what becomes of a connection after an error."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import sqlalchemy as sa

from codebase_mcp.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    LeaseLostError,
    SchemaMismatchError,
)
from codebase_mcp.storage import embedded, liveness, tables
from codebase_mcp.storage import pool as pool_module
from codebase_mcp.storage.database import Database, copy_rows
from codebase_mcp.storage.migrate import migrate_project
from tests.support.link_proxy import LinkProxy, proxied
from tests.support.postgres import TestServer, running_server, start_server
from tests.support.waiting import until

SCHEMA = "cb_proj_test_00000000"
PROJECT = tables.projects


@asynccontextmanager
async def opened(url: str, **options: float) -> AsyncIterator[Database]:
    database = Database(url, application_name="test", **options)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def through_proxy(url: str, **options: float) -> AsyncIterator[tuple[LinkProxy, Database]]:
    async with proxied(url) as (proxy, proxied_url), opened(proxied_url, **options) as database:
        yield proxy, database


async def add_project(database: Database, name: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.insert(PROJECT).values(project_id=name, schema_name=name))


async def project_names(database: Database) -> set[str]:
    async with database.transaction() as connection:
        return set(await connection.scalars(sa.select(PROJECT.c.project_id)))


async def own_backends(database: Database) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with database.maintenance() as connection:
        return int(await connection.scalar(sa.text(query)) or 0)


async def no_backend_is_left(database: Database) -> None:
    """A server lists a session until it has noticed that the client hung up."""

    async def none() -> bool:
        return await own_backends(database) == 0

    await until(none, what="the end of every session")


async def backend_id(database: Database) -> int:
    async with database.transaction() as connection:
        return int(await connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0)


async def both_backends(database: Database) -> set[int]:
    """Use every connection of the control pool at once."""
    query = sa.text("SELECT pg_backend_pid()")
    async with database.transaction() as one, database.transaction() as other:
        return {int(await connection.scalar(query) or 0) for connection in (one, other)}


async def test_a_transaction_commits_at_the_end_of_its_block(database: Database) -> None:
    await add_project(database, "kept")
    assert await project_names(database) == {"kept"}


async def test_an_error_inside_a_transaction_undoes_it_and_passes_unchanged(database: Database) -> None:
    error = LeaseLostError()

    async def insert_and_fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.insert(PROJECT).values(project_id="lost", schema_name="lost"))
            raise error

    with pytest.raises(LeaseLostError) as caught:
        await insert_and_fail()
    assert caught.value is error
    assert await project_names(database) == set()


async def test_a_violated_constraint_is_named(database: Database) -> None:
    await add_project(database, "twice")
    with pytest.raises(ConstraintViolatedError) as caught:
        await add_project(database, "twice")
    assert caught.value.constraint == "projects_pkey"


async def test_a_violated_check_is_named(database: Database) -> None:
    job = sa.insert(tables.indexing_jobs).values(
        id=uuid.uuid4(), repo_path="/r", repo_name="r", project_id="p", status="running"
    )
    with pytest.raises(ConstraintViolatedError) as caught:
        async with database.transaction() as connection:
            await connection.execute(job)
    assert caught.value.constraint == "only_a_running_job_holds_a_slot_and_a_lease"


async def test_a_missing_table_is_a_schema_mismatch_without_the_statement(database: Database) -> None:
    with pytest.raises(SchemaMismatchError, match=r"relation .*repositories.* does not exist") as caught:
        async with database.transaction(project_schema="cb_proj_none") as connection:
            await connection.execute(sa.select(tables.repositories).where(tables.repositories.c.path == "/secret"))
    assert "SELECT" not in str(caught.value)


async def test_project_tables_are_found_in_the_schema_of_the_project(database: Database) -> None:
    for schema in ("cb_proj_one", "cb_proj_two"):
        await migrate_project(database, schema)
    for schema, path in (("cb_proj_one", "/one"), ("cb_proj_two", "/two")):
        async with database.transaction(project_schema=schema) as connection:
            await connection.execute(sa.insert(tables.repositories).values(path=path, name="r"))
    async with database.transaction("search", project_schema="cb_proj_two") as connection:
        assert (await connection.scalars(sa.select(tables.repositories.c.path))).all() == ["/two"]


@pytest.mark.parametrize(
    ("pool", "lock_timeout", "idle_timeout", "statement_timeout"),
    [("control", "800ms", "2s", "900ms"), ("writers", "5s", "2s", "9s"), ("search", "5s", "10s", "9s")],
)
async def test_each_pool_has_its_deadlines(
    database_url: str, pool: str, lock_timeout: str, idle_timeout: str, statement_timeout: str
) -> None:
    async with opened(database_url) as database, database.transaction(pool) as connection:  # type: ignore[arg-type]
        shown = [
            await connection.scalar(sa.text(f"SHOW {name}"))
            for name in ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout", "jit", "timezone")
        ]
    assert shown == [lock_timeout, idle_timeout, statement_timeout, "off", "UTC"]


async def test_a_slow_statement_is_given_up(database_url: str) -> None:
    async with opened(database_url, control_seconds=1) as database:
        # The server is first by a tenth of a second, which a busy machine may need for its answer.
        with pytest.raises(DatabaseUnavailableError, match=r"took too long|did not answer in time"):
            async with database.transaction() as connection:
                await connection.execute(sa.text("SELECT pg_sleep(20)"))


async def test_a_lock_held_by_another_transaction_is_given_up(database_url: str) -> None:
    async with opened(database_url, control_seconds=10) as database:
        await add_project(database, "locked")
        update = sa.update(PROJECT).values(schema_name="changed")
        async with database.maintenance(autocommit=False) as holder:
            await holder.execute(update)
            with pytest.raises(DatabaseUnavailableError, match="lock"):
                async with database.transaction() as connection:
                    await connection.execute(update)


async def test_a_transaction_that_stands_idle_frees_its_locks(database_url: str) -> None:
    async with opened(database_url, control_seconds=5) as database:
        await add_project(database, "locked")
        update = sa.update(PROJECT).values(schema_name="changed")

        async def stand_idle() -> None:
            async with database.transaction("writers") as holder:
                await holder.execute(update)
                await asyncio.sleep(2.5)
                await holder.execute(update)

        with pytest.raises(DatabaseUnavailableError):
            await stand_idle()
        async with database.transaction() as connection:
            await connection.execute(update)


async def test_waiting_for_a_busy_pool_ends(database_url: str) -> None:
    async with opened(database_url, control_seconds=1) as database:
        async with database.transaction(), database.transaction():
            with pytest.raises(DatabaseUnavailableError, match="busy"):
                async with database.transaction():
                    pass
        assert await project_names(database) == set()


async def test_a_cancelled_transaction_gives_its_connection_up_at_once(database_url: str) -> None:
    async with opened(database_url, control_seconds=60) as database:

        async def sleep() -> None:
            async with database.transaction() as connection:
                await connection.execute(sa.text("SELECT pg_sleep(40)"))

        for _ in range(4):  # more often than there are connections
            task = asyncio.create_task(sleep())
            await asyncio.sleep(0.1)
            started = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - started < 10
        assert await project_names(database) == set()


async def test_a_terminated_backend_costs_one_error(database_url: str) -> None:
    async with opened(database_url) as database:

        async def go_on_after_termination() -> None:
            async with database.transaction() as connection:
                victim = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
                async with database.maintenance() as killer:
                    await killer.execute(sa.select(sa.func.pg_terminate_backend(victim)))
                await connection.execute(sa.text("SELECT 1"))

        with pytest.raises(DatabaseUnavailableError):
            await go_on_after_termination()
        assert await project_names(database) == set()


@pytest.fixture(scope="module")
def restartable() -> Iterator[TestServer]:
    with running_server() as server:
        yield server


async def test_a_restart_of_the_server_between_transactions_costs_nothing(restartable: TestServer) -> None:
    async with opened(restartable.url) as database:
        before = await both_backends(database)
        await asyncio.to_thread(embedded.stop, restartable.data_dir)
        await asyncio.to_thread(start_server, restartable.data_dir)
        assert not before & await both_backends(database)


async def test_a_link_that_hangs_is_given_up_and_costs_one_error(database_url: str) -> None:
    async with through_proxy(database_url, control_seconds=1) as (proxy, database):
        before = await both_backends(database)
        proxy.flows.clear()
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            await backend_id(database)
        assert time.monotonic() - started < 5
        proxy.flows.set()
        assert not before & await both_backends(database)


async def test_a_link_that_hangs_before_it_is_open_is_given_up(database_url: str) -> None:
    async with through_proxy(database_url) as (proxy, database):
        proxy.flows.clear()
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            async with database.transaction():
                pass
        assert time.monotonic() - started < 10


async def test_a_link_that_breaks_inside_a_transaction_is_reported_as_unavailable(database_url: str) -> None:
    async with through_proxy(database_url) as (proxy, database):

        async def go_on_after_a_reset() -> None:
            async with database.transaction() as connection:
                await connection.execute(sa.text("SELECT 1"))
                proxy.drop()
                await connection.execute(sa.text("SELECT 1"))

        with pytest.raises(DatabaseUnavailableError):
            await go_on_after_a_reset()
        assert await project_names(database) == set()


async def test_cancelling_a_transaction_on_a_hung_link_does_not_wait_for_it(database_url: str) -> None:
    async with through_proxy(database_url, control_seconds=30) as (proxy, database):
        async with database.transaction() as connection:
            await connection.execute(sa.text("SELECT 1"))
        proxy.flows.clear()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), database.transaction() as connection:
                await connection.execute(sa.text("SELECT 1"))
        assert time.monotonic() - started < 1.9  # a goodbye to the hung link would take 2 s


@pytest.mark.parametrize("is_terminated", [True, False], ids=["terminated", "reset"])
async def test_a_link_that_breaks_in_the_middle_of_a_copy_is_reported_as_unavailable(
    database: Database, database_url: str, is_terminated: bool
) -> None:
    columns = ["job_id", "ordinal", "relative_path", "size_bytes", "mtime_ns", "state"]
    job_id = uuid.uuid4()

    async def copy_through_a_break() -> None:
        async with distant.transaction("writers") as connection:
            victim = await connection.scalar(sa.text("SELECT pg_backend_pid()"))

            async def records() -> AsyncIterator[tuple[object, ...]]:
                for ordinal in range(200_000):
                    if ordinal == 100_000:
                        if is_terminated:
                            async with database.transaction() as killer:
                                await killer.execute(sa.select(sa.func.pg_terminate_backend(victim)))
                        else:
                            proxy.drop()
                    yield job_id, ordinal, f"file {ordinal}", 1, 1, "pending"

            await copy_rows(connection, tables.job_files, None, columns, records())

    async with through_proxy(database_url) as (proxy, distant):
        with pytest.raises(DatabaseUnavailableError):
            await copy_through_a_break()
        assert await project_names(distant) == set()


# --- what people wait for ---


async def test_what_waits_for_a_database_that_went_away_ends_long_before_its_deadline(database_url: str) -> None:
    async with through_proxy(database_url, control_seconds=30) as (proxy, database):
        await both_backends(database)
        for trouble in (proxy.halt, partial(proxy.halt, "to client")):
            trouble()
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
                async with database.while_it_answers():
                    await backend_id(database)
            assert time.monotonic() - started < 10
            proxy.resume()
            assert await backend_id(database)


async def test_what_takes_long_is_let_be_while_the_database_answers_others(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PROBE_SECONDS", 10.0)
    async with through_proxy(database_url) as (proxy, database):
        async with database.while_it_answers(), database.transaction("search") as connection:
            await connection.execute(sa.text("SELECT pg_sleep(4)"))
        assert proxy.accepted > 2  # the connection of the statement, and a probe for each half second


async def test_what_is_quick_costs_no_probe(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE_SECONDS", 20.0)
    async with through_proxy(database_url) as (proxy, database):
        await backend_id(database)
        for _ in range(20):
            async with database.while_it_answers():
                await backend_id(database)
        assert proxy.accepted == 1


async def test_what_takes_long_ends_when_there_is_no_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("nowhere")
    async with opened(f"postgresql://postgres@/none?host={nowhere}") as database:
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            async with database.while_it_answers():
                await asyncio.sleep(30)


async def test_several_who_wait_share_a_probe(database_url: str) -> None:
    async def wait_in_vain() -> None:
        async with database.while_it_answers():
            await backend_id(database)

    async with through_proxy(database_url, control_seconds=30) as (proxy, database):
        await both_backends(database)
        proxy.halt()
        outcomes = await asyncio.gather(*(wait_in_vain() for _ in range(8)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailableError] * 8
        assert proxy.accepted <= 4  # two connections and a probe; one more if the eight began far apart


async def test_an_error_or_a_timeout_of_what_is_watched_passes_unchanged(database: Database) -> None:
    for error in (LeaseLostError(), TimeoutError("its own")):
        with pytest.raises(type(error)) as caught:
            async with database.while_it_answers():
                raise error
        assert caught.value is error


async def test_a_server_that_refuses_a_connection_with_a_reason_is_alive(postgres: TestServer) -> None:
    async with opened(postgres.url_of("nonesuch")) as database, database.while_it_answers():
        await asyncio.sleep(1)


async def test_a_connection_that_went_silent_while_nobody_used_it_is_replaced_in_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_SECONDS", 0.1)
    async with through_proxy(database_url, control_seconds=30) as (proxy, database):
        before = await both_backends(database)
        proxy.forget_links()
        await asyncio.sleep(0.2)
        started = time.monotonic()
        assert not before & await both_backends(database)
        assert time.monotonic() - started < 10


async def test_keepalives_are_set_for_links_over_tcp(database_url: str) -> None:
    async with through_proxy(database_url) as (_, database), database.transaction() as connection:
        # The proxy's last leg is a local socket, for which the server ignores the setting but records its source.
        sources = await connection.scalar(
            sa.text("SELECT count(*) FROM pg_settings WHERE name LIKE 'tcp_%' AND source = 'client'")
        )
    assert sources == 4


async def test_a_connection_that_fails_while_it_is_set_up_is_closed(database: Database, database_url: str) -> None:
    async with opened(database_url, control_seconds=1e-6) as hasty:
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            await backend_id(hasty)
        await no_backend_is_left(database)


async def test_an_absent_server_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("nowhere")
    async with opened(f"postgresql://postgres@/none?host={nowhere}") as database:
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            async with database.transaction():
                pass
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            async with database.maintenance():
                pass


async def test_an_unknown_host_is_unavailable() -> None:
    async with opened("postgresql://u:hunter2@does-not-exist.invalid/none") as database:
        with pytest.raises(DatabaseUnavailableError) as caught:
            async with database.transaction():
                pass
    assert "hunter2" not in str(caught.value)


async def test_a_missing_database_is_an_error_that_waiting_does_not_cure(postgres: TestServer) -> None:
    async with opened(postgres.url_of("nonesuch")) as database:
        with pytest.raises(DatabaseError, match='database "nonesuch" does not exist') as caught:
            async with database.transaction():
                pass
    assert not caught.value.is_transient


async def test_maintenance_runs_what_no_transaction_may_and_has_no_deadlines(database: Database) -> None:
    async with database.maintenance() as connection:
        await connection.execute(sa.text("VACUUM codebase_mcp.projects"))
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert await connection.scalar(sa.text(f"SHOW {name}")) == "0"
    await no_backend_is_left(database)


async def test_maintenance_in_one_transaction_undoes_it_after_an_error(database: Database) -> None:
    insert = sa.insert(PROJECT).values(project_id="p", schema_name="p")

    async def insert_twice() -> None:
        async with database.maintenance(autocommit=False) as connection:
            await connection.execute(insert)
            await connection.execute(insert)

    with pytest.raises(ConstraintViolatedError):
        await insert_twice()
    assert await project_names(database) == set()


async def test_closing_leaves_no_connection_and_opens_again_on_use(database: Database) -> None:
    await add_project(database, "one")
    await database.close()
    await no_backend_is_left(database)
    assert await project_names(database) == {"one"}


async def test_a_database_without_the_extension_can_be_connected_to(postgres: TestServer) -> None:
    with postgres.fresh_database("template1") as url:
        async with opened(url) as database:
            assert await backend_id(database) > 0
