"""Syntax trees. Grammars are loaded once per process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import tree_sitter_language_pack
from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser, Query, QueryCursor, Range, Tree

# Queries take quadratic time in the children of one error node. Where that many tokens fit no rule there is no syntax.
_MOST_CHILDREN_OF_AN_ERROR = 5_000

# Where a grammar leaves a script as raw text, and what it is written in. TypeScript reads JavaScript as well.
_SCRIPT_GRAMMAR = "typescript"
_SCRIPTS = {
    "astro": "(frontmatter_js_block) @script (script_element (raw_text) @script)",
    "html": "(script_element (raw_text) @script)",
    "svelte": "(script_element (raw_text) @script)",
    "vue": "(script_element (raw_text) @script)",
}

_LEADING_NODES = frozenset(
    {"decorator", "annotation", "attribute_item", "attribute_list", "signature", "haddock", "unary_operator"}
)


@dataclass(frozen=True, slots=True)
class SyntaxTree:
    """A parsed source. `scripts` are sources inside it (of a web page), by the byte at which they start."""

    source: bytes
    grammar: str
    root: Node
    scripts: dict[int, SyntaxTree] = field(default_factory=dict)

    def text_of(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def children(self, node: Node) -> Iterator[Node]:
        """The children of a node, those of a script in place of its raw text."""
        script = self.scripts.get(node.start_byte)
        cursor = (script.root if script and node.child_count == 0 else node).walk()
        follows = cursor.goto_first_child()
        while follows:
            if cursor.node is not None:
                yield cursor.node
            follows = cursor.goto_next_sibling()


@lru_cache(maxsize=256)
def grammar_named(name: str) -> Grammar:
    """The grammar of that name; LookupError when the language pack has none."""
    # The pack types a name as one of a fixed list of literals; ours come from a table.
    get_language: Callable[[Any], Grammar] = tree_sitter_language_pack.get_language
    return get_language(name)


def parse_text(text: str, grammar: str) -> SyntaxTree | None:
    """The tree of a text, or None when the grammar gets lost in it.

    Some grammars need hours or gigabytes for input nested or broken on purpose: call it where a process may be killed.
    """
    source = text.encode("utf-8", "surrogatepass")
    tree = _parse(source, grammar)
    if tree is None or _is_ruined(tree.root_node):
        return None
    scripts = _scripts(source, grammar, tree.root_node)
    return SyntaxTree(source, grammar, tree.root_node, scripts)


def last_row_of(node: Node) -> int:
    """The row of a node's last character: one that ends with its line feed ends on the row before."""
    row, column = node.end_point
    return row - 1 if column == 0 and row > node.start_point[0] else row


def belongs_to_next(node: Node) -> bool:
    """True for what is written above the thing it is about: comments, decorators, attributes, type signatures."""
    return node.type in _LEADING_NODES or "comment" in node.type


def _parse(source: bytes, grammar: str, ranges: Sequence[Range] = ()) -> Tree | None:
    parser = Parser(grammar_named(grammar))
    if ranges:
        parser.included_ranges = list(ranges)

    try:
        # Bytes, not a callable that reads: the binding never releases what a callable returns.
        return parser.parse(source, encoding="utf8")
    except ValueError:
        return None


def _is_ruined(root: Node) -> bool:
    waiting = [root] if root.has_error else []
    while waiting:
        node = waiting.pop()
        if node.is_error and node.child_count > _MOST_CHILDREN_OF_AN_ERROR:
            return True
        waiting += [child for child in node.named_children if child.has_error]
    return False


def _scripts(source: bytes, grammar: str, root: Node) -> dict[int, SyntaxTree]:
    if grammar not in _SCRIPTS:
        return {}
    query = Query(grammar_named(grammar), _SCRIPTS[grammar])
    scripts = {}
    for node in QueryCursor(query).captures(root).get("script", []):
        tree = _parse(source, _SCRIPT_GRAMMAR, [node.range])
        if tree is not None and not _is_ruined(tree.root_node):
            scripts[node.start_byte] = SyntaxTree(source, _SCRIPT_GRAMMAR, tree.root_node)
    return scripts
