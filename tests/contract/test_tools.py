from __future__ import annotations

import logging
from typing import Any

import pytest
from fastmcp.exceptions import McpError
from mcp.types import INVALID_PARAMS

from codebase_mcp import __version__
from codebase_mcp.domain import JobStatus
from codebase_mcp.errors import (
    CodebaseMcpError,
    ConstraintViolatedError,
    DatabaseError,
    DatabaseStartingError,
    DatabaseUnavailableError,
    EmbeddingError,
    InvalidInputError,
    InvalidStatusError,
    JobNotFoundError,
    ProjectNotFoundError,
    RepositoryNotFoundError,
    StorageFullError,
)
from tests.contract.conftest import Connect
from tests.support.fake_service import JOB_ID, FakeService, a_job, a_running_job, a_started_job

TOOLS = {
    "search_code": {"query": "tax"},
    "find_symbol": {"name": "add_tax"},
    "find_related": {"file_path": "tax.py", "line": 10},
    "list_repositories": {},
    "remove_repository": {"repository": "shop", "confirmed": True},
    "start_indexing_background": {"repo_path": "/src/shop"},
    "index_repository": {"repo_path": "/src/shop"},
    "estimate_indexing": {"repo_path": "/src/shop"},
    "get_job_status": {"job_id": str(JOB_ID)},
    "list_background_jobs": {},
    "cancel_job": {"job_id": str(JOB_ID), "confirmed": True},
}


async def test_exactly_the_documented_tools_are_offered(connect: Connect) -> None:
    async with connect(FakeService()) as caller:
        assert [tool.name for tool in await caller.client.list_tools()] == list(TOOLS)


async def test_the_server_introduces_itself(connect: Connect) -> None:
    async with connect(FakeService()) as caller:
        info, instructions = caller.client.server_info, caller.client.instructions
    assert (info.name, info.title, info.version) == ("codebase-mcp", "Codebase search", __version__)
    assert "search_code" in instructions


async def test_the_service_is_launched_first_and_closed_last(connect: Connect) -> None:
    service = FakeService()
    async with connect(service) as caller:
        await caller.answer("list_repositories")
    names = [name for name, _ in service.calls]
    assert names == ["launch", "ready", "list_repositories", "close"]


@pytest.mark.parametrize(("tool", "arguments"), TOOLS.items())
async def test_every_answer_is_structured_as_its_schema_says(
    connect: Connect, tool: str, arguments: dict[str, Any]
) -> None:
    async with connect(FakeService()) as caller:
        schema = next(t.output_schema for t in await caller.client.list_tools() if t.name == tool)
        answer = await caller.answer(tool, **arguments)
    assert set(answer) == set(schema["properties"])


@pytest.mark.parametrize(("tool", "arguments"), TOOLS.items())
async def test_every_tool_refuses_an_argument_it_does_not_have(
    connect: Connect, tool: str, arguments: dict[str, Any]
) -> None:
    async with connect(FakeService()) as caller:
        told = await caller.refusal(tool, **arguments, verbose=True)
    assert told.startswith("VALIDATION_ERROR: verbose is not an argument")
    assert "pydantic" not in told


@pytest.mark.parametrize(("tool", "arguments"), TOOLS.items())
async def test_every_tool_refuses_a_wrong_type(connect: Connect, tool: str, arguments: dict[str, Any]) -> None:
    async with connect(FakeService()) as caller:
        told = await caller.refusal(tool, **arguments | {"project_id": ["default"]})
    assert told.startswith('VALIDATION_ERROR: project_id = ["default"] must be a string.')


@pytest.mark.parametrize("tool", [tool for tool, arguments in TOOLS.items() if arguments])
async def test_a_missing_argument_is_named(connect: Connect, tool: str) -> None:
    async with connect(FakeService()) as caller:
        told = await caller.refusal(tool)
    assert told.startswith(f"VALIDATION_ERROR: {next(iter(TOOLS[tool]))} is missing")


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("get_job_status", {"job_id": "7"}, 'job_id = "7" must be a UUID'),
        ("cancel_job", {"job_id": "", "confirmed": True}, 'job_id = "" must be a UUID'),
        ("cancel_job", {"job_id": str(JOB_ID), "confirmed": "maybe"}, 'confirmed = "maybe" must be true or false'),
        ("list_background_jobs", {"status": "done"}, "status = \"done\" must be one of 'pending'"),
        ("list_background_jobs", {"created_after": "soon"}, 'created_after = "soon" must be a date and time'),
        ("search_code", {"query": "x", "limit": "ten"}, 'limit = "ten" must be a whole number'),
        ("search_code", {"query": None}, "query = null must be a string"),
        ("estimate_indexing", {"repo_path": 7}, "repo_path = 7 must be a string"),
        ("estimate_indexing", {"repo_path": "/x", "force_reindex": "maybe"}, 'force_reindex = "maybe" must be true'),
    ],
)
async def test_a_value_of_a_wrong_type_is_named_and_the_service_is_not_asked(
    connect: Connect, tool: str, arguments: dict[str, Any], expected: str
) -> None:
    service = FakeService()
    async with connect(service) as caller:
        told = await caller.refusal(tool, **arguments)
    assert told.startswith(f"VALIDATION_ERROR: {expected}")
    assert [name for name, _ in service.calls] == ["launch", "close"]


