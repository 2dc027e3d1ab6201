"""A database that goes away during a job, or that is not there at the start."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client

from codebase_mcp.storage.file_lock import locked
from tests.faults.checks import completed, watched
from tests.support.link_proxy import LinkProxy
from tests.support.processes import Site, ask, refusal, start
from tests.support.waiting import until

pytestmark = pytest.mark.faults

ANSWER_SECONDS = 3.0
SLACK_SECONDS = 1.5
SOME_JOB = "123e4567-e89b-12d3-a456-426614174000"


def calls(repository: Path) -> list[tuple[str, dict[str, Any]]]:
    """One valid call of every tool."""
    return [
        ("start_indexing_background", {"repo_path": repository}),
        ("index_repository", {"repo_path": repository}),
        ("get_job_status", {"job_id": SOME_JOB}),
        ("list_background_jobs", {}),
        ("cancel_job", {"job_id": SOME_JOB, "confirmed": True}),
        ("search_code", {"query": "event loop"}),
        ("list_repositories", {}),
        ("remove_repository", {"repository": "corpus", "confirmed": True}),
    ]


async def refusals(client: Client[Any], repository: Path) -> list[str]:
    """What every tool says, all asked at once; each must answer in time."""

    async def timed(tool: str, arguments: dict[str, Any]) -> str:
        started = time.monotonic()
        told = await refusal(client, tool, **arguments)
        assert time.monotonic() - started < ANSWER_SECONDS + SLACK_SECONDS, f"{tool} hung: {told}"
        return told

    return await asyncio.gather(*(timed(tool, arguments) for tool, arguments in calls(repository)))


async def test_a_crash_of_postgresql_during_a_job_is_told_at_once_and_the_job_completes_by_itself(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with site.client() as client, watched(site):
        job_id = await start(client, corpus)
        await site.committed(job_id, 15)
        with locked(site.layout.lock("server"), wait_seconds=5, waiting_for="the test"):  # nobody can start it again
            site.crash_postgres()
            told = await refusals(client, corpus)
            assert {sentence.split(":")[0] for sentence in told} <= {"DATABASE_ERROR", "DATABASE_STARTING"}
        job = await completed(site, job_id)
        assert job.files_indexed == job.files_total
        assert (await ask(client, "search_code", query="event loop"))["results"]
    assert await site.digest(job) == calm_digest


async def test_a_server_whose_database_is_down_starts_says_so_and_recovers_when_it_comes_up(
    site: Site, corpus: Path
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    url = f"postgresql://postgres@127.0.0.1:{port}/codebase_mcp?sslmode=disable"
    async with site.client(database_url=url, worker="external") as client:
        assert len(await client.list_tools()) == 8
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
