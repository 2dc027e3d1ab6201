"""`codebase-mcp repos …`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption, ProjectOption, YesOption
from codebase_mcp.cli.session import run_with_service
from codebase_mcp.errors import InvalidInputError

if TYPE_CHECKING:
    from codebase_mcp.answers import AdoptedRepository, RepositoryReport
    from codebase_mcp.service import Service

repos = App(name="repos", help="Indexed repositories.\n\nExample: codebase-mcp repos list")


@repos.command(name="list")
def list_repositories(*, project: ProjectOption = None, json: JsonOption = False) -> int:
    """List what is indexed: state, commit, counts, disk use.

    Example: codebase-mcp repos list --project work
    """

    async def work(service: Service) -> int:
        found = await service.list_repositories(project_id=project)
        if json:
            screen.say_json(found)
        elif not found.repositories:
            screen.say(f"Nothing is indexed in project {found.project_id}.")
        else:
            _say_repositories(found.repositories)
        return 0

    return run_with_service(work)


@repos.command
def remove(
    repository: Annotated[str, Parameter(help="Its name, path or id.")],
    /,
    *,
    project: ProjectOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> int:
    """Delete a repository's index. The repository itself is not touched.

    Example: codebase-mcp repos remove shop --yes
    """
    if not yes and not _is_confirmed(repository):
        screen.tell("Nothing was removed.")
        return 1

    async def work(service: Service) -> int:
        removed = await service.remove_repository(repository, confirmed=True, project_id=project)
        if json:
            screen.say_json(removed)
        else:
            screen.say(removed.message)
        return 0

    return run_with_service(work)


@repos.command
def adopt(
    repository: Annotated[str, Parameter(help="Its name, path or id, as listed.")],
    /,
    *,
    project: ProjectOption = None,
    yes: Annotated[
        bool, Parameter(help="Also when none of the indexed files is the same on this host.", negative=())
    ] = False,
    json: JsonOption = False,
) -> int:
    """Make a repository this host's own that belongs to another host, which is gone, or to none that is known.

    Nothing is read again but what differs here. Refused while the other host works on it.

    Example: codebase-mcp repos adopt ~/src/shop
    """

    async def work(service: Service) -> int:
        say_adopted(await service.adopt_repository(repository, confirmed=yes, project_id=project), as_json=json)
        return 0

    return run_with_service(work)


def say_adopted(adopted: AdoptedRepository, *, as_json: bool) -> None:
    if as_json:
        screen.say_json(adopted)
    else:
        screen.say(adopted.message)


def _is_confirmed(repository: str) -> bool:
    if not sys.stdin.isatty():
        raise InvalidInputError(f"removing {repository!r} needs a confirmation. Add --yes.")
    return screen.ask(f"Delete the index of {repository}? The repository itself is not touched.")


def _say_repositories(found: list[RepositoryReport]) -> None:
    table = screen.new_table("id", "name", "state", "files", "chunks", "disk", "indexed", "commit", "path")
    for repository in found:
        screen.add_row(
            table,
            str(repository.repository_id),
            repository.name,
            _state(repository),
            f"{repository.file_count:,}",
            f"{repository.chunk_count:,}",
            screen.size(repository.size_bytes),
            screen.moment(repository.last_indexed_at),
            _commit(repository),
            repository.path if repository.host is None else f"{repository.path} (on {repository.host})",
        )
    screen.say_table(table)


def _state(repository: RepositoryReport) -> str:
    if repository.progress_percentage is None:
        return repository.state
    return f"{repository.state} {repository.progress_percentage} %"


def _commit(repository: RepositoryReport) -> str:
    if repository.indexed_commit is None:
        return "–"
    is_behind = repository.head_commit not in (None, repository.indexed_commit)
    return f"{repository.indexed_commit[:10]}{' (behind)' if is_behind else ''}"