async def test_a_state_is_understood_in_any_case(connect: Connect) -> None:
    service = FakeService()
    async with connect(service) as caller:
        await caller.answer("list_background_jobs", status="RUNNING ")
    assert service.arguments_of("list_jobs")["status"] is JobStatus.RUNNING


async def test_a_number_in_quotes_is_taken_for_a_number(connect: Connect) -> None:
    service = FakeService()
    async with connect(service) as caller:
        await caller.answer("list_background_jobs", limit="2")
    assert service.arguments_of("list_jobs")["limit"] == 2


async def test_a_time_without_a_zone_is_taken_as_utc(connect: Connect) -> None:
    service = FakeService()
    async with connect(service) as caller:
        await caller.answer("list_background_jobs", created_after="2026-01-31T12:00:00")
    assert service.arguments_of("list_jobs")["created_after"].isoformat() == "2026-01-31T12:00:00+00:00"


async def test_an_unknown_tool_is_a_protocol_error_that_names_the_known_ones(connect: Connect) -> None:
    async with connect(FakeService()) as caller:
        with pytest.raises(McpError) as refused:
            await caller.call("search_cod")
    assert refused.value.error.code == INVALID_PARAMS
    assert refused.value.error.message.startswith("Unknown tool: 'search_cod' (did you mean search_code?)")
    assert all(tool in refused.value.error.message for tool in TOOLS)


async def test_only_tools_are_announced(connect: Connect) -> None:
    async with connect(FakeService()) as caller:
        announced = caller.client.server_capabilities
    assert announced.model_dump(exclude_none=True, by_alias=True) == {"tools": {"listChanged": False}}


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("all", list(TOOLS)),
        ("search", list(TOOLS)[:4]),
        ("jobs", [*list(TOOLS)[3:]]),
    ],
)
async def test_a_profile_offers_its_tools_and_its_instructions_name_no_other(
    connect: Connect, profile: str, expected: list[str]
) -> None:
    async with connect(FakeService(), tools=profile) as caller:
        assert [tool.name for tool in await caller.client.list_tools()] == expected
        assert not [name for name in TOOLS if name in caller.client.instructions and name not in expected]


@pytest.mark.parametrize("tool", ["search_code", "find_symbol", "find_related"])
async def test_answers_are_plain_text_unless_a_program_asks_for_fields(connect: Connect, tool: str) -> None:
    async with connect(FakeService(), answers="text") as caller:
        schema = next(t.output_schema for t in await caller.client.list_tools() if t.name == tool)
        result = await caller.call(tool, **TOOLS[tool])
    assert schema is None
    assert result.structured_content is None
    (content,) = result.content
    assert "tax.py" in content.text


async def test_answers_about_jobs_stay_structured(connect: Connect) -> None:
    async with connect(FakeService(), answers="text") as caller:
        assert (await caller.answer("get_job_status", job_id=str(JOB_ID)))["job_id"] == str(JOB_ID)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("repo_path 'x' is not absolute. Give the full path."),
        JobNotFoundError(),
        ProjectNotFoundError(),
        RepositoryNotFoundError(),
        InvalidStatusError(),
        DatabaseError(),
        DatabaseUnavailableError(),
        DatabaseStartingError(),
        StorageFullError(),
        ConstraintViolatedError("one_active_job_per_repository"),
        EmbeddingError(),
    ],
)
async def test_an_error_of_ours_arrives_with_its_code_and_sentence(connect: Connect, error: CodebaseMcpError) -> None:
    async with connect(FakeService(list_repositories=error)) as caller:
        assert await caller.refusal("list_repositories") == f"{error.code}: {error.message}"


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_database_that_starts_is_said_by_every_tool(connect: Connect, tool: str) -> None:
    async with connect(FakeService(ready=DatabaseStartingError())) as caller:
        assert (await caller.refusal(tool, **TOOLS[tool])).startswith("DATABASE_STARTING: ")


@pytest.mark.parametrize("surprise", [ZeroDivisionError("secret detail"), TimeoutError(), KeyError("secret detail")])
async def test_a_surprise_is_an_incident_whose_details_stay_in_the_log(
    connect: Connect, caplog: pytest.LogCaptureFixture, surprise: Exception
) -> None:
    with caplog.at_level(logging.ERROR, logger="codebase_mcp"):
        async with connect(FakeService(search=surprise)) as caller:
            told = await caller.refusal("search_code", query="x")
    assert told.startswith("INTERNAL_ERROR: ")
    assert "secret detail" not in told
    assert "Traceback" not in told
    (record,) = caplog.records
    assert record.msg["incident"] in told
    assert type(surprise).__name__ in record.msg["exception"]


