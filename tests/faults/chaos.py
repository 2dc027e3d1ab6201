"""Faults of every kind at random, on real processes, while jobs are started, cancelled and asked about.

One seed decides what is done and in which order; `Monkey.diary` says what was done when. The faults never wait for the
product to recover: the next one comes whatever the last one left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from fastmcp import Client

from codebase_mcp.domain import Job
from codebase_mcp.errors import DatabaseError
from codebase_mcp.storage import embedded
from tests.faults.checks import completed, watched
from tests.faults.counting_worker import embedded_texts
from tests.faults.invariants import LIVE_RULES, violations
from tests.faults.takeovers import HOLDERS, Kill, longest_idle_seconds, takeover_seconds, writer_of
from tests.support.link_proxy import LinkProxy, proxied
from tests.support.processes import PATIENCE_SECONDS, Site, copy_packages, start
from tests.support.waiting import until

REPOSITORIES = {"web": ("http", "xml"), "mail": ("email", "unittest"), "base": ("json", "asyncio", "importlib")}
PROJECTS = ("default", "second")
CALM_SECONDS = 180.0
"""Longest wait for the end of a job once nothing more is done to anybody."""
CLAIMS_PER_FAULT = 2
"""Each costs about half a claim; more than this many means that workers take jobs from each other."""
SPARED_FROM = 2
"""Fruitless take-overs of a job after which it is left in peace until it has got on."""
EXPECTED = ("DATABASE_ERROR", "DATABASE_STARTING", "PROJECT_NOT_FOUND", "INVALID_STATUS", "JOB_NOT_FOUND")
"""What a tool may answer while the database comes and goes and jobs end by themselves."""


@dataclass
class Monkey:
    """Four workers, a server and the faults done to them."""

    site: Site
    seed: random.Random
    roots: dict[str, Path]
    client: Client[Any]
    proxy: LinkProxy
    proxy_url: str
    knobs: dict[str, object]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    diary: list[str] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    answers: int = 0
    slowest_answer_seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _later: set[asyncio.Task[None]] = field(default_factory=set)
    _edits: int = 0
    _spawned: int = 0

    def __post_init__(self) -> None:
        # Restarts of the database cost the most, starts are what there is to disturb.
        self._choices: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (4, self.start_job), (3, self.cancel_job), (5, self.kill), (6, self.freeze), (2, self.terminate),
            (3, self.cut_connections), (1, self.crash_database), (3, self.drop_links), (3, self.halt_links),
            (2, self.edit),
        ]  # fmt: skip

    # --- the course of things ---

    async def rage(self, cycles: int, pause_seconds: float) -> None:
        """So many faults, with random pauses; each is in the diary before it is done."""
        weights = [weight for weight, _ in self._choices]
        for cycle in range(cycles):
            fault = self.seed.choices(self._choices, weights)[0][1]
            name = fault.__name__
            self.faults[name] = self.faults.get(name, 0) + 1
            self.note(f"{cycle}: {name} …")
            self.note(f"{cycle}: {name} {await fault()}")
            if cycle % 25 == 24:
                await self._check_on_the_fly()
            await self._keep_work()
            await asyncio.sleep(self.seed.uniform(0, 2 * pause_seconds))

    async def calm_down(self) -> None:
        """Everything frozen or halted goes on; then nothing more is done."""
        if self._later:
            await asyncio.wait(self._later)
        self.proxy.resume()
        await self.patiently(lambda: self.site.rows("SELECT true"))

    def note(self, what: str) -> None:
        self.diary.append(f"{time.monotonic() - self._began:7.2f} s  {what}")

    def spawn(self) -> None:
        """Every second worker reaches the database by the proxy."""
        self._spawned += 1
        link = {} if self._spawned % 2 else {"database_url": self.proxy_url}
        self.workers.append(self.site.run("tests.faults.counting_worker", "worker", **self.knobs | link))

    async def patiently(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """The result of something that needs the database, which may be away for a while."""

        async def done() -> tuple[Any] | None:
            try:
                return (await work(),)
            except DatabaseError:
                return None

        return (await until(done, what="the database to answer", seconds=PATIENCE_SECONDS))[0]

    def _afterwards(self, seconds: float, work: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            work()

        task = asyncio.create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _check_on_the_fly(self) -> None:
        found = await self.patiently(lambda: violations(self.site.observer, LIVE_RULES))
        assert not found, "\n".join(found)

    async def _keep_work(self) -> None:
        """Prevents: faults that meet nobody at work."""
        rows = await self.patiently(
            lambda: self.site.rows(
                "SELECT count(*) AS n FROM codebase_mcp.indexing_jobs WHERE status IN ('pending', 'running', 'blocked')"
            )
        )
        if rows[0]["n"] < 2:
            self.note(f"start_job {await self.start_job()}")

    # --- what people do ---

    async def start_job(self) -> str:
        name, project = self.seed.choice(list(self.roots)), self.seed.choice(PROJECTS)
        is_forced = self.seed.random() < 0.9
        arguments = {"repo_path": str(self.roots[name]), "project_id": project, "force_reindex": is_forced}
        return f"{name} in {project}: {await self.tell('start_indexing_background', **arguments)}"

    async def cancel_job(self) -> str:
        rows = await self.patiently(
            lambda: self.site.rows(
                "SELECT id, project_id, status FROM codebase_mcp.indexing_jobs"
                " WHERE status IN ('pending', 'running', 'blocked') ORDER BY id"
            )
        )
        if not rows:
            return "nothing to cancel"
        row = self.seed.choice(rows)
        arguments = {"job_id": str(row["id"]), "project_id": row["project_id"], "confirmed": True}
        return f"{row['id']}, {row['status']}: {await self.tell('cancel_job', **arguments)}"

    async def edit(self) -> str:
        """Changes, deletes or adds a file of a repository."""
        root = self.roots[self.seed.choice(list(self.roots))]
        path = self.seed.choice(sorted(path for path in root.rglob("*.py")))
        self._edits += 1
        match self.seed.randrange(3):
            case 0:
                path.write_text(path.read_text(errors="replace") + f"\n\ndef edited_{self._edits}():\n    return 1\n")
            case 1:
                path.unlink()
            case _:
                path = path.with_name(f"added_{self._edits}.py")
                path.write_text(f"def added_{self._edits}():\n    return {self._edits}\n")
        return str(path)

    async def tell(self, tool: str, **arguments: object) -> str:
        """What a tool answers in a word; fails on an answer that nobody should get."""
        began = time.monotonic()
        answer = await self.client.call_tool(tool, arguments, raise_on_error=False)
        self.answers += 1
        self.slowest_answer_seconds = max(self.slowest_answer_seconds, time.monotonic() - began)
        if not answer.is_error:
            return "done"
        told = str(answer.content[0].text)
        assert told.startswith(EXPECTED), f"{tool} answered {told}"
        return told.split(":", maxsplit=1)[0]

    @contextlib.asynccontextmanager
    async def asked_meanwhile(self) -> AsyncIterator[None]:
        """Somebody asks the server things during the block; an answer that is wrong ends it."""
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._keep_asking())
            yield
            asking.cancel()

    async def _keep_asking(self) -> None:
        asking = random.Random(0)
        while True:
            tool, arguments = asking.choice(
                [
                    ("search_code", {"query": "parse the header of a message"}),
                    ("list_background_jobs", {}),
                    ("list_repositories", {}),
                ]
            )
            await self.tell(tool, **arguments)
            await asyncio.sleep(0.3)

    # --- what happens to processes ---

    def replace_the_dead(self) -> None:
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < 2:
            self.spawn()

    async def _pick(self) -> subprocess.Popen[bytes]:
        """A worker that lives, rather one that has a job than one that has none.

        Spared is who has a job that met with nothing but trouble of late: it would rightly be given up.
        """
        self.replace_the_dead()
        rows = await self.patiently(lambda: self.site.rows(HOLDERS))
        spared = {row["writer"] for row in rows if row["fruitless_attempts"] >= SPARED_FROM}
        busy = {row["writer"] for row in rows} - spared
        favourites = [worker for worker in self.workers if writer_of(worker.pid) in busy]
        others = [worker for worker in self.workers if writer_of(worker.pid) not in spared]
        if not others:
            self.spawn()
            others = self.workers[-1:]
        return self.seed.choice(favourites if favourites and self.seed.random() < 0.9 else others)

    async def kill(self) -> str:
        worker = await self._pick()
        at = await self.patiently(self.site.clock)
        worker.kill()
        self.kills.append(Kill(at, writer_of(worker.pid)))
        self.spawn()
        return str(worker.pid)

    async def terminate(self) -> str:
        worker = await self._pick()
        worker.terminate()
        self.spawn()
        return str(worker.pid)

    async def freeze(self) -> str:
        worker = await self._pick()
        # Every other time for longer than the lease: somebody else has the job when it wakes.
        longest = float(str(self.knobs["lease_seconds"])) * self.seed.choice((0.8, 2.0))
        seconds = self.seed.uniform(longest / 2, longest)
        worker.send_signal(signal.SIGSTOP)
        self._afterwards(seconds, lambda: worker.send_signal(signal.SIGCONT))
        return f"{worker.pid} for {seconds:.1f} s"

    # --- what happens to the database and the links to it ---

    async def cut_connections(self) -> str:
        async def cut() -> int:
            rows = await self.site.rows(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'codebase-mcp%' ORDER BY pid"
            )
            some = self.seed.sample([row["pid"] for row in rows], min(len(rows), self.seed.randint(1, 4)))
            await self.site.rows("SELECT pg_terminate_backend(pid) FROM unnest(CAST(:some AS int[])) AS pid", some=some)
            return len(some)

        return f"{await self.patiently(cut)} of them"

    async def crash_database(self) -> str:
        seconds = self.seed.uniform(0, 2)
        with contextlib.suppress(FileNotFoundError):  # down already
            await asyncio.to_thread(self.site.crash_postgres)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(embedded.ensure_running, self.site.data_dir)
        return f"for {seconds:.1f} s"

    async def drop_links(self) -> str:
        self.proxy.drop()
        return ""

    async def halt_links(self) -> str:
        seconds = self.seed.uniform(0.2, 1.5 * float(str(self.knobs["lease_seconds"])))
        self.proxy.halt()
        self._afterwards(seconds, self.proxy.resume)
        return f"for {seconds:.1f} s"


# --- a whole round ---


@contextlib.asynccontextmanager
async def _released(site: Site, folder: Path, seed: random.Random, knobs: dict[str, object]) -> AsyncIterator[Monkey]:
    roots = {name: copy_packages(folder / name, *packages) for name, packages in REPOSITORIES.items()}
    async with (
        proxied(site.layout.url) as (proxy, url),
        site.client(worker="external", watch_seconds=1, **knobs) as client,
    ):
        monkey = Monkey(site, seed, roots, client, proxy, url, knobs)
        try:
            yield monkey
        except BaseException:
            monkey.note("failed")
            sys.stdout.write("\n".join([*monkey.diary, *_errors_logged(site), ""]))
            raise


def _errors_logged(site: Site) -> list[str]:
    """The last lines of the processes' logs that tell of an error."""
    found = []
    for log in sorted(site.data_dir.glob("logs/*.log")):
        lines = [line for line in log.read_text(errors="replace").splitlines() if '"level": "error"' in line]
        found += [f"{log.name}: {line[-3000:]}" for line in lines[-3:]]
    return found


