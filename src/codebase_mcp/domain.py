"""The words of the system: plain, frozen values that every other module may name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_RUNNING_JOBS = 3
_MADE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
HOST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,100}")
PROJECT_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,255}")
INDEX_ID_LIMIT = 2**32 - 1
"""Chunk and file ids are stored in postings as unsigned 32-bit numbers."""


class JobStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobPhase(StrEnum):
    """What a running job is doing, in the order in which it does it."""

    QUEUED = "queued"
    DISCOVERING = "discovering"
    INDEXING = "indexing"
    FINISHING = "finishing"
    DONE = "done"


class FileState(StrEnum):
    """The fate of one captured file within one job; everything but `pending` is final."""

    PENDING = "pending"
    INDEXED = "indexed"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class Role(StrEnum):
    """What a file is for; decided from its path (and head) when it is indexed."""

    SOURCE = "source"
    TEST = "test"
    EXAMPLE = "example"
    DOCS = "docs"
    VENDORED = "vendored"
    GENERATED = "generated"


class PostingSpace(StrEnum):
    """What the ids of a postings row are: chunks for content, files for path words."""

    CHUNK = "chunk"
    STEM = "stem"
    DIRECTORY = "directory"


class FileStat(NamedTuple):
    """What the file system says of a file without its being read. None is unknown: rows of earlier versions lack it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None

    def matches(self, other: FileStat) -> bool:
        """Whether nothing that is known of both differs. A difference is a reason to read, not yet a change."""
        return self == other or all(
            mine == theirs or mine is None or theirs is None for mine, theirs in zip(self, other, strict=True)
        )


@dataclass(frozen=True, slots=True)
class DiscoveredFile:
    """One file found below a root. `skip_reason` is set when path or stat alone rule it out."""

    relative_path: str
    size_bytes: int
    mtime_ns: int
    skip_reason: str | None = None
    ctime_ns: int | None = None
    inode: int | None = None

    @property
    def stat(self) -> FileStat:
        return FileStat(self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)


@dataclass(frozen=True, slots=True)
class Definition:
    """A named thing that a file defines. Lines are 1-based and inclusive; `depth` 0 is the file's top level."""

    name: str
    kind: str
    start_line: int
    end_line: int
    depth: int
    parent: str | None
    is_declaration: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of whole lines. The contents of a file's chunks, in order, concatenate to the file."""

    ordinal: int
    start_line: int
    end_line: int
    kind: str
    symbol: str | None
    content: str


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """Everything the index keeps of one file. `headers[i]` is the text embedded for `chunks[i]`.

    With `parser_gave_up` the file was cut as plain text, without definitions.
    """

    relative_path: str
    size_bytes: int
    mtime_ns: int
    content_hash: bytes
    language: str
    role: Role
    chunks: tuple[Chunk, ...]
    headers: tuple[str, ...]
    definitions: tuple[Definition, ...]
    parser_gave_up: bool = False
    ctime_ns: int | None = None
    inode: int | None = None


@dataclass(frozen=True, slots=True)
class Postings:
    """Postings of several terms, flat: term `i` owns `ids[offsets[i]:offsets[i + 1]]`, and the same of `impacts`.

    `ids` are positions within the batch (uint32, ascending per term) until the store adds the base of the
    reserved id range; `impacts` are uint8, 1 to 255.
    """

    terms: tuple[str, ...]
    offsets: NDArray[np.int64]
    ids: NDArray[np.uint32]
    impacts: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """A captured file that was not parsed: unchanged, skipped or failed.

    A skipped one has a `content_hash` when it was its content that ruled it out.
    """

    relative_path: str
    state: FileState
    reason: str | None = None
    size_bytes: int = 0
    mtime_ns: int = 0
    ctime_ns: int | None = None
    inode: int | None = None
    content_hash: bytes | None = None

    @property
    def stat(self) -> FileStat:
        return FileStat(self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """What the process pool answers for one group of files.

    Ids in `postings[PostingSpace.CHUNK]` count the chunks of `files` in order; those of other spaces count `files`.
    """

    files: tuple[ParsedFile, ...]
    outcomes: tuple[FileOutcome, ...]
    postings: dict[PostingSpace, Postings]


@dataclass(frozen=True, slots=True)
class Host:
    """Where trees are and workers run. `id` tells hosts from each other, `name` is for people."""

    id: str
    name: str


NO_HOST = "no known host"


def host_label(host_id: str | None, name: str | None, own: Host | None) -> str | None:
    """What people call the host of a repository or job when it is not their own; None when it is."""
    if host_id == (None if own is None else own.id):
        return None
    if host_id is None:
        return NO_HOST
    # Who chose an identity chose a name for people as well; a made one says nothing to them.
    is_made = _MADE_ID.fullmatch(host_id) is not None
    if not is_made or not name:
        return host_id
    return name if own is None or name != own.name else f"{name} ({host_id[:8]})"


class Job(BaseModel):
    """One row of `indexing_jobs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID
    repository_id: int | None
    repo_path: str
    repo_name: str
    project_id: str
    host_id: str | None
    force_reindex: bool
    status: JobStatus
    phase: JobPhase
    progress_percentage: int
    progress_message: str
    files_total: int
    files_scanned: int
    files_indexed: int
    files_unchanged: int
    files_skipped: int
    files_failed: int
    chunks_created: int
    bytes_total: int
    bytes_done: int
    attempt: int
    slot: int | None
    worker_id: UUID | None
    host: str | None
    lease_expires_at: datetime | None
    retry_at: datetime | None
    fruitless_attempts: int
    error_message: str | None
    error_type: str | None
    error_traceback: str | None
    metadata: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    finished_at: datetime | None
    progressed_at: datetime | None
    measured_at: datetime | None
    recent_seconds: float
    recent_bytes: float
    recent_files: float

    @property
    def place(self) -> tuple[str | None, str]:
        """The host and the path of its repository."""
        return self.host_id, self.repo_path

    @property
    def files_done(self) -> int:
        return self.files_indexed + self.files_unchanged + self.files_skipped + self.files_failed


class JobEvent(BaseModel):
    """One row of the audit trail; never updated."""

    model_config = ConfigDict(frozen=True)

    event_type: str
    event_data: dict[str, Any]
    created_at: datetime
