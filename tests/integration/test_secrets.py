"""Files that may hold secrets: they are reported and not indexed, and what earlier versions indexed of them goes."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.indexing import embed_http, read, skip_rules
from codebase_mcp.indexing.embed_service import service_embedder
from codebase_mcp.indexing.secret_files import REMOVED
from tests.support import jobs
from tests.support.embedding_endpoint import endpoint
from tests.support.runs import Bench, counts
from tests.unit.test_secret_files import BODY, pem

KEY = pem("PRIVATE KEY")
TEST = f'KEY = """{KEY}"""\n\n\ndef test_key_is_read():\n    assert load(KEY)\n' + "# and so on\n" * 300
TREE = {
    "main.py": "def main():\n    return 0\n",
    "notes.txt": KEY,
    "test_keys.py": TEST,
    ".yarnrc.yml": "npmAuthToken: abc\n",
    "secrets.yaml": "password: hunter2\n",
    "vault.yaml": "password: ${PASSWORD}\n",
}


@pytest.fixture
async def secrets_bench(bench: Bench) -> Bench:
    for path in bench.root.rglob("*"):
        if path.is_file():
            path.unlink()
    bench.write(TREE)
    return bench


async def forget_rules(bench: Bench) -> None:
    """As a job of an earlier version would have left it."""
    await jobs.execute(bench.database, "UPDATE codebase_mcp.indexing_jobs SET metadata = metadata - 'secret_rules'")


def index_as_before(context: pytest.MonkeyPatch) -> None:
    context.setattr(read, "text_without_secrets", lambda _path, text: text)
    context.setattr(skip_rules, "is_secret_name", lambda _path: False)


async def test_files_that_may_hold_secrets_are_counted_and_not_indexed(secrets_bench: Bench) -> None:
    job = await secrets_bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (3, 0, 3, 0))
    assert "3 skipped (3 may hold secrets)" in job.progress_message
    await check(secrets_bench)


async def check(bench: Bench) -> None:
    indexed = await bench.indexed()
    assert set(indexed) == {"main.py", "test_keys.py", "vault.yaml"}
    assert REMOVED in indexed["test_keys.py"]
    assert not any(line in indexed["test_keys.py"] for line in BODY.splitlines())


async def test_what_an_earlier_version_indexed_goes_at_the_next_job_and_from_the_cache(
    secrets_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = secrets_bench
    monkeypatch.setattr(embed_http, "PAUSE_SECONDS", 0.01)
    async with endpoint() as served:
        bench.configure(**(served.knobs("ollama") | {"embedding_timeout_seconds": 5.0}))
        async with contextlib.aclosing(service_embedder(bench.settings)) as embedder:
            bench.embedder = embedder  # type: ignore[assignment]
            with monkeypatch.context() as context:
                index_as_before(context)
                assert counts(await bench.run()) == (6, 0, 0, 0)
            await forget_rules(bench)
            job = await bench.run()
            assert counts(job) == (1, 2, 3, 0)
            await check(bench)
            assert await cached(bench) == await cached_and_stored(bench)
            assert counts(await bench.run()) == (0, 3, 3, 0)


async def cached(bench: Bench) -> Any:
    return await jobs.scalar(bench.database, "SELECT count(*) FROM codebase_mcp.embedding_cache")


async def cached_and_stored(bench: Bench) -> Any:
    return await jobs.scalar(
        bench.database,
        "SELECT count(DISTINCT c.text_hash) FROM codebase_mcp.embedding_cache c"
        f" JOIN {bench.schema}.embeddings e ON e.model_id = c.model_id AND e.vector = c.vector",
    )


async def test_the_index_is_looked_through_only_once(secrets_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await secrets_bench.run()
    looked: list[int] = []

    async def looks(*_: object) -> list[int]:
        looked.append(1)
        return []

    monkeypatch.setattr("codebase_mcp.storage.secret_rows.files_with_words", looks)
    await secrets_bench.run()
    assert looked == []
    await forget_rules(secrets_bench)
    await secrets_bench.run()
    assert looked == [1]
