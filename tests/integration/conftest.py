"""Fixtures of the tests that run whole jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codebase_mcp.service import Service
from codebase_mcp.settings import Settings
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.index_store import Target
from tests.support import shelf as shelves
from tests.support.runs import SERVED, SHOP, Bench
from tests.support.shelf import Shelf


@pytest.fixture
def bench(database: Database, settings: Settings, tmp_path: Path) -> Bench:
    """A repository of five small files that nothing has indexed yet."""
    made = Bench(database, settings, tmp_path / "shop")
    made.configure(pool_processes=1, renew_seconds=0.05)
    made.write(SHOP)
    return made


@pytest.fixture
async def service(bench: Bench) -> AsyncIterator[Service]:
    """Ready, on the same database, with nobody who works."""
    made = Service(bench.settings.model_copy(update=SERVED))
    await made.launch()
    await made.ready(10)
    yield made
    await made.close()


@pytest.fixture
async def shelf(database: Database, tmp_path: Path) -> Shelf:
    return Shelf(database, tmp_path)


@pytest.fixture
async def shop(shelf: Shelf) -> Target:
    target = await shelf.repository()
    await shelf.write(target, shelves.SHOP)
    await shelf.finish(target)
    return target
