"""How old an index is: the state of each repository, and the commit that is checked out now."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from codebase_mcp.detached_threads import run_detached
from codebase_mcp.domain import NO_HOST, Host, host_label
from codebase_mcp.search.models import IndexCoverage, RepositoryFreshness, RepositoryState
from codebase_mcp.storage.project_state import LastCounts, UnfinishedJob
from codebase_mcp.storage.projects import Repository

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = re.compile(r"refs/(?:(?!\.\.)[^\x00-\x20\x7f~^:?*\[\\])+")
HEADS_SECONDS = 1.0
_SMALL_FILE_BYTES = 4_096
_PACKED_REFS_BYTES = 8_000_000


def freshness_of(
    repository: Repository,
    job: UnfinishedJob | None,
    head: str | None,
    counts: LastCounts | None = None,
    *,
    host: Host | None = None,
) -> RepositoryFreshness:
    """What an answer says of one indexed repository; `host` is the one that asks."""
    elsewhere = host_label(repository.host_id, repository.host_name, host)
    return RepositoryFreshness(
        repository=repository.name,
        path=repository.path,
        host=elsewhere,
        changed_files_unknown=None if elsewhere is None else f"The tree is on {on_host(elsewhere)}.",
        state=_state(job, is_complete=repository.is_complete),
        progress_percentage=_percentage(job),
        indexed_commit=repository.indexed_commit,
        head_commit=head,
        last_indexed_at=repository.last_indexed_at,
        coverage=_coverage(repository, counts),
    )


def freshness_of_first_job(job: UnfinishedJob, head: str | None, *, host: Host | None = None) -> RepositoryFreshness:
    """What an answer says of a repository that has a job but no index yet."""
    return RepositoryFreshness(
        repository=job.repo_name,
        path=job.repo_path,
        host=host_label(job.host_id, job.host_name, host),
        state=_state(job, is_complete=False),
        progress_percentage=_percentage(job),
        indexed_commit=None,
        head_commit=head,
        last_indexed_at=None,
    )


def _state(job: UnfinishedJob | None, *, is_complete: bool) -> RepositoryState:
    """A job that nobody works on may never go on: what it has left to do must not be taken for being under way."""
    if job is not None:
        return "indexing" if job.is_advancing else "incomplete"
    return "ready" if is_complete else "incomplete"


def _coverage(repository: Repository, counts: LastCounts | None) -> IndexCoverage | None:
    if counts is None:
        return None
    return IndexCoverage(
        files_found=counts.files_total,
        files_indexed=repository.file_count,
        files_skipped=counts.files_skipped,
        files_failed=counts.files_failed,
    )


def _percentage(job: UnfinishedJob | None) -> int | None:
    return job.progress_percentage if job is not None and job.is_active else None


def on_host(label: str) -> str:
    """`host build-1`, `no known host`."""
    return label if label == NO_HOST else f"host {label}"


async def heads_of(
    places: Iterable[tuple[str | None, str]], host: Host | None
) -> Mapping[tuple[str | None, str], str | None]:
    """The commit checked out in each of these directories of this host, read from files; no program is run.

    What has the same path here is not the tree of another host. What is not read within a second, because its file
    system hangs or another's before it does, has no commit that anybody knows.
    """
    own = None if host is None else host.id
    heads: dict[tuple[str | None, str], str | None] = {place: None for place in places if place[0] == own}

    def read() -> None:
        for place in list(heads):
            heads[place] = head_commit(Path(place[1]))

    with contextlib.suppress(TimeoutError):
        await run_detached(read, timeout_seconds=HEADS_SECONDS)
    return dict(heads)


def head_commit(directory: Path) -> str | None:
    """None outside git, before the first commit, or when git's files are not as git writes them."""
    git = _git_directory(directory)
    head = _read(git / "HEAD", _SMALL_FILE_BYTES) if git else None
    if git is None or head is None:
        return None
    if not head.startswith("ref: "):
        return _commit(head)
    reference = head.removeprefix("ref: ").strip()
    if not _REFERENCE.fullmatch(reference):
        return None
    common = _common_directory(git)
    return _commit(_read(git / reference, _SMALL_FILE_BYTES) or _read(common / reference, _SMALL_FILE_BYTES)) or (
        _packed(common, reference)
    )


def _git_directory(directory: Path) -> Path | None:
    for parent in (directory, *directory.parents):
        entry = parent / ".git"
        if os.path.isdir(entry):
            return entry
        pointer = _read(entry, _SMALL_FILE_BYTES)
        if pointer is not None and pointer.startswith("gitdir: "):
            return parent / pointer.removeprefix("gitdir: ").strip()
    return None


def _common_directory(git: Path) -> Path:
    """Where a linked work tree keeps its branches."""
    pointer = _read(git / "commondir", _SMALL_FILE_BYTES)
    return git / pointer.strip() if pointer else git


def _packed(git: Path, reference: str) -> str | None:
    for line in (_read(git / "packed-refs", _PACKED_REFS_BYTES) or "").splitlines():
        commit, _, name = line.partition(" ")
        if name == reference:
            return _commit(commit)
    return None


def _commit(text: str | None) -> str | None:
    word = (text or "").strip()
    return word if _COMMIT.fullmatch(word) else None


def _read(path: Path, most_bytes: int) -> str | None:
    """A regular file's beginning; None for anything else. A pipe in its place must not hold us up."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return file.read(most_bytes).decode("utf-8", errors="replace")
