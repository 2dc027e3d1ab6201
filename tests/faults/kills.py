"""Workers are killed, again and again, in the middle of their work; the index is the same as if nothing had happened.

Several projects ("lanes") index one repository again and again, workers share the work, and each victim is replaced at
once. A job meets so many kills at random points of its length, its finishing included, and every one of them after the
work went on from the last. No kill hits a worker without a job.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from codebase_mcp.domain import Job, JobPhase
from codebase_mcp.service import Service
from tests.faults.checks import completed
from tests.faults.counting_worker import embedded_texts
from tests.faults.takeovers import HOLDERS, Kill, longest_idle_seconds, takeover_seconds, writer_of
from tests.support.processes import Site

FINISHING_SHARE = 0.05
"""How much of a job's length its finishing counts as when the moment of a kill is chosen."""
LOOK_SECONDS = 0.02


@dataclass
class Lane:
    """One project that indexes the repository anew whenever it has done so."""

    project_id: str
    job_id: UUID | None = None
    moments: list[float] = field(default_factory=list)
    """Shares of the job at which its worker is to be killed, the last one first."""
    files_at_kill: int = 0


@dataclass
class Kills:
    """What has happened so far; `after_each` is called whenever there is something new."""

    site: Site
    service: Service
    root: Path
    calm_digest: str
    seed: random.Random
    kills_per_run: int
    knobs: dict[str, object]
    after_each: Callable[[Kills], None] = lambda _kills: None
    kills: list[Kill] = field(default_factory=list)
    phases: dict[str, int] = field(default_factory=dict)
    runs: list[Job] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """Texts embedded beyond those committed, by run; meaningful for one lane alone."""
    _embedded: int = 0
    _workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    async def go_on(self, total: int, *, lanes: int, workers: int) -> None:
        """Kills until `total` kills are done, then lets every job end."""
        for _ in range(workers):
            self._spawn()
        own = [Lane(f"lane-{number}") for number in range(lanes)]
        while len(self.kills) < total:
            for lane in own:
                await self._keep_busy(lane)
                await self._kill_if_due(lane)
            await asyncio.sleep(LOOK_SECONDS)
        for lane in own:
            if lane.job_id is not None:
                await self._take_in(lane, await completed(self.site, lane.job_id, patience_seconds=600))

    def _spawn(self) -> None:
        worker = self.site.run("tests.faults.counting_worker", "worker", **self.knobs)
        self._workers[writer_of(worker.pid)] = worker

    async def _keep_busy(self, lane: Lane) -> None:
        """A lane without a job gets one; what has ended is checked first."""
        if lane.job_id is not None:
            if not (await self.site.job(lane.job_id)).status.is_terminal:
                return
            await self._take_in(lane, await completed(self.site, lane.job_id))
        started = await self.service.start_indexing(str(self.root), project_id=lane.project_id, force_reindex=True)
        moments = [self.seed.uniform(0, 1 + FINISHING_SHARE) for _ in range(self.kills_per_run)]
        lane.job_id, lane.moments, lane.files_at_kill = started.job_id, sorted(moments, reverse=True), 0

    async def _take_in(self, lane: Lane, job: Job) -> None:
        assert job.files_indexed == job.files_total
        assert await self.site.digest(job) == self.calm_digest, f"the index of {lane.project_id} differs"
        before, self._embedded = self._embedded, embedded_texts(self.site.data_dir)
        self.runs.append(job)
        self.shares.append((self._embedded - before) / job.chunks_created - 1)
        lane.job_id = None
        self.after_each(self)

    async def _kill_if_due(self, lane: Lane) -> None:
        for held in await self.site.rows(f"SELECT * FROM ({HOLDERS}) held WHERE id = :id", id=lane.job_id):
            worker = self._workers.get(held["writer"])
            if worker is None or not lane.moments or held["files_indexed"] <= lane.files_at_kill:
                continue
            share = held["files_indexed"] / held["files_total"]
            if share >= lane.moments[-1] or held["phase"] == JobPhase.FINISHING:
                lane.files_at_kill = held["files_indexed"]
                lane.moments.pop()
                await self._kill(worker, held["phase"])

    async def _kill(self, worker: subprocess.Popen[bytes], phase: str) -> None:
        # Somewhere within a batch, not where this loop happens to look.
        await asyncio.sleep(self.seed.uniform(0, 0.2))
        self.kills.append(Kill(await self.site.clock(), writer_of(worker.pid)))
        self.phases[phase] = self.phases.get(phase, 0) + 1
        worker.send_signal(signal.SIGKILL)
        await asyncio.to_thread(worker.wait)
        del self._workers[writer_of(worker.pid)]
        self._spawn()
        self.after_each(self)

    async def summary(self) -> dict[str, Any]:
        """What was measured; times are the database's."""
        taken = [seconds for kill in self.kills for seconds in await takeover_seconds(self.site, kill)]
        return {
            "kills": len(self.kills),
            "kills_by_phase": self.phases,
            "runs": len(self.runs),
            "files_per_run": self.runs[0].files_total,
            "chunks_committed": sum(job.chunks_created for job in self.runs),
            "texts_embedded": self._embedded,
            "embedded_twice_shares": [round(share, 5) for share in self.shares],
            "takeover_seconds": taken,
            "longest_idle_seconds": round(await longest_idle_seconds(self.site), 2),
        }
