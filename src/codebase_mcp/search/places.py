"""A file that somebody names, absolute or below its repository's root, and why one is not in the index."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.domain import Host
from codebase_mcp.errors import FileNotIndexedError, InvalidInputError
from codebase_mcp.lenient import local_path, real_path
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.storage import search_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.projects import Repository
    from codebase_mcp.storage.search_store import Fate

MAX_PATH_LENGTH = 4_096
SUGGESTIONS = 3
_LINE_BEHIND = re.compile(r"(?::\d+(?:-\d+|:\d+)?|#L\d+(?:-L?\d+)?)$")
"""As in `cart.py:42`, `cart.py:10-20`, `cart.py:42:7`, `cart.py#L42`."""


def check_path(file_path: str) -> None:
    """InvalidInputError for what cannot be a path."""
    if not file_path.strip():
        raise InvalidInputError("file_path is empty. Give a file, absolute or below its repository's root.")
    if "\0" in local_path(file_path) or len(file_path) > MAX_PATH_LENGTH:
        raise InvalidInputError(
            f"file_path {file_path[:80]!r} is not a path: at most {MAX_PATH_LENGTH:,} characters and no NUL."
        )


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path as it was given, and what it may mean: itself, its real path, and without a line behind it.

    Text answers write `shop: cart.py` where hits are of several repositories: `below` has such readings.
    """

    given: str
    readings: tuple[str, ...]
    below: tuple[tuple[str, str], ...] = ()

    @property
    def absolute(self) -> str | None:
        """None for a relative path."""
        return self.readings[0] if os.path.isabs(self.readings[0]) else None

    def places_in(self, corpus: Corpus) -> list[tuple[int, str]]:
        """(number of the repository, relative path) for each repository in which it may lie."""
        named = [
            (number, path)
            for number, repository in enumerate(corpus.repositories)
            for name, path in self.below
            if repository.name == name
        ]
        return named + [place for path in self.readings for place in _places(corpus.repositories, path)]


def read_path(file_path: str, here: str | None) -> FilePath:
    """Blocking. A relative path counts from a repository's root, or from `here`."""
    path = local_path(file_path)
    paths = dict.fromkeys((path, _LINE_BEHIND.sub("", path) or path))
    readings = [os.path.normpath(one) for one in paths]
    readings += [real_path(os.path.join(here or "/", one)) for one in paths if here is not None or os.path.isabs(one)]
    parts = [one.partition(": ") for one in paths]
    below = tuple((name, os.path.normpath(rest)) for name, colon, rest in parts if colon)
    return FilePath(file_path.strip(), tuple(dict.fromkeys(readings)), below)


def find_file(corpus: Corpus, path: FilePath, host: Host | None = None) -> int | None:
    """The position of the file in the corpus; InvalidInputError when the path leads to several files."""
    wanted = set(path.places_in(corpus))
    found = [file for file, own in enumerate(corpus.paths) if (int(corpus.repository_of[file]), own) in wanted]
    paths = {corpus.absolute_path(file) for file in found}
    if len(paths) > 1:
        raise InvalidInputError(
            f"file_path {path.given!r} is in several repositories: {', '.join(sorted(paths))}. Give the absolute path."
        )
    # A path is one of the caller's host, if that has it.
    return min(found, key=lambda file: corpus.host_of(file, host) is not None, default=None)


async def why_left_out(
    connection: AsyncConnection, corpus: Corpus, path: FilePath, project_id: str
) -> FileNotIndexedError | None:
    """Why a file that a job met is not in the index; None for one that no job has met."""
    for number, relative_path in path.places_in(corpus):
        repository = corpus.repositories[number]
        root = repository.path
        fate = await search_store.fate_of_file(connection, project_id, repository.host_id, root, relative_path)
        if fate is not None:
            return FileNotIndexedError(f"{root.rstrip('/')}/{relative_path} is not indexed: {_told(fate, root)}")
    return None


def not_indexed(corpus: Corpus, path: FilePath) -> FileNotIndexedError:
    """What to do about a file that no job has met."""
    if path.places_in(corpus):
        hint = f"{_namesakes(corpus, path.given)}{_how_to_index(path.readings)}"
        return FileNotIndexedError(f"file_path {path.given!r} is not in the index.{hint}")
    known = ", ".join(repository.path for repository in corpus.repositories) or "none yet"
    return FileNotIndexedError(
        f"file_path {path.given!r} is in none of the indexed repositories ({known}). Index its repository first: "
        "start_indexing_background with its absolute path, or `codebase-mcp index PATH`."
    )


def _places(repositories: Sequence[Repository], path: str) -> list[tuple[int, str]]:
    if not os.path.isabs(path):
        return [(number, path) for number in range(len(repositories))]
    roots = [(number, repository.path.rstrip("/") + "/") for number, repository in enumerate(repositories)]
    return [(number, path.removeprefix(root)) for number, root in roots if path.startswith(root)]


def _told(fate: Fate, root: str) -> str:
    if fate.state == "pending":
        return "its job has not come to it yet. Ask again when list_repositories says that the repository is ready."
    if fate.reason is not None:
        return f"it was {fate.state} ({fate.reason}). Nothing can be related to it."
    return f"it was removed from the index. Index {root} again: start_indexing_background."


def _namesakes(corpus: Corpus, file_path: str) -> str:
    name = file_path.rpartition("/")[2]
    alike = [path for path in corpus.paths if path.rpartition("/")[2] == name][:SUGGESTIONS]
    return f" Indexed files of that name: {', '.join(alike)}." if alike else ""


def _how_to_index(readings: Sequence[str]) -> str:
    if any(os.path.isfile(path) for path in readings):
        return (
            " It is new, or ignored by .gitignore or .mcpignore: start_indexing_background brings the index up to date."
        )
    return " Check the spelling; paths are absolute, or relative to the repository's root."
