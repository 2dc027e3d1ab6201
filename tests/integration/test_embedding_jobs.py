"""Whole jobs and searches with the scripted embedding service: what is asked of it, and what a changed model does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from codebase_mcp.domain import JobStatus
from codebase_mcp.indexing import embed_http, embed_service
from codebase_mcp.indexing.embed import local_embedder
from codebase_mcp.indexing.embed_service import service_embedder
from codebase_mcp.jobs import embedding
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.service import Service
from codebase_mcp.storage.halfvec import halfvec_array, halfvec_bytes
from tests.support import jobs
from tests.support.embedding_endpoint import DIMENSIONS, Endpoint, endpoint
from tests.support.runs import SERVED, SHOP, Bench, GatedPool, counts
from tests.support.waiting import until


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    monkeypatch.setattr(embed_http, "PAUSE_SECONDS", 0.01)
    async with endpoint() as made:
        yield made


@contextlib.asynccontextmanager
async def asking(bench: Bench, served: Endpoint, provider: str = "ollama", **more: Any) -> AsyncIterator[Bench]:
    """The bench as a worker sees it that was started with these settings."""
    bench.configure(**(served.knobs(provider) | {"embedding_timeout_seconds": 5.0} | more))
    async with contextlib.aclosing(service_embedder(bench.settings)) as embedder:
        bench.embedder = embedder  # type: ignore[assignment]
        yield bench


def beside(bench: Bench, root: Path) -> Bench:
    """The same worker with another repository."""
    return Bench(bench.database, bench.settings, root, bench.embedder, bench.pool, project_id=bench.project_id)


async def stored(bench: Bench) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(vectors, their length) by model."""
    rows = await jobs.execute(
        bench.database,
        "SELECT m.provider, m.model, m.revision, count(*), min(vector_dims(e.vector))"
        f" FROM {bench.schema}.embeddings e JOIN codebase_mcp.embedding_models m ON m.id = e.model_id GROUP BY 1, 2, 3",
    )
    return {tuple(row[:3]): (row[3], row[4]) for row in rows}


async def remembered(bench: Bench) -> int:
    return int(await jobs.scalar(bench.database, "SELECT count(*) FROM codebase_mcp.embedding_cache"))


# --- what is asked ---


@pytest.mark.parametrize("provider", ["ollama", "openai"])
async def test_a_job_stores_the_service_s_vectors_of_header_and_content(
    bench: Bench, served: Endpoint, provider: str
) -> None:
    async with asking(bench, served, provider):
        job = await bench.run()
        identity = bench.embedder.identity
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 0, 0))
    assert (identity.provider, identity.model) == (provider, "nomic-embed-text")
    assert await stored(bench) == {
        (identity.provider, identity.model, identity.revision): (job.chunks_created, DIMENSIONS)
    }
    assert any(text.startswith("search_document: ") and "class ShoppingCart" in text for text in served.texts)


async def test_a_second_clone_asks_for_nothing(bench: Bench, served: Endpoint, tmp_path: Path) -> None:
    async with asking(bench, served):
        await bench.run()
        asked = served.texts
        clone = beside(bench, tmp_path / "second" / "shop")
        clone.write(SHOP)
        job = await clone.run()
        assert counts(job) == (5, 0, 0, 0)
        assert await clone.digest() == await bench.digest()
    assert served.texts == asked
    assert set(asked.values()) == {1}
    assert await remembered(bench) == len(asked)


async def test_a_forced_job_asks_again_but_not_twice_for_what_it_was_answered(bench: Bench, served: Endpoint) -> None:
    async with asking(bench, served, embedding_batch_texts=1):
        await bench.run()
        asked = served.texts
        await bench.start(force_reindex=True)
        served.turn("well", times=2)
        served.then = "500"
        served.spares_probes = True
        job = await bench.carry_on()
        assert job.status is JobStatus.BLOCKED
        served.turn("well")
        await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
        job = await bench.carry_on()
        assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 0, 0))
    answered_twice = served.texts - asked
    assert set(answered_twice) == set(asked)
    assert sum(answered_twice.values()) <= len(asked) + 3  # those that met the trouble


