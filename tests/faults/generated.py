"""A large repository of varied source that is the same on every machine: written in seconds from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Words = random.Random


def _listed(text: str) -> list[str]:
    return text.split()


_VERBS = _listed("load store merge split parse render check find build send receive lock release count sort open close")
_NOUNS = _listed(
    "order invoice customer shipment warehouse payment session account ledger catalogue basket discount report schedule"
    " message packet buffer index shard replica snapshot journal segment token grammar symbol request response header"
)
_QUALITIES = _listed(
    "pending active stale remote local cached nested ordered partial final shared private recent broken"
)


def generate(root: Path, files: int, seed: int = 1) -> Path:
    """Writes that many files below `root`, in folders of about twenty; half of them Python."""
    words = random.Random(seed)
    kinds = list(_KINDS.items())
    for number in range(files):
        suffix, write = kinds[words.randrange(len(kinds))] if number % 2 else (".py", _python)
        folder = root / f"{_NOUNS[number // 400 % len(_NOUNS)]}_{number // 400}" / f"part_{number // 20 % 20}"
        if number % 20 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{_name(words)}_{number}{suffix}").write_text(write(words, words.randint(1, 6)))
    return root


def _name(words: Words) -> str:
    return f"{words.choice(_QUALITIES)}_{words.choice(_NOUNS)}"


def _camel(words: Words) -> str:
    return "".join(part.title() for part in _name(words).split("_"))


def _sentence(words: Words) -> str:
    some = [words.choice((_VERBS, _NOUNS, _QUALITIES)[step % 3]) for step in range(words.randint(5, 14))]
    return " ".join(some).capitalize() + "."


def _python(words: Words, parts: int) -> str:
    lines = [f'"""{_sentence(words)}"""', "", f"from {_name(words)} import {_camel(words)}", ""]
    for _ in range(parts):
        verb, noun = words.choice(_VERBS), _name(words)
        lines += ["", f"def {verb}_{noun}(items: list[int], limit: int = {words.randint(1, 999)}) -> int:"]
        lines += [f'    """{_sentence(words)}"""', "    total = 0"]
        for _ in range(words.randint(1, 6)):
            lines += [f"    if len(items) > {words.randint(0, 99)}:", f"        total += {words.randint(1, 9)} * limit"]
        lines += ["    return total", ""]
    return "\n".join(lines)


def _typescript(words: Words, parts: int) -> str:
    lines = [f"import {{ {_camel(words)} }} from './{_name(words)}';", ""]
    for _ in range(parts):
        lines += [f"// {_sentence(words)}", f"export class {_camel(words)} {{"]
        for _ in range(words.randint(1, 4)):
            lines += [f"  {words.choice(_VERBS)}{_camel(words)}(limit: number): number {{"]
            lines += [f"    return limit * {words.randint(2, 99)};", "  }"]
        lines += ["}", ""]
    return "\n".join(lines)


def _go(words: Words, parts: int) -> str:
    lines = [f"package {words.choice(_NOUNS)}", ""]
    for _ in range(parts):
        name = f"{words.choice(_VERBS).title()}{_camel(words)}"
        lines += [f"// {name} {_sentence(words)}", f"func {name}(items []int) int {{", "\ttotal := 0"]
        lines += [
            f"\tfor _, item := range items {{ total += item * {words.randint(2, 99)} }}",
            "\treturn total",
            "}",
            "",
        ]
    return "\n".join(lines)


def _markdown(words: Words, parts: int) -> str:
    return "\n".join(f"## {_camel(words)}\n\n" + "\n".join(_sentence(words) for _ in range(4)) for _ in range(parts))


def _yaml(words: Words, parts: int) -> str:
    return "\n".join(f"{_name(words)}:\n  {words.choice(_NOUNS)}: {words.randint(1, 999)}" for _ in range(2 * parts))


_KINDS: dict[str, Callable[[Words, int], str]] = {
    ".py": _python,
    ".ts": _typescript,
    ".go": _go,
    ".md": _markdown,
    ".yaml": _yaml,
}
