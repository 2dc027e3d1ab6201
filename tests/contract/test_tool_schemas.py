"""The published interface changes only on purpose: `UPDATE_TOOL_SCHEMAS=1 pytest tests/contract` writes it anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.domain import JobStatus
from tests.contract.conftest import Connect
from tests.support.fake_service import FakeService

SNAPSHOT = Path(__file__).with_name("tool_schemas.json")
CHANGES_NOTHING = {
    "estimate_indexing", "get_job_status", "list_background_jobs", "search_code", "find_symbol", "find_related",
    "list_repositories",
}  # fmt: skip
DESTROYS = {"cancel_job", "remove_repository"}


@pytest.fixture
async def published(connect: Connect) -> list[dict[str, Any]]:
    async with connect(FakeService()) as caller:
        tools = await caller.client.list_tools()
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


def test_the_published_interface_is_the_recorded_one(published: list[dict[str, Any]]) -> None:
    text = json.dumps(published, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_TOOL_SCHEMAS"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert json.loads(text) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_description_has_an_example_and_is_short(published: list[dict[str, Any]]) -> None:
    for tool in published:
        assert len(tool["description"]) < 600
        assert "Example: {" in tool["description"]


def test_every_argument_is_one_plain_type_without_bounds(published: list[dict[str, Any]]) -> None:
    allowed = {"type", "description", "default", "enum", "format"}
    for tool in published:
        for name, argument in tool["inputSchema"]["properties"].items():
            assert set(argument) <= allowed, (tool["name"], name)
            assert isinstance(argument["type"], str)
            assert argument.get("default", 0) is not None
            assert argument.get("format", "date-time") == "date-time"


def test_only_the_tool_that_is_needed_first_asks_to_be_loaded_at_once(published: list[dict[str, Any]]) -> None:
    metas = {tool["name"]: tool["_meta"] for tool in published if "_meta" in tool}
    assert list(metas) == ["search_code"]
    assert metas["search_code"]["anthropic/alwaysLoad"] is True


def test_every_argument_is_described_and_unknown_ones_are_excluded(published: list[dict[str, Any]]) -> None:
    for tool in published:
        assert tool["inputSchema"]["additionalProperties"] is False
        assert all(argument["description"] for argument in tool["inputSchema"]["properties"].values())


def test_the_example_of_each_tool_uses_its_own_arguments(published: list[dict[str, Any]]) -> None:
    for tool in published:
        start = tool["description"].index("Example: ") + len("Example: ")
        example, _ = json.JSONDecoder().raw_decode(tool["description"], start)
        assert set(example) <= set(tool["inputSchema"]["properties"])
        assert set(tool["inputSchema"].get("required", [])) <= set(example)


def test_clients_are_told_which_tools_are_safe(published: list[dict[str, Any]]) -> None:
    for tool in published:
        hints = tool["annotations"]
        assert hints["readOnlyHint"] is (tool["name"] in CHANGES_NOTHING)
        assert hints["destructiveHint"] is (tool["name"] in DESTROYS)
        assert hints["idempotentHint"] is True
        assert hints["openWorldHint"] is False


def test_every_state_of_a_job_can_be_asked_for(published: list[dict[str, Any]]) -> None:
    listing = next(tool for tool in published if tool["name"] == "list_background_jobs")
    choices = listing["inputSchema"]["properties"]["status"]["enum"]
    assert set(choices) == set(JobStatus)
