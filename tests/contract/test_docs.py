"""What is offered is documented, and what is documented exists."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from codebase_mcp import answers, errors
from codebase_mcp.cli.app import app
from codebase_mcp.domain import JobPhase, JobStatus
from codebase_mcp.search import models
from codebase_mcp.settings import Settings
from tests.contract.conftest import Connect
from tests.support.fake_service import FakeService

DOCS = Path(__file__).parents[2] / "docs"
TOOLS = (DOCS / "tools.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")


async def offered_tools(connect: Connect) -> list[Any]:
    async with connect(FakeService()) as caller:
        return await caller.client.list_tools()


def section_of(tool: str) -> str:
    _, found, rest = TOOLS.partition(f"\n## `{tool}`\n")
    assert found, f"docs/tools.md has no section on {tool}"
    return rest.partition("\n## ")[0]


async def test_every_tool_has_a_section_and_no_section_is_left_over(connect: Connect) -> None:
    documented = re.findall(r"^## `(\w+)`$", TOOLS, re.MULTILINE)
    assert sorted(documented) == sorted(tool.name for tool in await offered_tools(connect))


async def test_every_argument_and_every_field_of_an_answer_is_documented(connect: Connect) -> None:
    for tool in await offered_tools(connect):
        section = section_of(tool.name)
        arguments = set(tool.input_schema["properties"])
        if tool.name == "index_repository":
            arguments -= set(re.findall(r"`(\w+)`", section_of("start_indexing_background")))
        for name in arguments | set(tool.output_schema["properties"]):
            assert f"`{name}`" in section, f"{tool.name}: {name}"


async def test_the_documented_examples_are_valid_calls(connect: Connect) -> None:
    async with connect(FakeService()) as caller:
        for tool in await caller.client.list_tools():
            (example,) = re.findall(r"```json\n(.*?)\n```", section_of(tool.name), re.DOTALL)
            await caller.answer(tool.name, **json.loads(example))


async def test_the_errors_that_a_tool_publishes_are_those_that_are_documented(connect: Connect) -> None:
    codes = documented_codes()
    for tool in await offered_tools(connect):
        published = {code for code in codes if code in tool.description}
        assert published <= {code for code in codes if code in section_of(tool.name)}


def documented_codes() -> set[str]:
    table = TOOLS.partition("## Errors")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))


def test_every_error_code_is_documented() -> None:
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    codes = {cls.code for cls in classes if issubclass(cls, errors.CodebaseMcpError)}
    assert documented_codes() == codes


def test_every_job_status_and_phase_is_documented() -> None:
    table = TOOLS.partition("## Job states")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(JobStatus)
    assert all(f"`{phase}`" in table for phase in JobPhase)


@pytest.mark.parametrize(
    "model", [answers.JobReport, answers.RepositoryReport, models.SearchHit, models.SymbolHit, models.Origin]
)
def test_every_field_of_the_larger_answers_is_documented(model: Any) -> None:
    assert [name for name in model.model_fields if f"`{name}`" not in TOOLS] == []


def documented_settings() -> dict[str, str]:
    table = OPERATIONS.partition("## Settings")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", table, re.MULTILINE))


def variable_of(field: str) -> str:
    return f"CODEBASE_MCP_{field.upper()}"


def test_every_setting_is_documented_and_none_is_left_over() -> None:
    assert set(documented_settings()) == {variable_of(field) for field in Settings.model_fields}


def test_the_documented_defaults_are_the_real_ones() -> None:
    documented = documented_settings()
    for name, field in Settings.model_fields.items():
        if field.default_factory is None and field.default is not None:
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert documented[variable_of(name)].lower() == f"`{default}`".lower(), name


def commands_of(group: App, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in group:
        if not name.startswith("-"):
            command = group[name]
            deeper = commands_of(command, (*path, name))
            found.extend(deeper or [(*path, name)])
    return found


def test_every_command_is_documented() -> None:
    for command in commands_of(app):
        first, *rest = command
        line = next((line for line in OPERATIONS.splitlines() if line.startswith(f"| `codebase-mcp {first}")), None)
        assert line is not None, command
        assert all(f"`{name}`" in line or f" {name}`" in line for name in rest), command


def test_every_documented_command_line_exists() -> None:
    known = {command[:length] for command in commands_of(app) for length in (1, 2)}
    typed = re.findall(r"(?:`|^|-- |/)codebase-mcp ([a-z]+)(?: ([a-z]+)\b)?", OPERATIONS, re.MULTILINE)
    assert len(typed) > 10
    for words in typed:
        assert tuple(filter(None, words)) in known, words


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_links_between_the_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
