"""Files made to be hard to parse, for every grammar. `benchmarks.bounds` measures what they cost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from codebase_mcp.indexing.language_table import ROWS

SEED = 11
CASES = Path(__file__).parents[1] / "tests" / "unit" / "definition_cases"
_BRACKETS = "([{"
_OPERATORS = ("+", "-", "*", "&&", "->", ".", ",", "?", ":", "|", "=>", "::", "<", "=")
_TOKENS = (
    *"()[]{}<>;:,.'\"`#@$%&|!?*+-=/\\~^",
    *("if", "else", "for", "while", "class", "struct", "def", "fn", "function", "let", "var", "begin", "end", "do"),
    *("=>", "->", "::", "<-", "/*", "*/", "//", "<!--", "-->", "#{", "${", '"""', "'''", "<?", "?>", "{%", "%}"),
    *("\n", "\n\n", "\t", " ", "a", "b", "x1", "Foo", "0", "1.5e3", "0xff", "true", "null", "SELECT", "FROM", "end."),
)


def nested(size: int, _random: random.Random) -> str:
    """Brackets that open and never close."""
    return ("([{" * size)[: size // 2] + "\n" + ("(\n" * size)[: size // 2]


def closed(size: int, _random: random.Random) -> str:
    """Brackets that open and close, as deep as the size allows."""
    depth = size // 4
    return "x = " + "(" * depth + "1" + ")" * depth + "\ny = " + "[" * depth + "1" + "]" * depth + "\n"


def chain(size: int, chance: random.Random) -> str:
    """One expression over the whole file, broken into short lines."""
    operator = chance.choice(_OPERATORS)
    return "x = " + f" {operator}\n  ".join(f"a{i}" for i in range(size // (len(operator) + 9))) + "\n"


def mixed_chain(size: int, chance: random.Random) -> str:
    parts = (f"a{i} {chance.choice(_OPERATORS)}\n" for i in range(size // 10))
    return "x = " + "".join(parts) + "1\n"


def generics(size: int, _random: random.Random) -> str:
    """What several grammars read in two ways: comparisons or arguments of types."""
    return ("f<a<b<(c)\n" * size)[: size - 1] + "\n"


def quotes(size: int, chance: random.Random) -> str:
    """Strings and comments that begin in one another."""
    marks = ('"', "'", "`", '"""', "/*", "<!--", "{-", "(*", "#|", "${", "\\", "$(")
    parts: list[str] = []
    length = 0
    while length < size:
        parts.append(chance.choice(marks) + "ab " + ("\n" if chance.random() < 0.3 else ""))
        length += len(parts[-1])
    return "".join(parts)[:size]


def noise(size: int, chance: random.Random) -> str:
    """Words and signs of many languages in no order."""
    parts: list[str] = []
    length = 0
    while length < size:
        parts.append(chance.choice(_TOKENS) + (" " if chance.random() < 0.7 else "\n"))
        length += len(parts[-1])
    return "".join(parts)[:size]


def table(size: int, _random: random.Random) -> str:
    """Strings without end, as generated sources have them."""
    return "x = {\n" + "".join(f'  "k{i:06}": "v{i * 7919:x}", \n' for i in range(size // 28)) + "}\n"


def numbers(size: int, _random: random.Random) -> str:
    return "int t[] = {\n" + "".join(f"{i}, {i * 7}, {i % 13},\n" for i in range(size // 17)) + "};\n"


def shuffled_case(case: str) -> Callable[[int, random.Random], str]:
    """A real source of the language, over and over, its lines in no order."""
    lines = case.splitlines(keepends=True) or ["\n"]

    def write(size: int, chance: random.Random) -> str:
        parts: list[str] = []
        length = 0
        while length < size:
            parts.append(chance.choice(lines))
            length += len(parts[-1])
        return "".join(parts)[:size]

    return write


KINDS: dict[str, Callable[[int, random.Random], str]] = {
    function.__name__: function
    for function in (nested, closed, chain, mixed_chain, generics, quotes, noise, table, numbers)
}


def extensions() -> Iterator[tuple[str, str]]:
    """Each grammar of the language table with an extension, or the name, of files that it reads."""
    seen: set[str] = set()
    for row in ROWS.strip().splitlines():
        name, _, grammar, suffixes, names, *_ = (cell.strip() for cell in row.split("|"))
        grammar = name if grammar == "=" else grammar
        if grammar == "-" or grammar in seen or not (suffixes or names):
            continue
        seen.add(grammar)
        yield grammar, f".{suffixes.split()[0]}" if suffixes else f"/{names.split()[0]}"


def write(folder: Path, size: int) -> int:
    """Writes one file of about that size for each grammar and kind; answers how many."""
    count = 0
    for grammar, ending in extensions():
        kinds = dict(KINDS)
        case = CASES / f"{grammar}.txt"
        if case.is_file():
            kinds["shuffled"] = shuffled_case(case.read_text("utf-8").partition("\n---")[0])
        for kind, make in kinds.items():
            path = folder / grammar / f"{kind}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(make(size, random.Random(f"{SEED}{grammar}{kind}")), "utf-8")
            count += 1
    return count
