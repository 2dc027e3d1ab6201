"""Listing the repositories of a project and removing them, with their rows, schema and space."""

from __future__ import annotations

from pathlib import Path

import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.errors import InvalidInputError, ProjectNotFoundError, RepositoryNotFoundError
from codebase_mcp.service import Service
from tests.support import jobs
from tests.support.runs import SHOP, Bench, everything


async def indexed(service: Service, bench: Bench, project_id: str = "default") -> None:
    bench.project_id = project_id
    await service.start_indexing(str(bench.root), project_id=project_id)
    await bench.carry_on()


async def test_repositories_are_listed_with_their_state(service: Service, bench: Bench) -> None:
    await indexed(service, bench)
    (bench.root.parent / "other").mkdir()
    (bench.root.parent / "other" / "x.py").write_text("x = 1\n")
    started = await service.start_indexing(str(bench.root.parent / "other"))
    listed = await service.list_repositories()
    shop, other = listed.repositories
    assert (shop.name, shop.state, shop.file_count, shop.active_job_id) == ("shop", "ready", len(SHOP), None)
    assert shop.size_bytes > 10_000
    assert (other.state, other.repository_id, other.active_job_id) == ("indexing", None, started.job_id)
    again = await service.start_indexing(str(bench.root))
    shop = (await service.list_repositories()).repositories[0]
    assert (shop.state, shop.active_job_id) == ("indexing", again.job_id)


async def test_a_project_whose_first_job_has_not_begun_lists_that_job(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    assert [one.state for one in (await service.list_repositories()).repositories] == ["indexing"]


async def test_removing_the_last_repository_of_a_project_leaves_no_trace(service: Service, bench: Bench) -> None:
    await indexed(service, bench)
    removed = await service.remove_repository("shop", confirmed=True)
    assert (removed.path, removed.files_removed) == (str(bench.root), len(SHOP))
    assert removed.chunks_removed > 0
    rows = await everything(bench.database)
    assert (rows[0], rows[3]) == ([], [])
    assert bench.root.exists()
    with pytest.raises(ProjectNotFoundError):
        await service.list_repositories()
    await indexed(service, bench)
    assert await bench.indexed() == SHOP


async def test_removing_one_of_two_repositories_keeps_the_other(service: Service, bench: Bench) -> None:
    await indexed(service, bench)
    other = Bench(bench.database, bench.settings, bench.root.parent / "other")
    other.write({"x.py": "x = 1\n"})
    await indexed(service, other)
    await service.remove_repository(str(bench.root), confirmed=True)
    assert [one.name for one in (await service.list_repositories()).repositories] == ["other"]
    assert await other.indexed() == {"x.py": "x = 1\n"}
    for table in ("code_files", "code_chunks", "embeddings", "lexical_postings"):
        owners = await jobs.execute(bench.database, f"SELECT DISTINCT repository_id FROM {other.schema}.{table}")
        assert len(owners) == 1


async def test_removing_gives_the_space_back(service: Service, bench: Bench) -> None:
    other = Bench(bench.database, bench.settings, bench.root.parent / "other")
    other.write({"x.py": "x = 1\n"})
    await indexed(service, other)

    async def heap_bytes() -> int:
        return int(
            await jobs.scalar(
                bench.database,
                "SELECT sum(pg_relation_size(relid)) FROM pg_stat_user_tables WHERE schemaname = :schema",
                schema=other.schema,
            )
        )

    before = await heap_bytes()
    bench.write({f"n{n}.py": f"def function_{n}():\n    return {n!r}\n" * 40 for n in range(60)})
    await indexed(service, bench)
    assert await heap_bytes() > 2 * before
    await service.remove_repository("shop", confirmed=True)
    assert await heap_bytes() < 1.5 * before


async def test_removing_cancels_the_active_job(service: Service, bench: Bench) -> None:
    await indexed(service, bench)
    started = await service.start_indexing(str(bench.root))
    await service.remove_repository("shop", confirmed=True)
    assert (await jobs.current(bench.database, started.job_id)).status is JobStatus.CANCELLED


async def test_a_project_with_another_active_job_outlives_its_last_repository(
    service: Service, bench: Bench, tmp_path: Path
) -> None:
    await indexed(service, bench)
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "x.py").write_text("x = 1\n")
    await service.start_indexing(str(tmp_path / "next"))
    await service.remove_repository("shop", confirmed=True)
    assert [one.name for one in (await service.list_repositories()).repositories] == ["next"]


async def test_unknown_and_ambiguous_repositories_are_not_removed(service: Service, bench: Bench) -> None:
    await indexed(service, bench)
    twin = Bench(bench.database, bench.settings, bench.root.parent / "twin" / "shop")
    twin.write({"x.py": "x = 1\n"})
    await indexed(service, twin)
    with pytest.raises(RepositoryNotFoundError) as caught:
        await service.remove_repository("nothing", confirmed=True)
    assert caught.value.code == "REPOSITORY_NOT_FOUND"
    with pytest.raises(InvalidInputError, match="'shop' is ambiguous"):
        await service.remove_repository("shop", confirmed=True)
    assert len((await service.list_repositories()).repositories) == 2
