"""A file that somebody names, absolute or below its repository's root, and why one is not in the index."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from codebase_mcp.errors import FileNotIndexedError, InvalidInputError
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.storage import search_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.storage.projects import Repository
    from codebase_mcp.storage.search_store import Fate

MAX_PATH_LENGTH = 4_096
SUGGESTIONS = 3


def check_path(file_path: str) -> None:
    """InvalidInputError for what cannot be a path."""
    if not file_path.strip():
        raise InvalidInputError("file_path is empty. Give a file, absolute or below its repository's root.")
    if "\0" in file_path or len(file_path) > MAX_PATH_LENGTH:
        raise InvalidInputError(
            f"file_path {file_path[:80]!r} is not a path: at most {MAX_PATH_LENGTH:,} characters and no NUL."
        )


async def locate(connection: AsyncConnection, corpus: Corpus, file_path: str, project_id: str) -> int:
    """The position of the file in the corpus; FileNotIndexedError says why it is not there, and what to do."""
    named = await asyncio.to_thread(_readings, file_path.strip())
    wanted = [place for path in named for place in _places(corpus.repositories, path)]
    found = [file for file, path in enumerate(corpus.paths) if (int(corpus.repository_of[file]), path) in set(wanted)]
    paths = {corpus.absolute_path(file): file for file in found}
    if len(paths) > 1:
        raise InvalidInputError(
            f"file_path {file_path!r} is in several repositories: {', '.join(sorted(paths))}. Give the absolute path."
        )
    if paths:
        return found[0]
    raise FileNotIndexedError(await _why_not(connection, corpus, file_path.strip(), named, project_id))


def _readings(file_path: str) -> list[str]:
    """What a path may mean: itself, and the real path of it from the working directory. Blocking."""
    path = os.path.expanduser(file_path)
    plain = os.path.normpath(path)
    return list(dict.fromkeys((plain, os.path.realpath(path))))


def _places(repositories: Sequence[Repository], path: str) -> list[tuple[int, str]]:
    """(number of the repository, relative path) for each repository in which the path may lie."""
    if not os.path.isabs(path):
        return [(number, path) for number in range(len(repositories))]
    roots = [(number, repository.path.rstrip("/") + "/") for number, repository in enumerate(repositories)]
    return [(number, path.removeprefix(root)) for number, root in roots if path.startswith(root)]


async def _why_not(
    connection: AsyncConnection, corpus: Corpus, file_path: str, readings: Sequence[str], project_id: str
) -> str:
    places = [place for path in readings for place in _places(corpus.repositories, path)]
    for number, relative_path in places:
        root = corpus.repositories[number].path
        fate = await search_store.fate_of_file(connection, project_id, root, relative_path)
        if fate is not None:
            return f"{root.rstrip('/')}/{relative_path} is not indexed: {_told(fate, root)}"
    if not places:
        known = ", ".join(repository.path for repository in corpus.repositories) or "none yet"
        return (
            f"file_path {file_path!r} is in none of the indexed repositories ({known}). Index its repository first: "
            "start_indexing_background with its absolute path, or `codebase-mcp index PATH`."
        )
    return f"file_path {file_path!r} is not in the index.{_namesakes(corpus, file_path)}{_how_to_index(readings)}"


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
