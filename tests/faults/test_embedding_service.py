"""An embedding service that is away, hangs or lies while jobs need it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from codebase_mcp.domain import Job, JobStatus
from codebase_mcp.service import Service
from tests.faults.checks import completed, contents, watched
from tests.faults.invariants import check_invariants
from tests.support.embedding_endpoint import Endpoint, endpoint
from tests.support.freezing import given_back
from tests.support.processes import PATIENCE_SECONDS, Site, copy_packages, site_like
from tests.support.waiting import until

pytestmark = pytest.mark.faults

RECOVERY_SECONDS = 2.0
STOP_SECONDS = 5.0
SLACK_SECONDS = 6.0
"""For a machine that does much else."""
KEY = "sk-topsecret-0123456789"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 40 files."""
    return copy_packages(tmp_path_factory.mktemp("packages"), "asyncio", "json")


@pytest.fixture
async def served() -> AsyncIterator[Endpoint]:
    async with endpoint(spares_probes=True) as made:
        yield made


@pytest.fixture
async def asking(prepared: Path, served: Endpoint) -> AsyncIterator[Site]:
    """A site whose workers ask the scripted service."""
    knobs = served.knobs() | {"embedding_timeout_seconds": 1, "embedding_batch_texts": 8}
    async with site_like(prepared, check=check_invariants, batch_files=1, **knobs) as site:
        yield site


def verbs(site: Site) -> Any:
    return site.service(**{name: value for name, value in site.knobs.items() if name.startswith("embedding")})


async def blocked(site: Site, job_id: UUID) -> Job:
    async def waits() -> Job | None:
        job = await site.job(job_id)
        assert not job.status.is_terminal, job.error_message
        return job if job.status is JobStatus.BLOCKED else None

    return await until(waits, what="a blocked job", seconds=PATIENCE_SECONDS)


async def check_words(service: Service, site: Site, job_id: UUID, address: str, reason: str) -> None:
    """The job says what it waits for, why, and truly when it goes on, while its slot is free."""
    job = await blocked(site, job_id)
    before = await site.clock()
    report = await service.job_status(job_id)
    after = await site.clock()
    if report.status is not JobStatus.BLOCKED:  # its next try has begun meanwhile
        return
    assert job.slot is None
    assert report.next_retry_at is not None
    said = re.fullmatch(r"(.*), next try (?:in (\d+) s|now)", report.progress_message)
    assert said is not None, report.progress_message
    assert said[1] == f"waiting for the embedding service at {address} ({reason})"
    seconds = int(said[2] or 0)
    assert (report.next_retry_at - after).total_seconds() - 1 <= seconds
    assert seconds <= max(1.0, (report.next_retry_at - before).total_seconds() + 1)


async def test_a_service_that_fails_refuses_hangs_or_resets_blocks_the_job_which_goes_on_by_itself(
    asking: Site, served: Endpoint, packages: Path
) -> None:
    reasons = {
        "500": "it failed: HTTP 500",
        "refuse": "connection refused",
        "hang": "no answer within 1 s",
        "reset": "connection reset",
    }
    async with verbs(asking) as service, watched(asking):
        job_id = (await service.start_indexing(str(packages))).job_id
        asking.worker()
        for number, (trouble, reason) in enumerate(reasons.items()):
            await asking.committed(job_id, 4 * (number + 1))
            await (served.refuse() if trouble == "refuse" else asyncio.sleep(0))
            served.turn("well" if trouble == "refuse" else trouble)
            await check_words(service, asking, job_id, served.url, reason)
            unblocked = len(await asking.events(job_id, "unblocked"))
            await (served.open() if trouble == "refuse" else asyncio.sleep(0))
            served.turn("well")
            recovered = await asking.clock()
            event = await asking.event(job_id, "unblocked", unblocked + 1)
            assert (event.created_at - recovered).total_seconds() < RECOVERY_SECONDS + SLACK_SECONDS, trouble
        job = await completed(asking, job_id)
    assert job.files_indexed == job.files_total
    blocks = await asking.events(job_id, "blocked")
    assert len(blocks) >= len(reasons)
    assert set(served.texts.values()) <= {1, 2, 3}, "texts whose vectors were known were asked for again"
    vectors = await asking.rows(
        "SELECT count(*) AS chunks, (SELECT count(*) FROM codebase_mcp.embedding_cache) AS remembered"
        f" FROM {(await asking.rows('SELECT schema_name FROM codebase_mcp.projects'))[0]['schema_name']}.embeddings"
    )
    assert vectors[0]["chunks"] == job.chunks_created
    assert vectors[0]["remembered"] == len(served.texts)


