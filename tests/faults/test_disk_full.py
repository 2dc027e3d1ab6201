"""A disk that fills up under the database: the job waits with a reason, search answers, and room is all it takes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codebase_mcp.errors import DatabaseError
from codebase_mcp.storage import embedded
from tests.faults.checks import completed
from tests.faults.invariants import check_invariants
from tests.faults.takeovers import holder_of
from tests.support.processes import PATIENCE_SECONDS, Site, answering, ask, refusal, site_like, start
from tests.support.waiting import until

pytestmark = pytest.mark.faults

MEGABYTE = 1_000_000
ROOM_BYTES = 200 * MEGABYTE
"""Free on the disk of each test before it fills up."""
LEFT_BYTES = 20 * MEGABYTE
NEEDED_BYTES = 120 * MEGABYTE
"""For a start; a running job goes on until a quarter of it is left."""


class Filler:
    """A file that takes the free space of a disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"

    def take_all_but(self, left_bytes: int) -> None:
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as file:
            while (free := shutil.disk_usage(self._path.parent).free) > left_bytes:
                file.write(bytes(min(MEGABYTE, free - left_bytes)))

    def give_back(self) -> None:
        self._path.unlink()

    @contextlib.asynccontextmanager
    async def growing(self) -> AsyncIterator[None]:
        """Takes again at once what the database frees."""
        task = asyncio.create_task(self._grow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _grow(self) -> None:
        while True:
            self.take_all_but(0)
            await asyncio.sleep(0.02)


@pytest.fixture
async def small_site(prepared: Path) -> AsyncIterator[Site]:
    """A site with a small disk for itself."""
    used = sum(file.stat().st_blocks * 512 for file in prepared.rglob("*") if file.is_file())
    async with site_like(prepared, check=check_invariants, disk_bytes=used + ROOM_BYTES, batch_files=4) as site:
        yield site


def panicked(site: Site) -> bool:
    return "PANIC" in site.layout.log_file.read_text(errors="replace")


async def test_a_job_waits_before_the_disk_is_full_and_goes_on_when_there_is_room(
    small_site: Site, corpus: Path, calm_digest: str
) -> None:
    filler = Filler(small_site.data_dir)
    async with small_site.client(min_free_disk_bytes=NEEDED_BYTES) as client:
        job_id = await start(client, corpus)
        await small_site.committed(job_id, 10)
        filler.take_all_but(LEFT_BYTES)
        blocked = await small_site.event(job_id, "blocked")
        report = await ask(client, "get_job_status", job_id=job_id)
        assert blocked.event_data["error_type"] == "StorageFullError"
        assert "MB are free on the disk of" in blocked.event_data["reason"]
        assert report["status"] in ("blocked", "running")
        assert (await ask(client, "search_code", query="event loop"))["results"]
        told = await refusal(client, "start_indexing_background", repo_path=corpus / "json")
        assert told.startswith("DATABASE_ERROR: Only")
        assert "Free some space" in told
        filler.give_back()
        job = await completed(small_site, job_id)
    assert job.attempt >= 2
    assert not panicked(small_site)
    assert await small_site.digest(job) == calm_digest


async def test_a_disk_without_a_byte_left_stops_the_job_then_the_database_and_both_go_on_when_there_is_room(
    small_site: Site, corpus: Path, calm_digest: str
) -> None:
    filler = Filler(small_site.data_dir)
    async with small_site.client() as client:
        job_id = await start(client, corpus)
        await small_site.committed(job_id, 10)
        worker = await holder_of(small_site, job_id)
        # A new segment of the write-ahead log leaves it room: so it is the tables that cannot grow.
        await small_site.execute("SELECT pg_switch_wal()")
        await small_site.execute("CREATE TABLE next_segment ()")
        async with filler.growing():
            blocked = await small_site.event(job_id, "blocked")
            assert blocked.event_data["error_type"] == "StorageFullError"
            assert blocked.event_data["reason"].startswith("The disk that holds the database is full. Free some space")
            assert (await ask(client, "search_code", query="event loop"))["results"]
            assert not panicked(small_site)
            await _the_log_needs_room(small_site)
            asked_at = time.monotonic()
            told = await refusal(client, "get_job_status", job_id=job_id)
            assert time.monotonic() - asked_at < 5
            assert told.startswith("DATABASE_ERROR")
        filler.give_back()
        await answering(client)
        job = await completed(small_site, job_id)
        assert worker.is_running()
    assert await small_site.digest(job) == calm_digest


async def _the_log_needs_room(site: Site) -> None:
    """Uses up the segments of the write-ahead log; PostgreSQL stops altogether when it cannot make another one."""

    async def is_down() -> bool:
        with contextlib.suppress(DatabaseError):
            await site.execute("SELECT pg_switch_wal()")
            await site.execute("CREATE TEMPORARY TABLE another ()")
        return not await asyncio.to_thread(embedded.is_answering, site.data_dir)

    await until(is_down, what="the end of PostgreSQL", seconds=PATIENCE_SECONDS)
