"""What an answer says of how current the index is: nothing, unless it changes what the reader should do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codebase_mcp.search.models import FileChanges, IndexCoverage, RepositoryFreshness

    Remedy = Callable[[Sequence[RepositoryFreshness]], str]
    """What to do about these repositories, in words that follow a semicolon."""

MOST_NAMED = 5
"""Repositories that one note names."""
NOTABLE_FAILURES = 0.01
"""The share of a repository's files that failed from which a missing result may be due to that."""


def freshness_notes(
    freshness: Sequence[RepositoryFreshness], remedy: Remedy, retry: Remedy = lambda _failed: ""
) -> list[str]:
    """A sentence for each thing that is wrong, with the repositories of which it is true.

    `remedy` says what brings an index up to date, `retry` what tries failed files again. Of a repository that was to be
    brought up to date before the search nothing is said: it is fresh, or a warning of the answer says why not.
    """
    return list(_notes([one for one in freshness if one.refresh is None], remedy, retry))


def _notes(freshness: Sequence[RepositoryFreshness], remedy: Remedy, retry: Remedy) -> Iterator[str]:
    if growing := [one for one in freshness if one.state == "indexing"]:
        yield f"Still being indexed: {_named(growing, _progress)}. Code that is missing here may not be indexed yet."
    if elsewhere := [one for one in freshness if one.state == "incomplete" and one.host is not None]:
        named = _named(elsewhere, lambda one: f"{_share(one)} on {one.host}")
        yield f"Index is incomplete: {named}. Only the host that has the tree can complete it."
    if incomplete := [one for one in freshness if one.state == "incomplete" and one.host is None]:
        missing = f"Code that is missing here may not be indexed; {remedy(incomplete)}"
        yield f"Index is incomplete: {_named(incomplete, _share)}. {missing}."
    ready = [one for one in freshness if one.state == "ready"]
    if changed := [one for one in ready if _changes(one)]:
        yield f"Index is behind: {_named(changed, _changes, '; ')}; {remedy(changed)}."
    if moved := [one for one in ready if _is_moved(one)]:
        named = _named(moved, lambda one: one.repository)
        yield f"Index may be behind: another commit is checked out in {named}; {remedy(moved)}."
    if failed := [one for one in ready if one.host is None and one.coverage and _is_notable(one.coverage)]:
        told = f"Could not be indexed: {_named(failed, _failures, '; ')}"
        yield f"{told}; {retry(failed)}." if retry(failed) else f"{told}."


def _named(
    repositories: Sequence[RepositoryFreshness],
    described: Callable[[RepositoryFreshness], str],
    separator: str = ", ",
) -> str:
    more = [f"{len(repositories) - MOST_NAMED} more"] if len(repositories) > MOST_NAMED else []
    return separator.join([*(described(one) for one in repositories[:MOST_NAMED]), *more])


def _progress(one: RepositoryFreshness) -> str:
    return f"{one.repository} ({one.progress_percentage or 0} %)"


def _share(one: RepositoryFreshness) -> str:
    known = [f"{one.coverage.files_indexed:,} of {one.coverage.files_found:,} files"] if one.coverage else []
    waits = [f"its job waits at {one.progress_percentage} %"] if one.progress_percentage is not None else []
    return f"{one.repository} ({', '.join(known + waits)})" if known or waits else one.repository


def _changes(one: RepositoryFreshness) -> str:
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


def _is_notable(coverage: IndexCoverage) -> bool:
    return coverage.files_failed > NOTABLE_FAILURES * coverage.files_found


def _failures(one: RepositoryFreshness) -> str:
    assert one.coverage is not None
    return f"{one.coverage.files_failed:,} of {one.coverage.files_found:,} files of {one.repository}"
