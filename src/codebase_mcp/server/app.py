"""The MCP server: the tools over one service, whose life is the server's."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

# FastMCP reads its own settings when it is imported: never from a `.env` of the directory that an editor happens to
# start us in, and its log lines go through ours.
os.environ.setdefault("FASTMCP_ENV_FILE", os.devnull)
os.environ.setdefault("FASTMCP_LOG_ENABLED", "false")

from fastmcp import FastMCP
from fastmcp.tools import Tool

from codebase_mcp import __version__
from codebase_mcp.server.failures import FailureMapper
from codebase_mcp.server.search_tools import SearchTools
from codebase_mcp.server.tools import Tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codebase_mcp.service import Service

INSTRUCTIONS = """\
Search over code that is indexed on this machine. Nothing leaves it.

Ask search_code, in plain words or by identifier, before reading or grepping many files, and find_symbol for the place
where a name is defined; find_related for what belongs to a place that you know. If it says PROJECT_NOT_FOUND,
or list_repositories does not show the repository you work in, index it: index_repository for small ones,
start_indexing_background for anything larger, then get_job_status until it is completed. Committed files can be
searched while a job runs. When freshness says that the index is behind, start indexing again: only changed files are
read.

Errors begin with a code: VALIDATION_ERROR (correct the arguments), DATABASE_STARTING (try again in a few seconds),
JOB_NOT_FOUND, PROJECT_NOT_FOUND, REPOSITORY_NOT_FOUND, FILE_NOT_INDEXED, INVALID_STATUS, DATABASE_ERROR,
EMBEDDING_ERROR, INTERNAL_ERROR.
"""


def build_server(service: Service) -> FastMCP[None]:
    """A server whose lifespan launches and rehearses the service, without waiting for the database, and closes it."""

    @asynccontextmanager
    async def lifespan(_server: FastMCP[None]) -> AsyncIterator[None]:
        await service.launch()
        service.rehearse()
        try:
            yield
        finally:
            await service.close()

    # It logs every error of a tool with a traceback, the caller's mistakes included; the mapper logs what matters.
    logging.getLogger("fastmcp.server.server").setLevel(logging.CRITICAL)
    functions = [*Tools(service).all(), *SearchTools(service).all()]
    tools = [Tool.from_function(function) for function in functions]
    mapper = FailureMapper({tool.name: list(tool.parameters["properties"]) for tool in tools})
    return FastMCP(
        "codebase-mcp",
        instructions=INSTRUCTIONS,
        version=__version__,
        lifespan=lifespan,
        middleware=[mapper],
        tools=tools,
        mask_error_details=True,
    )
