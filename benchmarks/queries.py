"""Queries that vary as those of users do: identifiers, qualified names, words, and questions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from codebase_mcp.domain import Definition
from codebase_mcp.indexing.terms import split_identifier

SEED = 20_240_607
SHORTEST_NAME = 4
QUESTIONS = (
    "how are cookies parsed from a request",
    "where is the configuration file read",
    "retry a failed connection with a delay",
    "convert a string into a date",
    "escape special characters in html",
    "solve a sparse system of linear equations",
    "walk a directory tree and skip ignored files",
    "parse command line arguments",
    "raise an error when the input is not valid",
    "compress data in blocks while writing",
    "find the minimum of a function without derivatives",
    "roll back a transaction after an exception",
    "cache the result of an expensive call",
    "read lines from a socket until it is closed",
    "format a number with thousands separators",
    "interpolate between points on a grid",
    "check that a user has the permission to do this",
    "schedule a callback on the event loop",
    "encode an object as json",
    "split text into tokens",
    "compute the hash of a file",
    "kill a subprocess after a timeout",
    "copy a file together with its metadata",
    "fast fourier transform of real input",
)


def varied_queries(definitions: Sequence[Definition], count: int) -> list[str]:
    """`count` queries, the same ones for the same definitions; none comes twice unless there are too few names."""
    chance = random.Random(SEED)
    named = sorted({(item.name, item.parent or "") for item in definitions if len(item.name) >= SHORTEST_NAME})
    chance.shuffle(named)
    distinct = list(dict.fromkeys(_one_after_another(named)))
    queries = list(islice(cycle(distinct), count))
    chance.shuffle(queries)
    return queries


def _one_after_another(named: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Questions while there are any, among them names in three forms by turns."""
    questions = iter(QUESTIONS)
    for number, (name, parent) in enumerate(named):
        if number % 8 == 0 and (question := next(questions, None)):
            yield question
        yield _in_form(number % 3, name, parent)
    yield from questions


def _in_form(form: int, name: str, parent: str) -> str:
    if form == 0:
        return name
    if form == 1 and parent:
        return f"{parent}.{name}"
    return " ".join([*split_identifier(parent), *split_identifier(name)])
