"""Cancelling a running job: terminal at once, nothing written afterwards, and a later start goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.checks import completed, contents
from tests.support.processes import Site, ask, start

pytestmark = pytest.mark.faults


async def test_a_cancelled_job_writes_nothing_more_frees_its_slot_and_the_next_start_completes_it(
    site: Site, corpus: Path, calm_digest: str
) -> None:
    # A worker that leaves as soon as it has nothing to do shows when it stopped.
    async with site.client(worker_idle_seconds=0) as client:
        job_id = await start(client, corpus)
        await site.committed(job_id, 10)
        asked_at = await site.clock()
        answer = await ask(client, "cancel_job", job_id=job_id, confirmed=True)
        at_the_answer = await contents(site)
        assert answer["status"] == "cancelled"
        cancelled = await site.job(job_id)
        assert cancelled.cancelled_at is not None
        assert (cancelled.cancelled_at - asked_at).total_seconds() < 1
        assert (cancelled.slot, cancelled.lease_expires_at) == (None, None)
        await site.no_process("worker")
        assert (await site.clock() - cancelled.cancelled_at).total_seconds() < 5
        assert await contents(site) == at_the_answer
        assert at_the_answer["code_files"] == cancelled.files_indexed == answer["files_indexed"]
        assert [event.event_type for event in await site.events(job_id)] == ["created", "started", "cancelled"]
        listed = await ask(client, "list_repositories")
        assert [repository["state"] for repository in listed["repositories"]] == ["incomplete"]

        second = await start(client, corpus)
        job = await completed(site, second)
        assert second != job_id
    assert job.files_unchanged == cancelled.files_indexed
    assert await site.digest(job) == calm_digest
