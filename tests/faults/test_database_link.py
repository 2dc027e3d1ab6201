"""A link to the database that hangs, crawls, or breaks at the worst moment: in the middle of a COPY or of a commit."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

import pytest

from tests.faults.checks import completed, contents, wasted_files, watched
from tests.support.freezing import LET_GO, frozen, given_up, log_lines, wake
from tests.support.link_proxy import COMMIT_ANSWERED, COMMIT_SENT, LinkProxy, Trap, proxied
from tests.support.processes import PATIENCE_SECONDS, SLACK, Site, ask, refusal, start

pytestmark = pytest.mark.faults

TERMINAL = timedelta(seconds=1) + SLACK
"""From the moment that a cancel can come through until the job is cancelled."""
GIVEN_UP = timedelta(seconds=5) + SLACK
"""From the cancel until a worker whose link hangs has stopped the work."""
LEASE_SECONDS = 4
BATCH_FILES = 4
FEW_BATCHES = {"batch_files": BATCH_FILES}
SHORT_LEASE = {"lease_seconds": LEASE_SECONDS, "renew_seconds": 0.5} | FEW_BATCHES
MIDDLE_OF_A_BATCH = b'"code_chunks"('
"""A part of the COPY that fills that table; nothing else that a batch sends has it."""


async def in_time(happening: asyncio.Event) -> None:
    await asyncio.wait_for(happening.wait(), PATIENCE_SECONDS)


async def halted_in_a_copy(proxy: LinkProxy) -> None:
    """Halts the link when the server has been told to expect rows and has got none: it waits for them, and the job's
    row is locked."""
    await in_time(proxy.trap(MIDDLE_OF_A_BATCH, "to server", halts=True).sprung)


@asynccontextmanager
async def under_way(
    site: Site, corpus: Path, **knobs: object
) -> AsyncIterator[tuple[LinkProxy, UUID, subprocess.Popen[bytes]]]:
    """A job of which a worker, over a link of its own, has committed some files."""
    async with proxied(site.layout.url) as (proxy, url), site.service() as service, watched(site):
        job_id = (await service.start_indexing(str(corpus))).job_id
        worker = site.worker(database_url=url, **knobs)
        await site.committed(job_id, 5)
        yield proxy, job_id, worker


async def test_a_cancel_takes_effect_at_once_while_the_link_of_the_worker_hangs(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random
) -> None:
    async with proxied(site.layout.url) as (proxy, url), site.service() as service:
        worker = site.worker(database_url=url, **FEW_BATCHES)
        for is_in_a_copy in (True, False):
            job_id = (await service.start_indexing(str(corpus), force_reindex=True)).job_id
            await site.committed(job_id, 5)
            if is_in_a_copy:
                await halted_in_a_copy(proxy)
            else:
                await asyncio.sleep(seed.random() / 20)
                proxy.halt()
            halted_at = await site.clock()
            answer = await service.cancel_job(job_id, confirmed=True)
            assert answer.cancelled_at - halted_at < TERMINAL
            at_the_answer = await contents(site)
            assert await given_up(site, since=answer.cancelled_at, pid=worker.pid) < GIVEN_UP
            proxy.resume()
            assert await contents(site) == at_the_answer
        job = await completed(site, (await service.start_indexing(str(corpus), force_reindex=True)).job_id)
        assert worker.poll() is None
    assert await site.digest(job) == calm_digest


async def test_a_worker_whose_link_hangs_is_replaced_and_changes_nothing_when_the_link_flows_again(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with under_way(site, corpus, **SHORT_LEASE) as (proxy, job_id, cut_off):
        await halted_in_a_copy(proxy)
        halted_at = await site.clock()
        site.worker(**SHORT_LEASE)
        resumed = await site.event(job_id, "resumed")
        given_up_after = await given_up(site, since=halted_at, pid=cut_off.pid)
        proxy.resume()
        job = await completed(site, job_id)
        assert cut_off.poll() is None
    assert given_up_after < timedelta(seconds=LEASE_SECONDS)
    assert (resumed.created_at - halted_at).total_seconds() < LEASE_SECONDS + 5
    assert job.files_indexed == job.files_total
    assert await wasted_files(site) <= BATCH_FILES * (job.attempt - 1)
    assert await site.digest(job) == calm_digest


@pytest.mark.parametrize("whom", ["client", "server"])
async def test_a_link_of_which_one_end_takes_the_other_to_have_closed_costs_no_more_than_the_batch(
    site: Site, corpus: Path, calm_digest: str, whom: Literal["client", "server"]
) -> None:
    async with under_way(site, corpus, **FEW_BATCHES) as (proxy, job_id, worker):
        proxy.half_close(whom)
        await site.event(job_id, "blocked")
        job = await completed(site, job_id)
        assert worker.poll() is None
    assert job.files_indexed == job.files_total
    assert await wasted_files(site) <= BATCH_FILES * (job.attempt - 1)
    assert await site.digest(job) == calm_digest


async def test_a_link_of_one_kilobyte_per_second_holds_a_job_up_and_does_no_harm(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    async with under_way(site, corpus, **SHORT_LEASE) as (proxy, job_id, worker):
        proxy.bytes_per_second = 1_000
        await log_lines(site, LET_GO, pid=worker.pid)
        assert worker.poll() is None
        proxy.resume()
        job = await completed(site, job_id)
        assert worker.poll() is None
    assert job.files_indexed == job.files_total
    assert await site.digest(job) == calm_digest


def lost_commit(proxy: LinkProxy, spare: int) -> Trap:
    return proxy.trap(COMMIT_SENT, "to server", after=MIDDLE_OF_A_BATCH, spare=spare)


def commit_without_a_listener(proxy: LinkProxy, spare: int) -> Trap:
    return proxy.trap(COMMIT_SENT, "to server", after=MIDDLE_OF_A_BATCH, spare=spare, is_delivered=True)


def lost_answer(proxy: LinkProxy, spare: int) -> Trap:
    return proxy.trap(COMMIT_ANSWERED, "to client", after=MIDDLE_OF_A_BATCH, spare=spare)


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_a_batch_whose_commit_or_its_answer_is_lost_counts_once(
    site: Site, corpus: Path, calm_digest: str, seed: random.Random, rounds: int
) -> None:
    moments = [lost_commit, commit_without_a_listener, lost_answer] * rounds
    async with proxied(site.layout.url) as (proxy, url), site.service() as service, watched(site):
        job_id = (await service.start_indexing(str(corpus))).job_id
        worker = site.worker(database_url=url)
        for number, set_trap in enumerate(moments, 1):
            await in_time(set_trap(proxy, 1 + seed.randrange(3)).sprung)
            await site.event(job_id, "blocked", number)
        job = await completed(site, job_id)
        assert worker.poll() is None
    assert job.files_indexed == job.files_total
    # What was committed without our hearing of it is not done again: only the lost commits cost a file.
    other_claims = job.attempt - 1 - len(moments)
    assert rounds <= await wasted_files(site) <= rounds + other_claims
    assert await site.digest(job) == calm_digest


async def test_a_canceller_whose_own_link_hangs_is_told_and_cancels_as_soon_as_it_flows_again(
    site: Site, corpus: Path
) -> None:
    async with (
        proxied(site.layout.url) as (proxy, url),
        site.client(database_url=url, worker="external") as client,
    ):
        job_id = await start(client, corpus)
        # It stands still, or the job would be done before the cancel comes through.
        worker = site.doomed_worker("committed", 5, signal.SIGSTOP)
        await frozen(site, worker)
        proxy.halt()
        told = await refusal(client, "cancel_job", job_id=job_id, confirmed=True)
        assert told.startswith("DATABASE_ERROR: The database cannot be reached")
        assert (await site.job(job_id)).status == "running"
        proxy.resume()
        flows_at = await site.clock()
        assert (await ask(client, "cancel_job", job_id=job_id, confirmed=True))["status"] == "cancelled"
        cancelled = await site.job(job_id)
        await wake(site, worker)
    assert cancelled.cancelled_at is not None
    assert cancelled.cancelled_at - flows_at < TERMINAL
