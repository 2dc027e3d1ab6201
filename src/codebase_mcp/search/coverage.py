"""What a request looks at, and how fresh that is: the same for every tool that answers from the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.domain import Host
from codebase_mcp.search import freshness
from codebase_mcp.search.models import RepositoryFreshness
from codebase_mcp.search.selection import Choices, Selection, choices_of
from codebase_mcp.storage import project_state, projects
from codebase_mcp.storage.project_state import LastCounts, ProjectState, UnfinishedJob
from codebase_mcp.storage.projects import Repository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.indexing.embed import EmbedderIdentity
    from codebase_mcp.search.models import SearchRequest


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a search looks at: repositories, unfinished jobs by place, and those of repositories without an index.

    A place is a host and a path. `notes` say what it does not look at.
    """

    repositories: list[Repository]
    jobs: dict[tuple[str | None, str], UnfinishedJob]
    first_jobs: list[UnfinishedJob]
    model_id: int | None
    is_whole_project: bool
    counts: dict[tuple[int, str], LastCounts]
    notes: tuple[str, ...] = ()
    host: Host | None = None


@dataclass(frozen=True, slots=True)
class ProjectIndex:
    """What a project has, of which a request looks at some or all."""

    choices: Choices
    state: ProjectState

    def covered_by(self, selection: Selection) -> Coverage:
        return Coverage(
            selection.repositories,
            {job.place: job for job in self.state.jobs},
            selection.first_jobs,
            self.state.model_id,
            is_whole_project=len(selection.repositories) == len(self.choices.repositories),
            counts=self.state.counts,
            notes=() if selection.note is None else (selection.note,),
            host=self.choices.host,
        )


async def project_index(
    connection: AsyncConnection, schema: str, request: SearchRequest, identity: EmbedderIdentity
) -> ProjectIndex:
    state = await project_state.read(connection, schema, request.project_id, identity)
    known = await projects.list_repositories(connection) if state.has_schema else []
    return ProjectIndex(choices_of(known, state.jobs, request.host), state)


async def coverage_of(
    connection: AsyncConnection, schema: str, request: SearchRequest, identity: EmbedderIdentity
) -> Coverage:
    index = await project_index(connection, schema, request, identity)
    return index.covered_by(index.choices.for_request(request))


def nothing_indexed(coverage: Coverage, project_id: str) -> list[str]:
    """What to say of a project without a repository: an empty answer of it proves nothing."""
    if coverage.repositories or coverage.first_jobs:
        return []
    return [
        f"Nothing is indexed in project {project_id!r}. Index a repository first: start_indexing_background with its "
        "absolute path, or `codebase-mcp index PATH`."
    ]


async def freshness_of(coverage: Coverage) -> list[RepositoryFreshness]:
    host = coverage.host
    places = [*(one.place for one in coverage.repositories), *(job.place for job in coverage.first_jobs)]
    heads = await freshness.heads_of(places, host)
    return [
        *(
            freshness.freshness_of(
                item,
                coverage.jobs.get(item.place),
                heads.get(item.place),
                coverage.counts.get((item.id, item.path)),
                host=host,
            )
            for item in coverage.repositories
        ),
        *(freshness.freshness_of_first_job(job, heads.get(job.place), host=host) for job in coverage.first_jobs),
    ]
