"""The named things that a source defines: classes, functions, methods, types, top-level variables."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tree_sitter import Node, QueryCursor

from codebase_mcp.domain import Chunk, Definition
from codebase_mcp.indexing.definition_queries import KINDS, definition_query
from codebase_mcp.indexing.syntax import SyntaxTree, last_row_of

TYPE_KINDS = frozenset({"class", "struct", "interface", "trait", "enum"})
MAX_NAME_LENGTH = 200
MAX_DEPTH = 1_000
HEADER_NAMES = 12

_EXTENTS = KINDS | {"scope", "import"}
_METHOD_OWNERS = TYPE_KINDS | {"extension", "scope"}
_CALLABLES = frozenset({"function", "method", "constructor", "macro"})
_VALUES = frozenset({"variable", "constant"})
_NAME_SPACES = frozenset({"namespace", "module"})
_CONSTRUCTORS = {
    "python": "__init__",
    "javascript": "constructor",
    "typescript": "constructor",
    "tsx": "constructor",
    "php": "__construct",
    "ruby": "initialize",
}
_NAMED_LIKE_THEIR_CLASS = frozenset({"cpp", "cuda", "arduino"})
# Where the qualifier of a function's name is a class or object, not a namespace or schema.
_METHODS_OUTSIDE = _NAMED_LIKE_THEIR_CLASS | {"javascript", "typescript", "tsx", "lua", "luau", "pascal", "ruby"}

# Functions written as several equations in a row, each of which the grammar takes for a definition.
_EQUATIONAL = frozenset({"elixir", "erlang", "haskell", "purescript"})
# Dots and dashes are letters of a name here, not separators between its parts.
_UNDIVIDED = frozenset({
    "asm", "bash", "commonlisp", "elisp", "fish", "hcl", "latex", "make", "r", "racket", "scheme", "terraform",
})  # fmt: skip
_QUALIFIED = re.compile(r"(.+)(?:\.|::|\\|(?<!:):(?!:)|#)(~?\w[\w!?=]*|operator\W.*)", re.DOTALL)
_TEMPLATE_ARGUMENTS = re.compile(r"<[^<>]*>")
_NO_OWNERS = frozenset({"exports", "module.exports", "this", "self", "window", "global", "globalThis", "root"})


@dataclass(frozen=True, slots=True)
class _Found:
    """A match of a query, before it is known what encloses it. `pattern` is the match's rank among those of a line."""

    pattern: int
    start_byte: int
    end_byte: int
    start_line: int
    end_line: int
    kind: str
    is_declaration: bool
    name: str
    owner: str | None


def definitions_in(tree: SyntaxTree) -> tuple[Definition, ...]:
    """The definitions of a source and of the scripts inside it, in order of appearance.

    A definition's depth is the number of definitions around it, where namespaces and modules count for functions and
    variables only: a class of a namespace is at the top level. A method outside its type is as deep as one within.
    """
    found = _without_repetitions(_matches(tree))
    if tree.grammar in _EQUATIONAL:
        found = _with_equations_joined(found)
    own = _nested(found, tree.grammar)
    inner = [definition for script in tree.scripts.values() for definition in definitions_in(script)]
    return tuple(sorted((*own, *inner), key=_start_line)) if inner else own


def header_names(definitions: Sequence[Definition], chunk: Chunk) -> list[str]:
    """Names of the first definitions (in order of their lines) that start in a chunk, each once."""
    first = bisect_left(definitions, chunk.start_line, key=_start_line)
    end = bisect_right(definitions, chunk.end_line, lo=first, key=_start_line)
    return list(dict.fromkeys(definition.name for definition in definitions[first:end]))[:HEADER_NAMES]


def _start_line(definition: Definition) -> int:
    return definition.start_line


def _matches(tree: SyntaxTree) -> Iterator[_Found]:
    query = definition_query(tree.grammar)
    if query is None:
        return
    for pattern, captures in QueryCursor(query).matches(tree.root):
        label = next((label for label in captures if label.partition(".")[0] in _EXTENTS), None)
        if label is None or "name" not in captures:
            continue
        name, owner = _name_and_owner(tree, captures)
        if name:
            yield _found(pattern, captures, label, (name, owner))


def _found(pattern: int, captures: dict[str, list[Node]], label: str, names: tuple[str, str | None]) -> _Found:
    extent = captures[label][0]
    end = captures["body"][0] if "body" in captures else extent
    kind, _, qualifier = label.partition(".")
    name, owner = names
    if kind == "variable" and len(name) > 1 and name.isupper():
        kind = "constant"
    return _Found(
        pattern=pattern,
        start_byte=extent.start_byte,
        end_byte=end.end_byte,
        start_line=extent.start_point[0] + 1,
        end_line=last_row_of(end) + 1,
        kind=kind,
        is_declaration=qualifier == "declaration",
        name=name,
        owner=owner,
    )


