from __future__ import annotations

from codebase_mcp.indexing.definition_queries import KINDS
from codebase_mcp.search.kinds import DEFINITION_KINDS, KNOWN_KINDS, definition_kinds, kind_name


def test_every_kind_of_definition_can_be_asked_for() -> None:
    assert DEFINITION_KINDS == KINDS
    assert all(kind_name(kind.upper()) == kind for kind in KNOWN_KINDS)


def test_a_kind_of_chunk_stands_for_the_definitions_that_are_cut_as_such() -> None:
    assert definition_kinds("class") == {"class", "struct", "interface", "trait", "enum", "type", "extension"}
    assert definition_kinds("method") == {"method", "constructor"}
    assert definition_kinds("struct") == {"struct"}
