"""Calls as models send them, through a client and the protocol: what the service is asked in the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Connect
from tests.support.fake_service import JOB_ID, FakeService

NOTHING = [None, "", " ", "null", "None", "any", "*", "undefined"]


@pytest.mark.parametrize("word", NOTHING)
async def test_numbers_and_choices_that_mean_nothing_are_as_by_default(connect: Connect, word: str | None) -> None:
    service = FakeService()
    search = dict.fromkeys(("limit", "offset", "include_tests", "max_tokens", "require_fresh", "explain"), word)
    listing = dict.fromkeys(("status", "created_after", "limit", "offset"), word)
    start = dict.fromkeys(("force_reindex", "allow_large_root", "retry_failed", "wait_seconds"), word)
    async with connect(service) as caller:
        await caller.call("search_code", query="x")
        plain = service.arguments_of("search")
        await caller.call("search_code", query="x", **search)
        assert service.arguments_of("search") == plain
        await caller.call("list_background_jobs")
        plain = service.arguments_of("list_jobs")
        await caller.call("list_background_jobs", **listing)
        assert service.arguments_of("list_jobs") == plain
        await caller.call("index_repository", repo_path="/src/shop")
        plain = service.arguments_of("start_indexing")
        await caller.call("index_repository", repo_path="/src/shop", **start)
        assert service.arguments_of("start_indexing") == plain
        await caller.call("get_job_status", job_id=str(JOB_ID), include_events=word)
        assert service.arguments_of("job_status")["include_events"] is False


@pytest.mark.parametrize("word", NOTHING)
async def test_what_must_be_confirmed_is_not_confirmed_by_a_word_that_means_nothing(
    connect: Connect, word: str | None
) -> None:
    service = FakeService()
    async with connect(service) as caller:
        await caller.call("cancel_job", job_id=str(JOB_ID), confirmed=word)
        await caller.call("remove_repository", repository="shop", confirmed=word)
    assert service.arguments_of("cancel_job")["confirmed"] is False
    assert service.arguments_of("remove_repository")["confirmed"] is False


@pytest.mark.parametrize("word", ["", "null", "any", "*"])
async def test_text_reaches_the_service_as_it_is(connect: Connect, word: str) -> None:
    service = FakeService()
    given = dict.fromkeys(("project_id", "repository", "language", "path_glob", "kind", "role"), word)
    async with connect(service) as caller:
        await caller.call("search_code", query=word, **given)
        assert service.arguments_of("search").items() >= (given | {"query": word}).items()
        await caller.call("remove_repository", repository=word, confirmed=True)
        assert service.arguments_of("remove_repository")["repository"] == word


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("search_code", {"query": None}, "query = null must be a string"),
        ("find_related", {"file_path": "x", "line": ""}, 'line = "" must be a whole number'),
        ("find_related", {"file_path": "x", "line": None}, "line = null must be a whole number"),
        ("get_job_status", {"job_id": ""}, 'job_id = "" must be a UUID'),
        ("remove_repository", {"repository": None, "confirmed": True}, "repository = null must be a string"),
        ("search_code", {"query": "x", "language": ["python"]}, 'language = ["python"] must be a string'),
        ("search_code", {"query": "x", "limit": "ten"}, 'limit = "ten" must be a whole number'),
        ("search_code", {"query": "x", "colour": ""}, "colour is not an argument; allowed are"),
        ("search_code", {"query": "x", "lang": None}, "lang is not an argument; allowed are"),
        ("list_background_jobs", {"status": "done"}, 'status = "done" must be one of'),
    ],
)
async def test_wrong_types_unknown_names_and_missing_values_are_refused(
    connect: Connect, tool: str, arguments: dict[str, Any], expected: str
) -> None:
    async with connect(FakeService()) as caller:
        assert (await caller.refusal(tool, **arguments)).startswith(f"VALIDATION_ERROR: {expected}")


@pytest.mark.parametrize(
    ("tool", "argument"),
    [
        ("search_code", "query"),
        ("search_code", "project_id"),
        ("search_code", "language"),
        ("search_code", "path_glob"),
        ("search_code", "kind"),
        ("search_code", "role"),
        ("search_code", "repository"),
        ("find_symbol", "name"),
        ("find_symbol", "kind"),
        ("find_symbol", "language"),
        ("find_related", "file_path"),
        ("find_related", "repository"),
        ("list_repositories", "project_id"),
        ("remove_repository", "repository"),
        ("index_repository", "repo_path"),
        ("start_indexing_background", "name"),
        ("start_indexing_background", "project_id"),
        ("estimate_indexing", "repo_path"),
        ("list_background_jobs", "project_id"),
        ("list_background_jobs", "status"),
        ("get_job_status", "job_id"),
        ("get_job_status", "project_id"),
        ("cancel_job", "job_id"),
    ],
)
async def test_a_nul_in_any_text_is_a_wrong_argument(connect: Connect, tool: str, argument: str) -> None:
    required = {
        "search_code": {"query": "x"},
        "find_symbol": {"name": "x"},
        "find_related": {"file_path": "/a.py", "line": 1},
        "index_repository": {"repo_path": "/src"},
        "start_indexing_background": {"repo_path": "/src"},
        "get_job_status": {"job_id": str(JOB_ID)},
        "cancel_job": {"job_id": str(JOB_ID), "confirmed": True},
        "remove_repository": {"repository": "x", "confirmed": True},
    }
    service = FakeService()
    async with connect(service) as caller:
        refusal = await caller.refusal(tool, **required.get(tool, {}) | {argument: "a\0b"})
    assert refusal.startswith(f"VALIDATION_ERROR: {argument} ")
    assert service.calls[1:-1] == []
