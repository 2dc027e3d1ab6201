"""The tools that answer from the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from codebase_mcp.search.models import RelatedAnswer, SearchAnswer, SymbolAnswer
from codebase_mcp.server.arguments import (
    IncludeTests,
    Language,
    MaxTokens,
    Offset,
    PathGlob,
    ProjectId,
    Repository,
)
from codebase_mcp.server.registry import READS, tool
from codebase_mcp.server.text_answers import render_related, render_search, render_symbols

if TYPE_CHECKING:
    from codebase_mcp.service import Service

IN_FIRST_REQUEST = {
    "anthropic/alwaysLoad": True,
    "anthropic/searchHint": "search code, find where something is implemented, grep",
}
"""Claude Code keeps a server's tools behind a search of its own, save those that ask to be loaded at once."""


class SearchTools:
    """Bound to the service that does the work."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @tool("Search code", READS, profiles=["search"], render=render_search, meta=IN_FIRST_REQUEST)
    async def search_code(
        self,
        *,
        query: Annotated[str, Field(description="Question, identifier, error, trace or snippet.")],
        project_id: ProjectId = None,
        repository: Repository = None,
        language: Language = None,
        path_glob: PathGlob = None,
        kind: Annotated[str | None, Field(description="E.g. function, method, class, section.")] = None,
        role: Annotated[str | None, Field(description="source, test, example, docs, vendored or generated.")] = None,
        limit: Annotated[int, Field(description="Most files, up to 50.")] = 10,
        offset: Offset = 0,
        include_tests: IncludeTests = None,
        max_tokens: MaxTokens = None,
        require_fresh: Annotated[bool, Field(description="Index changed files first.")] = False,
        explain: Annotated[bool, Field(description="Show how hits were scored.")] = False,
    ) -> SearchAnswer:
        """Search indexed code by meaning, words or names; use it instead of grep, find and reading files.

        Answers with the best excerpt of each file that fits, most relevant first. Ask in plain words ("where are
        sessions invalidated"), by identifier, or paste an error, a stack trace or code. After edits set require_fresh.

        Example: {"query": "retry with backoff", "language": "python", "limit": 5}
        """
        return await self._service.search(
            query,
            project_id=project_id,
            repository=repository,
            language=language,
            path_glob=path_glob,
            kind=kind,
            role=role,
            limit=limit,
            offset=offset,
            include_tests=include_tests,
            max_tokens=max_tokens,
            require_fresh=require_fresh,
            explain=explain,
        )

    @tool("Find a definition by name", READS, profiles=["search"], render=render_symbols)
    async def find_symbol(
        self,
        *,
        name: Annotated[str, Field(description="Plain or qualified, e.g. Session.get.")],
        kind: Annotated[str | None, Field(description="E.g. function, class, constant.")] = None,
        project_id: ProjectId = None,
        repository: Repository = None,
        language: Language = None,
        path_glob: PathGlob = None,
        limit: Annotated[int, Field(description="Most definitions, up to 50.")] = 20,
        max_tokens: MaxTokens = None,
    ) -> SymbolAnswer:
        """Find where a function, class, method or constant is defined: file, lines, signature.

        Use it when you know the name, even misspelt, instead of grepping for "def name"; for uses, search_code.

        Example: {"name": "Session.get", "kind": "method"}
        """
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

    @tool("Find related code", READS, profiles=["search"], render=render_related)
    async def find_related(
        self,
        *,
        file_path: Annotated[str, Field(description="Absolute, or relative to its repository.")],
        line: Annotated[int, Field(description="Counted from 1.")],
        project_id: ProjectId = None,
        repository: Repository = None,
        language: Language = None,
        path_glob: PathGlob = None,
        limit: Annotated[int, Field(description="Most files, up to 50.")] = 10,
        include_tests: IncludeTests = None,
        max_tokens: MaxTokens = None,
    ) -> RelatedAnswer:
        """Find what belongs to a place in the code: what uses it, what it uses, what is like it.

        Use it before you change something, to see what else has to change.

        Example: {"file_path": "src/shop/cart.py", "line": 42}
        """
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
