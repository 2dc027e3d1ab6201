"""The one place that reads the errors of the driver and turns them into ours."""

from __future__ import annotations

import errno

import asyncpg
import sqlalchemy as sa

from codebase_mcp.errors import (
    CodebaseMcpError,
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    SchemaMismatchError,
    StorageFullError,
)

_DISK_FULL = "53100"
_NO_SPACE = "No space left on device"

_TRANSIENT = {
    "0A000/cached": "a prepared statement outlived a change of the schema",
    "25006": "it is read-only at the moment",
    "25P03": "it ended a transaction that stood idle",
    "25P04": "it ended a transaction that took too long",
    "40001": "two transactions collided",
    "40P01": "two transactions waited for each other",
    "55P03": "a lock was not to be had in time",
    "57014": "a statement took too long",
    "57P01": "it is shutting down",
    "57P02": "it is restarting after a crash",
    "57P03": "it is starting",
    "57P05": "it ended an idle connection",
}
_TRANSIENT_CLASSES = {"08": "the connection broke", "53": "it is out of a resource"}

_LINK_STATES = ("08", "57P01", "57P02", "57P03")
_CONSTRAINT_STATES = frozenset({"23502", "23503", "23505", "23514", "23P01"})
_MISFIT_STATES = frozenset({"3F000", "42703", "42704", "42883", "42P01"})


def classify(error: BaseException) -> CodebaseMcpError | None:
    """Our error for one that the database, its driver or the link to it raised; None for anything else."""
    if isinstance(error, CodebaseMcpError):
        return None
    cause = _driver_error(error)
    if isinstance(cause, asyncpg.PostgresError):
        return _classify_state(cause)
    if _is_link_failure(cause):
        return unreachable(cause)
    if isinstance(cause, OSError):
        return StorageFullError() if cause.errno == errno.ENOSPC else None
    if isinstance(cause, (asyncpg.InterfaceError, sa.exc.SQLAlchemyError)):
        return DatabaseError(f"The database driver refused a statement: {_first_line(cause)}")
    return None


def is_broken_link(error: BaseException) -> bool:
    """Whether this error casts doubt on the other connections to the same server, too."""
    cause = _driver_error(error)
    if isinstance(cause, asyncpg.PostgresError):
        return str(cause.sqlstate).startswith(_LINK_STATES)
    return _is_link_failure(cause)


def unreachable(error: BaseException) -> DatabaseUnavailableError:
    """Our error for a connection that broke or could not be made."""
    return DatabaseUnavailableError(_unavailable(_link_reason(error)))


def _driver_error(error: BaseException) -> BaseException:
    """The driver's own error inside SQLAlchemy's two wrappers, or the error itself."""
    if not isinstance(error, sa.exc.DBAPIError):
        return error
    wrapped = error.orig or error
    return wrapped.__cause__ or wrapped


def _classify_state(error: asyncpg.PostgresError) -> CodebaseMcpError:
    state = str(error.sqlstate or "")
    if state == _DISK_FULL or _NO_SPACE in str(error):
        return StorageFullError()
    if state in _CONSTRAINT_STATES:
        return ConstraintViolatedError(getattr(error, "constraint_name", None))
    reason = _transient_reason(error, state)
    if reason:
        return DatabaseUnavailableError(_unavailable(f"{reason}: {_first_line(error)}"))
    if state in _MISFIT_STATES:
        return SchemaMismatchError(
            f"The tables of the database do not fit this program ({_first_line(error)})."
            " Restart codebase-mcp, so that it migrates them."
        )
    return DatabaseError(f"The database refused a statement ({state}): {_first_line(error)}")


def _transient_reason(error: asyncpg.PostgresError, state: str) -> str | None:
    if isinstance(error, asyncpg.exceptions.InvalidCachedStatementError):
        return _TRANSIENT["0A000/cached"]
    return _TRANSIENT.get(state) or _TRANSIENT_CLASSES.get(state[:2])


def _is_link_failure(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)
    if isinstance(error, OSError):  # TimeoutError and ConnectionError are kinds of it
        return isinstance(error, (TimeoutError, ConnectionError, FileNotFoundError)) or error.errno in _UNREACHABLE
    return isinstance(error, (asyncpg.InternalClientError, sa.exc.TimeoutError))


_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EPIPE})


def _link_reason(error: BaseException) -> str:
    if isinstance(error, sa.exc.TimeoutError):
        return "all its connections are busy"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return _first_line(error)


def _unavailable(reason: str) -> str:
    return (
        f"The database cannot be reached: {reason}. Check that it is running (`codebase-mcp doctor`), then try again."
    )


def _first_line(error: BaseException) -> str:
    """PostgreSQL's primary message; details and statements may hold source code and stay out."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
