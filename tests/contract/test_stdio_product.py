"""The whole product over stdio, as two different clients see it: a real server, worker and database."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.support.processes import (
    PATIENCE_SECONDS,
    Site,
    ask,
    copy_packages,
    environment,
    prepared_data_dir,
    refusal,
    site_like,
)
from tests.support.waiting import until

TOOLS = {
    "start_indexing_background", "index_repository", "get_job_status", "list_background_jobs", "cancel_job",
    "estimate_indexing", "search_code", "find_symbol", "find_related", "list_repositories", "remove_repository",
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    with prepared_data_dir() as data_dir:
        yield data_dir


@pytest.fixture
async def site(prepared: Path) -> AsyncIterator[Site]:
    async with site_like(prepared) as site:
        yield site


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return copy_packages(tmp_path / "sample", "http", "json")


async def test_the_plain_sdk_client_indexes_and_searches_and_sees_nothing_but_the_protocol_on_stdout(
    site: Site, repository: Path, tmp_path: Path
) -> None:
    said = tmp_path / "stdout"
    command = f"{sys.executable} -m codebase_mcp serve | tee {said}"
    server = StdioServerParameters(command="sh", args=["-c", command], env=environment(site.data_dir, {}))
    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, _message: str | None) -> None:
        heard.append((progress, total))

    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        hello = await session.initialize()
        assert hello.server_info.name == "codebase-mcp"
        assert {tool.name for tool in (await session.list_tools()).tools} == TOOLS

        async def finished() -> dict[str, Any] | None:
            arguments = {"repo_path": str(repository)}
            answer = await session.call_tool("index_repository", arguments, progress_callback=hear)
            if answer.is_error:  # the first call may come before the database is there
                assert answer.content[0].text.startswith("DATABASE_STARTING")
                return None
            return answer.structured_content if answer.structured_content["is_finished"] else None

        report = await until(finished, what="a finished job", seconds=PATIENCE_SECONDS)
        found = await session.call_tool("search_code", {"query": "how are cookies parsed from a header"})
        exact = await session.call_tool("search_code", {"query": "JSONDecodeError", "limit": 1})

    assert report["job"]["status"] == "completed"
    assert heard == sorted(heard)
    assert {total for _, total in heard} == {100}
    best = [Path(hit["file_path"]).name for hit in found.structured_content["results"][:3]]
    assert {"cookies.py", "cookiejar.py"} & set(best)
    (hit,) = exact.structured_content["results"]
    assert (hit["symbol"], hit["repository"]) == ("JSONDecodeError", "sample")
    messages = [json.loads(line) for line in said.read_text().splitlines()]
    assert len(messages) > 6
    assert all(message["jsonrpc"] == "2.0" for message in messages)


async def test_every_bad_input_gets_its_code_and_changes_nothing(site: Site, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    unknown = str(uuid.uuid4())
    bad_paths = ["", "  ", "relative/path", str(tmp_path / "missing"), str(tmp_path / "file"), str(tmp_path / "empty"),
                 "/", str(Path.home()), "nul\0"]  # fmt: skip
    cases: list[tuple[str, str, dict[str, Any]]] = [
        *(("VALIDATION_ERROR", "start_indexing_background", {"repo_path": path}) for path in bad_paths),
        *(("VALIDATION_ERROR", "index_repository", {"repo_path": path}) for path in bad_paths),
        ("VALIDATION_ERROR", "start_indexing_background", {}),
        ("VALIDATION_ERROR", "start_indexing_background", {"repo_path": str(repository), "project_id": "a b"}),
        ("VALIDATION_ERROR", "start_indexing_background", {"repo_path": str(repository), "recursive": True}),
        ("VALIDATION_ERROR", "get_job_status", {"job_id": "7"}),
        ("JOB_NOT_FOUND", "get_job_status", {"job_id": unknown}),
        ("PROJECT_NOT_FOUND", "get_job_status", {"job_id": unknown, "project_id": "nowhere"}),
        ("VALIDATION_ERROR", "start_indexing_background", {"repo_path": str(repository), "name": "x" * 256}),
        ("VALIDATION_ERROR", "list_background_jobs", {"limit": "few"}),
        ("VALIDATION_ERROR", "list_background_jobs", {"status": "sleeping"}),
        ("VALIDATION_ERROR", "list_background_jobs", {"created_after": "yesterday"}),
        ("PROJECT_NOT_FOUND", "list_background_jobs", {"project_id": "nowhere"}),
        ("VALIDATION_ERROR", "cancel_job", {"job_id": unknown}),
        ("JOB_NOT_FOUND", "cancel_job", {"job_id": unknown, "confirmed": True}),
        ("VALIDATION_ERROR", "search_code", {"query": ""}),
        ("VALIDATION_ERROR", "search_code", {"query": " \n"}),
        ("VALIDATION_ERROR", "search_code", {"query": "x\0y"}),
        ("VALIDATION_ERROR", "find_symbol", {"name": "x\0y"}),
        ("VALIDATION_ERROR", "list_repositories", {"project_id": "nul\0"}),
        ("VALIDATION_ERROR", "search_code", {"query": "x", "language": "klingon"}),
        ("PROJECT_NOT_FOUND", "search_code", {"query": "x", "project_id": "nowhere"}),
        ("REPOSITORY_NOT_FOUND", "search_code", {"query": "x", "repository": "elsewhere"}),
        ("PROJECT_NOT_FOUND", "list_repositories", {"project_id": "nowhere"}),
        ("VALIDATION_ERROR", "remove_repository", {"repository": "sample"}),
        *(
            ("REPOSITORY_NOT_FOUND", "remove_repository", {"repository": name, "confirmed": True})
            for name in ("elsewhere", "", "*", "any", f"{repository}/http")
        ),
    ]  # fmt: skip
    async with site.client(worker="inline") as client:
        await _index(client, repository)
        before = await _everything(site, client)
        told = [(tool, arguments, await refusal(client, tool, **arguments)) for _, tool, arguments in cases]
        assert await _everything(site, client) == before
    wrong = [(code, *said) for (code, _, _), said in zip(cases, told, strict=True) if said[2].split(":")[0] != code]
    assert wrong == []
    assert [sentence for _, _, sentence in told if len(sentence) > 500 or "Traceback" in sentence] == []


async def test_the_settings_file_reaches_a_server_that_gets_no_variables_and_its_worker(
    site: Site, repository: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'data_dir = "{site.data_dir}"\npool_processes = 1\nmin_free_disk_bytes = 0\n')
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "CODEBASE_MCP_CONFIG": str(config)}
    transport = StdioTransport(
        sys.executable, ["-m", "codebase_mcp", "serve"], env=bare, log_file=tmp_path / "output.log", keep_alive=False
    )
    async with Client(transport, timeout=30, init_timeout=60) as client:
        await _index(client, repository)
    assert [job["status"] for job in await site.rows("SELECT status FROM codebase_mcp.indexing_jobs")] == ["completed"]
    (worker, *_) = site.processes("worker")
    assert worker.environ()["CODEBASE_MCP_CONFIG"] == os.devnull


async def _index(client: Client[Any], repository: Path) -> None:
    """Indexes a repository as soon as the database is there."""

    async def is_done() -> bool:
        arguments = {"repo_path": str(repository)}
        answer = await client.call_tool("index_repository", arguments, raise_on_error=False)
        return not answer.is_error and answer.structured_content["job"]["status"] == "completed"

    await until(is_done, what="an indexed repository", seconds=PATIENCE_SECONDS)


async def _everything(site: Site, client: Client[Any]) -> list[object]:
    """The jobs, projects and repositories there are."""
    jobs = await site.rows("SELECT id, status, attempt FROM codebase_mcp.indexing_jobs ORDER BY id")
    projects = await site.rows("SELECT * FROM codebase_mcp.projects")
    return [jobs, projects, (await ask(client, "list_repositories"))["repositories"]]
