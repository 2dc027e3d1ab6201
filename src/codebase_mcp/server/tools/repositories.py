"""The tools that show and remove what is indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from codebase_mcp.answers import RemovedRepository, RepositoryList
from codebase_mcp.server.arguments import Confirmed, ProjectId
from codebase_mcp.server.registry import READS, STOPS, tool

if TYPE_CHECKING:
    from codebase_mcp.service import Service


class RepositoryTools:
    """Bound to the service that does the work."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @tool("List indexed repositories", READS, profiles=["search", "jobs"])
    async def list_repositories(self, project_id: ProjectId = None) -> RepositoryList:
        """What is indexed: each repository's path, state, commit and counts.

        Use it when a search finds nothing. state "incomplete" means: index it again.

        Example: {}
        """
        return await self._service.list_repositories(project_id=project_id)

    @tool("Remove a repository from the index", STOPS, profiles=["jobs"])
    async def remove_repository(
        self,
        repository: Annotated[str, Field(description="Name, path or id as listed.")],
        confirmed: Confirmed = False,
        project_id: ProjectId = None,
    ) -> RemovedRepository:
        """Delete a repository's index, never its files. Cancels its job first.

        Example: {"repository": "shop", "confirmed": true}
        """
        return await self._service.remove_repository(repository, confirmed=confirmed, project_id=project_id)
