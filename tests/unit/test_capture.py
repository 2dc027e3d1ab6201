"""Which files of a fresh listing are worth reading again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.domain import DiscoveredFile, FileOutcome, FileState
from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.pipeline import rules_fingerprint
from codebase_mcp.jobs.capture import Listing, Staleness, list_files
from codebase_mcp.storage.index_store import KnownFile
from codebase_mcp.storage.not_indexed import NotIndexedFile

FOUND = DiscoveredFile("a.py", 10, 111)


def known(**changes: Any) -> KnownFile:
    values: dict[str, Any] = {
        "id": 1, "size_bytes": 10, "mtime_ns": 111, "content_hash": b"h", "index_fingerprint": "v1",
    }  # fmt: skip
    return KnownFile(**values | changes)


def fate(file: KnownFile | None, found: DiscoveredFile = FOUND, **options: Any) -> FileState:
    values: dict[str, Any] = {"index_fingerprint": "v1", "force_reindex": False} | options
    return Staleness({} if file is None else {"a.py": file}, **values).decide(found).state


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (None, FileState.PENDING),
        (known(), FileState.UNCHANGED),
        (known(size_bytes=11), FileState.PENDING),
        (known(mtime_ns=110), FileState.PENDING),
        (known(mtime_ns=112), FileState.PENDING),
        (known(index_fingerprint="v0"), FileState.PENDING),
    ],
)
def test_a_file_is_read_unless_it_is_as_it_was_indexed(file: KnownFile | None, expected: FileState) -> None:
    assert fate(file) is expected


HERE = DiscoveredFile("a.py", 10, 111, None, 222, 333)


@pytest.mark.parametrize(
    ("file", "found", "expected"),
    [
        (known(ctime_ns=222, inode=333), HERE, FileState.UNCHANGED),
        (known(ctime_ns=223, inode=333), HERE, FileState.PENDING),
        (known(ctime_ns=222, inode=334), HERE, FileState.PENDING),
        (known(ctime_ns=0, inode=333), HERE, FileState.PENDING),
        (known(), HERE, FileState.UNCHANGED),
        (known(inode=334), HERE, FileState.PENDING),
    ],
)
def test_a_difference_in_what_is_known_of_a_file_has_it_read(
    file: KnownFile, found: DiscoveredFile, expected: FileState
) -> None:
    assert fate(file, found) is expected


def left_out(rules: str = rules_fingerprint("v1"), **changes: Any) -> dict[str, NotIndexedFile]:
    return {"a.py": NotIndexedFile(b"h", HERE.stat._replace(**changes), "binary", rules)}


@pytest.mark.parametrize(
    ("not_indexed", "options", "expected"),
    [
        (left_out(), {}, FileState.SKIPPED),
        (left_out(inode=1), {}, FileState.PENDING),
        (left_out(ctime_ns=1), {}, FileState.PENDING),
        (left_out(size_bytes=1), {}, FileState.PENDING),
        (left_out(rules=rules_fingerprint("v0")), {}, FileState.PENDING),
        (left_out(), {"force_reindex": True}, FileState.PENDING),
        (left_out(), {"retry_paths": frozenset({"a.py"})}, FileState.PENDING),
    ],
)
def test_a_file_left_out_because_of_its_content_is_not_read_again_until_it_changes(
    not_indexed: dict[str, NotIndexedFile], options: dict[str, Any], expected: FileState
) -> None:
    assert fate(None, HERE, not_indexed=not_indexed, **options) is expected


def test_a_failed_file_rewritten_with_its_size_and_time_is_tried_again() -> None:
    failure = FileOutcome("a.py", FileState.FAILED, "it died", 10, 111, 222, 333)
    assert fate(None, HERE, failed={"a.py": failure}) is FileState.FAILED
    assert fate(None, replace(HERE, ctime_ns=223), failed={"a.py": failure}) is FileState.PENDING


def test_force_reads_every_file_again() -> None:
    assert fate(known(), force_reindex=True) is FileState.PENDING


def test_a_file_that_was_ruled_out_is_skipped_with_its_reason() -> None:
    decided = Staleness({}, "v1", force_reindex=True).decide(DiscoveredFile("logo.png", 10, 111, "binary"))
    assert (decided.state, decided.reason) == (FileState.SKIPPED, "binary")


def test_a_retry_reads_the_failed_files_and_whatever_else_changed() -> None:
    assert fate(known(), retry_paths=frozenset({"a.py"})) is FileState.PENDING
    assert fate(known(), retry_paths=frozenset({"b.py"})) is FileState.UNCHANGED
    assert fate(known(mtime_ns=110), retry_paths=frozenset({"b.py"})) is FileState.PENDING


def test_a_listing_holds_files_unreadable_folders_and_the_commit(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    listing = Listing()
    list_files(tmp_path, 1000, listing)
    assert [file.relative_path for file in listing.files] == ["a.py"]
    assert (listing.unreadable_paths, listing.head_commit) == ([], None)


def test_a_root_that_is_gone_is_no_empty_listing(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnreadableError):
        list_files(tmp_path / "gone", 1000, Listing())
