"""Files that other programs write too are replaced atomically, with mode and links, and never over a newer version."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from codebase_mcp.clients import files
from codebase_mcp.clients.errors import ClientConfigError


def append(content: bytes | None) -> bytes:
    return (content or b"") + b"x"


def test_a_missing_file_is_made_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file"
    assert files.rewrite(path, append) == [tmp_path / "a/b", tmp_path / "a"]
    assert path.read_bytes() == b"x"
    assert sorted(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("is_private", "mode"), [(True, 0o600), (False, 0o640)])
def test_the_mode_of_a_new_file(tmp_path: Path, is_private: bool, mode: int) -> None:
    before = os.umask(0o026)
    try:
        files.rewrite(tmp_path / "file", append, is_private=is_private)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_mode_and_owner_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    files.rewrite(path, append)
    after = path.stat()
    assert path.read_bytes() == b"ax"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_makes_in_the_folder_of_a_user_belongs_to_that_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 23456)
    files.rewrite(tmp_path / "a/file", append)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (tmp_path / "a", tmp_path / "a/file")} == {
        (12345, 23456)
    }


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    target = tmp_path / "dotfiles/settings.json"
    target.write_bytes(b"a")
    link = tmp_path / "settings.json"
    link.symlink_to("dotfiles/settings.json")
    files.rewrite(link, append)
    assert link.is_symlink()
    assert target.read_bytes() == b"ax"


def test_a_dangling_link_is_left_alone(tmp_path: Path) -> None:
    link = tmp_path / "settings.json"
    link.symlink_to("missing.json")
    with pytest.raises(ClientConfigError, match=r"is a symbolic link to .*missing\.json, which does not exist"):
        files.read(link)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClientConfigError, match="is not a regular file"):
        files.read(tmp_path)


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_read_only_is_left_alone_even_by_root(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    locked = tmp_path if is_folder else path
    mode = locked.stat().st_mode
    locked.chmod(0o555 if is_folder else 0o444)
    try:
        with pytest.raises(ClientConfigError, match=f"{locked} is read-only"):
            files.rewrite(path, append)
    finally:
        locked.chmod(mode)
    assert path.read_bytes() == b"a"
    assert list(tmp_path.iterdir()) == [path]


def test_an_edit_is_made_anew_when_the_file_changes_before_the_rename(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    others = iter([b"b", b"c"])

    def another_program_writes() -> None:
        if (content := next(others, None)) is not None:
            path.write_bytes(content)

    files.rewrite(path, append, before_rename=another_program_writes)
    assert path.read_bytes() == b"cx"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_before_the_rename_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.rewrite(path, append, before_rename=lambda: None if path.exists() else path.write_bytes(b"new") and None)
    assert path.read_bytes() == b"newx"


def test_a_file_that_keeps_changing_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    with pytest.raises(ClientConfigError, match="kept changing while it was edited"):
        files.rewrite(path, append, before_rename=lambda: path.write_bytes(path.read_bytes() + b"b") and None)
    assert path.read_bytes() == b"a" + b"b" * files.ATTEMPTS
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_not_removed_when_it_changes_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    files.rewrite(
        path,
        lambda content: None if content == b"a" else content,
        before_rename=lambda: path.write_bytes(b"b") and None,
    )
    assert path.read_bytes() == b"b"


def test_the_lock_of_the_other_program_is_waited_for_and_given_back(tmp_path: Path) -> None:
    path, lock = tmp_path / "file", tmp_path / "file.lock"
    lock.mkdir()
    seen: list[bool] = []
    writer = threading.Thread(
        target=files.rewrite,
        args=(path, append),
        kwargs={"lock": lock, "before_rename": lambda: seen.append(lock.exists())},
    )
    writer.start()
    lock.rmdir()
    writer.join()
    assert seen == [True]
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_that_was_left_behind_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_WAIT_SECONDS", 0.05)
    lock = tmp_path / "file.lock"
    lock.mkdir()
    files.rewrite(tmp_path / "file", append, lock=lock)
    assert (tmp_path / "file").exists()
    assert lock.exists()
