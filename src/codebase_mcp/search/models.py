"""What is asked and what is answered. Field descriptions are the published documentation of `search_code`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from codebase_mcp.domain import Host

ContentForm = Literal["full", "lines", "signature", "location"]
SymbolMatch = Literal["exact", "folded", "prefix", "fuzzy"]
RepositoryState = Literal["ready", "indexing", "incomplete"]

MAX_QUERY_LENGTH = 20_000
MAX_GLOB_LENGTH = 500
MAX_LIMIT = 50
MAX_OFFSET = 2**31 - 1
DEFAULT_MAX_TOKENS = 6_000
MAX_TOKENS_RANGE = (200, 100_000)


class Filters(TypedDict, total=False):
    """What a search, whatever it is for, may be restricted by."""

    repository: str | int | None
    language: str | None
    path_glob: str | None
    kind: str | None
    role: str | None
    limit: int
    offset: int
    include_tests: bool | None
    max_tokens: int | None
    explain: bool


class SearchRequest(BaseModel):
    """One search within a project; the service checks the values and says what is wrong with them.

    `here` is the directory in which the caller works: a request that names no repository is about the one around it.
    `host` is the one whose directory that is, and whose repositories come first where a path is on several.
    `notes` are what the answer has to say of how the request was understood.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    project_id: str
    here: str | None = None
    host: Host | None = None
    notes: tuple[str, ...] = ()
    repository: str | int | None = None
    language: str | None = None
    path_glob: str | None = None
    kind: str | None = None
    role: str | None = None
    limit: int = 10
    offset: int = 0
    include_tests: bool | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    explain: bool = False

    @field_validator("max_tokens", mode="before")
    @classmethod
    def _by_default(cls, given: int | None) -> int:
        return DEFAULT_MAX_TOKENS if given is None else given


class SearchHit(BaseModel):
    model_config = ConfigDict(frozen=True)

    file_path: str = Field(description="Absolute path of the file.")
    start_line: int = Field(description="First line of the chunk, counted from 1.")
    end_line: int = Field(description="Last line of the chunk, inclusive.")
    symbol: str | None = Field(description="The definition that the chunk is mainly about.")
    kind: str = Field(
        description="What the chunk is: function, class, text and so on; under a filter by kind always that kind."
    )
    language: str
    content: str = Field(description="The chunk's text, or what the token budget left of it.")
    content_form: ContentForm = Field(
        description="full: the whole chunk; lines: its best lines; signature: one line; location: no text."
    )
    content_start_line: int = Field(description="The line of the file at which content starts.")
    score: float = Field(description="Comparable within one answer only; higher is better.")
    repository: str = Field(description="Name of the repository.")
    host: str | None = Field(default=None, description="The host that the file is on; null: this one.")


class IndexCoverage(BaseModel):
    """How much of what a repository holds can be found. Of a complete index the last three add up to the first."""

    model_config = ConfigDict(frozen=True)

    files_found: int = Field(description="Files that the last job found, those that it left out included.")
    files_indexed: int = Field(description="Files that can be found by a search now.")
    files_skipped: int = Field(description="Left out on purpose: binary, too large, secrets and so on.")
    files_failed: int = Field(description="Could not be indexed; get_job_status of the job says why.")


class FileChanges(BaseModel):
    """How the files on disk differ from those that were indexed, by name, size and content."""

    model_config = ConfigDict(frozen=True)

    modified: int = Field(description="Have another content than when they were read.")
    added: int | None = Field(description="New; null when the last job is no longer on record.")
    deleted: int = Field(description="Gone, or ignored now.")
    checked_at: datetime = Field(description="When the files were looked at.")


class Refresh(BaseModel):
    """How an index was brought up to date before the search."""

    model_config = ConfigDict(frozen=True)

    is_fresh: bool = Field(description="Whether every change that was saved before the call can be found.")
    message: str = Field(description="What was done; or why it is not fresh, and what to do.")
    job_id: UUID | None = Field(description="The job that brings it up to date; poll it with get_job_status.")


