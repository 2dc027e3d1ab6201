"""The tools that find things by name and by likeness, beside `search_code`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastmcp.tools import tool
from pydantic import Field

from codebase_mcp.search.models import SymbolAnswer
from codebase_mcp.server.tools import READS, ProjectId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codebase_mcp.service import Service

OnlyRepository = Annotated[str | None, Field(description="Only this repository: its name, path or id.")]
OnlyLanguage = Annotated[str | None, Field(description="Only this language, such as 'python'.")]
OnlyPaths = Annotated[str | None, Field(description="Only matching paths, such as 'src/**/*.ts'.")]
Budget = Annotated[
    int | None, Field(ge=200, le=100_000, description="Budget of the results in tokens; 6,000 by default.")
]


class SearchTools:
    """The tools of one server, bound to the service that does the work."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @tool(title="Find a definition by name", annotations=READS)
    async def find_symbol(
        self,
        *,
        name: Annotated[str, Field(description="A name, also qualified: 'Session', 'Session.get', 'a::b'.")],
        kind: Annotated[
            str | None, Field(description="Only this kind: function, method, class (any type), struct, constant …")
        ] = None,
        project_id: ProjectId = None,
        repository: OnlyRepository = None,
        language: OnlyLanguage = None,
        path_glob: OnlyPaths = None,
        limit: Annotated[int, Field(ge=1, le=50, description="Most definitions to return.")] = 20,
        max_tokens: Budget = None,
    ) -> SymbolAnswer:
        """Find where a function, class, method, constant or other named thing is defined: file, lines, signature.

        Use it when you know the name, or nearly; use search_code when you know what it does, or want to see where it
        is used. Exact names come first, then names that are equal but for case and underscores, then longer names
        that begin so; when there is none, misspelt ones (match tells which). Of a qualified name the last part must
        match, and definitions that belong to the rest come first. Definitions come before declarations, the code
        before its tests. An empty answer says in warnings what is spelt like it. freshness is that of search_code:
        with anything but "ready", a missing definition proves nothing.

        Example: {"name": "Session.get", "kind": "method"}

        Errors: VALIDATION_ERROR (blank name, unknown kind or language, limit not 1 to 50), PROJECT_NOT_FOUND (index a
        repository first), REPOSITORY_NOT_FOUND, DATABASE_STARTING, DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.find_symbol(
            name,
            kind=kind,
            project_id=project_id,
            repository=repository,
            language=language,
            path_glob=path_glob,
            limit=limit,
            max_tokens=max_tokens,
        )

    def all(self) -> Sequence[Callable[..., Any]]:
        return (self.find_symbol,)
