"""What a caller sent as a request: values that mean nothing left out, numbers within bounds, paths as paths."""

from __future__ import annotations

import os
from typing import Any

from codebase_mcp.domain import Host
from codebase_mcp.lenient import clamp, is_absent, local_path
from codebase_mcp.search.models import (
    MAX_LIMIT,
    MAX_OFFSET,
    MAX_QUERY_LENGTH,
    MAX_TOKENS_RANGE,
    Filters,
    SearchRequest,
)

_BOUNDS = {"limit": (1, MAX_LIMIT), "offset": (0, MAX_OFFSET), "max_tokens": MAX_TOKENS_RANGE}
_WORDS = frozenset({"language", "kind", "role"})
_EVERY_FILE = frozenset({"", ".", "*", "**"})


def normalized_request(
    query: str, project_id: str, here: str | None, filters: Filters, *, host: Host | None = None
) -> SearchRequest:
    """The request that is meant. Whether its values exist is for others to say, and what a repository is called."""
    given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    notes: list[str] = []
    for name, (least, most) in _BOUNDS.items():
        if name in given:
            given[name], warnings = clamp(name, given[name], least, most)
            notes += warnings
    for name in _WORDS & given.keys():
        if is_absent(given[name]):
            del given[name]
    if "path_glob" in given:
        given["path_glob"] = _glob(given["path_glob"], here)
    return SearchRequest(query=query, project_id=project_id, here=here, host=host, notes=tuple(notes), **given)


def cut_query(request: SearchRequest) -> SearchRequest:
    """The request with as much of its query as is searched for, and a note if that is not all of it."""
    query = request.query.strip()
    if len(query) <= MAX_QUERY_LENGTH:
        return request
    note = f"query cut to its first {MAX_QUERY_LENGTH:,} of {len(query):,} characters; the rest was not searched for."
    return request.model_copy(update={"query": query[:MAX_QUERY_LENGTH], "notes": (*request.notes, note)})


def _glob(glob: str, here: str | None) -> str | None:
    """A glob as one; None for what lets every file through. A word that means nothing may be a file's name as well."""
    text = local_path(glob)
    if "//" in text or {".", ".."} & set(text.split("/")):
        text = os.path.normpath(text)
    if text.startswith("../") and here is not None:
        text = os.path.normpath(os.path.join(here, text))
    return None if text.rstrip("/").strip("\"'` ") in _EVERY_FILE else text