async def test_a_text_that_occurs_twice_is_asked_for_once(bench: Bench, served: Endpoint) -> None:
    bench.write({"a/same.py": "x = 1\n", "b/same.py": "x = 1\n"})
    async with asking(bench, served, embedding_max_characters=100):
        await bench.run()
    assert set(served.texts.values()) == {1}


async def test_what_was_answered_before_a_crash_is_not_asked_again(bench: Bench, served: Endpoint) -> None:
    class CrashError(BaseException):
        pass

    def crash(point: str) -> None:
        if point == "embedded":
            raise CrashError

    async with asking(bench, served):
        await bench.start()
        bench.on_point = crash
        with pytest.raises(BaseException):  # noqa: B017
            await JobRunner(await bench.claim(), bench.tools).run()
        asked = served.texts
        assert asked
        await jobs.lapse(
            bench.database, (await jobs.execute(bench.database, "SELECT id FROM codebase_mcp.indexing_jobs"))[0][0]
        )
        bench.on_point = lambda _point: None
        assert (await bench.carry_on()).status is JobStatus.COMPLETED
    assert set(served.texts.values()) == {1}
    assert set(asked) <= set(served.texts)


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE codebase_mcp.embedding_cache RENAME TO hidden_cache",
        "ALTER TABLE codebase_mcp.embedding_cache ADD CONSTRAINT never CHECK (false) NOT VALID",
        "UPDATE codebase_mcp.embedding_cache SET vector = '[1,2]'",
    ],
    ids=["missing", "unwritable", "other vectors"],
)
async def test_a_broken_cache_hinders_no_job(bench: Bench, served: Endpoint, tmp_path: Path, damage: str) -> None:
    async with asking(bench, served):
        await bench.run()
        await jobs.execute(bench.database, damage)
        clone = beside(bench, tmp_path / "second" / "shop")
        clone.write(SHOP)
        job = await clone.run()
        assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 0, 0))
        assert await clone.digest() == await bench.digest()


async def test_the_cache_loses_its_oldest_vectors_when_it_grows_too_large(
    bench: Bench, served: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking(bench, served):
        await bench.run()
    await jobs.execute(
        bench.database,
        "INSERT INTO codebase_mcp.embedding_cache SELECT model_id, sha256(CAST(CAST(n AS text) AS bytea)), vector,"
        " created_at - make_interval(days => n) FROM (SELECT * FROM codebase_mcp.embedding_cache LIMIT 1) one,"
        " generate_series(1, 50) n",
    )
    before = await remembered(bench)
    async with bench.database.maintenance() as connection:
        await connection.execute(sa.text("ANALYZE codebase_mcp.embedding_cache"))
    await embedding.prune_cache(bench.database)
    assert await remembered(bench) == before
    monkeypatch.setattr(embedding, "FORGOTTEN_AT_ONCE", 20)
    await embedding.prune_cache(bench.database, kept=before - 50)
    assert await remembered(bench) == before - 50
    oldest = await jobs.scalar(
        bench.database, "SELECT min(created_at) > now() - interval '1 hour' FROM codebase_mcp.embedding_cache"
    )
    assert oldest


async def test_a_local_model_neither_fills_nor_reads_the_cache(bench: Bench) -> None:
    await bench.run()
    assert await remembered(bench) == 0


# --- another model ---


async def test_another_model_or_provider_or_length_of_text_reads_every_file_again(
    bench: Bench, served: Endpoint
) -> None:
    async with asking(bench, served):
        await bench.run()
        assert counts(await bench.run()) == (0, 5, 0, 0)
    served.digest = "f" * 64
    async with asking(bench, served):
        assert counts(await bench.run()) == (5, 0, 0, 0)
    async with asking(bench, served, "openai"):
        assert counts(await bench.run()) == (5, 0, 0, 0)
    async with asking(bench, served, "openai", embedding_max_characters=300):
        job = await bench.run()
        assert counts(job) == (5, 0, 0, 0)
        assert list((await stored(bench)).values()) == [(job.chunks_created, DIMENSIONS)]


async def test_another_length_of_vectors_is_refused_with_both_numbers_unless_it_is_meant(
    bench: Bench, served: Endpoint
) -> None:
    async with asking(bench, served, "openai"):
        await bench.run()
        digest = await bench.digest()
        served.dimensions = 8
        job = await bench.run()
        assert (job.status, job.error_type) == (JobStatus.FAILED, "EmbeddingError")
        assert "vectors of 8 numbers, but the stored ones have 16" in str(job.error_message)
        assert "force_reindex=true" in str(job.error_message)
        assert await bench.digest() == digest
        job = await bench.run(force_reindex=True)
        assert counts(job) == (5, 0, 0, 0)
        assert [length for _, length in (await stored(bench)).values()] == [8]
        assert counts(await bench.run()) == (0, 5, 0, 0)


async def test_a_job_that_goes_on_with_another_model_begins_anew(bench: Bench, served: Endpoint) -> None:
    bench.configure(batch_files=1)
    async with asking(bench, served):
        bench.pool = gated = GatedPool(2)
        await bench.start()
        running = asyncio.create_task(bench.carry_on())

        async def two_are_committed() -> bool:
            return bool(
                await jobs.execute(bench.database, "SELECT 1 FROM codebase_mcp.indexing_jobs WHERE files_indexed = 2")
            )

        await until(two_are_committed, what="two committed files")
        served.turn("500")
        gated.gate.set()
        job = await running
        assert (job.status, counts(job)) == (JobStatus.BLOCKED, (2, 0, 0, 0))
    served.turn("well")
    served.digest = "e" * 64
    await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
    async with asking(bench, served):
        job = await bench.carry_on()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 0, 0))
    assert (job.bytes_done, job.chunks_created) == (job.bytes_total, await remembered_of(bench, "eeee"))
    assert [revision[:4] for _, _, revision in await stored(bench)] == ["eeee"]
    assert await bench.indexed() == SHOP


