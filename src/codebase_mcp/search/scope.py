"""What a search covers: checks of the request, the repositories meant, and the files that the filters let through."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.domain import Role
from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.indexing.languages import canonical_language, closest_language
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.search.models import MAX_GLOB_LENGTH, MAX_LIMIT, MAX_QUERY_LENGTH, MAX_TOKENS_RANGE, SearchRequest
from codebase_mcp.search.query import Query
from codebase_mcp.storage.projects import Repository

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ALTERNATIVES = 64
MAX_WILD_DIRECTORIES = 4
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_WILDCARD = re.compile(r"\*+|\?|\[[!^]?(?:\][^\]]*|[^\]]+)\]")


def check_request(request: SearchRequest) -> None:
    """InvalidInputError with the value and the limit when the request cannot be answered."""
    if not request.query.strip():
        raise InvalidInputError("query is empty. Say what to look for, in words or as a symbol.")
    if len(request.query) > MAX_QUERY_LENGTH:
        raise InvalidInputError(
            f"query has {len(request.query):,} characters, the limit is {MAX_QUERY_LENGTH:,}. Ask for the gist of it."
        )
    _check_range("limit", request.limit, 1, MAX_LIMIT)
    _check_range("max_tokens", request.max_tokens, *MAX_TOKENS_RANGE)
    if request.language is not None:
        language_name(request.language)
    if request.path_glob is not None:
        glob_pattern(request.path_glob)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInputError(f"{name} is {value:,}; it must be from {least:,} to {most:,}.")


def language_name(language: str) -> str:
    """The canonical name of a language given by name, alias or extension."""
    found = canonical_language(language)
    if found is None:
        nearest = closest_language(language)
        hint = f" Did you mean {nearest!r}?" if nearest else " Leave it out to search all languages."
        raise InvalidInputError(f"language {language!r} is not known.{hint}")
    return found


def find_repositories(
    wanted: str | int, repositories: Sequence[Repository], *, also_known: Sequence[str] = ()
) -> list[Repository]:
    """The repositories with this id, path or name; several may share a name.

    `also_known` are names and paths for which an empty answer is right: they are being indexed for the first time.
    """
    text = str(wanted).strip()
    if "\0" in text:
        raise InvalidInputError("repository contains a NUL character. Give its name, path or id.")
    found = [item for item in repositories if text in (str(item.id), item.path, item.name)]
    found = found or [item for item in repositories if item.path == os.path.realpath(os.path.expanduser(text))]
    found = found or [item for item in repositories if item.name.lower() == text.lower()]
    if found or text in also_known:
        return found
    names = ", ".join(f"{item.name} ({item.path})" for item in repositories) or "none yet"
    raise RepositoryNotFoundError(
        f"Repository {text!r} is not in this project. Indexed are: {names}. "
        "Index it with start_indexing_background, or `codebase-mcp index PATH`."
    )


def has_file_filters(request: SearchRequest) -> bool:
    """Whether the request leaves out some files of its repositories."""
    return request.language is not None or request.path_glob is not None or request.include_tests is False


def allowed_files(corpus: Corpus, request: SearchRequest) -> NDArray[np.bool_] | None:
    """Which files the filters let through; None when there are no filters."""
    masks = []
    if request.language is not None:
        masks.append(corpus.languages == language_name(request.language))
    if request.path_glob is not None:
        pattern = glob_pattern(request.path_glob)
        masks.append(np.array([pattern.match(path) is not None for path in corpus.paths], dtype=bool))
    if request.include_tests is False:
        masks.append(corpus.roles != Role.TEST)
    return np.logical_and.reduce(masks) if masks else None


def pushed_down_files(corpus: Corpus, request: SearchRequest, query: Query) -> NDArray[np.bool_]:
    """Which files are about the code rather than the code itself, unless just those are asked for."""
    roles = set() if query.asks_for_asides else {Role.TEST, Role.EXAMPLE, Role.DOCS}
    if request.include_tests:
        roles -= {Role.TEST, Role.EXAMPLE}
    return np.isin(corpus.roles, sorted(roles))


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A regular expression for a gitignore-like glob over relative paths.

    `*` and `?` stay within a name, `**` spans directories, `{a,b}` are alternatives. Without a slash it matches a
    name at any depth; what matches a directory matches everything below it.
    """
    if not glob.strip() or len(glob) > MAX_GLOB_LENGTH or glob.startswith("!"):
        raise _unusable_glob(glob)
    expressions = [_one_glob(alternative.strip()) for alternative in _alternatives(glob)]
    try:
        return re.compile("|".join(expressions), re.DOTALL)
    except re.error as error:
        raise _unusable_glob(glob) from error


def _unusable_glob(glob: str) -> InvalidInputError:
    return InvalidInputError(
        f"path_glob {glob[:80]!r} is not usable: use one like 'src/**/*.py'; the limit is {MAX_GLOB_LENGTH} letters."
    )


def _alternatives(glob: str) -> list[str]:
    done: list[str] = []
    waiting = [glob]
    while waiting:
        pattern = waiting.pop(0)
        braces = _BRACES.search(pattern)
        if braces is None:
            done.append(pattern)
        else:
            waiting += [pattern[: braces.start()] + part + pattern[braces.end() :] for part in braces[1].split(",")]
        if len(done) + len(waiting) > MAX_ALTERNATIVES:
            raise InvalidInputError(
                f"path_glob {glob!r} has more than {MAX_ALTERNATIVES} alternatives. Ask more simply."
            )
    return done


def _one_glob(glob: str) -> str:
    trimmed = glob.removeprefix("./").strip("/")
    segments = trimmed.split("/")
    if segments.count("**") > MAX_WILD_DIRECTORIES:
        raise InvalidInputError(f"path_glob {glob!r} has more than {MAX_WILD_DIRECTORIES} '**'. Ask more simply.")
    is_anchored = "/" in glob.removeprefix("./").rstrip("/")
    start = "" if is_anchored else "(?:.*/)?"
    parts = []
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        if segment == "**":
            parts.append(".*" if following is None else "(?:.*/)?")
        else:
            parts.append(_segment(segment) + ("" if following is None else "/"))
    return rf"(?:{start}{''.join(parts)}(?:/.*)?\Z)"


def _segment(segment: str) -> str:
    """One name. What follows a star is sought once and kept (an atomic group), so that matching stays linear."""
    pieces = [""]
    place = 0
    for wildcard in _WILDCARD.finditer(segment):
        pieces[-1] += re.escape(segment[place : wildcard.start()])
        place = wildcard.end()
        if wildcard[0].startswith("*"):
            pieces.append("")
        else:
            pieces[-1] += "[^/]" if wildcard[0] == "?" else _character_class(wildcard[0])
    pieces[-1] += re.escape(segment[place:])
    first, *rest = pieces
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}[^/]*{rest[-1]}"


def _character_class(text: str) -> str:
    inside = text[1:-1]
    negated = "^" if inside[:1] in ("!", "^") else ""
    members = inside[1:] if negated else inside
    escaped = members.replace("\\", "\\\\").replace("]", "\\]").replace("[", "\\[").replace("^", "\\^")
    return f"(?!/)[{negated}{escaped}]"
