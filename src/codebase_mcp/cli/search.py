"""`codebase-mcp search`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption, ProjectOption
from codebase_mcp.cli.session import run_with_service
from codebase_mcp.server.freshness_notes import freshness_notes
from codebase_mcp.visible_text import escape_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codebase_mcp.search.models import (
        RelatedAnswer,
        RepositoryFreshness,
        SearchAnswer,
        SearchHit,
        SymbolAnswer,
        SymbolHit,
    )
    from codebase_mcp.service import Service

CHANGES_SECONDS = 1.0
"""How long the end of a search may wait for the count of changed files; the results are shown before."""


def search(
    query: Annotated[str, Parameter(help="Words or identifiers.")],
    /,
    *,
    repo: Annotated[str | None, Parameter(help="Only this repository: name, path or id; '*': all.")] = None,
    language: Annotated[str | None, Parameter(help="Only this language, such as python.")] = None,
    glob: Annotated[str | None, Parameter(help="Only matching paths, such as 'src/**/*.ts'.")] = None,
    kind: Annotated[str | None, Parameter(help="Only chunks of this kind, such as function or class.")] = None,
    role: Annotated[str | None, Parameter(help="Only files of this role: source, test, example, docs …")] = None,
    limit: Annotated[int, Parameter(help="Most files to show, 1 to 50.")] = 10,
    offset: Annotated[int, Parameter(help="How many of the best files to skip.")] = 0,
    tests: Annotated[bool | None, Parameter(help="Rank tests like other files, or leave them out.")] = None,
    max_tokens: Annotated[int | None, Parameter(help="Budget of the answer in tokens; 6,000 by default.")] = None,
    fresh: Annotated[bool, Parameter(help="Index what changed first; waits up to 20 s.", negative=())] = False,
    explain: Annotated[bool, Parameter(help="Tell what each ranking signal adds to a score.", negative=())] = False,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> int:
    """Search the indexed code: one best excerpt per file, the most relevant file first.

    Example: codebase-mcp search "where are sessions invalidated" --language python --limit 5
    """

    async def work(service: Service) -> int:
        if fresh:
            screen.tell("Bringing the index up to date …")
        answer = await service.search(
            query,
            project_id=project,
            repository=repo,
            language=language,
            path_glob=glob,
            kind=kind,
            role=role,
            limit=limit,
            offset=offset,
            include_tests=tests,
            max_tokens=max_tokens,
            require_fresh=fresh,
            explain=explain,
        )
        if not json:
            say_hits(answer.results, answer.explanation)
        answer = await service.count_changes(
            answer, project_id=project, seconds=CHANGES_SECONDS, repository=repo, path_glob=glob
        )
        if json:
            screen.say_json(answer)
        else:
            _say_rest(answer)
        return 0

    return run_with_service(work)


def _say_rest(answer: SearchAnswer) -> None:
    for caution in cautions(answer):
        screen.tell(caution)
    if answer.next_offset is not None:
        screen.tell(f"{answer.total_count - answer.next_offset} more candidates: --offset {answer.next_offset}")


def say_hits(hits: Sequence[SearchHit], explanation: Sequence[dict[str, float]] | None = None) -> None:
    for hit, signals in zip(hits, explanation or [{}] * len(hits), strict=True):
        _say_hit(hit, signals)
    if not hits:
        screen.say("Nothing found.")


def _say_hit(hit: SearchHit, signals: dict[str, float]) -> None:
    symbol = f"  {hit.symbol}" if hit.symbol else ""
    screen.say_place(
        f"{shown_path(hit)}:{hit.start_line}", f"{symbol}  ({hit.kind}, {hit.repository}{elsewhere(hit.host)})"
    )
    if signals:
        parts = ", ".join(f"{name} {value:+.2f}" for name, value in signals.items())
        screen.say(f"{hit.score:.2f} = {parts}", "dim")
    if hit.content:
        _say_code(hit)
    screen.say("")


def _say_code(hit: SearchHit) -> None:
    if not sys.stdout.isatty():
        screen.say_content(hit.content.rstrip("\n"))
        return
    from rich.syntax import Syntax

    code = Syntax(
        escape_text(hit.content.rstrip("\n")),
        hit.language,
        line_numbers=hit.content_form == "full",
        start_line=hit.content_start_line,
        background_color="default",
        word_wrap=True,
    )
    screen.console().print(code)


def cautions(answer: SearchAnswer | SymbolAnswer | RelatedAnswer) -> list[str]:
    """What is to be said beside the results: what may be missing, and how to see more."""
    told = list(answer.warnings)
    if answer.truncated:
        told.append("The answer was shortened to the token budget; --max-tokens raises it.")
    return [*told, *freshness_notes(answer.freshness, _index_again, _retry_failed)]


def _index_again(stale: Sequence[RepositoryFreshness]) -> str:
    return ", ".join(f"codebase-mcp index {one.path}" for one in stale)


def _retry_failed(failed: Sequence[RepositoryFreshness]) -> str:
    return ", ".join(f"codebase-mcp index {one.path} --retry-failed" for one in failed)


def elsewhere(host: str | None) -> str:
    """Behind the name of a repository whose tree is not on this host."""
    return "" if host is None else f", on {host}"


def shown_path(hit: SearchHit | SymbolHit) -> str:
    """Of a file on another host its path there: what lies at the same path here is another file."""
    return short_path(hit.file_path) if hit.host is None else hit.file_path


def short_path(file_path: str) -> str:
    """Below the working directory as a relative path: shorter, and terminals make it clickable."""
    from pathlib import Path

    path = Path(file_path)
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return file_path
    return str(path.relative_to(here)) if path.is_relative_to(here) else file_path