async def remembered_of(bench: Bench, revision: str) -> int:
    """Chunks with a vector of models whose revision begins so."""
    return sum(count for (_, _, known), (count, _) in (await stored(bench)).items() if known.startswith(revision))


async def test_a_model_that_is_replaced_under_a_running_job_is_noticed(bench: Bench, served: Endpoint) -> None:
    bench.configure(batch_files=1)
    async with asking(bench, served):
        await bench.start()
        replaced = asyncio.Event()

        def replace_once(point: str) -> None:
            if point == "committed" and not replaced.is_set():
                replaced.set()
                served.digest = "d" * 64
                # What another job of this worker would do when it begins.
                bench.embedder._known = embed_service.KnownModel("d" * 12, DIMENSIONS)  # type: ignore[attr-defined]

        bench.on_point = replace_once
        job = await bench.carry_on()
        while job.status is JobStatus.BLOCKED:
            assert "its model was replaced" in job.progress_message
            await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
            job = await bench.carry_on()
        assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 0, 0))
        assert [revision[:4] for _, _, revision in await stored(bench)] == ["dddd"]


# --- waiting ---


async def test_a_job_is_not_tried_again_before_the_service_wants_it(bench: Bench, served: Endpoint) -> None:
    served.retry_after = "30"
    served.turn("429")
    async with asking(bench, served):
        job = await bench.attempt()
    assert (job.status, job.error_type) == (JobStatus.BLOCKED, "EmbeddingUnavailableError")
    waiting = await jobs.scalar(
        bench.database,
        "SELECT extract(epoch FROM j.retry_at - e.created_at) FROM codebase_mcp.indexing_jobs j"
        " JOIN codebase_mcp.job_events e ON e.job_id = j.id AND e.event_type = 'blocked'",
    )
    assert 29 < waiting <= 31


async def test_the_delay_grows_until_a_batch_is_committed(bench: Bench, served: Endpoint) -> None:
    served.spares_probes = True  # the job gets as far as its first batch each time
    served.turn("500")
    async with asking(bench, served):
        job = await bench.attempt()
        for _ in range(3):
            assert job.status is JobStatus.BLOCKED
            await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
            job = await bench.carry_on()
        assert job.metadata["block_count"] == 4
        served.turn("well")
        await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
        job = await bench.carry_on()
    assert job.status is JobStatus.COMPLETED
    assert "block_count" not in job.metadata


