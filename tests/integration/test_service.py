"""The product's verbs: what each refuses, what it answers, and that a refusal changes nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from codebase_mcp.domain import JobPhase, JobStatus
from codebase_mcp.errors import (
    CodebaseMcpError,
    DatabaseError,
    InvalidInputError,
    InvalidStatusError,
    JobNotFoundError,
    ProjectNotFoundError,
    StorageFullError,
)
from codebase_mcp.jobs import store
from codebase_mcp.service import Service, estimate, facade
from codebase_mcp.storage import projects, tables
from tests.support import jobs
from tests.support.runs import SERVED, Bench, everything

# --- bad input ---


async def test_paths_that_cannot_be_indexed_are_refused_and_change_nothing(
    service: Service, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "void").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    bad = [
        "",
        "shop",
        str(tmp_path / "gone"),
        str(bench.root / "README.md"),
        str(tmp_path / "void"),
        "/",
        str(tmp_path),
    ]
    before = await everything(bench.database)
    for repo_path in bad:
        with pytest.raises(InvalidInputError) as caught:
            await service.start_indexing(repo_path)
        assert caught.value.code == "VALIDATION_ERROR"
    assert await everything(bench.database) == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"project_id": "a b"}, "project_id 'a b' is not valid"),
        ({"name": "x" * 256}, "use 1 to 255 characters"),
        ({"retry_failed": True}, "no file failed"),
    ],
)
async def test_a_start_with_a_bad_argument_changes_nothing(
    service: Service, bench: Bench, arguments: dict[str, Any], complaint: str
) -> None:
    before = await everything(bench.database)
    with pytest.raises(InvalidInputError, match=complaint):
        await service.start_indexing(str(bench.root), **arguments)
    assert await everything(bench.database) == before


async def test_large_roots_are_taken_when_they_are_meant(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(bench.root))
    assert (await service.start_indexing(str(bench.root), allow_large_root=True)).status is JobStatus.PENDING


async def test_a_full_disk_refuses_a_start_with_the_numbers(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings.data_dir.mkdir(exist_ok=True)
    full = bench.settings.model_copy(update={"database_url": None, "min_free_disk_bytes": 10**18})
    monkeypatch.setattr(service, "_settings", full)
    before = await everything(bench.database)
    with pytest.raises(StorageFullError, match=r"Only [\d,]+ MB are free .* a start needs 1,000,000,000,000 MB"):
        await service.start_indexing(str(bench.root))
    assert await everything(bench.database) == before
    monkeypatch.setattr(service, "_settings", full.model_copy(update={"min_free_disk_bytes": 0}))
    assert await service.start_indexing(str(bench.root))


async def test_unknown_jobs_and_projects_are_told_apart(service: Service, bench: Bench) -> None:
    unknown = uuid4()
    for call in (service.job_status(unknown), service.cancel_job(unknown, confirmed=True)):
        with pytest.raises(JobNotFoundError, match=str(unknown)) as caught:
            await call
        assert caught.value.code == "JOB_NOT_FOUND"
    for call in (
        service.job_status(unknown, project_id="nowhere"),
        service.list_jobs(project_id="nowhere"),
        service.search("x", project_id="nowhere"),
        service.list_repositories(project_id="nowhere"),
        service.remove_repository("shop", confirmed=True, project_id="nowhere"),
        service.list_repositories(),
    ):
        with pytest.raises(ProjectNotFoundError, match=r"There is no project '(nowhere|default)'") as refused:
            await call
        assert refused.value.code == "PROJECT_NOT_FOUND"
    assert (await everything(bench.database))[0] == []


async def test_a_job_of_another_project_is_not_found(service: Service, bench: Bench) -> None:
    started = await service.start_indexing(str(bench.root), project_id="one")
    await service.start_indexing(str(bench.root), project_id="two")
    assert (await service.job_status(started.job_id, project_id="one")).project_id == "one"
    with pytest.raises(JobNotFoundError, match="in project 'two'"):
        await service.job_status(started.job_id, project_id="two")
    with pytest.raises(JobNotFoundError):
        await service.cancel_job(started.job_id, confirmed=True, project_id="two")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"created_after": datetime(2026, 1, 1)}, "needs a time zone"),  # noqa: DTZ001
        ({"project_id": "a b"}, "'a b' is not valid"),
    ],
)
async def test_a_list_with_a_bad_argument_is_refused(
    service: Service, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        await service.list_jobs(**arguments)


@pytest.mark.parametrize("query", ["", "   "])
async def test_a_blank_query_is_refused(service: Service, bench: Bench, query: str) -> None:
    await bench.run()
    async with bench.database.transaction() as connection:
        await projects.ensure_project(connection, "default")
    with pytest.raises(InvalidInputError, match="query"):
        await service.search(query)


async def test_nothing_is_cancelled_or_removed_unconfirmed(service: Service, bench: Bench) -> None:
    started = await service.start_indexing(str(bench.root))
    before = await everything(bench.database)
    with pytest.raises(InvalidInputError, match="Cancelling a job needs confirmed=true"):
        await service.cancel_job(started.job_id)
    with pytest.raises(InvalidInputError, match="Removing a repository's index needs confirmed=true"):
        await service.remove_repository("shop")
    assert await everything(bench.database) == before


# --- starting ---


async def test_a_start_answers_with_the_job_and_where_its_index_goes(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "GLANCE_SECONDS", 10)
    started = await service.start_indexing(str(bench.root), name=" My shop ")
    assert (started.status, started.already_running, started.project_id) == (JobStatus.PENDING, False, "default")
    assert started.database_name == tables.schema_name("default")
    assert started.estimated_duration_seconds == pytest.approx(0.5, abs=0.3)
    report = await service.job_status(started.job_id)
    assert (report.repo_name, report.repo_path, report.phase) == ("My shop", str(bench.root), JobPhase.QUEUED)
    assert (await everything(bench.database))[3] == []


async def test_a_second_start_returns_the_active_job_even_through_a_link(
    service: Service, bench: Bench, tmp_path: Path
) -> None:
    first = await service.start_indexing(str(bench.root))
    (tmp_path / "link").symlink_to(bench.root)
    second = await service.start_indexing(str(tmp_path / "link"))
    assert (second.job_id, second.already_running) == (first.job_id, True)
    assert "active job already (pending)" in second.message


async def test_a_start_that_joins_a_job_says_what_that_job_does_not_do(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    plain = await service.start_indexing(str(bench.root))
    forced = await service.start_indexing(str(bench.root), force_reindex=True)
    assert plain.warnings == []
    (warning,) = forced.warnings
    assert warning.startswith("force_reindex had no effect: the active job was started without.")
    assert warning in forced.message
    assert forced.already_running


async def test_a_start_that_joins_a_job_of_its_own_kind_says_nothing(service: Service, bench: Bench) -> None:
    first = await service.start_indexing(str(bench.root), force_reindex=True)
    joined = await service.start_indexing(str(bench.root), force_reindex=True)
    assert (first.warnings, joined.warnings, joined.already_running) == ([], [], True)


@pytest.mark.parametrize("word", ["", "null", "any", "*"])
async def test_a_start_without_a_project_or_a_name_may_say_so_in_words(
    service: Service, bench: Bench, word: str
) -> None:
    started = await service.start_indexing(bench.root.as_uri(), project_id=word, name=word)
    report = await service.job_status(started.job_id, project_id=word)
    assert (report.project_id, report.repo_name, report.repo_path) == ("default", "shop", str(bench.root))


async def test_a_config_file_names_the_project_of_a_repository(service: Service, bench: Bench) -> None:
    bench.write({".codebase-mcp/config.json": '{"project_id": "configured"}'})
    assert (await service.start_indexing(str(bench.root))).project_id == "configured"


async def test_a_retry_of_failed_files_carries_their_paths(service: Service, bench: Bench) -> None:
    job = await bench.run()
    await jobs.execute(
        bench.database,
        "UPDATE codebase_mcp.job_files SET state = 'failed', reason = 'it died' WHERE relative_path = 'README.md'",
    )
    started = await service.start_indexing(str(bench.root), retry_failed=True)
    assert started.job_id != job.id
    assert (await jobs.current(bench.database, started.job_id)).metadata == {"retry_paths": ["README.md"]}


# --- status ---


async def test_a_report_tells_what_was_left_out_and_why(service: Service, bench: Bench) -> None:
    for n in range(25):
        (bench.root / f"b{n:02}.py").write_bytes(b"\0")
    job = await bench.run()
    report = await service.job_status(job.id, include_events=True)
    assert [file.relative_path for file in report.left_out_files] == [f"b{n:02}.py" for n in range(20)]
    assert [(one.state, one.reason, one.files) for one in report.left_out_reasons] == [("skipped", "binary", 25)]
    assert report.events is not None
    assert [event.event_type for event in report.events] == ["created", "started", "captured", "completed"]
    assert (report.estimated_time_remaining_seconds, report.is_waiting_for_worker) == (None, False)
    assert (await service.job_status(job.id)).events is None


async def test_an_orphan_and_a_running_job_say_how_they_stand(service: Service, bench: Bench) -> None:
    job = await jobs.running(bench.database)
    await jobs.capture(bench.database, job)
    assert (await service.job_status(job.id)).estimated_time_remaining_seconds is None
    await jobs.set_column(bench.database, job.id, "measured_at = clock_timestamp() - interval '10 seconds'")
    await jobs.commit(bench.database, job, 0)
    running = await service.job_status(job.id)
    assert running.estimated_time_remaining_seconds == pytest.approx(23, rel=0.5)
    assert not running.is_waiting_for_worker
    await jobs.lapse(bench.database, job.id)
    assert (await service.job_status(job.id)).is_waiting_for_worker


async def test_waiting_for_a_job_tells_each_change_and_ends_with_the_job(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "POLL_SECONDS", 0.01)
    job = await jobs.start(bench.database)
    seen: list[JobStatus] = []

    async def on_progress(report: Any) -> None:
        seen.append(report.status)
        if report.status is JobStatus.PENDING:
            await jobs.claim(bench.database)
        else:
            await store.cancel(bench.database, job.id)

    report = await service.wait_for_job(job.id, seconds=20, on_progress=on_progress)
    assert report.status is JobStatus.CANCELLED
    assert seen == [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.CANCELLED]


async def test_waiting_ends_when_the_time_is_up(service: Service, bench: Bench) -> None:
    job = await jobs.start(bench.database)
    assert (await service.wait_for_job(job.id, seconds=0)).status is JobStatus.PENDING


async def test_a_list_shows_the_page_and_flags_what_takes_too_long(service: Service, bench: Bench) -> None:
    old = await jobs.running(bench.database)
    await jobs.set_column(bench.database, old.id, "created_at = created_at - interval '8 days'")
    started = await service.start_indexing(str(bench.root))
    listed = await service.list_jobs(limit=5)
    assert [(job.job_id, job.is_overdue) for job in listed.jobs] == [(started.job_id, False), (old.id, True)]
    assert (listed.total_count, listed.limit, listed.offset) == (2, 5, 0)
    assert (await service.list_jobs(project_id="default", status=JobStatus.RUNNING)).total_count == 1


async def test_a_list_beyond_its_bounds_is_cut_and_says_so(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    listed = await service.list_jobs(limit=1000, offset=-2)
    assert (listed.limit, listed.offset, len(listed.jobs)) == (100, 0, 1)
    assert listed.warnings == ["limit 1,000 reduced to 100, the maximum.", "offset -2 raised to 0, the minimum."]
    assert (await service.list_jobs(limit=0)).warnings == ["limit 0 raised to 1, the minimum."]
    assert (await service.list_jobs()).warnings == []


@pytest.mark.parametrize("word", ["", " ", "null", "any", "*"])
async def test_a_filter_of_jobs_that_means_nothing_leaves_all(service: Service, bench: Bench, word: str) -> None:
    await service.start_indexing(str(bench.root), name="company")
    assert (await service.list_jobs(repo_path=word, project_id=word)).total_count == 1


async def test_jobs_are_found_by_any_form_of_a_path(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    for form in (bench.root.as_uri(), f"{bench.root}/", f" {bench.root}", "/shop"):
        assert (await service.list_jobs(repo_path=form)).total_count == 1, form
    assert (await service.list_jobs(repo_path="file:///elsewhere")).total_count == 0


async def test_jobs_of_a_repository_or_project_of_that_very_name_are_listed_alone(
    service: Service, bench: Bench
) -> None:
    await service.start_indexing(str(bench.root), project_id="other")
    odd = bench.root.parent / "any"
    odd.mkdir()
    (odd / "a.py").write_text("x = 1\n")
    await service.start_indexing(str(odd), project_id="none-yet")
    assert [job.repo_name for job in (await service.list_jobs(repo_path="any")).jobs] == ["any"]
    assert (await service.list_jobs(project_id="none")).total_count == 2
    await service.start_indexing(str(bench.root), project_id="none-yet")
    async with bench.database.transaction() as connection:
        await projects.ensure_project(connection, "none")
    assert (await service.list_jobs(project_id="none")).total_count == 0


# --- cancelling ---


async def test_cancelling_twice_is_no_error_and_keeps_the_time(service: Service, bench: Bench) -> None:
    started = await service.start_indexing(str(bench.root))
    first = await service.cancel_job(started.job_id, confirmed=True)
    second = await service.cancel_job(started.job_id, confirmed=True)
    assert (first.status, second.cancelled_at) == (JobStatus.CANCELLED, first.cancelled_at)
    assert "stays searchable" in first.message
    assert "had been cancelled before" in second.message


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED])
async def test_a_job_that_has_ended_cannot_be_cancelled(service: Service, bench: Bench, status: JobStatus) -> None:
    job = await jobs.in_state(bench.database, status)
    with pytest.raises(InvalidStatusError, match=f"is {status} already") as caught:
        await service.cancel_job(job.id, confirmed=True)
    assert caught.value.code == "INVALID_STATUS"
    assert await jobs.current(bench.database, job.id) == job


async def test_a_database_that_is_away_is_said_in_time(bench: Bench) -> None:
    away = bench.settings.model_copy(update={"database_url": SecretStr("postgresql://u:secret@127.0.0.1:1/x")})
    service = Service(away.model_copy(update=SERVED))
    with pytest.raises(DatabaseError) as caught:
        await service.ready(1)
    await service.close()
    assert isinstance(caught.value, CodebaseMcpError)
    assert "secret" not in caught.value.message
