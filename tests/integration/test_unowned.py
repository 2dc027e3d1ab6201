"""Rows of the revision that knew no hosts: who gets them, and what a program of that revision can still do."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from codebase_mcp.domain import Host, JobStatus
from codebase_mcp.errors import ConstraintViolatedError, DatabaseError
from codebase_mcp.jobs import ownership
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.service import Service
from codebase_mcp.storage.alembic_run import move_schema
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.go_back import go_back
from codebase_mcp.storage.host_identity import HostIdentity
from codebase_mcp.storage.hosts import Unowned, unowned
from codebase_mcp.storage.migrate import installed_revision, migrate_control, migrate_known_projects
from codebase_mcp.storage.projects import ensure_project, ensure_repository
from tests.support import jobs
from tests.support.runs import SERVED, SHOP, Bench

OLD_HOST, LAPTOP = "old-name", Host("laptop-id", "laptop")
MANY = {f"part{number}.py": f"PART = {number}\n" for number in range(70)}
OLD = dict(
    re.findall(
        r"-- name: (\w+)\n(.*?)(?=-- name: |\Z)",
        resources.files("tests.support").joinpath("statements_0002.sql").read_text("utf-8"),
        re.DOTALL,
    )
)


async def to_0002(bench: Bench) -> None:
    for history, schema in (("control", "codebase_mcp"), ("project", bench.schema)):
        async with bench.database.maintenance(schema, autocommit=False) as connection:
            await connection.run_sync(move_schema, history, schema, "-1")
    await bench.database.close()


async def back_in_time(bench: Bench, last_host: str | None) -> None:
    """The database as 0002 left it after a job of a worker on that host; None: its jobs were pruned since."""
    async with bench.database.transaction() as connection:
        await ensure_project(connection, bench.project_id)
    await jobs.start(bench.database, str(bench.root), bench.project_id)
    job = await jobs.claim(bench.database, host=Host(jobs.HOST.id, last_host or "x"))
    await JobRunner(job, bench.tools).run()
    if last_host is None:
        await jobs.execute(bench.database, "DELETE FROM codebase_mcp.indexing_jobs")
    await to_0002(bench)


async def migrate(bench: Bench) -> None:
    await migrate_control(bench.database)
    await migrate_known_projects(bench.database)


async def settle(bench: Bench, host: Host = LAPTOP, *, is_embedded: bool = False) -> None:
    await ownership.settle(bench.database, HostIdentity(host), is_embedded=is_embedded)


async def owner(bench: Bench) -> str | None:
    owners = {
        row.host_id for row in await jobs.execute(bench.database, "SELECT host_id FROM codebase_mcp.indexing_jobs")
    }
    owners.add((await bench.repository()).host_id)
    (found,) = owners
    return None if found is None else str(found)


async def test_the_host_of_the_last_completed_job_owns_it_at_once(bench: Bench) -> None:
    await back_in_time(bench, LAPTOP.name)
    await migrate(bench)
    assert await owner(bench) is None
    await settle(bench, Host("other", "other"))
    assert await owner(bench) is None, "the same content, but another host's name"
    await settle(bench)
    assert await owner(bench) == LAPTOP.id


async def test_who_has_one_machine_notices_nothing(bench: Bench) -> None:
    """Through the service, with the real host name: the repository is there, complete, its own, and nothing is read."""
    await back_in_time(bench, socket.gethostname())
    service = Service(bench.settings.model_copy(update=SERVED | {"host_id": None}))
    await service.launch()
    await service.ready(10)
    try:
        (listed,) = (await service.list_repositories()).repositories
        assert (listed.host, listed.state, listed.file_count) == (None, "ready", len(SHOP))
        started = await service.start_indexing(str(bench.root))
        assert started.warnings == []
        job = await jobs.claim(bench.database, host=service._host)
        await JobRunner(job, bench.tools).run()
        job = await jobs.current(bench.database, started.job_id)
        assert (job.status, job.files_indexed, job.files_unchanged) == (JobStatus.COMPLETED, 0, len(SHOP))
        assert len((await service.list_repositories()).repositories) == 1
    finally:
        await service.close()


@pytest.mark.parametrize("texts", [MANY, SHOP])
async def test_without_a_job_on_record_the_same_content_at_the_same_path_decides(
    bench: Bench, texts: dict[str, str]
) -> None:
    bench.write(texts)
    await back_in_time(bench, None)
    await migrate(bench)
    await settle(bench)
    assert (await bench.repository()).host_id == LAPTOP.id


@pytest.mark.parametrize(
    "change",
    [
        lambda root: root.rename(root.with_name("moved")),
        lambda root: [path.write_text("# other\n") for path in root.rglob("*.*") if path.is_file()],
        lambda root: (root / "README.md").write_text("# of a small tree one file differs\n"),
    ],
    ids=["missing", "other content", "one file differs"],
)
async def test_what_cannot_be_told_is_nobodys_and_searched_by_all(
    bench: Bench, service: Service, change: Callable[[Path], object]
) -> None:
    await back_in_time(bench, None)
    change(bench.root)
    await migrate(bench)
    await settle(bench)
    service.__dict__["_embedder"] = bench.embedder
    assert (await bench.repository()).host_id is None
    answer = await service.search("shopping cart", repository="*")
    assert {(hit.repository, hit.host) for hit in answer.results} == {("shop", "no known host")}
    assert (await service.list_repositories()).repositories[0].host == "no known host"


async def test_of_a_large_tree_a_third_may_have_changed(bench: Bench) -> None:
    bench.write(MANY)
    await back_in_time(bench, None)
    for number in range(23):
        (bench.root / f"part{3 * number}.py").write_text("# changed\n")
    await migrate(bench)
    await settle(bench)
    assert (await bench.repository()).host_id == LAPTOP.id


async def test_a_start_takes_what_has_the_same_content_whoever_indexed_it_last(bench: Bench) -> None:
    """As in a container that was made anew, with another name."""
    await back_in_time(bench, OLD_HOST)
    await migrate(bench)
    await settle(bench)
    assert await owner(bench) is None
    await ownership.take_for_start(bench.database, LAPTOP, bench.project_id, str(bench.root))
    assert await owner(bench) == LAPTOP.id


async def test_a_start_with_other_content_leaves_it_and_makes_its_own(bench: Bench, service: Service) -> None:
    await back_in_time(bench, OLD_HOST)
    await migrate(bench)
    before = await bench.digest()
    for path in SHOP:
        (bench.root / path).write_text("# other\n")
    started = await service.start_indexing(str(bench.root))
    assert any("also a repository of no known host; that one stays as it is" in one for one in started.warnings)
    await JobRunner(await jobs.claim(bench.database), bench.tools).run()
    rows = await jobs.execute(
        bench.database, f"SELECT host_id, file_count FROM {bench.schema}.repositories ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [(None, len(SHOP)), (jobs.HOST.id, len(SHOP))]
    assert await bench.digest() == before


async def test_it_is_adopted_by_hand(bench: Bench, service: Service) -> None:
    await back_in_time(bench, OLD_HOST)
    await migrate(bench)
    check = next(one for one in await service.doctor() if one.name == "host")
    assert check.is_warning
    assert str(bench.root) in check.detail
    assert (await service.adopt_repository("shop")).from_host == "no known host"
    assert await owner(bench) == jobs.HOST.id


@pytest.mark.parametrize("last_host", [None, LAPTOP.name])
async def test_an_embedded_database_is_its_machines_own(bench: Bench, last_host: str | None) -> None:
    await back_in_time(bench, last_host)
    bench.root.rename(bench.root.with_name("moved"))
    await migrate(bench)
    await settle(bench, is_embedded=True)
    assert (await bench.repository()).host_id == LAPTOP.id


async def test_what_belonged_to_an_older_identity_of_this_host_is_taken_over(bench: Bench) -> None:
    async with bench.database.transaction() as connection:
        await ensure_project(connection, bench.project_id)
    await bench.run()
    await jobs.start(bench.database, "/src/other", host_id="stranger")
    await ownership.settle(bench.database, HostIdentity(LAPTOP, (jobs.HOST.id,)), is_embedded=True)
    assert (await bench.repository()).host_id == LAPTOP.id
    rows = await jobs.execute(bench.database, "SELECT host_id FROM codebase_mcp.indexing_jobs ORDER BY created_at")
    assert [row.host_id for row in rows] == [LAPTOP.id, "stranger"]


async def test_an_embedded_database_of_a_machine_that_was_renamed_is_known_by_half_of_the_content(
    bench: Bench,
) -> None:
    await back_in_time(bench, OLD_HOST)
    for path in list(SHOP)[:2]:
        (bench.root / path).write_text("# changed\n")
    await migrate(bench)
    await settle(bench, is_embedded=True)
    assert await owner(bench) == LAPTOP.id


async def test_of_two_hosts_that_open_at_once_one_owns_a_repository(bench: Bench) -> None:
    await back_in_time(bench, None)
    await migrate(bench)
    racers = [Host(f"racer-{number}", f"racer-{number}") for number in range(6)]
    await asyncio.gather(*(settle(bench, host) for host in racers))
    first = (await bench.repository()).host_id
    assert first in {host.id for host in racers}
    # Who has seen that nobody owns it comes too late when another one was faster.
    late = Unowned(bench.project_id, str(bench.root), (await bench.repository()).id, is_active=False, last_host=None)
    await ownership._take(bench.database, late, LAPTOP)
    assert (await bench.repository()).host_id == first


async def test_a_waiting_job_goes_to_the_first_host_that_has_its_path(bench: Bench) -> None:
    await jobs.start(bench.database, str(bench.root), bench.project_id)
    await jobs.start(bench.database, "/no/such/path", bench.project_id)
    async with bench.database.maintenance("codebase_mcp", autocommit=False) as connection:
        await connection.run_sync(move_schema, "control", "codebase_mcp", "-1")
    await bench.database.close()
    await migrate_control(bench.database)
    await settle(bench)
    claimed = await jobs.claim(bench.database, host=LAPTOP)
    assert claimed.repo_path == str(bench.root)
    async with bench.database.transaction() as connection:
        assert [one.path for one in await unowned(connection)] == ["/no/such/path"]


async def test_the_database_can_be_put_back_for_the_version_before(bench: Bench) -> None:
    async with bench.database.transaction() as connection:
        await ensure_project(connection, bench.project_id)
    await bench.run()
    before = await bench.digest()
    assert await go_back(bench.database) == [bench.schema, "codebase_mcp"]
    await bench.database.close()
    assert await installed_revision(bench.database) == await installed_revision(bench.database, bench.schema) == "0002"
    assert await go_back(bench.database) == []
    (started,) = await old(bench.database, "start", **OLD_START, metadata="{}")
    assert (await old(bench.database, "claim", **old_claim()))[0].id == started.id
    await migrate(bench)
    assert await bench.digest() == before


async def test_two_hosts_at_one_path_keep_a_database_from_being_put_back(bench: Bench) -> None:
    async with bench.database.transaction() as connection:
        await ensure_project(connection, bench.project_id)
    await bench.run()
    async with bench.database.transaction("writers", bench.schema) as connection:
        await ensure_repository(connection, "other", str(bench.root), "shop")
    with pytest.raises(DatabaseError, match=r"several hosts have a repository.*repos remove"):
        await go_back(bench.database)
    assert await installed_revision(bench.database, bench.schema) == "0003"


# --- a program of the older revision, whose statements these are ---


OLD_START = {
    "id": uuid4(), "repo_path": "/src/shop", "repo_name": "shop", "project_id": "p", "force_reindex": False,
}  # fmt: skip


async def old(database: Database, name: str, **arguments: Any) -> list[Any]:
    async with database.transaction() as connection:
        return list((await connection.execute(sa.text(OLD[name]), arguments)).all())


def old_claim() -> dict[str, Any]:
    return {
        "worker_id": uuid4(), "host": OLD_HOST, "lease_seconds": 8.0, "suspect_from": 2, "suspect_wait_seconds": 25.0,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["pending", "orphaned", "blocked"])
@pytest.mark.parametrize("host_id", [jobs.HOST.id, None])
async def test_a_program_of_the_older_revision_claims_nothing(
    database: Database, state: str, host_id: str | None
) -> None:
    job = await jobs.in_state(database, state)
    await jobs.set_column(database, job.id, f"host_id = {'NULL' if host_id is None else repr(host_id)}")
    if state == "blocked":
        await jobs.set_column(database, job.id, "retry_at = clock_timestamp() - interval '1 second'")
    before = await jobs.current(database, job.id)
    with pytest.raises(ConstraintViolatedError) as refused:
        await old(database, "claim", **old_claim())
    assert refused.value.constraint == "only_a_worker_that_knows_hosts_claims_a_job"
    assert await jobs.current(database, job.id) == before


async def test_a_program_of_the_older_revision_starts_nothing(database: Database) -> None:
    with pytest.raises(DatabaseError):
        await old(database, "start", metadata=json.dumps({}), **OLD_START)
    assert await jobs.scalar(database, "SELECT count(*) FROM codebase_mcp.indexing_jobs") == 0


async def test_a_worker_of_the_older_revision_goes_on_with_what_it_has_and_gives_it_back(bench: Bench) -> None:
    await jobs.start(bench.database, str(bench.root), bench.project_id)
    async with bench.database.maintenance("codebase_mcp", autocommit=False) as connection:
        await connection.run_sync(move_schema, "control", "codebase_mcp", "-1")
    await bench.database.close()
    (claimed,) = await old(bench.database, "claim", **old_claim())
    await migrate_control(bench.database)
    token = {"id": claimed.id, "attempt": claimed.attempt}
    progress = {"files_scanned": 3, "progress_message": None, "has_advanced": True, "lease_seconds": 8.0}
    assert await old(bench.database, "renew", **token, **progress)
    await settle(bench, Host(LAPTOP.id, OLD_HOST))
    assert (await jobs.current(bench.database, claimed.id)).host_id == LAPTOP.id
    assert await old(bench.database, "renew", **token, **progress)
    assert await old(bench.database, "release", **token)
    assert (await jobs.claim(bench.database, host=LAPTOP)).attempt == 2


@pytest.fixture(autouse=True)
async def same_pools(database: Database) -> AsyncIterator[None]:
    """Statements prepared before a schema moved are of no use after it."""
    yield
    await database.close()