async def test_a_job_waits_from_the_start_when_the_service_is_not_there(bench: Bench, served: Endpoint) -> None:
    await served.refuse()
    async with asking(bench, served):
        job = await bench.attempt()
        assert job.progress_message == f"waiting for the embedding service at {served.url} (connection refused)"
        await served.open()
        await jobs.set_column(bench.database, job.id, "retry_at = clock_timestamp()")
        assert (await bench.carry_on()).status is JobStatus.COMPLETED


# --- searching ---


@pytest.fixture
def patient_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be slow to answer itself, and a search would do without the service."""
    monkeypatch.setattr(embed_service, "QUERY_SECONDS", 15.0)


@contextlib.asynccontextmanager
async def searching(bench: Bench, **more: Any) -> AsyncIterator[Service]:
    service = Service(bench.settings.model_copy(update=SERVED | more))
    try:
        await service.launch()
        await service.ready(10)
        yield service
    finally:
        await service.close()


@pytest.mark.usefixtures("patient_queries")
async def test_a_search_uses_the_service_s_vectors(bench: Bench, served: Endpoint) -> None:
    async with asking(bench, served):
        await bench.run()
        async with searching(bench) as service:
            answer = await service.search("shopping cart total")
    assert answer.results
    assert answer.warnings == []
    assert served.asked[-1].texts == ["search_query: shopping cart total"]


@pytest.mark.parametrize("trouble", ["refuse", "hang", "500", "html"])
async def test_a_search_answers_in_time_and_says_so_when_the_service_does_not(
    bench: Bench, served: Endpoint, trouble: str
) -> None:
    async with asking(bench, served):
        await bench.run()
        await (served.refuse() if trouble == "refuse" else asyncio.sleep(0))
        served.turn("well" if trouble == "refuse" else trouble)
        async with searching(bench) as service:
            started = time.monotonic()
            answer = await service.search("ShoppingCart")
            seconds = time.monotonic() - started
    assert [hit.file_path.rpartition("/")[2] for hit in answer.results][:1] == ["cart.py"]
    (warning,) = answer.warnings
    assert warning.startswith("Ranked without the meaning of words, because the embedding service at")
    assert served.url in warning
    assert seconds < embed_service.QUERY_SECONDS + 4


async def test_a_model_without_vectors_here_finds_by_words_and_says_what_to_do(bench: Bench, served: Endpoint) -> None:
    async with asking(bench, served):
        await bench.run()
    served.digest = "f" * 64
    async with asking(bench, served), searching(bench) as service:
        answer = await service.search("ShoppingCart")
    assert answer.results
    (warning,) = answer.warnings
    assert "no vectors of the current embedding model. Index the repository again" in warning


@pytest.mark.usefixtures("patient_queries")
async def test_vectors_of_two_models_are_never_compared(bench: Bench, served: Endpoint, tmp_path: Path) -> None:
    async with asking(bench, served):
        await bench.run()
    other = beside(bench, tmp_path / "other")
    other.embedder = local_embedder()  # type: ignore[assignment]
    other.write({"basket.py": "class Basket:\n    pass\n"})
    await other.run()
    lengths = {length for _, length in (await stored(bench)).values()}
    assert lengths == {DIMENSIONS, local_embedder().dimensions}
    for more in ({}, {"embedding_provider": "local"}):
        async with searching(bench, **more) as service:
            answer = await service.search("ShoppingCart basket")
            assert len(answer.results) >= 2
            assert answer.warnings == []


# --- doctor ---


async def test_the_doctor_names_the_model_or_says_that_the_service_is_away(bench: Bench, served: Endpoint) -> None:
    bench.configure(**served.knobs())
    async with searching(bench) as service:
        (check,) = [check for check in await service.doctor() if check.name == "embedding model"]
        assert check.is_ok
        assert f"ollama nomic-embed-text at {served.url}" in check.detail
        assert "16 dimensions" in check.detail
        await served.refuse()
        (check,) = [check for check in await service.doctor() if check.name == "embedding model"]
    assert not check.is_ok
    assert f"{served.url} cannot be used at the moment (connection refused)" in check.detail
    assert check.fix is not None
    assert "embedding_url" in check.fix


def test_remembered_vectors_are_exact_in_half_precision() -> None:
    """What comes back from the cache is stored as the same bytes as what came from the service."""
    rows = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    once = halfvec_array(halfvec_bytes(rows), 8)
    assert halfvec_bytes(once) == halfvec_bytes(rows)
