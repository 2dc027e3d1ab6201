"""What can be wrong with a client's configuration file."""

from __future__ import annotations

from codebase_mcp.errors import CodebaseMcpError


class ClientConfigError(CodebaseMcpError):
    """A configuration file of a client cannot be edited; it was left as it is."""

    code = "VALIDATION_ERROR"


class ConfigParseError(ClientConfigError):
    """The file is not what its client could read; says where."""

    def __init__(self, complaint: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {complaint}")
