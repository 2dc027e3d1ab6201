"""The one place that reads the errors of the driver and turns them into ours."""

from __future__ import annotations

import errno
import socket
import ssl

import asyncpg
import sqlalchemy as sa

from codebase_mcp.errors import (
    CodebaseMcpError,
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidInputError,
    SchemaMismatchError,
    StorageFullError,
)

_DISK_FULL = "53100"
_NO_PRIVILEGE = "42501"
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

_TLS_ADVICE = "Correct sslmode and sslrootcert in database_url, or the server's TLS settings."
_REFUSALS = {
    "28P01": "Correct the user or the password in database_url.",
    "28000": "Correct user, host or sslmode in database_url, or let this user in by the server's pg_hba.conf.",
    "3D000": "Correct the name in database_url, or create the database.",
    "42501": "Grant this role CONNECT on the database.",
    "42704": "Correct what follows the question mark in database_url.",
    "22023": "Correct what follows the question mark in database_url.",
    "42602": "Correct what follows the question mark in database_url.",
}
_PRIVILEGES = (
    "codebase-mcp needs CREATE on the database (GRANT CREATE ON DATABASE name TO role) and its own schemas,"
    " codebase_mcp and cb_proj_…: connect as the role that owns them, or make this role their owner."
)
_SHARED_MEMORY = "shared memory segment"
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


class SettingsRefusedError(DatabaseError):
    """The connection was refused for the settings that were sent along; without them it may be granted."""


def explain_refusal(error: BaseException, *, is_with_settings: bool = False) -> CodebaseMcpError:
    """Our error for one that was met while connecting: mostly, something in the address has to be corrected."""
    line = _first_line(error)
    if is_with_settings and isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in line:
        return SettingsRefusedError(f"The database refused the connection: {line}.")
    if isinstance(error, ssl.SSLError):
        return DatabaseError(f"The database's TLS certificate was not accepted: {line}. {_TLS_ADVICE}")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return InvalidInputError(f"database_url is not usable: {line}. Correct it.")
    advice = _REFUSALS.get(str(error.sqlstate)) if isinstance(error, asyncpg.PostgresError) else None
    if advice is None and "rejected SSL upgrade" in line:
        advice = f"The server does not speak TLS. {_TLS_ADVICE}"
    if advice is not None:
        return DatabaseError(f"The database refused the connection: {line}. {advice}")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return DatabaseUnavailableError(f"No server of database_url is what its target_session_attrs asks for: {line}.")
    return classify(error) or unreachable(error)


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
    if (state == _DISK_FULL or _NO_SPACE in str(error)) and _SHARED_MEMORY not in str(error):
        return StorageFullError()
    if state in _CONSTRAINT_STATES:
        return ConstraintViolatedError(getattr(error, "constraint_name", None))
    reason = None if _SHARED_MEMORY in str(error) else _transient_reason(error, state)
    if reason:
        return DatabaseUnavailableError(_unavailable(f"{reason}: {_first_line(error)}"))
    if state in _MISFIT_STATES:
        return SchemaMismatchError(
            f"The tables of the database do not fit this program ({_first_line(error)})."
            " Restart codebase-mcp, so that it migrates them."
        )
    return DatabaseError(_refused_statement(error, state))


def _refused_statement(error: asyncpg.PostgresError, state: str) -> str:
    line = _first_line(error)
    if _SHARED_MEMORY in line:
        return (
            f"The database server is short of shared memory, not of disk: {line}. Give its container more"
            " (docker run --shm-size=256m), or set dynamic_shared_memory_type = mmap in postgresql.conf."
        )
    if state == _NO_PRIVILEGE:
        return f"The role of database_url lacks a privilege: {line}. {_PRIVILEGES}"
    return f"The database refused a statement ({state}): {line}"


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
    if isinstance(error, socket.gaierror):
        return f"the host in database_url has no address ({error.strerror})"
    return _first_line(error)


def _unavailable(reason: str) -> str:
    return (
        f"The database cannot be reached: {reason}. Check that it is running (`codebase-mcp doctor`), then try again."
    )


def _first_line(error: BaseException) -> str:
    """PostgreSQL's primary message; details and statements may hold source code and stay out."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