async def one_round(
    site: Site, folder: Path, seed: random.Random, *, cycles: int, workers: int = 4, pause_seconds: float = 0.6,
    lease_seconds: float = 3.0,
) -> dict[str, Any]:  # fmt: skip
    """Faults, then calm: every job ends, every repository is indexed as if nothing had happened. What was measured."""
    knobs: dict[str, object] = {"lease_seconds": lease_seconds, "renew_seconds": lease_seconds / 6, "batch_files": 1}
    async with _released(site, folder, seed, knobs) as monkey:
        for _ in range(workers):
            monkey.spawn()
        for root in monkey.roots.values():
            await start(monkey.client, root)
        async with watched(site) as watch:
            async with monkey.asked_meanwhile():
                await monkey.rage(cycles, pause_seconds)
                await monkey.calm_down()
            jobs = await _all_completed(monkey)
        await _compare_with_a_calm_index(monkey, jobs)
        return await _summary(monkey, watch.reader.looks)


async def _all_completed(monkey: Monkey) -> list[Job]:
    """Whatever is active ends; then every repository is brought up to date in every project."""
    active = await monkey.site.rows(
        "SELECT id FROM codebase_mcp.indexing_jobs WHERE status IN ('pending', 'running', 'blocked')"
        " ORDER BY created_at"
    )
    monkey.note(f"calm; {len(active)} jobs are active")
    monkey.replace_the_dead()
    for row in active:
        ended = await monkey.site.ended(row["id"], CALM_SECONDS)
        assert ended.status == "completed", f"{ended.error_type}: {ended.error_message}"
    pairs = [(root, project) for root in monkey.roots.values() for project in PROJECTS]
    ids = [await start(monkey.client, root, project_id=project) for root, project in pairs]
    return [await completed(monkey.site, job_id, patience_seconds=CALM_SECONDS) for job_id in ids]


