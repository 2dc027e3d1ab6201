"""The tools that find things by name and by likeness, beside `search_code`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastmcp.tools import tool
from pydantic import Field

from codebase_mcp.search.models import RelatedAnswer, SymbolAnswer
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

    @tool(title="Find related code", annotations=READS)
    async def find_related(
        self,
        *,
        file_path: Annotated[str, Field(description="A file of the index: absolute, or relative to its repository.")],
        line: Annotated[int, Field(ge=1, le=2**31 - 1, description="A line of it, counted from 1.")],
        project_id: ProjectId = None,
        repository: OnlyRepository = None,
        language: OnlyLanguage = None,
        path_glob: OnlyPaths = None,
        limit: Annotated[int, Field(ge=1, le=50, description="Most files to return.")] = 10,
        include_tests: Annotated[
            bool | None,
            Field(description="true ranks tests like other files, false leaves them out; null pushes them down."),
        ] = None,
        max_tokens: Budget = None,
    ) -> RelatedAnswer:
        """Find code that is related to a place you know: what else is about the same, uses it, or is used by it.

        Use it before a change, to see what belongs together, or to find other code like this. The chunk around the
        line (origin) is compared by what it is about and by the compound names in it (CookieJar, parse_header). One
        best excerpt per file, other files first, the rest of the same file last; tests, examples and prose are pushed
        down. freshness is that of search_code: with anything but "ready", a missing file proves nothing.

        Example: {"file_path": "src/shop/cart.py", "line": 42, "limit": 5}

        Errors: VALIDATION_ERROR (line past the end, path in several repositories, unknown language), FILE_NOT_INDEXED
        (says why, and how to index it), PROJECT_NOT_FOUND (index a repository first), REPOSITORY_NOT_FOUND,
        DATABASE_STARTING, DATABASE_ERROR.
        """
        await self._service.ready()
        return await self._service.find_related(
            file_path,
            line,
            project_id=project_id,
            repository=repository,
            language=language,
            path_glob=path_glob,
            limit=limit,
            include_tests=include_tests,
            max_tokens=max_tokens,
        )

    def all(self) -> Sequence[Callable[..., Any]]:
        return (self.find_symbol, self.find_related)
