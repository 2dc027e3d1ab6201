"""Every failure of a tool as "CODE: what is wrong. what to do": never a traceback, never a library's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmcp.exceptions import FastMCPError, McpError, NotFoundError, ToolError
from fastmcp.exceptions import ValidationError as BadArgumentsError
from fastmcp.server.middleware import Middleware
from mcp.types import INVALID_PARAMS
from pydantic import ValidationError

from codebase_mcp.complaints import closest, explain_arguments
from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.jobs.upgrade import ProgramFiles
from codebase_mcp.logs import current_log_file, get_logger, log_incident
from codebase_mcp.server.lenient_arguments import without_absent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastmcp.server.middleware import CallNext, MiddlewareContext
    from fastmcp.tools.base import ToolResult
    from mcp.types import CallToolRequestParams

logger = get_logger(__name__)


async def _as_meant(context: MiddlewareContext[CallToolRequestParams]) -> MiddlewareContext[CallToolRequestParams]:
    """The call without the arguments that mean to be left out; of an unknown tool, as it is."""
    call, around = context.message, context.fastmcp_context
    tool = await around.fastmcp.get_tool(call.name) if around is not None and call.arguments else None
    if tool is None:
        return context
    arguments = without_absent(call.arguments or {}, tool.parameters)
    return context.copy(message=call.model_copy(update={"arguments": arguments}))


class FailureMapper(Middleware):
    """Turns whatever a tool call raises into one tool error, and a call of an unknown tool into a protocol error."""

    def __init__(self, arguments_of: Mapping[str, Sequence[str]]) -> None:
        """`arguments_of` maps each tool to its argument names."""
        self._arguments_of = arguments_of
        self._program_files = ProgramFiles()

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        try:
            return await call_next(await _as_meant(context))
        except McpError:
            raise  # a protocol-level answer, not a failure of the tool
        except NotFoundError as error:
            raise McpError(code=INVALID_PARAMS, message=self._unknown_tool(context.message.name)) from error
        except Exception as error:
            raise ToolError(self._sentence(context.message.name, error)) from error

    def _sentence(self, tool: str, error: Exception) -> str:
        # FastMCP wraps what a tool raises in errors of its own; the cause is what happened.
        cause = error.__cause__ if isinstance(error, FastMCPError) and error.__cause__ else error
        if isinstance(cause, CodebaseMcpError):
            logger.info("tool refused", tool=tool, code=cause.code, reason=cause.message)
            return str(cause)
        # A pydantic error of the tool's own body comes in another wrapper: that one is our bug, not the caller's.
        if isinstance(error, BadArgumentsError) and isinstance(cause, ValidationError):
            told = explain_arguments(cause, self._arguments_of[tool])
            return f"VALIDATION_ERROR: {told}. Correct the arguments of {tool} and call it again."
        return self._unexpected(tool, cause)

    def _unknown_tool(self, tool: str) -> str:
        names = tuple(self._arguments_of)
        return f"Unknown tool: {tool!r}{closest(tool, names)}. Call one of {', '.join(names)}."

    def _unexpected(self, tool: str, error: BaseException) -> str:
        if self._program_files.find_change():
            log_incident(error, "tool failed after a change of the program's files", tool=tool)
            return (
                "INTERNAL_ERROR: codebase-mcp was upgraded or removed while this server was running. Restart the"
                " server: reconnect it in the client, or restart the client. Indexing jobs are not affected."
            )
        incident = log_incident(error, "tool failed unexpectedly", tool=tool)
        where = current_log_file() or "the output of the server"
        return (
            f"INTERNAL_ERROR: something unexpected went wrong in {tool} (incident {incident}). "
            f"The details are in {where}; try again, and report them if it happens again."
        )