async def _compare_with_a_calm_index(monkey: Monkey, jobs: list[Job]) -> None:
    digests: dict[str, set[str]] = {}
    for root in monkey.roots.values():
        job_id: UUID = await start(monkey.client, root, project_id="calm")
        jobs.append(await completed(monkey.site, job_id, patience_seconds=CALM_SECONDS))
    for job in jobs:
        digests.setdefault(job.repo_path, set()).add(await monkey.site.digest(job))
    different = [path for path, found in digests.items() if len(found) > 1]
    assert not different, f"the index differs from an undisturbed one: {different}"


async def _summary(monkey: Monkey, looks: int) -> dict[str, Any]:
    site = monkey.site
    taken = [seconds for kill in monkey.kills for seconds in await takeover_seconds(site, kill)]
    counted = await site.rows(
        "SELECT count(*) AS jobs, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,"
        " count(*) FILTER (WHERE status = 'failed') AS failed, sum(attempt) AS claims, sum(chunks_created) AS chunks"
        " FROM codebase_mcp.indexing_jobs"
    )
    numbers, cycles = dict(counted[0]), sum(monkey.faults.values())
    assert numbers["failed"] == 0
    most_claims = numbers["jobs"] + CLAIMS_PER_FAULT * cycles
    assert numbers["claims"] <= most_claims, f"{numbers['claims']} claims: jobs go from hand to hand without end"
    return {
        "cycles": cycles,
        "faults": monkey.faults,
        "kills": len(monkey.kills),
        "jobs": numbers["jobs"],
        "cancelled": numbers["cancelled"],
        "claims": int(numbers["claims"]),
        "chunks_committed": int(numbers["chunks"]),
        "texts_embedded": embedded_texts(site.data_dir),
        "takeover_seconds": taken,
        "longest_idle_seconds": round(await longest_idle_seconds(site), 2),
        "index_samples": looks,
        "answers": monkey.answers,
        "slowest_answer_seconds": round(monkey.slowest_answer_seconds, 2),
    }
