"""`codebase-mcp related`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption, ProjectOption
from codebase_mcp.cli.search import cautions, say_hits
from codebase_mcp.cli.session import run_with_service

if TYPE_CHECKING:
    from codebase_mcp.service import Service


def related(
    file: Annotated[str, Parameter(help="A file of the index: absolute, or relative to its repository.")],
    line: Annotated[int, Parameter(help="A line of it, counted from 1.")],
    /,
    *,
    repo: Annotated[str | None, Parameter(help="Only this repository: name, path or id; '*': all.")] = None,
    language: Annotated[str | None, Parameter(help="Only this language, such as python.")] = None,
    glob: Annotated[str | None, Parameter(help="Only matching paths, such as 'src/**/*.ts'.")] = None,
    limit: Annotated[int, Parameter(help="Most files to show, 1 to 50.")] = 10,
    tests: Annotated[bool | None, Parameter(help="Rank tests like other files, or leave them out.")] = None,
    max_tokens: Annotated[int | None, Parameter(help="Budget of the answer in tokens; 6,000 by default.")] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> int:
    """Find code that is related to a line of a file: other files first, tests pushed down.

    Example: codebase-mcp related src/shop/cart.py 42 --limit 5
    """

    async def work(service: Service) -> int:
        answer = await service.find_related(
            file,
            line,
            project_id=project,
            repository=repo,
            language=language,
            path_glob=glob,
            limit=limit,
            include_tests=tests,
            max_tokens=max_tokens,
        )
        if json:
            screen.say_json(answer)
            return 0
        say_hits(answer.results)
        for caution in cautions(answer):
            screen.tell(caution)
        return 0

    return run_with_service(work)
