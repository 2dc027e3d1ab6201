"""A database that goes away during a job, or that is not there at the start."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from fastmcp import Client

from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.storage.file_lock import locked
from tests.faults.checks import completed, watched
from tests.support.freezing import log_lines
from tests.support.link_proxy import LinkProxy, proxied
from tests.support.processes import PATIENCE_SECONDS, Site, answering, ask, refusal, start
from tests.support.waiting import until

pytestmark = pytest.mark.faults

ANSWER_SECONDS = 3.0
SLACK_SECONDS = 1.5
SOME_JOB = "123e4567-e89b-12d3-a456-426614174000"

_SESSIONS_OF_A_WORKER = """
SELECT pid, xact_start IS NOT NULL AS is_busy FROM pg_stat_activity
WHERE application_name LIKE 'codebase-mcp worker%' ORDER BY backend_start"""
_END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'codebase-mcp%'"""


def calls(repository: Path) -> list[tuple[str, dict[str, Any]]]:
    """One valid call of every tool."""
    return [
        ("start_indexing_background", {"repo_path": repository}),
        ("index_repository", {"repo_path": repository}),
        ("estimate_indexing", {"repo_path": repository}),
        ("get_job_status", {"job_id": SOME_JOB}),
        ("list_background_jobs", {}),
        ("cancel_job", {"job_id": SOME_JOB, "confirmed": True}),
        ("search_code", {"query": "event loop"}),
        ("search_code", {"query": "event loop", "require_fresh": True}),
        ("find_symbol", {"name": "loop"}),
        ("find_related", {"file_path": "loop.py", "line": 1}),
        ("list_repositories", {}),
        ("remove_repository", {"repository": "corpus", "confirmed": True}),
    ]


async def refusals(client: Client[Any], repository: Path) -> list[str]:
    """What every tool says, all asked at once; each must answer in time, on top of what the server needs now to answer
    anything at all."""

    async def timed(asking: Awaitable[Any]) -> tuple[Any, float]:
        started = time.monotonic()
        return await asking, time.monotonic() - started

    asked = [timed(refusal(client, tool, **arguments)) for tool, arguments in calls(repository)]
    # Answered by the server itself, once it is loaded, without the database.
    needs_no_database = timed(refusal(client, "get_job_status", job_id="no id"))
    (_, lag_seconds), *answers = await asyncio.gather(needs_no_database, *asked)
    for told, seconds in answers:
        assert seconds - lag_seconds < ANSWER_SECONDS + SLACK_SECONDS, f"{seconds:.1f} s, of them {lag_seconds}: {told}"
    return [told for told, _ in answers]


async def down(site: Site, seconds: float, client: Client[Any], corpus: Path) -> None:
    """Crashes PostgreSQL, keeps it down, and asks every tool meanwhile."""
    with locked(site.layout.lock("server"), wait_seconds=PATIENCE_SECONDS, waiting_for="the test"):
        site.crash_postgres()
        up_again_at = time.monotonic() + seconds
        told = await refusals(client, corpus)
        assert {sentence.split(":")[0] for sentence in told} <= {"DATABASE_ERROR", "DATABASE_STARTING"}
        await asyncio.sleep(max(0, up_again_at - time.monotonic()))


async def going_job(site: Site, client: Client[Any], corpus: Path) -> UUID:
    """A job for the corpus which has committed something since PostgreSQL was last down."""
    await answering(client)
    job_id = await start(client, corpus, force_reindex=True)
    before = (await site.job(job_id)).files_indexed

    async def goes_on() -> bool:
        job = await site.job(job_id)
        return job.files_indexed > before or job.status.is_terminal

    await until(goes_on, what="a job that goes on", seconds=PATIENCE_SECONDS)
    return job_id


