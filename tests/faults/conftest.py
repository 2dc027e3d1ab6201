"""A corpus, the digest of its index when nothing goes wrong, and a prepared database for each test to copy."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults import ledger
from tests.faults.invariants import check_invariants
from tests.support.postgres import in_new_loop
from tests.support.processes import Site, copy_packages, prepared_data_dir, site_like

PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")
SEED_VARIABLE = "CODEBASE_MCP_FAULT_SEED"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 150 files, most of a second's work and over a hundred batches of one file."""
    return copy_packages(tmp_path_factory.mktemp("corpus"), *PACKAGES)


@pytest.fixture(scope="session")
def prepared() -> Iterator[Path]:
    """Migrated and with the ledger, so that `check_invariants` has what it reads."""
    with prepared_data_dir(ledger.install) as data_dir:
        yield data_dir


@pytest.fixture(scope="session")
def calm_digest(prepared: Path, corpus: Path) -> str:
    """The digest of an index that was built without any disturbance, in batches of the default size."""
    return in_new_loop(_calm_digest(prepared, corpus))


async def _calm_digest(prepared: Path, corpus: Path) -> str:
    async with site_like(prepared, check=check_invariants) as site, site.service(worker="inline") as service:
        started = await service.start_indexing(str(corpus))
        job = await site.ended(started.job_id)
        assert job.status == "completed", job.error_message
        return await site.digest(job)


@pytest.fixture
async def site(prepared: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """Batches of one file, so that there are many moments to disturb.

    When the test has ended the invariants are checked, unless it is marked `unchecked` with a reason.
    """
    check = None if _is_unchecked(request.node) else check_invariants
    async with site_like(prepared, check=check, batch_files=1) as site:
        yield site


def _is_unchecked(test: pytest.Item) -> bool:
    mark = test.get_closest_marker("unchecked")
    assert mark is None or mark.args, "say why: @pytest.mark.unchecked('the reason')"
    return mark is not None


@pytest.fixture
def seed() -> random.Random:
    """The source of every random choice. A failed test shows its number; CODEBASE_MCP_FAULT_SEED replays it."""
    number = int(os.environ.get(SEED_VARIABLE, random.SystemRandom().randrange(1_000_000)))
    sys.stdout.write(f"{SEED_VARIABLE}={number}\n")
    return random.Random(number)
