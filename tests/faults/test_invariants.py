"""Each invariant is seen to hold of healthy jobs, and to name what was planted against it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.domain import JobStatus
from codebase_mcp.settings import Settings
from codebase_mcp.storage.tables import schema_name
from tests.faults import invariants as rules
from tests.faults import ledger
from tests.faults.checks import Reader
from tests.support import jobs
from tests.support.databases import PatientDatabase
from tests.support.postgres import TestServer, in_new_loop
from tests.support.processes import Site
from tests.support.runs import SHOP, Bench

pytestmark = pytest.mark.faults

SCHEMA = schema_name("default")
JOBS = "codebase_mcp.indexing_jobs"
SHOP_JOB = f"(SELECT id FROM {JOBS} WHERE repo_name = 'shop')"
"""Completed by `worker two` after it took over from `worker one`."""
BARN_JOB = f"(SELECT id FROM {JOBS} WHERE repo_name = 'barn')"
"""Running, claimed by `worker one`."""
CART = f"(SELECT id FROM {SCHEMA}.code_files WHERE relative_path = 'shop/cart.py')"


@dataclass(frozen=True)
class Scene:
    """A database with jobs in every state, each of them got there by the engine's own statements."""

    url: str
    root: Path


@pytest.fixture(scope="module")
def scene(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with postgres.fresh_database() as url:
        scene = Scene(url, tmp_path_factory.mktemp("scene") / "shop")
        in_new_loop(_play(scene))
        yield scene


async def _play(scene: Scene) -> None:
    await ledger.install(scene.url)
    async with AsyncExitStack() as stack:
        names = ("worker one", "worker two", "tests")
        one, two, tests = (PatientDatabase(scene.url, application_name=name) for name in names)
        for database in (one, two, tests):
            stack.push_async_callback(database.close)
        bench = Bench(two, Settings(data_dir=scene.root.parent, min_free_disk_bytes=0, batch_files=2), scene.root)
        bench.write(SHOP)
        job = await bench.start()
        await jobs.claim(one)
        await jobs.lapse(tests, job.id)
        assert (await bench.carry_on()).status == JobStatus.COMPLETED
        for status in (JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.BLOCKED):
            made = await jobs.in_state(one, status, f"/src/{status}")
        await jobs.set_column(tests, made.id, "retry_at = clock_timestamp() + interval '50 seconds'")
        await jobs.in_state(one, JobStatus.RUNNING, "/src/barn")
        await jobs.in_state(one, JobStatus.PENDING, "/src/mill")


async def test_healthy_jobs_violate_nothing(scene: Scene) -> None:
    database = PatientDatabase(scene.url, application_name="tests")
    try:
        assert await rules.violations(database) == []
        assert await rules.left_connections(database) == []
    finally:
        await database.close()


PLANTS = [
    pytest.param(
        rules.slots_and_repositories,
        "DROP INDEX codebase_mcp.one_job_per_slot;"
        f"INSERT INTO {JOBS} (id, repo_path, repo_name, project_id, host_id, status, slot, worker_id, lease_expires_at)"
        " SELECT gen_random_uuid(), '/src/' || n, 'n', 'default', host_id, 'running', 1, gen_random_uuid(), now()"
        f" FROM generate_series(1, 3) n, {JOBS} WHERE repo_name = 'barn'",
        "4 jobs were running at",
        id="a fourth running job",
    ),
    pytest.param(
        rules.slots_and_repositories,
        "DROP INDEX codebase_mcp.one_active_job_per_repository;"
        f"INSERT INTO {JOBS} (id, repo_path, repo_name, project_id, host_id)"
        f" SELECT gen_random_uuid(), '/src/barn', 'barn', 'default', host_id FROM {JOBS} WHERE id = {BARN_JOB}",
        "2 active jobs for /src/barn",
        id="two jobs of one repository",
    ),
    pytest.param(
        rules.slots_and_repositories,
        f"DELETE FROM {JOBS} WHERE status = 'pending'",
        "was deleted",
        id="an active job deleted",
    ),
    pytest.param(
        rules.progress_never_falls,
        f"UPDATE {JOBS} SET progress_percentage = 50 WHERE id = {BARN_JOB};"
        f"UPDATE {JOBS} SET progress_percentage = 49 WHERE id = {BARN_JOB}",
        "fell from 50 % (0 files) to 49 %",
        id="progress lowered",
    ),
    pytest.param(
        rules.attempts_only_rise,
        f"UPDATE {JOBS} SET attempt = attempt - 1, claimed_attempt = attempt - 1 WHERE id = {BARN_JOB}",
        "went from 1 to 0",
        id="an attempt given back",
    ),
    pytest.param(
        rules.attempts_only_rise,
        f"UPDATE {JOBS} SET status = 'running', worker_id = gen_random_uuid(), lease_expires_at = now(),"
        f" slot = (SELECT 1 + slot % 3 FROM {JOBS} WHERE status = 'running') WHERE repo_name = 'mill'",
        "went from 0 to 0",
        id="a claim without a new attempt",
    ),
    pytest.param(
        rules.writers_hold_the_claim,
        "SET LOCAL application_name = 'worker one';"
        f"UPDATE {JOBS} SET files_scanned = 9 WHERE id = {SHOP_JOB};"
        f"UPDATE {SCHEMA}.code_files SET reference_count = 9 WHERE id = {CART}",
        "by worker one, but attempt 2 was claimed by worker two",
        id="a file written by who was replaced",
    ),
    pytest.param(
        rules.transitions_hold_the_claim,
        f"SET LOCAL application_name = 'worker two';UPDATE {JOBS} SET lease_expires_at = now() WHERE id = {BARN_JOB}",
        "by worker two, but attempt 1 was claimed by worker one",
        id="a lease renewed by who does not hold it",
    ),
    pytest.param(
        rules.effects_are_fenced,
        f"UPDATE {SCHEMA}.code_files SET reference_count = 9 WHERE id = {CART}",
        "shop/cart.py was file updated for",
        id="a write without the fence",
    ),
    pytest.param(
        rules.nothing_after_the_end,
        "UPDATE codebase_mcp.job_files SET state = 'failed', reason = 'late'"
        f" WHERE job_id = {SHOP_JOB} AND ordinal = 0",
        "saw: marked failed README.md",
        id="a file marked after the end",
    ),
    pytest.param(
        rules.nothing_after_the_end,
        f"UPDATE {JOBS} SET status = 'failed', completed_at = NULL WHERE id = {SHOP_JOB}",
        "saw: UPDATE from completed to failed",
        id="an end after the end",
    ),
    pytest.param(
        rules.effects_are_counted_once,
        f"UPDATE codebase_mcp.job_files SET state = 'pending' WHERE job_id = {SHOP_JOB} AND ordinal = 0;"
        f"UPDATE codebase_mcp.job_files SET state = 'indexed' WHERE job_id = {SHOP_JOB} AND ordinal = 0",
        "README.md was marked indexed 2 times",
        id="a file done twice",
    ),
    pytest.param(
        rules.effects_are_counted_once,
        f"UPDATE {JOBS} SET files_indexed = 4 WHERE id = {SHOP_JOB}",
        "counts 4 indexed files; 5 were written and 5 marked",
        id="a batch counted without its files",
    ),
    pytest.param(
        rules.events_tell_the_status,
        f"UPDATE {JOBS} SET status = 'pending', slot = NULL, worker_id = NULL, lease_expires_at = NULL"
        f" WHERE id = {BARN_JOB}",
        "is pending, its events say running (created, started)",
        id="a transition without its event",
    ),
    pytest.param(
        rules.events_tell_the_status,
        "DROP INDEX codebase_mcp.one_terminal_event_per_job;"
        f"INSERT INTO codebase_mcp.job_events (job_id, event_type) VALUES ({SHOP_JOB}, 'cancelled')",
        "the event 'cancelled' came in status 'completed'",
        id="a second terminal event",
    ),
    pytest.param(
        rules.events_tell_the_status,
        f"DELETE FROM codebase_mcp.job_events WHERE job_id = {BARN_JOB}",
        "is running, its events say None",
        id="a history lost",
    ),
    pytest.param(
        rules.every_active_job_can_be_claimed,
        f"UPDATE {JOBS} SET retry_at = now() + interval '5 minutes' WHERE status = 'blocked'",
        "nobody will claim",
        id="a retry that never comes",
    ),
    pytest.param(
        rules.every_active_job_can_be_claimed,
        "SET LOCAL application_name = 'worker one';"
        f"UPDATE {JOBS} SET lease_expires_at = now() + interval '5 minutes' WHERE id = {BARN_JOB};"
        f"UPDATE {JOBS} SET lease_expires_at = now() WHERE id = {BARN_JOB}",
        "was out of reach at",
        id="a lease that was too long for a while",
    ),
    pytest.param(
        rules.files_are_whole,
        f"DELETE FROM {SCHEMA}.embeddings WHERE file_id = {CART}",
        f"shop/cart.py in {SCHEMA}: 1 chunks announced, 1 there, 1 in order, 0 with a vector",
        id="a chunk without a vector",
    ),
    pytest.param(
        rules.files_are_whole,
        f"UPDATE {SCHEMA}.code_chunks SET ordinal = 1 WHERE file_id = {CART}",
        "1 there, 0 in order",
        id="a gap between chunks",
    ),
    pytest.param(
        rules.files_are_whole,
        f"DELETE FROM {SCHEMA}.code_files WHERE id = {CART}",
        f"1 chunks in {SCHEMA} without their file",
        id="chunks without a file",
    ),
    pytest.param(
        rules.files_are_whole,
        f"UPDATE {SCHEMA}.repositories SET chunk_count = 99",
        "counts 5 files and 99 chunks; there are 5 and 4",
        id="a repository miscounted",
    ),
    pytest.param(
        rules.completed_jobs_left_the_repository_in_the_index,
        f"DELETE FROM {SCHEMA}.code_files WHERE id = {CART}",
        f"shop/cart.py of {SCHEMA} is indexed in the completed job",
        id="a file missing",
    ),
    pytest.param(
        rules.completed_jobs_left_the_repository_in_the_index,
        "DELETE FROM codebase_mcp.job_files WHERE relative_path = 'shop/cart.py'",
        "is in the index, but the completed job",
        id="a file too many",
    ),
    pytest.param(
        rules.completed_jobs_left_the_repository_in_the_index,
        f"UPDATE {SCHEMA}.code_files SET content_hash = '\\x00' WHERE id = {CART}",
        "shop/cart.py: the hash in the index is not that of the file",
        id="another hash",
    ),
    pytest.param(
        rules.completed_jobs_left_the_repository_in_the_index,
        f"UPDATE {SCHEMA}.code_chunks SET content = 'else' WHERE file_id = {CART}",
        "shop/cart.py: the chunks in the index are not the text of the file",
        id="another text",
    ),
]


@pytest.mark.parametrize(("rule", "plant", "complaint"), PLANTS)
async def test_a_planted_violation_is_named(scene: Scene, rule: rules.Rule, plant: str, complaint: str) -> None:
    database = PatientDatabase(scene.url, application_name="somebody")
    try:
        async with database.transaction("writers") as connection:
            for statement in plant.split(";"):
                await connection.execute(sa.text(statement))
            found = await rule(connection)
            assert any(complaint in sentence for sentence in found), found
            await connection.rollback()
    finally:
        await database.close()


async def test_a_connection_that_stays_is_named(scene: Scene) -> None:
    watching, staying = (PatientDatabase(scene.url, application_name=name) for name in ("tests", "worker 7"))
    try:
        async with staying.transaction():
            found = await rules.left_connections(watching, seconds=0.1)
        assert any("a connection of worker 7 is left" in sentence for sentence in found)
    finally:
        await asyncio.gather(watching.close(), staying.close())


@dataclass
class _Looked:
    """As much of a site as a reader needs: its rows, seen from within one transaction."""

    connection: AsyncConnection

    async def rows(self, statement: str, **arguments: object) -> list[sa.RowMapping]:
        return list((await self.connection.execute(sa.text(statement), arguments)).mappings())


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        pytest.param("SELECT true", "", id="nothing"),
        pytest.param(f"DELETE FROM {SCHEMA}.code_chunks", "was seen torn: 0 chunks", id="files without chunks"),
        pytest.param(f"DELETE FROM {SCHEMA}.embeddings", "0 vectors of 1", id="chunks without vectors"),
        pytest.param(
            f"UPDATE {SCHEMA}.code_chunks SET content = 'new'", "chunks of another text", id="new chunks, old hash"
        ),
        pytest.param(f"DELETE FROM {SCHEMA}.code_files", "could not be found", id="files gone for a moment"),
    ],
)
async def test_a_reader_names_what_a_search_must_never_see(scene: Scene, plant: str, complaint: str) -> None:
    database = PatientDatabase(scene.url, application_name="somebody")
    try:
        async with database.transaction("writers") as connection:
            reader = Reader(cast(Site, _Looked(connection)))
            await reader.look()
            await connection.execute(sa.text(plant))
            for _ in SHOP:
                await reader.look()
            assert bool(reader.found) == bool(complaint), reader.found
            assert not complaint or any(complaint in sentence for sentence in reader.found), reader.found
            await connection.rollback()
    finally:
        await database.close()


def test_every_rule_has_been_seen_red() -> None:
    assert {plant.values[0] for plant in PLANTS} == set(rules.RULES)
