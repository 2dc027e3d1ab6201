from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp import __version__
from codebase_mcp.answers import Check, JobList, LanguageShare, RepositoryList
from codebase_mcp.cli import app as command_line
from codebase_mcp.cli.jobs import StatusChoice
from codebase_mcp.cli.progress import describe
from codebase_mcp.cli.session import PATIENCE_SECONDS, service_factory
from codebase_mcp.domain import JobEvent, JobPhase, JobStatus
from codebase_mcp.errors import (
    CodebaseMcpError,
    DatabaseStartingError,
    DatabaseUnavailableError,
    EmbeddingError,
    InvalidStatusError,
    JobNotFoundError,
    ProjectNotFoundError,
    RepositoryNotFoundError,
    SchemaMismatchError,
    StorageFullError,
)
from codebase_mcp.search.models import FileChanges, IndexCoverage, Refresh
from tests.support.fake_service import (
    JOB_ID,
    NOON,
    FakeService,
    a_hit,
    a_job,
    a_repository,
    a_running_job,
    a_started_job,
    a_summary,
    a_symbol_answer,
    an_answer,
    an_estimate,
)

COMMANDS = [
    ["serve"],
    ["index"],
    ["search"],
    ["symbol"],
    ["related"],
    ["jobs"],
    ["jobs", "list"],
    ["jobs", "show"],
    ["jobs", "cancel"],
    ["jobs", "watch"],
    ["jobs", "adopt"],
    ["repos"],
    ["repos", "list"],
    ["repos", "remove"],
    ["repos", "adopt"],
    ["config"],
    ["config", "list"],
    ["config", "get"],
    ["config", "set"],
    ["config", "unset"],
    ["config", "path"],
    ["doctor"],
    ["install"],
    ["uninstall"],
    ["worker"],
    ["stop"],
]


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command line over a fake service, with everything it writes below a temporary directory."""
    monkeypatch.setenv("CODEBASE_MCP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def run_command(*tokens: str, service: FakeService | None = None) -> Outcome:
        token = service_factory.set(lambda _settings: service or FakeService())
        try:
            code = command_line.run(tokens)
        finally:
            service_factory.reset(token)
        return Outcome(code, *capsys.readouterr())

    yield run_command
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").out == f"codebase-mcp {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(run: Run, command: list[str]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert "Example: " in outcome.out
    assert f"codebase-mcp {' '.join(command)}" in outcome.out


def test_help_lists_every_command(run: Run) -> None:
    out = run("--help").out
    assert all(f" {command[0]} " in out for command in COMMANDS)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["bogus"], 'Unknown command "bogus"'),
        (["index"], "PATH requires an argument"),
        (["index", "a", "b"], "Unused Tokens: ['b']"),
        (["search", "x", "--limit", "many"], 'unable to convert "many" into int'),
        (["search", "x", "--colour"], "Unknown option: --colour"),
        (["jobs", "list", "--status", "done"], 'Invalid value "done"'),
        (["jobs", "show", "7"], "'7' is not a job id"),
        (["jobs", "watch", "7"], "'7' is not a job id"),
        (["serve", "--transport", "pigeon"], 'Invalid value "pigeon"'),
    ],
)
def test_a_mistyped_command_is_one_line_on_stderr_and_exit_code_2(run: Run, tokens: list[str], expected: str) -> None:
    outcome = run(*tokens)
    assert outcome.code == 2
    assert outcome.err.startswith("error: VALIDATION_ERROR: ")
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_a_wrong_setting_is_named_as_its_environment_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_LEASE_SECONDS", "soon")
    outcome = run("repos", "list")
    assert outcome.code == 2
    assert outcome.err.startswith('error: VALIDATION_ERROR: CODEBASE_MCP_LEASE_SECONDS = "soon" must be a number.')


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProjectNotFoundError(), 2),
        (RepositoryNotFoundError(), 2),
        (JobNotFoundError(), 2),
        (InvalidStatusError(), 2),
        (DatabaseUnavailableError(), 1),
        (StorageFullError(), 1),
        (EmbeddingError(), 1),
    ],
)
def test_an_error_of_ours_is_one_line_with_its_code(run: Run, error: CodebaseMcpError, code: int) -> None:
    service = FakeService(list_repositories=error)
    outcome = run("repos", "list", service=service)
    assert outcome.code == code
    assert outcome.err == f"error: {error.code}: {error.message}\n"
    assert service.count("close") == 1


def test_a_surprise_is_an_incident_with_its_traceback_in_the_log(run: Run, tmp_path: Path) -> None:
    outcome = run("repos", "list", service=FakeService(list_repositories=ZeroDivisionError("inner detail")))
    assert outcome.code == 1
    assert outcome.err.startswith("error: INTERNAL_ERROR: ")
    assert "inner detail" not in outcome.err
    (line,) = (tmp_path / "data" / "logs" / "cli.log").read_text().splitlines()
    logged = json.loads(line)
    assert logged["incident"] in outcome.err
    assert "inner detail" in logged["exception"]


def test_the_wait_for_a_slow_database_is_announced_once(run: Run) -> None:
    answers: Iterator[Any] = iter([DatabaseStartingError(), DatabaseStartingError(), None])
    outcome = run("repos", "list", service=FakeService(ready=lambda: next(answers)))
    assert outcome.code == 0
    assert outcome.err.startswith("Starting the database")
    assert outcome.err.count("\n") == 1


def test_a_database_that_turns_out_to_be_unusable_is_not_waited_for(run: Run) -> None:
    answers: Iterator[Any] = iter([DatabaseStartingError(), SchemaMismatchError("too old")])
    outcome = run("repos", "list", service=FakeService(ready=lambda: next(answers)))
    assert outcome.code == 1
    assert outcome.err.endswith("error: DATABASE_ERROR: too old\n")


def test_a_database_that_never_starts_is_given_up(run: Run) -> None:
    service = FakeService(ready=DatabaseStartingError())
    outcome = run("repos", "list", service=service)
    assert outcome.code == 1
    assert "error: DATABASE_STARTING" in outcome.err
    assert service.count("ready") * PATIENCE_SECONDS > 120


# index


def test_index_shows_the_outcome_and_what_was_left_out(run: Run) -> None:
    outcome = run("index", "/src/shop")
    assert outcome.code == 0
    assert "Indexed 9 files (1,234 chunks) in 42 s; 1 unchanged, 1 skipped, 1 failed." in outcome.out
    assert "1 skipped: binary" in outcome.out


def test_index_says_when_it_joins_a_running_job(run: Run) -> None:
    joined = a_started_job(already_running=True)
    assert f"/src/shop is being indexed by job {JOB_ID}." in run("index", "/src/shop").err
    assert "is being indexed already" in run("index", "/src/shop", service=FakeService(start_indexing=joined)).err


def test_index_passes_its_options_on_and_makes_the_path_absolute(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service = FakeService()
    options = ["--name", "Shop", "--project", "work", "--force", "--allow-large-root", "--retry-failed"]
    run("index", "shop", *options, service=service)
    assert service.arguments_of("start_indexing") == {
        "repo_path": str(tmp_path / "shop"),
        "name": "Shop",
        "project_id": "work",
        "force_reindex": True,
        "allow_large_root": True,
        "retry_failed": True,
    }


def test_a_dry_run_tells_what_would_be_done_and_starts_nothing(run: Run) -> None:
    service = FakeService()
    outcome = run("index", "/src/shop", "--dry-run", "--force", "--project", "work", service=service)
    assert outcome.code == 0
    assert outcome.out.splitlines()[:4] == [
        "9 files (0.1 MB) to index, about 70 chunks, about 12 s.",
        "Of 14 files: 9 to index, 3 unchanged, 1 failed before (--retry-failed tries them again), "
        "1 left out by name, kind, size or content, and 2 to remove from the index.",
        "The time rests on 1 completed job of this machine, those of similar size weighing most.",
        "Note: 1 job running now; beside it this one takes longer.",
    ]
    assert "python" in outcome.out
    assert "shop/tax" in outcome.out
    assert re.search(r"ignored by git +5,000 +80\.0 MB +node_modules/", outcome.out)
    assert service.arguments_of("estimate_indexing") == {
        "repo_path": "/src/shop",
        "name": None,
        "project_id": "work",
        "force_reindex": True,
        "allow_large_root": False,
        "retry_failed": False,
    }
    assert service.count("start_indexing") == 0


def test_a_dry_run_of_much_says_what_it_does_not_show(run: Run) -> None:
    many = [LanguageShare(language=f"l{n}", files=1, size_bytes=1) for n in range(13)]
    report = an_estimate(
        languages=many,
        largest_directories=[],
        is_left_out_measured=False,
        files_failed_before=0,
        files_to_remove=None,
        warnings=[],
    )
    outcome = run("index", "/src/shop", "--dry-run", service=FakeService(estimate_indexing=report))
    assert "… and 3 more" in outcome.out
    assert "directory" not in outcome.out
    assert "There was no time to measure all that is left out." in outcome.out
    nothing = FakeService(estimate_indexing=an_estimate(left_out=[]))
    assert "left out  " not in run("index", "/src/shop", "--dry-run", service=nothing).out


def test_a_dry_run_as_json_prints_the_estimate(run: Run) -> None:
    assert json.loads(run("index", "/x", "--dry-run", "--json").out)["expected_seconds"] == 12.3


def test_index_without_waiting_prints_the_job_id(run: Run) -> None:
    service = FakeService()
    outcome = run("index", "/src/shop", "--no-wait", service=service)
    assert outcome.out == f"{JOB_ID}\n"
    assert service.count("wait_for_job") == 0


def test_index_as_json_prints_the_job_only(run: Run) -> None:
    service = FakeService(progress=[a_running_job(50)])
    assert json.loads(run("index", "/x", "--json", service=service).out)["status"] == "completed"
    assert json.loads(run("index", "/x", "--json", "--no-wait").out)["job_id"] == str(JOB_ID)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            a_job(status=JobStatus.FAILED, error_type="DATABASE_ERROR", error_message="it broke"),
            "DATABASE_ERROR: it broke",
        ),
        (a_job(status=JobStatus.CANCELLED), "Cancelled; 9 files stay searchable."),
    ],
    ids=["failed", "cancelled"],
)
def test_index_ends_in_exit_code_1_when_the_job_did_not_complete(run: Run, job: Any, expected: str) -> None:
    outcome = run("index", "/src/shop", service=FakeService(wait_for_job=job))
    assert outcome.code == 1
    assert expected in outcome.out + outcome.err


def test_progress_is_plain_lines_when_stderr_is_not_a_terminal(run: Run) -> None:
    outcome = run("index", "/x", service=FakeService(progress=[a_running_job(3), a_running_job(50)]))
    assert "  3 % indexing · 12/12 files · 1,234 chunks · about 12 s left" in outcome.err
    assert " 50 % indexing" in outcome.err
    assert "\x1b" not in outcome.err + outcome.out


def test_interrupting_index_leaves_the_job_running_and_says_how_to_go_on(run: Run) -> None:
    async def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)

    service = FakeService(wait_for_job=interrupt)
    outcome = run("index", "/src/shop", service=service)
    assert outcome.code == 130
    assert f"codebase-mcp jobs watch {JOB_ID}" in outcome.err
    assert f"codebase-mcp jobs cancel {JOB_ID}" in outcome.err
    assert service.count("cancel_job") == 0
    assert service.count("close") == 1


# search


def test_search_shows_place_symbol_and_code(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hits = a_hit(), a_hit(file_path=str(tmp_path / "src" / "vat.py"), symbol=None, content="", content_form="location")
    outcome = run("search", "tax", service=FakeService(search=an_answer(*hits)))
    assert outcome.code == 0
    assert "/src/shop/tax.py:10  add_tax  (function, shop)\ndef add_tax(price):\n" in outcome.out
    assert "\nsrc/vat.py:10  (function, shop)\n" in outcome.out
    assert "\x1b" not in outcome.out


def test_search_passes_its_options_on(run: Run) -> None:
    service = FakeService()
    options = "--repo shop --language python --glob src/** --kind class --role test --limit 3 --offset 6 --no-tests"
    run(
        "search",
        "tax",
        *options.split(),
        "--max-tokens",
        "900",
        "--project",
        "work",
        "--fresh",
        "--explain",
        service=service,
    )
    assert service.arguments_of("search") == {
        "query": "tax",
        "project_id": "work",
        "repository": "shop",
        "language": "python",
        "path_glob": "src/**",
        "kind": "class",
        "role": "test",
        "limit": 3,
        "offset": 6,
        "include_tests": False,
        "max_tokens": 900,
        "require_fresh": True,
        "explain": True,
    }


def test_an_explained_search_shows_what_each_signal_adds(run: Run) -> None:
    answer = an_answer(a_hit(), explanation=[{"stem": 2.5, "pushed_down": -3.0}])
    assert "stem +2.50, pushed_down -3.00" in run("search", "tax", "--explain", service=FakeService(search=answer)).out


def test_symbol_shows_place_name_and_signature(run: Run) -> None:
    service = FakeService()
    outcome = run("symbol", "Till.add_tax", "--kind", "method", "--glob", "src/**", "--limit", "3", service=service)
    assert outcome.out == "/src/shop/tax.py:10  Till.add_tax  (method, exact, shop)\n    def add_tax(self, price):\n"
    asked = service.arguments_of("find_symbol")
    assert (asked["name"], asked["kind"], asked["path_glob"], asked["limit"]) == ("Till.add_tax", "method", "src/**", 3)
    assert json.loads(run("symbol", "x", "--json").out)["results"][0]["match"] == "exact"


def test_symbol_says_how_to_go_on_when_nothing_is_found(run: Run) -> None:
    outcome = run("symbol", "x", service=FakeService(find_symbol=a_symbol_answer(warnings=["Nothing called 'x'."])))
    assert (outcome.out, outcome.err) == ("Nothing found.\n", "Nothing called 'x'.\n")


def test_related_shows_the_related_files(run: Run) -> None:
    service = FakeService()
    outcome = run("related", "tax.py", "10", "--no-tests", "--limit", "3", service=service)
    assert outcome.out.startswith("/src/shop/vat.py:10  add_tax  (function, shop)\ndef add_tax(price):\n")
    asked = service.arguments_of("find_related")
    assert (asked["file_path"], asked["line"], asked["include_tests"], asked["limit"]) == ("tax.py", 10, False, 3)
    assert json.loads(run("related", "tax.py", "10", "--json").out)["origin"]["file_path"] == "/src/shop/tax.py"


def test_search_as_json_is_the_whole_answer(run: Run) -> None:
    answer = json.loads(run("search", "tax", "--json").out)
    assert answer["results"][0]["symbol"] == "add_tax"
    assert answer["freshness"][0]["state"] == "ready"


def test_search_waits_a_second_for_the_count_of_changes_once_the_results_are_shown(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []

    def counted() -> Any:
        shown.append(capsys.readouterr().out)
        return freshness(changed_files=changed(3, 0, 0))

    service = FakeService(search=an_answer(a_hit()), count_changes=counted)
    asked = ["--project", "work", "--repo", "/src/shop", "--glob", "/src/shop/*.py"]
    outcome = run("search", "tax", *asked, service=service)
    assert "def add_tax" in shown[0]
    assert "Index is behind: 3 modified files in shop; codebase-mcp index /src/shop." in outcome.err
    paths = {"repository": "/src/shop", "path_glob": "/src/shop/*.py"}
    assert service.arguments_of("count_changes") == {"project_id": "work", "seconds": 1.0} | paths


def test_a_search_that_must_be_fresh_says_why_it_takes_longer_and_whether_it_is(run: Run) -> None:
    stale = an_answer(a_hit(), warnings=["shop is not fresh. Still being indexed, 34 %."])
    outcome = run("search", "tax", "--fresh", service=FakeService(search=stale))
    assert outcome.code == 0
    assert "Bringing the index up to date …" in outcome.err
    assert "shop is not fresh. Still being indexed, 34 %." in outcome.err
    assert "Bringing" not in run("search", "tax").err


def freshness(**changes: Any) -> Any:
    answer = an_answer()
    return an_answer(freshness=[answer.freshness[0].model_copy(update=changes)])


def changed(modified: int, added: int | None, deleted: int) -> FileChanges:
    return FileChanges(modified=modified, added=added, deleted=deleted, checked_at=NOON)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (an_answer(), ""),
        (an_answer(truncated=True), "shortened to the token budget"),
        (an_answer(total_count=23, next_offset=20), "3 more candidates: --offset 20"),
        (an_answer(warnings=["The vectors are missing."]), "The vectors are missing."),
        (freshness(state="indexing", progress_percentage=40), "Still being indexed: shop (40 %)."),
        (freshness(state="incomplete", coverage=None), "may not be indexed; codebase-mcp index /src/shop."),
        (
            freshness(coverage=IndexCoverage(files_found=14, files_indexed=10, files_skipped=2, files_failed=2)),
            "2 of 14 files of shop; codebase-mcp index /src/shop --retry-failed.",
        ),
        (freshness(changed_files=changed(0, 0, 0), head_commit="b" * 40), ""),
        (freshness(changed_files_unknown="Counting takes more than 1 s."), ""),
        (freshness(state="indexing", refresh=Refresh(is_fresh=False, message="Wait.", job_id=None)), ""),
        (freshness(head_commit="b" * 40), "checked out in shop; codebase-mcp index /src/shop."),
        (freshness(head_commit=None, indexed_commit=None), ""),
    ],
)
def test_search_says_why_something_may_be_missing(run: Run, answer: Any, expected: str) -> None:
    outcome = run("search", "tax", service=FakeService(search=answer))
    assert outcome.out == "Nothing found.\n"
    assert expected in outcome.err
    assert bool(outcome.err) is bool(expected)


# jobs


def test_the_states_to_filter_by_are_those_that_exist() -> None:
    assert set(StatusChoice.__args__) == set(JobStatus)


def test_jobs_are_listed_in_full_width(run: Run) -> None:
    long_path = "/src/" + "deep/" * 60 + "shop"
    listed = [a_summary(repo_path=long_path), a_summary(status=JobStatus.RUNNING, is_overdue=True)]
    service = FakeService(list_jobs=JobList(jobs=listed, total_count=30, limit=2, offset=4))
    outcome = run("jobs", "list", "--status", "running", "--repo", "shop", "--limit", "2", service=service)
    first, second = outcome.out.splitlines()[1:3]
    assert str(JOB_ID) in first
    assert "9/12" in first
    assert long_path in first
    assert "running (overdue)" in second
    assert "30 jobs in all; --offset 6 shows the next." in outcome.err
    assert service.arguments_of("list_jobs") == {
        "status": JobStatus.RUNNING,
        "repo_path": "shop",
        "project_id": None,
        "limit": 2,
        "offset": 0,
    }


def test_no_jobs_is_said(run: Run) -> None:
    empty = JobList(jobs=[], total_count=0, limit=20, offset=0)
    assert run("jobs", "list", service=FakeService(list_jobs=empty)).out == "No jobs.\n"


def test_a_job_is_shown_with_its_error_left_out_files_and_events(run: Run) -> None:
    failed = a_job(status=JobStatus.FAILED, error_type="DATABASE_ERROR", error_message="it broke")
    outcome = run("jobs", "show", str(JOB_ID), service=FakeService(job_status=failed))
    assert "repository  shop (/src/shop)" in outcome.out
    assert "error       DATABASE_ERROR: it broke" in outcome.out
    assert "skipped: logo.png – binary" in outcome.out
    outcome = run("jobs", "show", str(JOB_ID), "--events")
    assert "created files=3" in outcome.out
    completed = {"files_indexed": 9, "left_out": [{"state": "skipped", "reason": "binary", "files": 1}]}
    events = [JobEvent(event_type="completed", event_data=completed, created_at=NOON)]
    told = run("jobs", "show", str(JOB_ID), "--events", service=FakeService(job_status=a_job(events=events)))
    assert "completed files_indexed=9 left_out=skipped binary 1" in told.out


def test_a_finished_job_is_shown_with_what_became_of_its_files(run: Run) -> None:
    shown = run("jobs", "show", str(JOB_ID)).out
    assert "files       9 indexed, 1 unchanged, 1 skipped, 1 failed of 12; 1,234 chunks" in shown
    assert "  1 skipped: binary" in shown


def test_a_job_that_stands_still_says_so_in_the_list_and_by_itself(run: Run) -> None:
    reason = "no progress for 2 min: parsing a 900 KB file"
    stalled = a_running_job(40, is_stalled=True, stalled_reason=reason)
    listed = JobList(
        jobs=[a_summary(status=JobStatus.RUNNING, is_stalled=True, is_overdue=True)], total_count=1, limit=20, offset=0
    )
    service = FakeService(job_status=stalled, list_jobs=listed)
    assert f"stalled     {reason}" in run("jobs", "show", str(JOB_ID), service=service).out
    assert "running (overdue, stalled)" in run("jobs", "list", service=service).out
    assert describe(stalled, None).endswith(reason)


@pytest.mark.parametrize(
    "tokens",
    [
        ["jobs", "list"],
        ["jobs", "show", str(JOB_ID)],
        ["jobs", "cancel", str(JOB_ID)],
        ["jobs", "watch", str(JOB_ID)],
        ["repos", "list"],
        ["repos", "remove", "shop", "--yes"],
        ["repos", "adopt", "shop"],
        ["jobs", "adopt", str(JOB_ID)],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_json_output_is_nothing_but_json(run: Run, tokens: list[str]) -> None:
    outcome = run(*tokens, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)


def test_cancelling_is_confirmed_by_the_command_itself(run: Run) -> None:
    service = FakeService()
    outcome = run("jobs", "cancel", str(JOB_ID), service=service)
    assert outcome.out == "The job was cancelled.\n"
    assert service.arguments_of("cancel_job") == {"job_id": JOB_ID, "confirmed": True}


def test_adopting_takes_another_tree_only_with_yes(run: Run) -> None:
    service = FakeService()
    outcome = run("repos", "adopt", "shop", "--project", "work", service=service)
    assert outcome.out == "/src/shop belonged to host build-1 and belongs to this host now.\n"
    assert service.arguments_of("adopt_repository") == {"repository": "shop", "confirmed": False, "project_id": "work"}
    run("jobs", "adopt", str(JOB_ID), "--yes", service=service)
    assert service.arguments_of("adopt_job") == {"job_id": JOB_ID, "confirmed": True}


def test_a_hit_on_another_host_is_shown_with_its_path_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/src/shop"))
    hits = [a_hit(), a_hit(host="build-1")]
    outcome = run("search", "tax", service=FakeService(search=an_answer(*hits), count_changes=an_answer(*hits)))
    assert "tax.py:10  add_tax  (function, shop)" in outcome.out.splitlines()
    assert "/src/shop/tax.py:10  add_tax  (function, shop, on build-1)" in outcome.out


def test_watching_goes_on_while_the_database_is_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codebase_mcp.cli.progress.RETRY_SECONDS", 0)
    answers = iter([DatabaseUnavailableError(), a_running_job(99), a_job()])
    outcome = run("jobs", "watch", str(JOB_ID), service=FakeService(wait_for_job=lambda: next(answers)))
    assert outcome.code == 0
    assert "The database cannot be reached." in outcome.err


def test_watching_an_unknown_job_ends(run: Run) -> None:
    outcome = run("jobs", "watch", str(JOB_ID), service=FakeService(wait_for_job=JobNotFoundError()))
    assert outcome.code == 2


# repos


def test_repositories_are_listed_with_state_and_freshness(run: Run) -> None:
    listed = [
        a_repository(),
        a_repository(name="api", state="indexing", progress_percentage=40, indexed_commit=None, last_indexed_at=None),
        a_repository(name="old", head_commit="b" * 40),
    ]
    found = RepositoryList(project_id="default", database_name="x", repositories=listed)
    lines = run("repos", "list", service=FakeService(list_repositories=found)).out.splitlines()
    assert "5.3 MB" in lines[1]
    assert "indexing 40 %" in lines[2]
    assert "aaaaaaaaaa (behind)" in lines[3]


def test_an_empty_project_is_said(run: Run) -> None:
    found = RepositoryList(project_id="work", database_name="x", repositories=[])
    outcome = run("repos", "list", service=FakeService(list_repositories=found))
    assert outcome.out == "Nothing is indexed in project work.\n"


def test_removing_without_a_terminal_needs_yes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    service = FakeService()
    outcome = run("repos", "remove", "shop", service=service)
    assert outcome.code == 2
    assert "Add --yes." in outcome.err
    assert service.calls == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "is_removed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False)])
def test_removing_on_a_terminal_asks(run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, is_removed: bool) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    service = FakeService()
    outcome = run("repos", "remove", "shop", service=service)
    assert "Delete the index of shop?" in outcome.err
    assert service.count("remove_repository") == int(is_removed)
    assert outcome.code == (0 if is_removed else 1)


# doctor, stop, worker


def test_doctor_shows_each_check_and_the_fix_of_those_that_fail(run: Run) -> None:
    checks = [
        Check(name="data directory", is_ok=True, detail="/data is writable", fix="not shown"),
        Check(name="settings", is_ok=True, is_warning=True, detail="two of them", fix="Choose."),
        Check(name="database", is_ok=False, detail="refused", fix="Start it."),
    ]
    service = FakeService(doctor=checks, ready=DatabaseUnavailableError())
    outcome = run("doctor", service=service)
    assert outcome.code == 1
    assert outcome.out == (
        "✓ data directory: /data is writable\n! settings: two of them\n  → Choose.\n"
        "✗ database: refused\n  → Start it.\n"
    )


def test_doctor_is_content_when_every_check_passes(run: Run) -> None:
    assert run("doctor").code == 0


def test_stop_says_what_was_stopped_and_starts_nothing(run: Run) -> None:
    service = FakeService()
    outcome = run("stop", service=service)
    assert outcome.out == "The worker was stopped.\nThe database was stopped.\n"
    assert [name for name, _ in service.calls] == ["stop_everything", "close"]


def test_the_workers_alone_can_be_stopped(run: Run) -> None:
    service = FakeService()
    outcome = run("worker", "--stop", service=service)
    assert (outcome.code, outcome.out) == (0, "The worker was stopped.\n")
    assert [name for name, _ in service.calls] == ["stop_workers", "close"]


@pytest.mark.parametrize("command", ["worker", "serve"])
@pytest.mark.parametrize("times", [("3", "0.6", "0.5"), ("30", "2.3", "2.25")])
def test_a_renewal_that_comes_too_late_for_the_lease_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, times: tuple[str, str, str]
) -> None:
    lease, renewal, most = times
    monkeypatch.setenv("CODEBASE_MCP_LEASE_SECONDS", lease)
    monkeypatch.setenv("CODEBASE_MCP_RENEW_SECONDS", renewal)
    outcome = run(command)
    assert outcome.code == 2
    expected = f'CODEBASE_MCP_RENEW_SECONDS = "{renewal}" must be at most {most} with lease_seconds = {lease}'
    assert expected in outcome.err


def test_a_terminal_without_unicode_still_gets_its_answer(tmp_path: Path) -> None:
    code = (
        "from codebase_mcp.cli.session import service_factory\n"
        "from codebase_mcp.cli.app import run\n"
        "from tests.support.fake_service import FakeService\n"
        "service_factory.set(lambda _settings: FakeService())\n"
        "raise SystemExit(run(['doctor']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={
            "CODEBASE_MCP_CONFIG": os.devnull,
            "CODEBASE_MCP_DATA_DIR": str(tmp_path),
            "PYTHONIOENCODING": "ascii",
            "PATH": "/usr/bin",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "? data directory: /data is writable" in ended.stdout


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    command = (
        f"CODEBASE_MCP_DATA_DIR={tmp_path} {sys.executable} -c '"
        "import sys; from codebase_mcp.cli.app import run\n"
        "from codebase_mcp.cli.session import service_factory\n"
        "from tests.support.fake_service import FakeService, a_hit, an_answer\n"
        'service_factory.set(lambda _s: FakeService(search=an_answer(*[a_hit(content="x\\n" * 2000)] * 50)))\n'
        'sys.exit(run(["search", "x"]))\' | head -1'
    )
    ended = subprocess.run(
        ["bash", "-c", command], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "/src/shop/tax.py:10  add_tax  (function, shop)\n"
    assert ended.stderr == ""


@pytest.mark.parametrize("tokens", [["--version"], ["--help"]])
def test_starting_up_imports_nothing_heavy(tokens: list[str]) -> None:
    code = (
        "import sys; from codebase_mcp.cli.app import run; code = run(sys.argv[1:])\n"
        "heavy = {'fastmcp', 'numpy', 'sqlalchemy', 'pydantic', 'structlog', 'tomlkit', 'tree_sitter'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *tokens], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_job_that_waits_says_for_what(run: Run) -> None:
    blocked = a_running_job(40, status=JobStatus.BLOCKED, progress_message="The disk is full.")
    lost = a_running_job(40, is_waiting_for_worker=True, progress_message="Waiting for a worker.")
    listing = a_running_job(0, phase=JobPhase.DISCOVERING, files_total=0, files_scanned=70, chunks_created=0)
    assert "blocked" in run("jobs", "show", str(JOB_ID), service=FakeService(job_status=blocked)).out
    assert "· Waiting for a worker." in run("jobs", "show", str(JOB_ID), service=FakeService(job_status=lost)).out
    assert (
        "discovering · 70 files found" in run("jobs", "show", str(JOB_ID), service=FakeService(job_status=listing)).out
    )
