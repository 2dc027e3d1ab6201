"""A project configuration that is wrong stops whatever would use it, by the file's name, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from codebase_mcp.cli.app import run
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.service import Service
from codebase_mcp.storage.database import Database
from tests.support.runs import Bench, everything

WRONG = {
    "no JSON": ("{project_id: shop}", "is not JSON"),
    "no text": ('{"project_id": 7}', 'no text under "project_id", but 7'),
    "unsafe": ('{"project_id": "../other"}', "'../other' is not valid"),
    "too long": (f'{{"project_id": "{"x" * 300}"}}', "1 to 255 letters"),
    "a directory": (None, "is not a file"),
}
VERBS: dict[str, Callable[[Service, str], Awaitable[object]]] = {
    "start": lambda service, root: service.start_indexing(root),
    "estimate": lambda service, root: service.estimate_indexing(root),
    "search": lambda service, _: service.search("x"),
    "list": lambda service, _: service.list_repositories(),
    "remove": lambda service, _: service.remove_repository("shop", confirmed=True),
}


def configured(root: Path, content: str | None) -> Path:
    config = root / ".codebase-mcp" / "config.json"
    config.parent.mkdir(parents=True)
    if content is None:
        config.mkdir()
    else:
        config.write_text(content)
    return config


@pytest.mark.parametrize("wrong", WRONG)
async def test_every_verb_refuses_it(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    content, complaint = WRONG[wrong]
    config = configured(bench.root, content)
    monkeypatch.chdir(bench.root)
    before = await everything(bench.database)
    for verb in VERBS.values():
        with pytest.raises(InvalidInputError) as caught:
            await verb(service, str(bench.root))
        assert caught.value.code == "VALIDATION_ERROR"
        assert str(config) in caught.value.message
        assert complaint in caught.value.message
    assert await everything(bench.database) == before


async def test_a_named_project_needs_no_configuration(service: Service, bench: Bench) -> None:
    configured(bench.root, "{")
    assert (await service.start_indexing(str(bench.root), project_id="named")).project_id == "named"


@pytest.mark.parametrize("wrong", ["no JSON", "a directory", "too long"])
async def test_the_command_line_says_which_file_is_wrong(
    database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    content, complaint = WRONG[wrong]
    config = configured(bench.root, content)
    url = bench.settings.database_url
    assert url is not None
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", url.get_secret_value())
    monkeypatch.setenv("CODEBASE_MCP_DATA_DIR", str(bench.root.parent / "data"))
    monkeypatch.setenv("CODEBASE_MCP_WORKER", "external")
    before = await everything(database)
    for command in (["index", str(bench.root)], ["index", str(bench.root), "--dry-run"]):
        assert await asyncio.to_thread(run, command) == 2
        told = capfd.readouterr().err
        assert told.startswith(f"error: VALIDATION_ERROR: {'project_id in ' if wrong == 'too long' else ''}{config} ")
        assert complaint in told
        assert told.count("\n") == 1
    assert await everything(database) == before


async def test_a_dry_run_on_the_command_line_tells_and_changes_nothing(
    database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = bench.settings.database_url
    assert url is not None
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", url.get_secret_value())
    monkeypatch.setenv("CODEBASE_MCP_DATA_DIR", str(bench.root.parent / "data"))
    monkeypatch.setenv("CODEBASE_MCP_WORKER", "external")
    before = await everything(database)
    assert await asyncio.to_thread(run, ["index", str(bench.root), "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert told.startswith("5 files (0.0 MB) to index, about ")
    assert "no job has completed on this one yet" in told
    assert await everything(database) == before
