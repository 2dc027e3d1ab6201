"""The queries that find definitions: one file per grammar in `queries/`, or one made up from the grammar itself.

A query captures, in tree-sitter's own query language,

- `@class`, `@function`, …: the extent of a definition of that kind (see KINDS), with `@name` on its name;
- `@function.declaration`: the same for what only announces it: a prototype, an ambient or abstract signature;
- `@scope`: what names the members inside it but is no definition itself (a Rust `impl`);
- `@import`: what only gives a local name to something from elsewhere, and is therefore no definition;
- `@body`: where the extent ends, in grammars that keep a signature and its body apart;
- `@owner`: the type to which a method belongs that is written outside of it (a Go receiver).

Of several patterns that match the same name on the same line the first one counts.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

from tree_sitter import Query, QueryError

from codebase_mcp.indexing.syntax import grammar_named

KINDS = frozenset({
    "class", "struct", "interface", "trait", "enum", "function", "method", "constructor", "type", "module",
    "namespace", "variable", "constant", "macro", "extension", "section",
})  # fmt: skip

_INHERITS = {
    "typescript": ("javascript",),
    "tsx": ("javascript", "typescript"),
    "cpp": ("c",),
    "arduino": ("c", "cpp"),
    "cuda": ("c", "cpp"),
    "objc": ("c",),
    "glsl": ("c",),
    "hlsl": ("c", "cpp"),
    "ispc": ("c",),
    "luau": ("lua",),
    "terraform": ("hcl",),
}

_GENERIC_NODE = re.compile(r"(\w+_)?(definition|declaration|item|statement|def|decl)")
_GENERIC_KINDS = {
    "class": "class", "contract": "class", "object": "class", "struct": "struct", "record": "struct",
    "interface": "interface", "protocol": "interface", "trait": "trait", "enum": "enum", "type": "type",
    "function": "function", "func": "function", "proc": "function", "procedure": "function", "subroutine": "function",
    "method": "method", "module": "module", "package": "module", "namespace": "namespace", "macro": "macro",
    "constant": "constant", "const": "constant",
}  # fmt: skip


@lru_cache(maxsize=256)
def definition_query(grammar: str) -> Query | None:
    """The query of a grammar; None when nothing in it is a definition."""
    sources = [_query_file(name) for name in (*_INHERITS.get(grammar, ()), grammar)]
    if any(sources):
        return Query(grammar_named(grammar), "\n".join(sources))
    return _generic_query(grammar)


def _query_file(grammar: str) -> str:
    path = resources.files("codebase_mcp.indexing") / "queries" / f"{grammar}.scm"
    return path.read_text("utf-8") if path.is_file() else ""


def _generic_query(grammar_name: str) -> Query | None:
    """Every node called a definition, declaration or item of a known kind that has a name."""
    grammar = grammar_named(grammar_name)
    node_types = {grammar.node_kind_for_id(i): i for i in range(grammar.node_kind_count)}
    patterns = []
    for node_type, node_id in node_types.items():
        if node_type and grammar.node_kind_is_named(node_id) and _GENERIC_NODE.fullmatch(node_type):
            patterns += _generic_patterns(grammar_name, node_type)
    return Query(grammar, "\n".join(patterns)) if patterns else None


def _generic_patterns(grammar_name: str, node_type: str) -> list[str]:
    kind = next((_GENERIC_KINDS[word] for word in node_type.split("_") if word in _GENERIC_KINDS), None)
    if kind is None:
        return []
    pattern = f"({node_type} name: (_) @name) @{kind}"
    try:
        Query(grammar_named(grammar_name), pattern)
    except QueryError:
        # The node has no name field, or never appears in a tree.
        return []
    return [pattern]
