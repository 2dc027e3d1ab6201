"""The arguments that tools share: each description is written once, and clients pay for every word of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from codebase_mcp.domain import JobStatus


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


RepoPath = Annotated[str, Field(description="Absolute path of the repository.")]
RepositoryName = Annotated[str | None, Field(description="Name to show; else the folder's.")]
ProjectId = Annotated[str | None, Field(description="Project; else the configured one.")]
JobsProjectId = Annotated[str | None, Field(description="Only this project.")]
ForceReindex = Annotated[bool, Field(description="Read unchanged files too.")]
AllowLargeRoot = Annotated[bool, Field(description="Accept / or a home folder.")]
RetryFailed = Annotated[bool, Field(description="Retry unchanged files that failed.")]
WaitSeconds = Annotated[float, Field(description="0-25; 0 returns at once.")]
JobId = Annotated[UUID, Field(description="As the start returned it.")]
StatusFilter = Annotated[
    JobStatus | None,
    BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value),
    Field(description="Only this state."),
]
CreatedAfter = Annotated[
    Annotated[datetime, AfterValidator(_in_utc)] | None,
    Field(description="ISO 8601; UTC without a zone."),
]
Confirmed = Annotated[bool, Field(description="true only if the user wants it.")]

Repository = Annotated[str | None, Field(description='Its name or path; "*": all.')]
Language = Annotated[str | None, Field(description="E.g. python.")]
PathGlob = Annotated[str | None, Field(description="E.g. src/**/*.ts.")]
Offset = Annotated[int, Field(description="Results to skip.")]
IncludeTests = Annotated[bool | None, Field(description="true ranks tests as source, false drops them.")]
MaxTokens = Annotated[int | None, Field(description="Answer budget; 6000 by default.")]
