"""Addresses, vectors on the wire, and the reading of the driver's errors."""

from __future__ import annotations

import asyncio
import errno

import asyncpg
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from codebase_mcp.errors import (
    CodebaseMcpError,
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidInputError,
    LeaseLostError,
    SchemaMismatchError,
    StorageFullError,
)
from codebase_mcp.storage.address import driver_address
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.driver_errors import classify, is_broken_link
from codebase_mcp.storage.halfvec import encode_halfvec, halfvec_array, halfvec_bytes, halfvec_literal

# --- addresses ---


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"]
)
def test_every_spelling_of_the_scheme_is_understood(scheme: str) -> None:
    assert driver_address(f"{scheme}://u:p@host:5433/name") == ("postgresql://u:p@host:5433/name", None)


def test_options_only_libpq_knows_are_left_out_and_others_kept() -> None:
    dsn, _ = driver_address("postgresql://u@host/name?sslmode=require&connect_timeout=3&channel_binding=require")
    assert dsn == "postgresql://u@host/name?sslmode=require"


def test_a_socket_directory_is_passed_whole_whatever_characters_it_has() -> None:
    dsn, hosts = driver_address("postgresql+asyncpg://postgres@/codebase_mcp?host=/odd,%20name:1/run&port=5432")
    assert dsn == "postgresql://postgres@/codebase_mcp?port=5432"
    assert hosts == ["/odd, name:1/run"]


@pytest.mark.parametrize("url", ["mysql://u:hunter2@host/name", "hunter2", "postgresql://u:hunter2@host:port/name", ""])
def test_a_bad_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidInputError, match="database_url must look like") as caught:
        Database(url, application_name="test")
    assert "hunter2" not in str(caught.value)


# --- vectors ---

HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
MATRICES = arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=HALVES)


@given(MATRICES)
def test_vectors_survive_the_wire_format(vectors: np.ndarray) -> None:
    np.testing.assert_array_equal(halfvec_array(halfvec_bytes(vectors), vectors.shape[1]), vectors)


@given(MATRICES)
def test_the_text_form_says_the_same_as_the_wire_format(vectors: np.ndarray) -> None:
    assert encode_halfvec(halfvec_literal(vectors[0])) == halfvec_bytes(vectors[:1])[0]


def test_the_wire_format_is_pgvectors() -> None:
    assert halfvec_bytes(np.array([[1.0, -2.0]], dtype=np.float32)) == [b"\x00\x02\x00\x00\x3c\x00\xc0\x00"]


def test_no_vectors_have_no_bytes() -> None:
    assert halfvec_bytes(np.empty((0, 8), dtype=np.float32)) == []
    assert halfvec_array([], 8).shape == (0, 8)


def test_a_vector_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="6 bytes where 4"):
        halfvec_array(halfvec_bytes(np.zeros((1, 3), dtype=np.float32)), 2)


# --- errors ---


def raised(sqlstate: str, message: str = "primary message\nDETAIL: secret") -> asyncpg.PostgresError:
    error = asyncpg.PostgresError(message)
    error.sqlstate = sqlstate  # type: ignore[misc]
    return error


def wrapped(error: BaseException) -> sa.exc.DBAPIError:
    """As SQLAlchemy wraps the driver's errors: twice."""
    adapted = Exception("adapted")
    adapted.__cause__ = error
    return sa.exc.DBAPIError("SELECT secret", {}, adapted)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised("08006"), DatabaseUnavailableError),
        (raised("25P03"), DatabaseUnavailableError),
        (raised("40001"), DatabaseUnavailableError),
        (raised("40P01"), DatabaseUnavailableError),
        (raised("53300"), DatabaseUnavailableError),
        (raised("55P03"), DatabaseUnavailableError),
        (raised("57014"), DatabaseUnavailableError),
        (raised("57P01"), DatabaseUnavailableError),
        (raised("57P02"), DatabaseUnavailableError),
        (raised("57P03"), DatabaseUnavailableError),
        (asyncpg.exceptions.InvalidCachedStatementError("cached"), DatabaseUnavailableError),
        (asyncpg.InternalClientError("got result for unknown protocol state"), DatabaseUnavailableError),
        (asyncpg.InterfaceError("connection is closed"), DatabaseUnavailableError),
        (TimeoutError(), DatabaseUnavailableError),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), DatabaseUnavailableError),
        (ConnectionRefusedError(), DatabaseUnavailableError),
        (OSError(errno.EHOSTUNREACH, "No route to host"), DatabaseUnavailableError),
        (sa.exc.TimeoutError("QueuePool limit"), DatabaseUnavailableError),
        (raised("53100"), StorageFullError),
        (raised("58030", "could not extend file: No space left on device"), StorageFullError),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFullError),
        (raised("23505"), ConstraintViolatedError),
        (raised("23514"), ConstraintViolatedError),
        (raised("23503"), ConstraintViolatedError),
        (raised("42P01"), SchemaMismatchError),
        (raised("3F000"), SchemaMismatchError),
        (raised("42601"), DatabaseError),
        (raised("42501"), DatabaseError),
        (asyncpg.InterfaceError("another operation is in progress"), DatabaseError),
        (sa.exc.InvalidRequestError("closed transaction"), DatabaseError),
    ],
)
def test_an_error_of_the_database_becomes_ours(error: Exception, kind: type[CodebaseMcpError]) -> None:
    for seen in (error, wrapped(error)):
        ours = classify(seen)
        assert type(ours) is kind
        assert "secret" not in str(ours)


@pytest.mark.parametrize(
    "error", [ValueError("x"), LeaseLostError(), asyncio.CancelledError(), OSError(errno.EACCES, "x")]
)
def test_an_error_of_another_origin_is_left_alone(error: BaseException) -> None:
    assert classify(error) is None


def test_a_violated_constraint_is_named() -> None:
    error = raised("23505")
    error.constraint_name = "one_job_per_slot"
    ours = classify(wrapped(error))
    assert isinstance(ours, ConstraintViolatedError)
    assert ours.constraint == "one_job_per_slot"


@pytest.mark.parametrize(
    ("error", "is_broken"),
    [(raised("57P01"), True), (TimeoutError(), True), (raised("23505"), False), (LeaseLostError(), False)],
)
def test_only_an_error_of_the_link_casts_doubt_on_the_others(error: Exception, is_broken: bool) -> None:
    assert is_broken_link(wrapped(error)) is is_broken
