"""Whole jobs over small repositories, in this process: real files, a real database, a fake model, threads as pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from codebase_mcp.domain import Job
from codebase_mcp.indexing.pipeline import BatchRequest
from codebase_mcp.indexing.pool import ParsingPool
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.jobs.tools import Tools
from codebase_mcp.settings import Settings
from codebase_mcp.storage import tables
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.digest import canonical_digest
from tests.support import jobs
from tests.support.index import FakeEmbedder
from tests.support.waiting import until

Given = TypeVar("Given")
Made = TypeVar("Made")

SHOP = {
    "README.md": "# Shop\n\nIt sells things.\n",
    "shop/__init__.py": "",
    "shop/cart.py": "class ShoppingCart:\n    def total(self):\n        return 0\n",
    "shop/pay.py": "from shop.cart import ShoppingCart\n\n\ndef pay(cart: ShoppingCart):\n    return cart.total()\n",
    "tests/test_cart.py": "from shop.cart import ShoppingCart\n\n\ndef test_total():\n    assert ShoppingCart()\n",
}


SERVED = {"worker": "external", "watch_seconds": 60.0}
"""Settings of a service beside which nobody works."""


class ThreadPool:
    """Does the pool's work in threads: no process to start."""

    async def run(self, function: Callable[[Given], Made], given: Given) -> Made:
        return await asyncio.to_thread(function, given)

    run_isolated = run


class GatedPool(ThreadPool):
    """Holds back the groups with a file that is not among the first so many of SHOP, until told."""

    def __init__(self, files: int) -> None:
        self._free = frozenset(sorted(SHOP)[:files])
        self.waits = asyncio.Event()
        self.gate = asyncio.Event()

    async def run(self, function: Callable[[Given], Made], given: Given) -> Made:
        if not self._free.issuperset(cast(BatchRequest, given).relative_paths):
            self.waits.set()
            await self.gate.wait()
        return await super().run(function, given)


@dataclass
class Bench:
    """One repository and what it takes to index it."""

    database: Database
    settings: Settings
    root: Path
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    pool: ParsingPool | ThreadPool = field(default_factory=ThreadPool)
    on_point: Callable[[str], None] = lambda _point: None
    project_id: str = "default"

    def configure(self, **settings: Any) -> None:
        self.settings = self.settings.model_copy(update=settings)

    def write(self, texts: Mapping[str, str]) -> None:
        for path, text in texts.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    @property
    def tools(self) -> Tools:
        return Tools(self.database, self.embedder, cast(ParsingPool, self.pool), self.settings, self.on_point)

    @property
    def schema(self) -> str:
        return tables.schema_name(self.project_id)

    async def start(self, **more: Any) -> Job:
        return await jobs.start(self.database, str(self.root), self.project_id, **more)

    async def claim(self) -> Job:
        """Claims as a worker does: who loses the race for a slot tries again at the next turn."""
        lease_seconds = self.settings.lease_seconds
        return await until(lambda: jobs.try_claim(self.database, lease_seconds=lease_seconds), what="a claim")

    async def carry_on(self) -> Job:
        """Claims what there is to claim and runs it to its end."""
        job = await self.claim()
        await JobRunner(job, self.tools).run()
        return await jobs.current(self.database, job.id)

    async def attempt(self, **more: Any) -> Job:
        """A job that may be left waiting for better times."""
        await self.start(**more)
        return await self.carry_on()

    async def run(self, **more: Any) -> Job:
        job = await self.attempt(**more)
        assert job.status.is_terminal, f"{job.status}: {job.error_message}"
        return job

    async def indexed(self) -> dict[str, str]:
        """Each indexed file with the text of its chunks."""
        rows = await jobs.execute(
            self.database,
            "SELECT f.relative_path, coalesce(string_agg(c.content, '' ORDER BY c.ordinal), '')"
            f" FROM {self.schema}.code_files f LEFT JOIN {self.schema}.code_chunks c ON c.file_id = f.id"
            f" JOIN {self.schema}.repositories r ON r.id = f.repository_id WHERE r.path = :path GROUP BY 1",
            path=str(self.root),
        )
        return dict(map(tuple, rows))

    async def repository(self) -> Any:
        rows = await jobs.execute(
            self.database, f"SELECT * FROM {self.schema}.repositories WHERE path = :path", path=str(self.root)
        )
        return rows[0]

    async def digest(self) -> str:
        repository_id = (await self.repository()).id
        async with self.database.transaction("search", self.schema) as connection:
            return await canonical_digest(connection, self.schema, repository_id)


def counts(job: Job) -> tuple[int, int, int, int]:
    """(indexed, unchanged, skipped, failed)."""
    return job.files_indexed, job.files_unchanged, job.files_skipped, job.files_failed


async def everything(database: Database) -> Any:
    """All rows that a refused call might have written."""
    rows = [
        await jobs.execute(database, f"SELECT * FROM codebase_mcp.{table}")
        for table in ("projects", "indexing_jobs", "job_events")
    ]
    schemas = await jobs.execute(
        database, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cb_proj_%' ORDER BY nspname"
    )
    return [*rows, schemas]
