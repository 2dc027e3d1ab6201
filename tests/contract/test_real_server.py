"""The command as a client starts it, over a real database: a repository is indexed and found."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult

from tests.support.processes import NOT_YET, PATIENCE_SECONDS
from tests.support.waiting import until

pytest.importorskip("codebase_mcp.service")
pytestmark = pytest.mark.slow


@asynccontextmanager
async def session_with(database_url: str, data_dir: Path) -> AsyncIterator[ClientSession]:
    settings = {
        "CODEBASE_MCP_DATABASE_URL": database_url,
        "CODEBASE_MCP_DATA_DIR": str(data_dir),
        "CODEBASE_MCP_WORKER": "inline",
        "CODEBASE_MCP_MIN_FREE_DISK_BYTES": "0",
    }
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "codebase_mcp", "serve", "--answers", "structured"],
        env=dict(os.environ) | settings,
    )
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "tax.py").write_text("def add_value_added_tax(price):\n    return price * 1.2\n")
    (root / "cart.py").write_text("class Cart:\n    def total(self):\n        return 0\n")
    (root / "logo.png").write_bytes(b"\x89PNG\0\0")
    return root


async def call(session: ClientSession, tool: str, **arguments: Any) -> CallToolResult:
    """What a tool says as soon as the database is there."""

    async def said() -> CallToolResult | None:
        result = await session.call_tool(tool, arguments)
        is_early = result.is_error and result.content[0].text.startswith(NOT_YET)
        return None if is_early else result

    return await until(said, what=f"a database for {tool}", seconds=PATIENCE_SECONDS)


async def answer(session: ClientSession, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await call(session, tool, **arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def index(session: ClientSession, repository: Path) -> dict[str, Any]:
    """The job as it ended: a call waits for a while only."""

    async def ended() -> dict[str, Any] | None:
        report = await answer(session, "index_repository", repo_path=str(repository))
        return report["job"] if report["is_finished"] else None

    return await until(ended, what="a finished job", seconds=PATIENCE_SECONDS)


async def test_a_repository_is_indexed_searched_and_removed(database_url: str, tmp_path: Path, shop: Path) -> None:
    async with session_with(database_url, tmp_path / "data") as session:
        job = await index(session, shop)
        assert job["status"] == "completed", job
        assert job["files_indexed"] == 2
        found = await answer(session, "search_code", query="value added tax", limit=1)
        assert found["results"][0]["file_path"] == str(shop / "tax.py")
        assert found["freshness"][0]["state"] == "ready"
        named = await answer(session, "find_symbol", name="AddValueAddedTax")
        assert [(hit["name"], hit["match"]) for hit in named["results"]] == [("add_value_added_tax", "folded")]
        related = await answer(session, "find_related", file_path="tax.py", line=1)
        assert related["origin"]["file_path"] == str(shop / "tax.py")
        assert related["results"][0]["repository"] == "shop"
        left_out = await session.call_tool("find_related", {"file_path": "logo.png", "line": 1})
        assert left_out.content[0].text.startswith(f"FILE_NOT_INDEXED: {shop / 'logo.png'} is not indexed: it was sk")
        listed = await answer(session, "list_repositories")
        assert [(r["name"], r["file_count"]) for r in listed["repositories"]] == [("shop", 2)]
        removed = await answer(session, "remove_repository", repository="shop", confirmed=True)
        assert removed["files_removed"] == 2


async def test_values_that_only_the_service_can_judge_are_refused_with_their_codes(
    database_url: str, tmp_path: Path, shop: Path
) -> None:
    refusals = [
        ("start_indexing_background", {"repo_path": "shop"}, "VALIDATION_ERROR"),
        ("start_indexing_background", {"repo_path": str(shop / "gone")}, "VALIDATION_ERROR"),
        ("index_repository", {"repo_path": str(shop / "tax.py")}, "VALIDATION_ERROR"),
        ("index_repository", {"repo_path": str(shop), "project_id": "a b"}, "VALIDATION_ERROR"),
        ("search_code", {"query": "tax", "project_id": "nobody"}, "PROJECT_NOT_FOUND"),
        ("list_repositories", {"project_id": "nobody"}, "PROJECT_NOT_FOUND"),
        ("find_symbol", {"name": "tax", "project_id": "nobody"}, "PROJECT_NOT_FOUND"),
        ("find_symbol", {"name": " "}, "VALIDATION_ERROR"),
        ("find_related", {"file_path": "tax.py", "line": 1, "project_id": "nobody"}, "PROJECT_NOT_FOUND"),
        ("find_related", {"file_path": " ", "line": 1}, "VALIDATION_ERROR"),
        ("get_job_status", {"job_id": str(uuid4())}, "JOB_NOT_FOUND"),
        ("cancel_job", {"job_id": str(uuid4()), "confirmed": True}, "JOB_NOT_FOUND"),
        ("cancel_job", {"job_id": str(uuid4())}, "VALIDATION_ERROR"),
        ("remove_repository", {"repository": "shop"}, "VALIDATION_ERROR"),
    ]
    async with session_with(database_url, tmp_path / "data") as session:
        for tool, arguments, code in refusals:
            result = await call(session, tool, **arguments)
            assert result.is_error, (tool, arguments, result.content)
            assert result.content[0].text.startswith(f"{code}: "), (tool, arguments, result.content)
