"""Servers that are too old are refused with what to do."""

from __future__ import annotations

import pytest

from codebase_mcp.errors import SchemaMismatchError
from codebase_mcp.storage.migrate import ServerFacts, require_known, require_supported
from codebase_mcp.storage.tables import CONTROL_SCHEMA


def facts(version: str, number: int, vector: str | None, available: str | None, encoding: str = "UTF8") -> ServerFacts:
    return ServerFacts(version, number, vector, available, encoding, is_standby=False, is_read_only=False)


def test_the_oldest_supported_server_is_accepted() -> None:
    require_supported(facts("14.0", 140_000, None, "0.8.0"))


@pytest.mark.parametrize("vector", ["0.8.0", "0.8.5", "0.10.1", "1.0", "1"])
def test_newer_extensions_are_accepted(vector: str) -> None:
    require_supported(facts("18.4", 180_004, vector, vector))


@pytest.mark.parametrize(
    ("server", "advice"),
    [
        (facts("13.9", 130_009, "0.8.0", "0.8.0"), "PostgreSQL 13.9.*14 or newer"),
        (facts("16.1", 160_001, None, None), "Install pgvector 0.8"),
        (facts("16.1", 160_001, None, "0.7.4"), "pgvector 0.7.4.*Upgrade it on the server"),
        (facts("16.1", 160_001, "0.7.4", "0.8.5"), "ALTER EXTENSION vector UPDATE"),
        (facts("16.1", 160_001, "0.8.5", "0.8.5", "LATIN1"), "encoding LATIN1.*createdb --encoding=UTF8"),
        (facts("16.1", 160_001, "0.8.5", "0.8.5", "SQL_ASCII"), "encoding SQL_ASCII"),
    ],
)
def test_a_server_that_does_not_fit_is_refused_with_what_to_do(server: ServerFacts, advice: str) -> None:
    with pytest.raises(SchemaMismatchError, match=advice):
        require_supported(server)


def test_an_absent_schema_is_no_newer_one() -> None:
    require_known(CONTROL_SCHEMA, None)
