"""`codebase-mcp symbol`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption, ProjectOption
from codebase_mcp.cli.search import cautions, elsewhere, shown_path
from codebase_mcp.cli.session import run_with_service

if TYPE_CHECKING:
    from codebase_mcp.search.models import SymbolAnswer, SymbolHit
    from codebase_mcp.service import Service


def symbol(
    name: Annotated[str, Parameter(help="A name, also qualified, such as Session.get.")],
    /,
    *,
    kind: Annotated[str | None, Parameter(help="Only this kind, such as function or class.")] = None,
    repo: Annotated[str | None, Parameter(help="Only this repository: name, path or id; '*': all.")] = None,
    language: Annotated[str | None, Parameter(help="Only this language, such as python.")] = None,
    glob: Annotated[str | None, Parameter(help="Only matching paths, such as 'src/**/*.ts'.")] = None,
    limit: Annotated[int, Parameter(help="Most definitions to show, 1 to 50.")] = 20,
    max_tokens: Annotated[int | None, Parameter(help="Budget of the answer in tokens; 6,000 by default.")] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> int:
    """Find where a name is defined: exact, but for case and underscores, by its beginning, or misspelt.

    Example: codebase-mcp symbol Session.get --kind method
    """

    async def work(service: Service) -> int:
        answer = await service.find_symbol(
            name,
            kind=kind,
            project_id=project,
            repository=repo,
            language=language,
            path_glob=glob,
            limit=limit,
            max_tokens=max_tokens,
        )
        if json:
            screen.say_json(answer)
        else:
            _say_answer(answer)
        return 0

    return run_with_service(work)


def _say_answer(answer: SymbolAnswer) -> None:
    for hit in answer.results:
        _say_hit(hit)
    if not answer.results:
        screen.say("Nothing found.")
    for caution in cautions(answer):
        screen.tell(caution)


def _say_hit(hit: SymbolHit) -> None:
    called = f"  {hit.qualified_name or hit.name}  ({hit.kind}, {hit.match}, {hit.repository}{elsewhere(hit.host)})"
    screen.say_place(f"{shown_path(hit)}:{hit.start_line}", called)
    if hit.signature:
        screen.say(f"    {hit.signature}")
