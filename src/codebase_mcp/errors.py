"""Every error a user can meet, as one tree.

CodebaseMcpError
├── InvalidInputError            VALIDATION_ERROR
├── JobNotFoundError             JOB_NOT_FOUND
├── ProjectNotFoundError         PROJECT_NOT_FOUND
├── RepositoryNotFoundError      REPOSITORY_NOT_FOUND
├── FileNotIndexedError          FILE_NOT_INDEXED
├── InvalidStatusError           INVALID_STATUS
├── DatabaseError                DATABASE_ERROR
│   ├── DatabaseUnavailableError   (transient: gone, refusing, timed out)
│   ├── DatabaseStartingError      DATABASE_STARTING
│   ├── StorageFullError           (transient: disk full)
│   ├── DatabaseRemovedError       (the embedded database's directory was deleted)
│   ├── ConstraintViolatedError    (names the constraint)
│   └── SchemaMismatchError        (server, extension or schema too old or too new)
├── EmbeddingError               EMBEDDING_ERROR
│   └── EmbeddingUnavailableError  (transient: the embedding service is away)
├── ParsersUnavailableError      INTERNAL_ERROR    (transient: memory, processes, or an upgrade)
├── RepositoryUnreadableError    VALIDATION_ERROR  (fails the job, keeps the index)
└── LeaseLostError               INTERNAL_ERROR    (never leaves the worker)

The docstring of a class is its default message: what happened and what to do next.
"""

from __future__ import annotations


class CodebaseMcpError(Exception):
    """Something went wrong inside codebase-mcp; the log file has the details."""

    code = "INTERNAL_ERROR"
    is_transient = False
    """True when waiting may cure it: the job is blocked and tried again, not failed."""
    retry_after_seconds = 0.0
    """A transient error may know that trying again earlier is of no use."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or _default_message(type(self))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def while_waiting(self) -> str:
        """What a job that waits for better times says of itself."""
        return self.message


class InvalidInputError(CodebaseMcpError):
    """An argument is not valid."""

    code = "VALIDATION_ERROR"


class JobNotFoundError(CodebaseMcpError):
    """No such job. list_background_jobs shows those that exist; finished ones are kept for 7 days."""

    code = "JOB_NOT_FOUND"


class ProjectNotFoundError(CodebaseMcpError):
    """No such project. Index a repository into it first with start_indexing_background."""

    code = "PROJECT_NOT_FOUND"


class RepositoryNotFoundError(CodebaseMcpError):
    """No such repository in this project. list_repositories shows those that are indexed."""

    code = "REPOSITORY_NOT_FOUND"


class FileNotIndexedError(CodebaseMcpError):
    """This file is not in the index. Index its repository with start_indexing_background."""

    code = "FILE_NOT_INDEXED"


class InvalidStatusError(CodebaseMcpError):
    """The job is in a state that does not allow this."""

    code = "INVALID_STATUS"


class DatabaseError(CodebaseMcpError):
    """The database refused a statement; the log file has the details."""

    code = "DATABASE_ERROR"


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached. Check that it is running (`codebase-mcp doctor`), then try again."""

    is_transient = True


class DatabaseStartingError(DatabaseError):
    """The database is still starting. Try again in a few seconds."""

    code = "DATABASE_STARTING"
    is_transient = True


class StorageFullError(DatabaseError):
    """The disk that holds the database is full. Free some space; work goes on by itself."""

    is_transient = True


class DatabaseRemovedError(DatabaseError):
    """The data directory of the embedded database was deleted. Start the program again for an empty one."""


class ConstraintViolatedError(DatabaseError):
    """A constraint of the database was violated."""

    def __init__(self, constraint: str | None, message: str | None = None) -> None:
        self.constraint = constraint
        super().__init__(message or f"constraint {constraint} was violated")


class SchemaMismatchError(DatabaseError):
    """The database's version, extension or schema does not fit this program."""


class EmbeddingError(CodebaseMcpError):
    """The embedding model gave an unusable answer."""

    code = "EMBEDDING_ERROR"


class EmbeddingUnavailableError(EmbeddingError):
    """The embedding service cannot be reached. Start it; jobs that wait for it go on by themselves."""

    is_transient = True

    def __init__(self, service: str, reason: str, *, retry_after_seconds: float = 0.0) -> None:
        self.service = service
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(
            f"the embedding service at {service} cannot be used at the moment ({reason}). "
            "Check that it runs (`codebase-mcp doctor`); jobs that wait for it go on by themselves."
        )

    @property
    def while_waiting(self) -> str:
        return f"waiting for the embedding service at {self.service} ({self.reason})"


class ParsersUnavailableError(CodebaseMcpError):
    """No process for parsing can be started: the machine is out of memory or processes, or the program was removed. The
    job goes on by itself when that is over; logs/worker-output.log may say more."""

    is_transient = True


class RepositoryUnreadableError(CodebaseMcpError):
    """The repository cannot be read. Its index is kept as it was."""

    code = "VALIDATION_ERROR"


class LeaseLostError(CodebaseMcpError):
    """This worker no longer owns the job: it was cancelled or taken over."""


def _default_message(error: type[CodebaseMcpError]) -> str:
    import inspect  # slow to import, and most errors bring a message of their own

    return inspect.cleandoc(error.__doc__ or "")
