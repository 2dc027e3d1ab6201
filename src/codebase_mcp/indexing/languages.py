"""Which language a file is written in, by its name, its extension and, where those leave doubt, its first lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, cast

from codebase_mcp.complaints import nearest
from codebase_mcp.indexing.language_table import ROWS

Category = Literal["code", "config", "markup", "prose"]


@dataclass(frozen=True, slots=True)
class Language:
    """`name` is what users filter by; one name may have several grammars, and `None` means that there is no grammar."""

    name: str
    grammar: str | None
    category: Category = "code"


@dataclass(frozen=True, slots=True)
class _Tables:
    by_extension: dict[str, Language]
    by_file_name: dict[str, Language]
    by_interpreter: dict[str, Language]
    by_name: dict[str, Language]
    canonical: dict[str, str]


def _read_rows(rows: str) -> _Tables:
    tables = _Tables({}, {}, {}, {}, {})
    for row in rows.strip().splitlines():
        name, category, grammar, *columns = (cell.strip() for cell in row.split("|"))
        resolved = {"-": None, "=": name}.get(grammar, grammar)
        language = Language(name, resolved, cast(Category, category))
        indexes = (tables.by_extension, tables.by_file_name, tables.by_interpreter)
        for index, cell in zip(indexes, columns, strict=False):
            for word in cell.split():
                index.setdefault(word, language)
        tables.by_name.setdefault(name, language)
        tables.canonical.update((word, name) for word in (name, *columns[-1].split()))
    return tables


_TABLES = _read_rows(ROWS)
TEXT = _TABLES.by_name["text"]

# What a template of a file adds behind its real extension.
_WRAPPERS = frozenset({"in", "example", "sample", "dist", "template", "orig", "bak", "default"})
_NAMED_BY_PREFIX = re.compile(r"(?i)(dockerfile|containerfile|makefile|jenkinsfile)[.\-_]")
_REQUIREMENTS = re.compile(r"(requirements|constraints)[\w.-]*\.(txt|in)$")
_SHEBANG = re.compile(r"#!\s*(\S+)(?:\s+(?:-\S+\s+)*(?:\w+=\S*\s+)*([\w.+-]+))?")


def is_code(name: str) -> bool:
    """Whether a language is one of programs, rather than of settings, markup or prose."""
    return _TABLES.by_name[name].category == "code"


def detect_language(relative_path: str, head: str) -> Language:
    """The language of a file; `head` is its beginning (500 characters do, 4,000 judge `.h` files better)."""
    file_name = relative_path.rsplit("/", 1)[-1]
    return _by_file_name(file_name) or _by_extension(file_name, head) or _by_head(head) or TEXT


def known_languages() -> tuple[str, ...]:
    """The names that a search can be filtered by, in alphabetical order."""
    return tuple(sorted(_TABLES.by_name))


def canonical_language(name: str) -> str | None:
    """The name this program uses for a language also called `ts`, `c++`, `.py` or `*.py`; None when unknown."""
    word = name.strip().lower().removeprefix("**/").removeprefix("*").removeprefix(".")
    if word in _TABLES.canonical:
        return _TABLES.canonical[word]
    language = _TABLES.by_extension.get(word)
    return language.name if language else None


def closest_language(name: str) -> str | None:
    """The known language whose name or alias is spelt nearly so; None when none is."""
    match = nearest(name, _TABLES.canonical)
    return None if match is None else _TABLES.canonical[match]


def language_named(name: str) -> Language:
    """The language of that canonical name, with its main grammar; KeyError when there is none."""
    return _TABLES.by_name[name]


def _by_file_name(file_name: str) -> Language | None:
    if language := _TABLES.by_file_name.get(file_name):
        return language
    if prefix := _NAMED_BY_PREFIX.match(file_name):
        return _TABLES.by_file_name[prefix[1].capitalize()]
    if _REQUIREMENTS.match(file_name):
        return _TABLES.by_name["requirements"]
    return None


def _by_extension(file_name: str, head: str) -> Language | None:
    suffixes = PurePosixPath(file_name).suffixes
    while suffixes and suffixes[-1][1:].lower() in _WRAPPERS:
        suffixes.pop()
    if not suffixes:
        return None
    extension = suffixes[-1][1:]
    if extension in ("C", "H"):
        return _TABLES.by_name["c++"]
    extension = extension.lower()
    if look := _AMBIGUOUS.get(extension):
        return _TABLES.by_name[look(head)]
    return _TABLES.by_extension.get(extension)


def _by_head(head: str) -> Language | None:
    if shebang := _SHEBANG.match(head):
        program = shebang[1].rsplit("/", 1)[-1]
        if program == "env":
            program = shebang[2] or ""
        # python3.11 → python
        return _TABLES.by_interpreter.get(re.sub(r"[\d.]+$", "", program.lower()))
    start = head.lstrip("\ufeff \t\r\n")[:20].lower()
    for prefix, name in (("<?xml", "xml"), ("<?php", "php"), ("<!doctype html", "html"), ("<html", "html")):
        if start.startswith(prefix):
            return _TABLES.by_name[name]
    return None


def _looks(default: str, *signs: tuple[str, str]) -> Callable[[str], str]:
    """Name the first language whose sign (a regular expression) is found in the head."""
    compiled = [(name, re.compile(sign, re.MULTILINE)) for name, sign in signs]
    return lambda head: next((name for name, sign in compiled if sign.search(head)), default)


_C_PLUS_PLUS = (
    r"^\s*(class|namespace|template|using|public:|private:|protected:|concept)\b|\bstd::|\bconstexpr\b|\bvirtual\b"
    r"|\bnoexcept\b|#\s*include\s*<[a-z_]+>|#\s*include\s*[<\"][\w/.]+\.h(pp|h|xx)[>\"]"
)
_OBJECTIVE_C = r"^\s*(@interface|@protocol|@class|@import|#import|NS_ASSUME)\b"
_COQ = r"^\s*(Require|From \S+ Require|Theorem|Lemma|Proof|Definition|Inductive)\b"
_AMBIGUOUS: dict[str, Callable[[str], str]] = {
    "h": _looks("c", ("objective-c", _OBJECTIVE_C), ("c++", _C_PLUS_PLUS)),
    "m": _looks("objective-c", ("matlab", r"^\s*%|^\s*function\b|^\s*classdef\b|\bend;?\s*$")),
    "v": _looks("verilog", ("v", r"^\s*(pub )?fn |^module \w+\s*$|^import \w+(\.\w+)*\s*$"), ("coq", _COQ)),
    "pl": _looks("perl", ("prolog", r"^\s*:-\s|^[a-z]\w*\(.*\)\s*:-")),
    "fs": _looks("f#", ("glsl", r"^\s*#version|\bgl_\w+|^\s*void main\s*\(")),
    "ts": _looks("typescript", ("xml", r"^\s*(<\?xml|<!DOCTYPE TS)")),
    "d": _looks("d", ("make", r"^\S+\.(o|lo|d|rlib|rmeta)\s*:")),
    "cls": _looks("apex", ("latex", r"^\s*(%|\\)"), ("basic", r"^VERSION \d|^Attribute VB_")),
    "cl": _looks("opencl", ("common lisp", r"^\s*(;|\(def|\(in-package)")),
    "pp": _looks("puppet", ("pascal", r"(?i)^\s*(unit|program|library)\s+\w+;")),
}
