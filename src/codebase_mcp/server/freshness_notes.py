"""What an answer says of how current the index is: nothing, unless it changes what the reader should do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codebase_mcp.search.models import FileChanges, RepositoryFreshness

MOST_NAMED = 5
"""Repositories that one note names."""
NOTABLE_FAILURES = 0.01
"""The share of a repository's files that failed from which a missing result may be due to that."""


def freshness_notes(freshness: Sequence[RepositoryFreshness], remedy: str) -> list[str]:
    """A sentence for each thing that is wrong, with the repositories of which it is true.

    `remedy` says how to bring an index up to date. Of a repository that was to be brought up to date before the search,
    nothing is said: it is fresh, or a warning of the answer says why not.
    """
    return [note for note in _notes([one for one in freshness if one.refresh is None], remedy) if note]


def _notes(freshness: Sequence[RepositoryFreshness], remedy: str) -> Iterator[str]:
    ready = [one for one in freshness if one.state == "ready"]
    if growing := [_with_progress(one) for one in freshness if one.state == "indexing"]:
        yield f"Still being indexed: {_named(growing)}. Code that is missing here may not be indexed yet."
    if incomplete := [_with_share(one) for one in freshness if one.state == "incomplete"]:
        yield f"Index is incomplete: {_named(incomplete)}. Code that is missing here may not be indexed; {remedy}."
    if changed := [told for one in ready if (told := _changed(one))]:
        yield f"Index is behind: {_named(changed, '; ')}; {remedy}."
    if moved := [one.repository for one in ready if _is_moved(one)]:
        yield f"Index may be behind: another commit is checked out in {_named(moved)}; {remedy}."
    if failed := [told for one in ready if (told := _failed(one))]:
        yield f"Could not be indexed: {_named(failed, '; ')}."


def _named(names: Sequence[str], separator: str = ", ") -> str:
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return separator.join([*names[:MOST_NAMED], *more])


def _with_progress(one: RepositoryFreshness) -> str:
    return f"{one.repository} ({one.progress_percentage or 0} %)"


def _with_share(one: RepositoryFreshness) -> str:
    known = [f"{one.coverage.files_indexed:,} of {one.coverage.files_found:,} files"] if one.coverage else []
    waits = [f"its job waits at {one.progress_percentage} %"] if one.progress_percentage is not None else []
    return f"{one.repository} ({', '.join(known + waits)})" if known or waits else one.repository


def _changed(one: RepositoryFreshness) -> str:
    counts = _counts(one.changed_files) if one.changed_files else ""
    return f"{counts} in {one.repository}" if counts else ""


def _counts(changes: FileChanges) -> str:
    counts = {"modified": changes.modified, "added": changes.added or 0, "deleted": changes.deleted}
    total = sum(counts.values())
    told = ", ".join(f"{files:,} {change}" for change, files in counts.items() if files)
    return f"{told} {'file' if total == 1 else 'files'}" if total else ""


def _is_moved(one: RepositoryFreshness) -> bool:
    """Another commit says little: with the changed files counted, nothing."""
    return one.changed_files is None and one.head_commit not in (None, one.indexed_commit)


def _failed(one: RepositoryFreshness) -> str:
    if one.coverage is None or one.coverage.files_failed <= NOTABLE_FAILURES * one.coverage.files_found:
        return ""
    return f"{one.coverage.files_failed:,} of {one.coverage.files_found:,} files of {one.repository}"