async def test_an_invalid_model_inside_the_service_is_our_fault_not_the_callers(connect: Connect) -> None:
    async with connect(FakeService(search=lambda: a_job(status="nonsense"))) as caller:
        assert (await caller.refusal("search_code", query="x")).startswith("INTERNAL_ERROR: ")


async def test_a_refusal_leaves_no_traceback_in_the_log(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with connect(FakeService(job_status=JobNotFoundError())) as caller:
            await caller.refusal("get_job_status", job_id=str(JOB_ID))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]


async def test_waiting_reports_each_step_forward_once(connect: Connect) -> None:
    seen = [a_running_job(percentage) for percentage in (0, 40, 40, 30, 80)]
    async with connect(FakeService(progress=seen)) as caller:
        answer = await caller.answer("index_repository", repo_path="/src/shop")
        assert caller.progress == [(p, 100, f"Indexing, {p} %.") for p in (0, 40, 80)]
    assert answer["is_finished"] is True
    told = "Indexed 9 files (1,234 chunks); 1 were up to date. 2 were left out (1 skipped: binary)"
    assert answer["message"].startswith(told)


@pytest.mark.parametrize(("estimate", "expected_seconds"), [(None, 25), (60, 25), (61, 0)])
async def test_a_long_job_is_not_waited_for(connect: Connect, estimate: float | None, expected_seconds: float) -> None:
    started = a_started_job(estimated_duration_seconds=estimate)
    service = FakeService(start_indexing=started, wait_for_job=a_running_job(1))
    async with connect(service) as caller:
        answer = await caller.answer("index_repository", repo_path="/src/shop")
    assert service.arguments_of("wait_for_job") == {"job_id": JOB_ID, "seconds": expected_seconds}
    assert answer["is_finished"] is False
    assert f"get_job_status and job_id {JOB_ID}" in answer["message"]


@pytest.mark.parametrize(("given", "used", "note"), [(26, 25, "reduced to 25"), (-1, 0, "raised to 0"), (7, 7, "")])
async def test_a_wait_is_kept_within_its_bounds(connect: Connect, given: float, used: float, note: str) -> None:
    service = FakeService(wait_for_job=a_running_job(1))
    async with connect(service) as caller:
        answer = await caller.answer("index_repository", repo_path="/src/shop", wait_seconds=given)
    assert service.arguments_of("wait_for_job")["seconds"] == used
    assert note in " ".join(answer["warnings"])
    assert len(answer["warnings"]) == bool(note)


@pytest.mark.parametrize(
    ("status", "changes", "expected"),
    [
        (JobStatus.FAILED, {"error_message": "the root is gone"}, "Indexing failed: the root is gone."),
        (JobStatus.CANCELLED, {}, "The job was cancelled; 9 files stay searchable."),
        (JobStatus.BLOCKED, {"progress_message": "The disk is full."}, "by itself: The disk is full. Follow it"),
        (JobStatus.PENDING, {}, "The job goes on in the background"),
        (JobStatus.COMPLETED, {"files_skipped": 0, "files_failed": 0}, "1 were up to date."),
    ],
)
async def test_the_end_of_the_wait_says_how_things_stand(
    connect: Connect, status: JobStatus, changes: dict[str, Any], expected: str
) -> None:
    async with connect(FakeService(wait_for_job=a_job(status=status, **changes))) as caller:
        answer = await caller.answer("index_repository", repo_path="/src/shop")
    assert expected in answer["message"]
    assert answer["is_finished"] is status.is_terminal


_SEARCH_ONLY = {"offset", "role", "require_fresh", "explain"}


async def test_arguments_reach_the_service_unchanged(connect: Connect) -> None:
    service = FakeService()
    arguments = {
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
    start = {"name": "Shop", "project_id": "w", "force_reindex": True, "allow_large_root": True, "retry_failed": True}
    async with connect(service) as caller:
        await caller.answer("search_code", query="tax", **arguments)
        await caller.answer("start_indexing_background", repo_path="/src/shop", **start)
        await caller.answer("cancel_job", job_id=str(JOB_ID), confirmed=True, project_id="w")
        start.pop("name")
        await caller.answer("estimate_indexing", repo_path="/src/shop", **start)
        named = {name: value for name, value in arguments.items() if name not in _SEARCH_ONLY | {"include_tests"}}
        await caller.answer("find_symbol", name="add_tax", **named)
        near = {name: value for name, value in arguments.items() if name not in _SEARCH_ONLY | {"kind"}}
        await caller.answer("find_related", file_path="tax.py", line=10, **near)
    assert service.arguments_of("search") == {"query": "tax"} | arguments
    assert service.arguments_of("find_related") == {"file_path": "tax.py", "line": 10} | near
    assert service.arguments_of("find_symbol") == {"name": "add_tax"} | named
    assert service.arguments_of("estimate_indexing") == {"repo_path": "/src/shop"} | start
    assert service.arguments_of("start_indexing") == {"repo_path": "/src/shop", "name": "Shop"} | start
    assert service.arguments_of("cancel_job") == {"job_id": JOB_ID, "confirmed": True, "project_id": "w"}
