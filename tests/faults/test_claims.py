"""Many at once want the same thing: a free slot, or to start the same repository."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastmcp import Client

from codebase_mcp.domain import MAX_RUNNING_JOBS
from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.service import Service
from tests.faults.slots import most_running_at_once
from tests.support import jobs
from tests.support.processes import PATIENCE_SECONDS, Site, answering, ask, copy_packages
from tests.support.racer import RacingDatabase, race
from tests.support.waiting import until

pytestmark = pytest.mark.faults

PASSING_TROUBLES = ("connections are busy", "a lock was not to be had", "took no new connection")
RACERS = 8
JOBS = 20


async def test_eight_who_race_for_three_slots_never_run_four_jobs_and_finish_all(site: Site) -> None:
    rounds = 10
    async with AsyncExitStack() as stack:
        racers = [RacingDatabase(site.layout.url, number) for number in range(RACERS)]
        for racer in racers:
            stack.push_async_callback(racer.close)
        async with asyncio.TaskGroup() as group:
            for racer in racers:
                group.create_task(race(racer, rounds * JOBS))
            await _rounds(site, rounds)
    await _check(site, rounds, sum((racer.refused for racer in racers), Counter()))


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_eight_processes_that_race_for_three_slots_through_three_hundred_rounds_never_run_four_jobs(
    site: Site,
) -> None:
    rounds = 300
    racers = [site.run("tests.support.racer", str(rounds * JOBS)) for _ in range(RACERS)]
    await _rounds(site, rounds)
    assert [await asyncio.to_thread(racer.wait, PATIENCE_SECONDS) for racer in racers] == [0] * RACERS
    refused = Counter[str]()
    for name, number in re.findall(r"'(\w+)': (\d+)", (site.data_dir / "output.log").read_text()):
        refused[name] += int(number)
    await _check(site, rounds, refused)


async def _rounds(site: Site, rounds: int) -> None:
    """As soon as all racers are there, and whenever all jobs are done, there are twenty new ones at once."""
    there = "SELECT count(DISTINCT application_name) AS n FROM pg_stat_activity WHERE application_name LIKE 'racer %'"
    done = "SELECT count(*) AS n FROM codebase_mcp.indexing_jobs WHERE status = 'completed'"
    await _counted(site, there, RACERS)
    for number in range(rounds):
        await _counted(site, done, number * JOBS)
        await asyncio.gather(*(jobs.start(site.observer, f"/src/{number}/{n}") for n in range(JOBS)))
    await _counted(site, done, rounds * JOBS)


async def _counted(site: Site, statement: str, number: int) -> None:
    async def are_all_there() -> bool:
        return bool((await site.rows(statement))[0]["n"] == number)

    await until(are_all_there, what=f"{number} by: {statement}", seconds=PATIENCE_SECONDS)


async def _check(site: Site, rounds: int, refused: Counter[str]) -> None:
    attempts = await site.rows("SELECT attempt FROM codebase_mcp.indexing_jobs")
    assert [job["attempt"] for job in attempts] == [1] * (rounds * JOBS)
    assert await most_running_at_once(site) == MAX_RUNNING_JOBS
    # Without a claim that lost the last slot to another there was no race.
    assert refused.keys() == {"one_job_per_slot"}
    events = await site.rows("SELECT event_type, count(*) AS n FROM codebase_mcp.job_events GROUP BY event_type")
    each_once = dict.fromkeys(("created", "started", "completed"), rounds * JOBS)
    assert {row["event_type"]: row["n"] for row in events} == each_once


async def test_fifty_starts_of_one_repository_by_many_names_through_several_servers_give_one_job(
    site: Site, tmp_path: Path
) -> None:
    root = copy_packages(tmp_path / "shop", "json")
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    names = [f"{root}", f"{tmp_path}/link", f"{root}/", f"/tmp/../{tmp_path}/link/", f"{tmp_path}/link/../shop/./"]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(site.client(worker="external")) for _ in range(2)]
        services = [await stack.enter_async_context(site.service()) for _ in range(3)]
        await asyncio.gather(*(answering(client) for client in clients))
        starters = [partial(_start_by_tool, client) for client in clients]
        starters += [partial(_start_by_service, service) for service in services]
        pairs = [(starters[n % len(starters)], names[n // len(starters) % len(names)]) for n in range(50)]
        answers = await asyncio.gather(*(_sooner_or_later(start, name) for start, name in pairs))
    assert len(answers) == 50
    assert len({job_id for job_id, _ in answers}) == 1
    assert [already_running for _, already_running in answers].count(False) == 1
    stored = await site.rows("SELECT repo_path FROM codebase_mcp.indexing_jobs")
    assert [job["repo_path"] for job in stored] == [str(root.resolve())]
    assert [event.event_type for event in await site.events(answers[0][0])] == ["created"]


async def _sooner_or_later(start: Callable[[str], Awaitable[tuple[UUID, bool]]], name: str) -> tuple[UUID, bool]:
    """On a very busy machine a start may be told that the database is, and to try again."""

    async def started() -> tuple[UUID, bool] | None:
        try:
            return await start(name)
        except (DatabaseUnavailableError, AssertionError) as error:
            if not any(trouble in str(error) for trouble in PASSING_TROUBLES):
                raise
            return None

    return await until(started, seconds=60, what="a start that finds a connection")


async def _start_by_tool(client: Client[Any], repo_path: str) -> tuple[UUID, bool]:
    answer = await ask(client, "start_indexing_background", repo_path=repo_path)
    return UUID(answer["job_id"]), answer["already_running"]


async def _start_by_service(service: Service, repo_path: str) -> tuple[UUID, bool]:
    answer = await service.start_indexing(repo_path)
    return answer.job_id, answer.already_running