@pytest.mark.parametrize(
    "longest_seconds", [[0, 2], pytest.param([10] * 25, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]
)
async def test_crashes_of_postgresql_during_a_job_are_told_at_once_and_the_job_completes_by_itself(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random, longest_seconds: list[float]
) -> None:
    async with site.client() as client, watched(site):
        for longest in longest_seconds:
            job_id = await going_job(site, client, corpus)
            await down(site, seed.random() * longest, client, corpus)
        job = await completed(site, job_id)
        assert job.files_indexed == job.files_total
        assert (await ask(client, "search_code", query="event loop"))["results"]
    assert await site.digest(job) == calm_digest


async def a_session(site: Site, seed: random.Random) -> int | None:
    """The process id of a session of a worker: as a rule one in a transaction, but now and then any."""
    sessions = await site.rows(_SESSIONS_OF_A_WORKER)
    only_busy = seed.random() < 0.95
    candidates = [session["pid"] for session in sessions if session["is_busy"] or not only_busy]
    return seed.choice(candidates) if candidates else None


@pytest.mark.parametrize("kills", [12, pytest.param(80, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
async def test_a_worker_whose_sessions_are_killed_at_random_lives_on_and_completes_its_jobs(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random, kills: int
) -> None:
    attempts = 0
    async with site.service() as service, watched(site):
        worker = site.worker()
        jobs = {(await service.start_indexing(str(corpus))).job_id}
        await site.committed(next(iter(jobs)), 1)
        for _ in range(kills):
            await asyncio.sleep(seed.random() / 3)
            victim = await until(lambda: a_session(site, seed), what="a session to kill", seconds=PATIENCE_SECONDS)
            await site.execute(f"SELECT pg_terminate_backend({victim})")
            jobs.add((await service.start_indexing(str(corpus), force_reindex=True)).job_id)
        for job_id in jobs:
            job = await completed(site, job_id)
            assert job.files_indexed == job.files_total
            attempts += job.attempt
        assert worker.poll() is None
    assert attempts > len(jobs), "no kill did any harm"
    assert await site.digest(job) == calm_digest


async def test_every_tool_says_within_three_seconds_that_the_link_to_the_database_hangs_or_is_refused(
    site: Site, corpus: Path
) -> None:
    async with (
        proxied(site.layout.url) as (proxy, url),
        site.client(database_url=url, worker="external") as client,
    ):
        troubles: list[Callable[[], None]] = [proxy.halt, partial(proxy.halt, "to client"), proxy.refuse]
        for trouble in troubles:
            await answering(client)
            trouble()
            told = await refusals(client, corpus)
            assert all(sentence.startswith("DATABASE_ERROR: The database cannot be reached") for sentence in told)
            proxy.resume()


async def turn_failed(site: Site, pid: int, reason: str) -> None:
    """Waits until a worker's turn fails for a reason; on a busy machine one may have failed for another before."""

    async def is_told() -> bool:
        return any(reason in line["error"] for line in await log_lines(site, "turn failed", pid=pid))

    await until(is_told, what=f"a turn that failed because {reason}", seconds=PATIENCE_SECONDS)


async def test_a_database_that_takes_no_writes_holds_the_job_up_until_it_does(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.service() as service, watched(site):
        job_id = (await service.start_indexing(str(corpus))).job_id
        worker = site.worker(batch_files=4)
        await site.committed(job_id, 5)
        await site.execute("ALTER DATABASE codebase_mcp SET default_transaction_read_only = on")
        await site.execute(_END_OTHER_SESSIONS)
        await turn_failed(site, worker.pid, "it is read-only at the moment")
        with pytest.raises(DatabaseUnavailableError, match="read-only at the moment"):
            await service.cancel_job(job_id, confirmed=True)
        assert (await service.job_status(job_id)).status in ("running", "blocked")
        assert worker.poll() is None
        async with site.observer.transaction() as connection:
            await connection.execute(sa.text("SET LOCAL transaction_read_only = off"))
            await connection.execute(sa.text("ALTER DATABASE codebase_mcp RESET ALL"))
        job = await completed(site, job_id)
        assert worker.poll() is None
    assert await site.digest(job) == calm_digest


async def test_a_worker_without_the_right_to_write_says_so_and_works_when_it_has_it(site: Site, corpus: Path) -> None:
    await site.execute("CREATE ROLE helper LOGIN")
    await site.execute("GRANT USAGE ON SCHEMA codebase_mcp TO helper")
    await site.execute("GRANT SELECT ON ALL TABLES IN SCHEMA codebase_mcp TO helper")
    url = f"postgresql://helper@/codebase_mcp?host={site.layout.socket_dir}&port=5432"
    async with site.service() as service:
        job_id = (await service.start_indexing(str(corpus / "json"))).job_id
        worker = site.worker(database_url=url)
        await turn_failed(site, worker.pid, "permission denied for table")
        assert (await site.job(job_id)).status == "pending"
        assert worker.poll() is None
        await site.execute("ALTER ROLE helper SUPERUSER")
        await completed(site, job_id)


async def test_a_server_whose_database_is_down_starts_says_so_and_recovers_when_it_comes_up(
    site: Site, corpus: Path
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    url = f"postgresql://postgres@127.0.0.1:{port}/codebase_mcp?sslmode=disable"
    async with site.client(database_url=url, worker="external") as client:
        assert {tool.name for tool in await client.list_tools()} == {tool for tool, _ in calls(corpus)}
        told = await refusals(client, corpus)
        assert {sentence.split(":")[0] for sentence in told} <= {"DATABASE_ERROR", "DATABASE_STARTING"}
        assert any("cannot be reached" in sentence for sentence in told)
        proxy = LinkProxy(str(site.layout.socket_dir / ".s.PGSQL.5432"))
        proxy.flows.set()
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
        try:

            async def answers() -> bool:
                return not (await client.call_tool("list_background_jobs", raise_on_error=False)).is_error

            await until(answers, what="the server to find its database", seconds=10)
        finally:
            server.close()
            await proxy.close()


@pytest.mark.parametrize(
    ("role", "database", "reason"),
    [
        pytest.param("reader:wrong", "codebase_mcp", "password authentication failed", id="wrong password"),
        pytest.param("postgres", "nowhere", 'database "nowhere" does not exist', id="no such database"),
    ],
)
async def test_a_database_that_refuses_the_server_is_quoted_in_the_answer(
    site: Site, corpus: Path, role: str, database: str, reason: str
) -> None:
    rules = site.layout.database / "pg_hba.conf"
    rules.write_text("local all reader scram-sha-256\n" + rules.read_text())
    await site.execute("CREATE ROLE reader LOGIN PASSWORD 'right'")
    await site.execute("SELECT pg_reload_conf()")
    url = f"postgresql://{role}@/{database}?host={site.layout.socket_dir}&port=5432"
    async with site.client(database_url=url, worker="external") as client:
        told = await refusals(client, corpus)
    assert all(sentence.startswith("DATABASE_ERROR") for sentence in told)
    assert all(reason in sentence for sentence in told)
    assert not any("wrong@" in sentence for sentence in told)
