"""What a search covers: checks of the request, and the files that the filters let through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.complaints import unknown_value
from codebase_mcp.domain import Role
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.indexing.languages import canonical_language, closest_language
from codebase_mcp.lenient import is_absent
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.search.globs import glob_pattern, matching_files
from codebase_mcp.search.kinds import kind_name
from codebase_mcp.search.models import (
    MAX_LIMIT,
    MAX_OFFSET,
    MAX_TOKENS_RANGE,
    SearchRequest,
)
from codebase_mcp.search.query import Query

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN_VALUES = 8
COMMON_LANGUAGES = ("python", "typescript", "javascript", "go", "rust", "java", "c++", "c#")


def check_request(request: SearchRequest) -> None:
    """InvalidInputError with the value and the limit when the request cannot be answered."""
    if not request.query.strip():
        raise InvalidInputError("query is empty. Say what to look for, in words or as a symbol.")
    _check_range("limit", request.limit, 1, MAX_LIMIT)
    _check_range("offset", request.offset, 0, MAX_OFFSET)
    _check_range("max_tokens", request.max_tokens, *MAX_TOKENS_RANGE)
    if request.language is not None:
        language_name(request.language)
    if request.path_glob is not None:
        glob_pattern(request.path_glob)
    if request.kind is not None:
        kind_name(request.kind)
    if request.role is not None:
        role_named(request.role)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInputError(f"{name} is {value:,}; it must be from {least:,} to {most:,}.")


def language_name(language: str) -> str:
    """The canonical name of a language given by name, alias or extension."""
    found = canonical_language(language)
    if found is None:
        like = closest_language(language)
        others = f"Known are {', '.join(COMMON_LANGUAGES)} and many more, by name or by extension."
        hint = f"Did you mean {like!r}?" if like else others
        raise InvalidInputError(f"language {language[:80]!r} is not known. {hint} Leave it out to search all.")
    return found


def role_named(role: str) -> Role:
    """The role of that name; InvalidInputError with the known ones when there is none."""
    word = role.strip().lower()
    if word in set(Role):
        return Role(word)
    raise InvalidInputError(unknown_value("role", role, list(Role)))


def has_file_filters(request: SearchRequest) -> bool:
    """Whether the request leaves out some files of its repositories."""
    named = (request.language, request.path_glob, request.kind, request.role)
    return any(value is not None for value in named) or request.include_tests is False


def file_filters(corpus: Corpus, request: SearchRequest) -> dict[str, NDArray[np.bool_]]:
    """Which files each filter lets through, by the words of the request."""
    filters: dict[str, NDArray[np.bool_]] = {}
    if request.language is not None:
        filters[f"language {request.language!r}"] = corpus.languages == language_name(request.language)
    if request.path_glob is not None:
        matches = matching_files(corpus, request.path_glob)
        if matches.any() or not is_absent(request.path_glob):
            filters[f"path_glob {request.path_glob!r}"] = matches
    if request.role is not None:
        filters[f"role {request.role!r}"] = corpus.roles == role_named(request.role)
    if request.include_tests is False:
        filters["include_tests=false"] = corpus.roles != Role.TEST
    return filters


def allowed_files(corpus: Corpus, request: SearchRequest) -> NDArray[np.bool_] | None:
    """Which files the filters let through; None when there are no filters."""
    return all_of(file_filters(corpus, request))


def all_of(filters: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
    return np.logical_and.reduce(list(filters.values())) if filters else None


def nothing_matches(corpus: Corpus, filters: Mapping[str, NDArray[np.bool_]]) -> str:
    """Says of filters that let no file through which of them is to blame, and what there is instead."""
    of_all = f"none of the {corpus.file_count:,} files"
    alone = [name for name, mask in filters.items() if not mask.any()]
    if not alone:
        return f"{' and '.join(filters)} together match {of_all}, though each alone matches some. Leave one out."
    return " ".join(f"{name} matches {of_all}{_there_is(corpus, name)}." for name in alone)


def _there_is(corpus: Corpus, name: str) -> str:
    if name.startswith("path_glob"):
        return f"; paths are relative to the repository, such as {corpus.paths[0]!r}"
    values = {"language": corpus.languages, "role": corpus.roles}.get(name.partition(" ")[0])
    if values is None:
        return ""
    names, counts = np.unique(values, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:SHOWN_VALUES]
    return "; there are " + ", ".join(f"{names[place]} ({counts[place]:,})" for place in most)


def pushed_down_files(corpus: Corpus, request: SearchRequest, query: Query) -> NDArray[np.bool_]:
    """Which files are about the code rather than the code itself, unless just those are asked for."""
    is_asked = request.role is not None
    roles = set() if is_asked else {Role.TEST, Role.EXAMPLE, Role.DOCS} - query.asked_roles
    if request.include_tests:
        roles -= {Role.TEST, Role.EXAMPLE}
    return np.isin(corpus.roles, sorted(roles))