def _name_and_owner(tree: SyntaxTree, captures: dict[str, list[Node]]) -> tuple[str, str | None]:
    """A definition's own name, and what a qualified one (`Parser::next`, `app.get`) says that it belongs to."""
    parts = (" ".join(tree.text_of(_innermost_declarator(node)).split()) for node in captures["name"])
    text = ".".join(part.strip("\"'`").lstrip("#$@:") for part in parts)
    owner = tree.text_of(captures["owner"][0])[:MAX_NAME_LENGTH] if "owner" in captures else None
    if tree.grammar in _UNDIVIDED:
        return text[:MAX_NAME_LENGTH], owner
    text = _without_arguments(text)
    qualified = _QUALIFIED.fullmatch(text)
    if not qualified:
        return text[:MAX_NAME_LENGTH], owner
    qualifier = qualified[1].removesuffix(".prototype")
    if owner is None and qualifier not in _NO_OWNERS:
        owner = qualifier[:MAX_NAME_LENGTH]
    return qualified[2][:MAX_NAME_LENGTH], owner


def _without_arguments(name: str) -> str:
    """`Box<T>::size` is called `Box::size`, and `operator int() const` is `operator int`."""
    plain, operator, symbol = name.partition("operator")
    while "<" in plain and (shorter := _TEMPLATE_ARGUMENTS.sub("", plain)) != plain:
        plain = shorter
    return plain + operator + (symbol.partition("(")[0] if symbol.startswith(" ") else symbol)


def _innermost_declarator(node: Node) -> Node:
    """C writes a name inside what is done with it: the name in `*f(int)` is `f`."""
    while node.type.endswith("_declarator"):
        inner = node.child_by_field_name("declarator") or next(iter(node.named_children), None)
        if inner is None:
            break
        node = inner
    return node


def _without_repetitions(found: Iterable[_Found]) -> list[_Found]:
    """Keep the first pattern's match of each name on each line, and of a variable its first assignment."""
    on_line: set[tuple[str, int]] = set()
    values: set[str] = set()
    kept = []
    for item in sorted(found, key=lambda item: (item.start_line, item.pattern)):
        is_value = item.kind in _VALUES
        if (item.name, item.start_line) in on_line or (is_value and item.name in values):
            continue
        on_line.add((item.name, item.start_line))
        if is_value:
            values.add(item.name)
        if item.kind != "import":
            kept.append(item)
    return sorted(kept, key=lambda item: (item.start_byte, -item.end_byte))


def _with_equations_joined(found: Iterable[_Found]) -> list[_Found]:
    joined: list[_Found] = []
    for item in found:
        last = joined[-1] if joined else None
        if last and (last.name, last.kind) == (item.name, item.kind) and last.end_byte <= item.start_byte:
            joined[-1] = replace(last, end_byte=item.end_byte, end_line=item.end_line)
        else:
            joined.append(item)
    return joined


def _nested(found: Iterable[_Found], grammar: str) -> tuple[Definition, ...]:
    definitions: list[Definition] = []
    around: list[_Found] = []
    for item in found:
        while around and around[-1].end_byte <= item.start_byte:
            around.pop()
        if item.kind != "scope":
            definitions.append(_placed(item, around, grammar))
        if item.kind != "type":
            around.append(item)
    return tuple(definitions)


def _placed(item: _Found, around: Sequence[_Found], grammar: str) -> Definition:
    innermost = around[-1] if around else None
    parent = item.owner or (innermost.name if innermost else None)
    kind = _kind(item, innermost, grammar)
    if kind == "method" and _is_constructor(item.name, parent, grammar):
        kind = "constructor"
    return Definition(
        name=item.name,
        kind=kind,
        start_line=item.start_line,
        end_line=item.end_line,
        depth=min(_depth(item, kind, around), MAX_DEPTH),
        parent=parent,
        is_declaration=item.is_declaration,
    )


def _kind(item: _Found, innermost: _Found | None, grammar: str) -> str:
    if item.kind != "function":
        return item.kind
    is_inside = innermost is not None and innermost.kind in _METHOD_OWNERS
    is_outside = item.owner is not None and grammar in _METHODS_OUTSIDE
    return "method" if is_inside or is_outside else "function"


def _is_constructor(name: str, parent: str | None, grammar: str) -> bool:
    if grammar in _NAMED_LIKE_THEIR_CLASS:
        return name == (parent or "").rpartition("::")[2]
    return name == _CONSTRUCTORS.get(grammar)


def _depth(item: _Found, kind: str, around: Sequence[_Found]) -> int:
    depth = sum(outer.kind not in _NAME_SPACES for outer in around)
    if kind in ("method", "constructor") and item.owner and depth == 0:
        return 1
    if kind in _CALLABLES | _VALUES and around and around[-1].kind == "module":
        return depth + 1
    return depth
