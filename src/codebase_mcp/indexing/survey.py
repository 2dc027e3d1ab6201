"""A look at a repository before anything is indexed: what there is, what is left out, within a time. Writes nothing."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.languages import detect_language
from codebase_mcp.indexing.listing import Look
from codebase_mcp.indexing.skip_rules import TOO_LARGE

if TYPE_CHECKING:
    from pathlib import Path

    from codebase_mcp.domain import DiscoveredFile

LISTING_SHARE = 0.5
LOOKING_SHARE = 0.75
"""Of the time; the rest is for measuring what is left out."""
MOST_OF_IT = 0.8
"""A directory is not worth naming when one directory in it holds this share of its bytes."""
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Amount:
    """So many files with so many bytes."""

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.files + other.files, self.size_bytes + other.size_bytes)


@dataclass(frozen=True, slots=True)
class LeftOutFiles:
    """What one rule keeps out of the index. `amount` covers what could be measured in time."""

    reason: str
    amount: Amount
    directories: int
    examples: tuple[str, ...]
    """The largest paths; a directory stands for all it holds and ends in a slash."""

    def __add__(self, other: LeftOutFiles) -> LeftOutFiles:
        examples = (*self.examples, *other.examples)[:EXAMPLES]
        return LeftOutFiles(self.reason, self.amount + other.amount, self.directories + other.directories, examples)


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found of a root. `files_unseen` were listed but not looked at; None when not even the list is whole."""

    files: tuple[DiscoveredFile, ...]
    files_unseen: int | None
    left_out: tuple[LeftOutFiles, ...] = ()
    is_left_out_measured: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        return self.files_unseen != 0


def survey(root: Path, *, max_file_bytes: int, seconds: float, is_noting: bool = True) -> Survey:
    """Blocking, for about so long at most. `is_noting` also asks what is left out, which takes longer.

    Raises RepositoryUnreadableError as `discover` does.
    """
    began = time.monotonic()
    looking_share = LOOKING_SHARE if is_noting else 1
    look = Look(began + seconds * LISTING_SHARE, began + seconds * looking_share, is_noting)
    discovery = discover(root, max_file_bytes=max_file_bytes, look=look)
    files = tuple(discovery)
    unseen = None if look.is_list_cut else discovery.files_listed - len(files) if look.is_cut else 0
    if not is_noting:
        return Survey(files, unseen, warnings=tuple(discovery.warnings))
    groups: defaultdict[str, list[tuple[str, Amount]]] = defaultdict(list)
    for file in files:
        if file.skip_reason is not None:
            groups[_kind(file.skip_reason)].append((file.relative_path, Amount(1, file.size_bytes)))
    is_measured = True
    for path, reason in look.left_out.items():
        amount, is_whole = _measured(root, path, began + seconds)
        is_measured = is_measured and is_whole
        groups[reason].append((path, amount))
    left_out = [_left_out(reason, found) for reason, found in groups.items()]
    return Survey(files, unseen, merge_left_out(left_out, ()), is_measured, tuple(discovery.warnings))


def merge_left_out(
    groups: Iterable[LeftOutFiles], files: Iterable[tuple[DiscoveredFile, str]]
) -> tuple[LeftOutFiles, ...]:
    """The groups with more files and their reasons among them, by size; of one reason there is one group."""
    merged: dict[str, LeftOutFiles] = {}
    more = (_left_out(reason, [(file.relative_path, Amount(1, file.size_bytes))]) for file, reason in files)
    for group in (*groups, *more):
        known = merged.get(group.reason)
        merged[group.reason] = group if known is None else known + group
    return tuple(sorted(merged.values(), key=lambda one: (-one.amount.size_bytes, one.reason)))


def _kind(reason: str) -> str:
    """A reason without what is particular to one file."""
    return TOO_LARGE if reason.startswith(TOO_LARGE) else reason


def _left_out(reason: str, found: Sequence[tuple[str, Amount]]) -> LeftOutFiles:
    largest = sorted(found, key=lambda one: (-one[1].size_bytes, one[0]))[:EXAMPLES]
    return LeftOutFiles(
        reason,
        sum((amount for _, amount in found), Amount()),
        sum(path.endswith("/") for path, _ in found),
        tuple(path for path, _ in largest),
    )


def _measured(root: Path, path: str, deadline: float) -> tuple[Amount, bool]:
    """What is at and below `path`, and whether there was time to see it all. Links are not followed."""
    if not path.endswith("/"):
        try:
            return Amount(1, os.lstat(root / path).st_size), True
        except OSError:
            return Amount(), True
    amount, folders = Amount(), [os.fspath(root / path)]
    while folders:
        if time.monotonic() > deadline:
            return amount, False
        files, size_bytes = 0, 0
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        files, size_bytes = files + 1, size_bytes + entry.stat(follow_symlinks=False).st_size
        except OSError:
            pass  # nothing of it is indexed, so it is only missing from a sum
        amount += Amount(files, size_bytes)
    return amount, True


def by_language(files: Iterable[DiscoveredFile]) -> dict[str, Amount]:
    """Files and bytes of each language, judged by names alone, largest first; skipped files count nothing."""
    found: defaultdict[str, Amount] = defaultdict(Amount)
    for file in files:
        if file.skip_reason is None:
            found[detect_language(file.relative_path, "").name] += Amount(1, file.size_bytes)
    return dict(sorted(found.items(), key=lambda one: (-one[1].size_bytes, one[0])))


def largest_directories(files: Iterable[DiscoveredFile], limit: int) -> dict[str, Amount]:
    """The directories that hold most bytes of what is indexed, with all below them.

    One that owes most of its bytes to a single directory inside it is left out in favour of that one.
    """
    totals: defaultdict[str, Amount] = defaultdict(Amount)
    for file in files:
        folder = file.relative_path.rpartition("/")[0] if file.skip_reason is None else ""
        while folder:
            totals[folder] += Amount(1, file.size_bytes)
            folder = folder.rpartition("/")[0]
    largest_inside: defaultdict[str, int] = defaultdict(int)
    for folder, amount in totals.items():
        parent = folder.rpartition("/")[0]
        largest_inside[parent] = max(largest_inside[parent], amount.size_bytes)
    telling = [
        (folder, amount)
        for folder, amount in totals.items()
        if largest_inside[folder] <= MOST_OF_IT * amount.size_bytes
    ]
    return dict(sorted(telling, key=lambda one: (-one[1].size_bytes, one[0]))[:limit])
