"""A corpus, the digest of its index when nothing goes wrong, and a prepared database for each test to copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.postgres import in_new_loop
from tests.support.processes import Site, copy_packages, prepared_data_dir, site_like

PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 150 files, most of a second's work and over a hundred batches of one file."""
    return copy_packages(tmp_path_factory.mktemp("corpus"), *PACKAGES)


@pytest.fixture(scope="session")
def prepared() -> Iterator[Path]:
    with prepared_data_dir() as data_dir:
        yield data_dir


@pytest.fixture(scope="session")
def calm_digest(prepared: Path, corpus: Path) -> str:
    """The digest of an index that was built without any disturbance, in batches of the default size."""
    return in_new_loop(_calm_digest(prepared, corpus))


async def _calm_digest(prepared: Path, corpus: Path) -> str:
    async with site_like(prepared) as site, site.service(worker="inline") as service:
        started = await service.start_indexing(str(corpus))
        job = await site.ended(started.job_id)
        assert job.status == "completed", job.error_message
        return await site.digest(job)


@pytest.fixture
async def site(prepared: Path) -> AsyncIterator[Site]:
    """Batches of one file, so that there are many moments to disturb."""
    async with site_like(prepared, batch_files=1) as site:
        yield site
