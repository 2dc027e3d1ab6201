"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

ProjectOption = Annotated[
    str | None,
    Parameter(help="Project; else .codebase-mcp/config.json, then the setting project_id."),
]
JsonOption = Annotated[bool, Parameter(help="Print the answer as JSON.", negative=())]
YesOption = Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.", negative=())]
