"""Estimates against a real database and real jobs: right, told with their grounds, and without a trace."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.indexing.embed import local_embedder, open_embedder
from codebase_mcp.indexing.pipeline import index_fingerprint
from codebase_mcp.indexing.survey import Amount, Survey
from codebase_mcp.jobs import estimate as pace
from codebase_mcp.jobs.history import history
from codebase_mcp.service import Service, estimate
from codebase_mcp.storage.database import Database
from tests.support import jobs
from tests.support.jobs import HOST
from tests.support.repositories import git, git_settings
from tests.support.runs import SERVED, SHOP, Bench, everything


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """With the model of the service, so that what one writes is not stale for the other."""
    bench.embedder = local_embedder()  # type: ignore[assignment]
    return bench


async def rows_of_the_project(bench: Bench) -> Any:
    return await jobs.execute(bench.database, f"SELECT * FROM {bench.schema}.code_files ORDER BY id")


async def test_an_estimate_of_a_new_repository_tells_all_and_writes_nothing(service: Service, bench: Bench) -> None:
    (bench.root / "logo.png").write_bytes(b"\0" * 50)
    bench.write({"node_modules/x.js": "x" * 1_000})
    before = await everything(bench.database)
    report = await service.estimate_indexing(str(bench.root))
    assert await everything(bench.database) == before
    assert (report.repo_path, report.project_id, report.index_state) == (str(bench.root), "default", "none")
    assert (report.files_found, report.files_to_index, report.files_unchanged) == (6, 5, 0)
    assert report.bytes_to_index == sum(len(text) for text in SHOP.values())
    assert (report.files_to_remove, report.files_failed_before, report.active_job_id) == (0, 0, None)
    assert [one.language for one in report.languages] == ["python", "markdown"]
    assert {one.path for one in report.largest_directories} == {"shop", "tests"}
    assert {one.reason: (one.files, one.size_bytes) for one in report.left_out} == {
        "binary": (1, 50),
        "filled by tools (dependencies, environments, caches)": (1, 1_000),
    }
    assert (report.is_partial, report.is_left_out_measured, report.warnings) == (False, True, [])
    assert report.expected_chunks in range(1, 10)
    assert 0 < report.expected_seconds < 3
    assert "no job has completed on this one yet" in report.rests_on
    assert report.message.startswith("5 files (0.0 MB) to index, about ")


async def test_what_an_index_has_already_is_unchanged(service: Service, bench: Bench) -> None:
    assert (await bench.run()).status is JobStatus.COMPLETED
    indexed = await rows_of_the_project(bench)
    report = await service.estimate_indexing(str(bench.root))
    assert (report.index_state, report.files_to_index, report.files_unchanged) == ("complete", 0, 5)
    assert report.message == "Nothing has to be indexed: 5 files unchanged."
    bench.write({"shop/cart.py": "class Cart: ...\n", "shop/new.py": "x = 1\n"})
    (bench.root / "README.md").unlink()
    report = await service.estimate_indexing(str(bench.root))
    assert (report.files_to_index, report.files_unchanged, report.files_to_remove) == (2, 3, 1)
    report = await service.estimate_indexing(str(bench.root), force_reindex=True)
    assert (report.files_to_index, report.files_unchanged, report.files_to_remove) == (5, 0, 1)
    assert await rows_of_the_project(bench) == indexed


@pytest.mark.parametrize("content", [b"abc\0", b"x" * 30_000, b"\xff\xfe\0\xd8"])
async def test_files_left_out_because_of_their_content_are_not_to_be_indexed_again(
    service: Service, bench: Bench, content: bytes
) -> None:
    path = bench.root / "generated.js"
    path.write_bytes(content)
    job = await bench.run()
    assert job.files_skipped == 1
    report = await service.estimate_indexing(str(bench.root))
    assert (report.files_to_index, report.files_unchanged) == (0, 5)
    assert [group.files for group in report.left_out] == [1]
    path.chmod(0o600)
    assert (await service.estimate_indexing(str(bench.root))).files_to_index == 0
    path.write_text("function f() {}\n")
    assert (await service.estimate_indexing(str(bench.root))).files_to_index == 1
    assert (await bench.run()).files_indexed == 1


async def test_an_estimate_tells_files_with_new_content_from_those_with_a_new_time(
    service: Service, bench: Bench
) -> None:
    await bench.run()
    for path in ("shop/pay.py", "shop/cart.py"):
        status = (bench.root / path).stat()
        content = (bench.root / path).read_bytes()
        (bench.root / path).write_bytes(content.swapcase() if path == "shop/pay.py" else content)
        os.utime(bench.root / path, ns=(1, status.st_mtime_ns))
    report = await service.estimate_indexing(str(bench.root))
    assert (report.files_to_index, report.files_unchanged) == (1, 4)


async def test_an_estimate_agrees_with_the_job_that_follows(service: Service, bench: Bench) -> None:
    bench.write({f"m{n}.py": "def f(first):\n    return first.combined_with(second, third)\n" * 60 for n in range(30)})
    report = await service.estimate_indexing(str(bench.root))
    job = await bench.run()
    assert job.files_indexed == report.files_to_index == 35
    assert report.expected_chunks == pytest.approx(job.chunks_created, rel=0.3)
    assert job.metadata["to_index"]["python"] == [34, sum(p.stat().st_size for p in bench.root.rglob("*.py"))]


async def test_files_that_failed_are_told_and_tried_again_when_asked(service: Service, bench: Bench) -> None:
    await bench.run()
    for statement in (
        "UPDATE codebase_mcp.job_files SET state = 'failed', reason = 'it died' WHERE relative_path = 'README.md'",
        f"DELETE FROM {bench.schema}.code_files WHERE relative_path = 'README.md'",
    ):
        await jobs.execute(bench.database, statement)
    report = await service.estimate_indexing(str(bench.root))
    assert (report.files_failed_before, report.files_to_index) == (1, 0)
    report = await service.estimate_indexing(str(bench.root), retry_failed=True)
    assert (report.files_failed_before, report.files_to_index) == (0, 1)


async def test_the_job_that_runs_is_named(service: Service, bench: Bench) -> None:
    job = await bench.start()
    await bench.claim()
    report = await service.estimate_indexing(str(bench.root))
    assert report.active_job_id == job.id
    assert report.warnings == ["1 job running now; beside it this one takes longer."]


async def test_a_disk_that_would_stop_a_start_is_a_warning(bench: Bench) -> None:
    settings = bench.settings.model_copy(update=SERVED | {"min_free_disk_bytes": 10**18, "database_url": None})
    indexed = estimate.Indexed(None, {}, {}, [], None, (await _past(bench.database)))
    [warning] = estimate._warnings(settings, estimate.Request(bench.root, "default", HOST.id, False), indexed)
    assert "1,000,000,000,000 MB" in warning


async def test_arguments_are_checked_as_those_of_a_start(
    service: Service, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "void").mkdir()
    before = await everything(bench.database)
    wrong: list[dict[str, Any]] = [
        {"repo_path": ""},
        {"repo_path": "shop"},
        {"repo_path": str(tmp_path / "gone")},
        {"repo_path": str(tmp_path / "void")},
        {"repo_path": str(bench.root / "README.md")},
        {"repo_path": str(tmp_path)},
        {"repo_path": str(bench.root), "project_id": "a b"},
        {"repo_path": str(bench.root), "name": "n" * 256},
        {"repo_path": str(bench.root), "retry_failed": True},
    ]
    for arguments in wrong:
        with pytest.raises(InvalidInputError) as of_start:
            await service.start_indexing(**arguments)
        with pytest.raises(InvalidInputError) as of_estimate:
            await service.estimate_indexing(**arguments)
        assert of_estimate.value.message == of_start.value.message
    assert await everything(bench.database) == before


async def test_a_tree_too_large_for_the_time_is_told_in_part(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = estimate.survey(bench.root, max_file_bytes=10**6, seconds=20)
    cut = Survey(whole.files, 10)
    monkeypatch.setattr(estimate, "survey", lambda *_, **__: cut)
    report = await service.estimate_indexing(str(bench.root))
    assert (report.is_partial, report.files_found, report.files_to_remove) == (True, 5, None)
    assert "judged by the first 5 of 15 files" in report.message
    monkeypatch.setattr(estimate, "survey", lambda *_, **__: Survey(whole.files, None))
    assert "the tree is too large to be listed in time" in (await service.estimate_indexing(str(bench.root))).message


async def test_an_index_too_large_to_compare_with_is_said(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    monkeypatch.setattr(estimate, "COMPARED_FILES", 4)
    report = await service.estimate_indexing(str(bench.root))
    assert (report.files_to_index, report.files_to_remove) == (5, None)
    assert "too large to be compared" in report.warnings[0]
    assert (await service.estimate_indexing(str(bench.root), force_reindex=True)).warnings == []


async def test_a_forced_start_is_estimated_however_large_the_index_is(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    monkeypatch.setattr(estimate, "GLANCE_SECONDS", 10)
    monkeypatch.setattr(estimate, "COMPARED_FILES_AT_A_GLANCE", 4)
    started = await service.start_indexing(str(bench.root), force_reindex=True)
    assert started.estimated_duration_seconds is not None


async def test_a_service_that_is_away_is_a_warning_and_files_stay_unchanged(service: Service, bench: Bench) -> None:
    await bench.run()
    request = estimate.Request(bench.root, "default", HOST.id, False)
    away = {"embedding_provider": "ollama", "embedding_url": nobody_listens(), "embedding_model": "m"}
    embedder = open_embedder(bench.settings.model_copy(update=away))
    report = await estimate.estimated(bench.database, bench.settings, embedder, request)
    assert away["embedding_url"] in report.warnings[0]
    assert report.warnings[0].endswith("A job would wait for it.")
    assert (report.files_unchanged, len(report.earlier_jobs)) == (5, 1)
    assert await estimate.at_a_glance(bench.database, bench.settings, embedder, request) is None
    await embedder.aclose()


def nobody_listens() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}"


# --- the estimate of a start ---


async def test_a_start_of_an_unchanged_repository_is_expected_to_be_short(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SECONDS_PER_BYTE", 1.0)
    monkeypatch.setattr(estimate, "GLANCE_SECONDS", 10)
    first = await service.start_indexing(str(bench.root))
    assert first.estimated_duration_seconds is not None
    assert first.estimated_duration_seconds > 200
    await bench.carry_on()
    again = await service.start_indexing(str(bench.root))
    assert again.estimated_duration_seconds is not None
    assert again.estimated_duration_seconds < 2


@pytest.mark.parametrize("cut", ["survey", "index", "unreadable"])
async def test_a_start_that_cannot_estimate_at_a_glance_says_so(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    await bench.run()
    if cut == "survey":
        monkeypatch.setattr(estimate, "survey", lambda *_, **__: Survey((), None))
    elif cut == "index":
        monkeypatch.setattr(estimate, "COMPARED_FILES_AT_A_GLANCE", 4)
    else:
        shutil.rmtree(bench.root)
        bench.write({".gitignore": "*\n"})
        (bench.root / ".git").write_text("gitdir: /nowhere\n")
    started = await service.start_indexing(str(bench.root))
    assert (started.status, started.estimated_duration_seconds) == (JobStatus.PENDING, None)


async def test_a_work_tree_is_estimated_by_the_files_that_git_lists(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in git_settings().items():
        monkeypatch.setenv(name, value)
    git(bench.root, "init", "-q")
    bench.write({".gitignore": "*.md\n"})
    report = await service.estimate_indexing(str(bench.root))
    assert [(one.reason, one.examples) for one in report.left_out] == [("ignored by git", ["README.md"])]


# --- earlier jobs ---


async def _past(database: Database, fingerprint: str | None = None) -> Any:
    async with database.transaction() as connection:
        return await history(connection, HOST.id, fingerprint)


FINGERPRINT = index_fingerprint(local_embedder().identity)


async def done(bench: Bench, name: str, *, began: int, ended: int) -> Any:
    """A completed job of SHOP that ran from so many to so many seconds ago."""
    bench.root = bench.root.with_name(name)
    bench.write(SHOP)
    job = await bench.run()
    assert job.status is JobStatus.COMPLETED
    await jobs.set_column(
        bench.database,
        job.id,
        f"started_at = now() - interval '{began} seconds', completed_at = now() - interval '{ended} seconds',"
        f" finished_at = now() - interval '{ended} seconds', created_at = now() - interval '{began} seconds'",
    )
    return job


async def test_earlier_jobs_are_those_that_completed_and_did_something(service: Service, bench: Bench) -> None:
    first = await done(bench, "first", began=100, ended=90)
    second = await done(bench, "second", began=50, ended=46)
    await bench.run()  # nothing changed
    await jobs.fail(bench.database, await jobs.running(bench.database, "/src/broken"))
    past = await _past(bench.database, FINGERPRINT)
    assert [job.job_id for job in past.completed] == [second.id, first.id]
    assert [round(job.seconds) for job in past.completed] == [4, 10]
    assert [job.work.total for job in past.completed] == [Amount(5, sum(map(len, SHOP.values())))] * 2
    assert past.running_jobs == 0
    assert (await _past(bench.database, "another model")).completed == ()
    assert len((await _past(bench.database)).completed) == 2
    report = await service.estimate_indexing(str(bench.root), force_reindex=True)
    assert [(one.job_id, round(one.seconds), one.files) for one in report.earlier_jobs] == [
        (second.id, 4, 5),
        (first.id, 10, 5),
    ]
    assert "2 completed jobs of this machine" in report.rests_on


async def test_time_that_a_job_lay_still_or_shared_does_not_count(bench: Bench) -> None:
    paused = await done(bench, "paused", began=100, ended=70)
    for kind, ago in (("blocked", 95), ("unblocked", 85), ("released", 80), ("resumed", 75)):
        await jobs.execute(
            bench.database,
            "INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data, created_at)"
            f" VALUES (:id, '{kind}', '{{\"after\": \"pending\"}}', now() - interval '{ago} seconds')",
            id=paused.id,
        )
    shared = await done(bench, "shared", began=60, ended=40)
    await done(bench, "beside", began=50, ended=30)
    past = await _past(bench.database, FINGERPRINT)
    seconds = {job.job_id: round(job.seconds) for job in past.completed}
    assert (seconds[paused.id], seconds[shared.id]) == (15, 15)


async def test_a_job_that_was_taken_over_from_a_dead_worker_tells_nothing(bench: Bench) -> None:
    job = await done(bench, "orphan", began=100, ended=70)
    await jobs.execute(
        bench.database,
        "INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)"
        " VALUES (:id, 'resumed', '{\"after\": \"running\"}')",
        id=job.id,
    )
    assert (await _past(bench.database, FINGERPRINT)).completed == ()


async def test_of_files_that_were_not_indexed_after_all_only_the_others_count(bench: Bench) -> None:
    job = await done(bench, "half", began=10, ended=5)
    await jobs.set_column(
        bench.database,
        job.id,
        'metadata = metadata || \'{"to_index": {"python": [10, 1000]}}\'::jsonb',
    )
    [told] = (await _past(bench.database, FINGERPRINT)).completed
    assert told.work.total == Amount(5, 500)


async def test_jobs_of_the_present_are_counted(bench: Bench) -> None:
    await jobs.running(bench.database)
    await jobs.start(bench.database, "/x", "p")
    assert (await _past(bench.database)).running_jobs == 1