async def test_a_service_that_lies_fails_the_job_with_what_to_do_and_nothing_is_stored(
    prepared: Path, served: Endpoint, packages: Path
) -> None:
    told = {
        "wrong dimension": "vectors of 15 numbers where 16 were expected",
        "nan": "not finite",
        "short list": r"answered \d+ vectors for \d+ texts",
        "html": "not JSON .*CODEBASE_MCP_EMBEDDING_URL",
        "100 MB": "answered more than",
        "401": "does not accept the key .*CODEBASE_MCP_EMBEDDING_API_KEY",
        "redirect": "redirects to http://elsewhere.example.*CODEBASE_MCP_EMBEDDING_URL",
    }
    knobs = served.knobs("openai", embedding_api_key=KEY)
    async with site_like(prepared, check=check_invariants, **knobs) as site, verbs(site) as service:
        site.worker()
        for mood, complaint in told.items():
            served.turn(mood)
            job = await site.ended((await service.start_indexing(str(packages))).job_id)
            assert (job.status, job.error_type) == (JobStatus.FAILED, "EmbeddingError"), mood
            assert re.search(complaint, str(job.error_message)), job.error_message
            assert "It was asked 3 times." in str(job.error_message)
            stored = await contents(site)
            assert not any(stored.values()), mood
        assert not await site.rows("SELECT 1 FROM codebase_mcp.embedding_cache")
        await check_secrecy(site)
        served.turn("well")
        await completed(site, (await service.start_indexing(str(packages))).job_id)


async def test_another_length_of_vectors_is_refused_however_often_the_job_is_started(
    prepared: Path, served: Endpoint, packages: Path
) -> None:
    knobs = served.knobs("openai")
    async with site_like(prepared, check=check_invariants, **knobs) as site, verbs(site) as service:
        await _worked_off(site, (await service.start_indexing(str(packages))).job_id)
        served.dimensions = 8
        for _ in range(3):
            job = await _worked_off(site, (await service.start_indexing(str(packages))).job_id)
            assert job.status is JobStatus.FAILED
            assert "vectors of 8 numbers, but the stored ones have 16." in str(job.error_message)
        job_id = (await service.start_indexing(str(packages), force_reindex=True)).job_id
        await _worked_off(site, job_id)
        await completed(site, job_id)


async def _worked_off(site: Site, job_id: UUID) -> Job:
    """A job as a worker left it that ran it, looked after the vector index, and went because there was no more to do:
    looking after the index must not make the next job believe in the new length."""
    worker = site.worker("--spawned", worker_idle_seconds=0)
    assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 0
    return await site.ended(job_id)


async def check_secrecy(site: Site) -> None:
    """The key is in no row, log or command line."""
    for table in ("indexing_jobs", "job_events"):
        rows = await site.rows(f"SELECT CAST(to_jsonb(t) AS text) AS row FROM codebase_mcp.{table} t")
        assert rows
        assert not [row for row in rows if KEY in row["row"]]
    logs = [path for path in (site.data_dir / "logs").iterdir() if path.is_file()]
    assert logs
    assert not [path.name for path in logs if KEY in path.read_text(errors="replace")]
    assert not [process for process in site.processes() if KEY in " ".join(process.cmdline())]


async def test_a_cancel_or_a_stop_of_the_worker_ends_a_request_that_hangs(
    asking: Site, served: Endpoint, packages: Path
) -> None:
    patient = {"embedding_timeout_seconds": 120}
    async with verbs(asking) as service:
        worker = asking.worker(**patient)
        for way in ("cancel", "stop"):
            served.turn("well")
            job_id = (await service.start_indexing(str(packages), force_reindex=way == "stop")).job_id
            if way == "cancel":
                await asking.committed(job_id, 3)
            else:
                await asking.execute("DELETE FROM codebase_mcp.embedding_cache")
            served.hung.clear()
            served.turn("hang")
            await asyncio.wait_for(served.hung.wait(), PATIENCE_SECONDS)
            started = time.monotonic()
            if way == "cancel":
                cancelled = await service.cancel_job(job_id, confirmed=True)
                assert cancelled.status is JobStatus.CANCELLED
            else:
                worker.terminate()
            await asyncio.wait_for(served.let_go.wait(), PATIENCE_SECONDS)
            assert time.monotonic() - started < STOP_SECONDS + SLACK_SECONDS
        await asyncio.to_thread(worker.wait, PATIENCE_SECONDS)
        await given_back(asking, job_id)
        served.turn("well")
        asking.worker()
        await completed(asking, job_id)
