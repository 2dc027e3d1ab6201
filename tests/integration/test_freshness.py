"""What a search says of the index it rests on: how much of a repository it has, and what has changed since."""

from __future__ import annotations

import asyncio

from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.search.models import RepositoryFreshness
from codebase_mcp.service import Service
from tests.support import jobs
from tests.support.runs import SHOP, Bench, GatedPool


async def told(service: Service, repository: str | None = None) -> RepositoryFreshness:
    """What a search says of one repository."""
    (fresh,) = (await service.search("ShoppingCart", repository=repository)).freshness
    return fresh


async def covered(service: Service) -> tuple[int, int, int, int] | None:
    """(found, indexed, skipped, failed)."""
    coverage = (await told(service)).coverage
    if coverage is None:
        return None
    return coverage.files_found, coverage.files_indexed, coverage.files_skipped, coverage.files_failed


# --- coverage ---


async def test_a_search_tells_how_much_of_the_repository_is_indexed(service: Service, bench: Bench) -> None:
    (bench.root / "logo.dat").write_bytes(b"\0")
    job = await bench.run()
    assert await covered(service) == (6, 5, 1, 0)
    await jobs.set_column(bench.database, job.id, "files_failed = 1, files_indexed = 4")
    assert await covered(service) == (6, 5, 1, 1)


async def test_coverage_grows_with_a_first_job(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    assert await covered(service) is None
    bench.configure(batch_files=1)
    bench.pool = gated = GatedPool(2)
    running = asyncio.create_task(JobRunner(await bench.claim(), bench.tools).run())
    await asyncio.wait_for(gated.waits.wait(), 20)
    partial = await covered(service)
    gated.gate.set()
    await running
    assert partial is not None
    assert (partial[0], partial[2:]) == (5, (0, 0))
    assert partial[1] < 5
    assert await covered(service) == (5, 5, 0, 0)


async def test_coverage_is_that_of_the_last_job(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write({"shop/new.py": "x = 1\n"})
    (bench.root / "README.md").unlink()
    (bench.root / "logo.dat").write_bytes(b"\0")
    await bench.run()
    assert await covered(service) == (6, 5, 1, 0)
    listing = await bench.start()
    await jobs.set_column(bench.database, listing.id, f"repository_id = {(await bench.repository()).id}")
    assert await covered(service) == (6, 5, 1, 0)


async def test_coverage_is_not_known_when_the_last_job_is_no_longer_on_record(service: Service, bench: Bench) -> None:
    await bench.run()
    await jobs.execute(bench.database, "DELETE FROM codebase_mcp.indexing_jobs")
    assert await covered(service) is None


async def test_each_repository_has_its_own_coverage(service: Service, bench: Bench) -> None:
    other = Bench(bench.database, bench.settings, bench.root.parent / "other")
    other.write({"x.py": "x = 1\n"})
    await other.run()
    await bench.run()
    found = {one.repository: one.coverage for one in (await service.search("ShoppingCart")).freshness}
    assert {name: one.files_found for name, one in found.items() if one} == {"shop": len(SHOP), "other": 1}
