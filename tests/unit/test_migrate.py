"""Servers that are too old are refused with what to do."""

from __future__ import annotations

import pytest

from codebase_mcp.errors import SchemaMismatchError
from codebase_mcp.storage.migrate import ServerFacts, require_known, require_supported
from codebase_mcp.storage.tables import CONTROL_SCHEMA


def test_the_oldest_supported_server_is_accepted() -> None:
    require_supported(ServerFacts("14.0", 140_000, None, "0.8.0"))


@pytest.mark.parametrize("vector", ["0.8.0", "0.8.5", "0.10.1", "1.0", "1"])
def test_newer_extensions_are_accepted(vector: str) -> None:
    require_supported(ServerFacts("18.4", 180_004, vector, vector))


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        (ServerFacts("13.9", 130_009, "0.8.0", "0.8.0"), "PostgreSQL 13.9.*14 or newer"),
        (ServerFacts("16.1", 160_001, None, None), "Install pgvector 0.8"),
        (ServerFacts("16.1", 160_001, None, "0.7.4"), "pgvector 0.7.4.*Upgrade it on the server"),
        (ServerFacts("16.1", 160_001, "0.7.4", "0.8.5"), "ALTER EXTENSION vector UPDATE"),
    ],
)
def test_a_server_that_is_too_old_is_refused_with_what_to_do(facts: ServerFacts, advice: str) -> None:
    with pytest.raises(SchemaMismatchError, match=advice):
        require_supported(facts)


def test_an_absent_schema_is_no_newer_one() -> None:
    require_known(CONTROL_SCHEMA, None)