class RepositoryFreshness(BaseModel):
    """How far the index of one repository can be trusted."""

    model_config = ConfigDict(frozen=True)

    repository: str
    path: str
    host: str | None = Field(default=None, description="The host that its tree is on; null: this one.")
    state: RepositoryState = Field(
        description="ready; indexing (answers grow); incomplete (the last job failed, was cancelled, or waits)."
    )
    progress_percentage: int | None = Field(description="Of the job that is under way or waits.")
    indexed_commit: str | None = Field(description="The commit of the last completed job; null outside git.")
    head_commit: str | None = Field(description="The commit checked out now; changed_files says what it changes.")
    last_indexed_at: datetime | None
    coverage: IndexCoverage | None = Field(
        default=None, description="null: not known, as before files are listed and 7 days after the last job."
    )
    changed_files: FileChanges | None = Field(
        default=None, description="Changes since the index; null: not known, changed_files_unknown says why."
    )
    changed_files_unknown: str | None = None
    refresh: Refresh | None = Field(default=None, description="Of require_fresh; null without it.")


class Origin(BaseModel):
    """The chunk at the line that was asked about."""

    model_config = ConfigDict(frozen=True)

    file_path: str
    start_line: int
    end_line: int
    symbol: str | None
    kind: str
    repository: str
    host: str | None = None


class SymbolHit(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    qualified_name: str | None = Field(description="Behind what it is defined in or belongs to, where that is known.")
    match: SymbolMatch = Field(
        description="exact; folded: equal but for case and underscores; prefix: a longer name; fuzzy: a similar one."
    )
    kind: str = Field(description="function, method, class, struct, constant and so on.")
    file_path: str = Field(description="Absolute path of the file.")
    start_line: int = Field(description="First line of the definition, counted from 1.")
    end_line: int = Field(description="Last line of the definition, inclusive.")
    depth: int = Field(description="How many definitions are around it; 0 at the top level of the file.")
    is_declaration: bool = Field(description="True for what only announces it: a prototype, an abstract signature.")
    signature: str | None = Field(description="The line that names it; null when the token budget left it out.")
    language: str
    repository: str = Field(description="Name of the repository.")
    host: str | None = Field(default=None, description="The host that the file is on; null: this one.")


class RelatedAnswer(BaseModel):
    model_config = ConfigDict(frozen=True)

    origin: Origin = Field(description="The chunk at that line, to which the results are related.")
    results: list[SearchHit] = Field(description="Best first, at most one per file; the same file last.")
    total_count: int = Field(description="Files that were ranked, of which the best are returned: some dozens.")
    truncated: bool = Field(description="True when max_tokens shortened or left out results.")
    freshness: list[RepositoryFreshness] = Field(description="One entry for each searched repository.")
    warnings: list[str] = Field(description="What made this answer worse than it could be, and what to do.")
    latency_ms: float


class SymbolAnswer(BaseModel):
    model_config = ConfigDict(frozen=True)

    results: list[SymbolHit] = Field(description="Best first: by match, then main definitions before declarations.")
    total_count: int = Field(description="Definitions found, of which the best are returned; 2,000 of a match at most.")
    truncated: bool = Field(description="True when max_tokens shortened or left out results.")
    freshness: list[RepositoryFreshness] = Field(description="One entry for each searched repository.")
    warnings: list[str] = Field(description="What made this answer worse than it could be, and what to do.")
    latency_ms: float


class SearchAnswer(BaseModel):
    model_config = ConfigDict(frozen=True)

    results: list[SearchHit] = Field(description="Best first, at most one per file.")
    total_count: int = Field(
        description="Files that were ranked for this query, over all pages: the best by words, by meaning and by name, "
        "some dozens. Not the number of files that contain the words."
    )
    next_offset: int | None = Field(
        description="The offset that continues after these results; null when no candidate is left."
    )
    truncated: bool = Field(description="True when max_tokens shortened or left out results.")
    freshness: list[RepositoryFreshness] = Field(description="One entry for each searched repository.")
    warnings: list[str] = Field(description="What made this answer worse than it could be, and what to do.")
    latency_ms: float
    explanation: list[dict[str, float]] | None = Field(
        default=None,
        description="For each result what every signal adds to its score, the weightiest first; only with explain.",
    )
