"""From a root to its files: what is listed, what is left out, and what is never mistaken for a deletion."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing import listing
from codebase_mcp.indexing.discover import UNREADABLE, Discovery, discover
from codebase_mcp.indexing.skip_rules import SECRET, skip_reason
from tests.support.repositories import commit, folder_for_anybody, git, git_settings, look, ordinary_user, seen, write


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in git_settings().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def readable_root() -> Iterator[Path]:
    with folder_for_anybody() as folder:
        yield folder


def test_size_and_time_come_from_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a.py", content="12345")
    os.utime(tmp_path / "a.py", ns=(7, 1_234_567_891))
    [file] = discover(tmp_path, max_file_bytes=1000)
    assert (file.size_bytes, file.mtime_ns) == (5, 1_234_567_891)


def test_files_come_in_path_order(tmp_path: Path) -> None:
    write(tmp_path, "b/x.py", "a.py", "b.py", "a/y.py")
    assert list(look(tmp_path)) == ["a.py", "a/y.py", "b.py", "b/x.py"]


@pytest.mark.parametrize("in_git", [True, False])
def test_a_mcpignore_file_leaves_out_more(tmp_path: Path, in_git: bool) -> None:
    write(tmp_path, "a.py", "data/b.py", "src/c.py", "src/d.sql")
    write(tmp_path, ".mcpignore", content="data/\n")
    write(tmp_path, "src/.mcpignore", content="*.sql\n")
    if in_git:
        git(tmp_path, "init", "-q")
    assert seen(tmp_path) == {".mcpignore", "a.py", "src/.mcpignore", "src/c.py"}


def test_an_ignored_mcpignore_file_counts_too(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.sql")
    write(tmp_path, ".mcpignore", content="*.sql")
    write(tmp_path, ".gitignore", content=".mcpignore")
    git(tmp_path, "init", "-q")
    assert seen(tmp_path) == {".gitignore", "a.py"}


# The walk


def test_a_walk_leaves_out_what_tools_fill(tmp_path: Path) -> None:
    write(tmp_path, "a.py", ".hg/x", "node_modules/m/i.js", "s/__pycache__/a.py", "env/pyvenv.cfg", "env/lib/a.py")
    write(tmp_path, "target/CACHEDIR.TAG", "target/a.rs", "build/b.py")
    assert seen(tmp_path) == {"a.py", "build/b.py"}


def test_a_root_is_walked_whatever_its_name_or_marker(tmp_path: Path) -> None:
    write(tmp_path, "node_modules/CACHEDIR.TAG", "node_modules/a.js")
    assert seen(tmp_path / "node_modules") == {"CACHEDIR.TAG", "a.js"}


def test_a_walk_does_not_go_around_a_symlink_loop(tmp_path: Path) -> None:
    write(tmp_path, "a/b.py")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert look(tmp_path) == {"a/b.py": None, "a/loop": "symlink to a directory"}


def test_a_repository_inside_a_walked_folder_is_listed_by_git(tmp_path: Path) -> None:
    commit(tmp_path / "one", "a.py", "build/kept.py")
    write(tmp_path, "one/build/left.py", "one/secret.txt", "two/b.py")
    write(tmp_path, "one/.gitignore", content="build/")
    (tmp_path / "one/.git/info/exclude").write_text("secret.txt")
    assert seen(tmp_path) == {"one/.gitignore", "one/a.py", "one/build/kept.py", "two/b.py"}


def test_a_folder_with_a_meaningless_dot_git_is_walked(tmp_path: Path) -> None:
    (tmp_path / "a/.git").mkdir(parents=True)
    write(tmp_path, "a/b.py")
    assert seen(tmp_path) == {"a/b.py"}


def test_an_unreadable_folder_of_a_walk_is_told(readable_root: Path) -> None:
    write(readable_root, "a.py", "closed/deep/b.py")
    (readable_root / "closed").chmod(0)
    with ordinary_user(readable_root):
        discovery = discover(readable_root, max_file_bytes=1000)
        files = {file.relative_path: file.skip_reason for file in discovery}
    assert files == {"a.py": None, "closed": "cannot be read; what is indexed of it is kept"}
    assert discovery.unreadable_paths == {"closed"}
    assert [discovery.is_unreadable(path) for path in ("closed/deep/b.py", "a.py", "closedness/c.py")] == [
        True,
        False,
        False,
    ]


def test_nothing_is_unreadable_in_a_readable_root(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    discovery = discover(tmp_path, max_file_bytes=1000)
    assert len(list(discovery)) == 1
    assert not discovery.is_unreadable("a.py")


def test_a_folder_whose_ignore_file_is_unreadable_is_not_listed(readable_root: Path) -> None:
    write(readable_root, "a.py", "b/c.py", "b/.mcpignore")
    (readable_root / "b/.mcpignore").chmod(0)
    with ordinary_user(readable_root):
        discovery = discover(readable_root, max_file_bytes=1000)
        assert [file.relative_path for file in discovery] == ["a.py", "b"]
    assert discovery.unreadable_paths == {"b"}


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE, errno.EIO, errno.ENAMETOOLONG])
@pytest.mark.parametrize("in_git", [True, False])
def test_a_link_whose_target_cannot_be_read_costs_that_link_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, in_git: bool
) -> None:
    """A link into /proc of another user's process, a network drive whose handles went stale."""
    write(tmp_path, "a.py")
    (tmp_path / "link").symlink_to("/proc/1/cwd")
    if in_git:
        git(tmp_path, "init", "-q")
    monkeypatch.setattr(os, "readlink", refusing(os.readlink, "/proc/1/cwd", code))
    assert look(tmp_path) == {"a.py": None, "link": f"symlink whose target cannot be read ({os.strerror(code)})"}


def refusing(real: Callable[..., Any], path: str, code: int) -> Callable[..., Any]:
    def call(asked: Any, **options: Any) -> Any:
        if os.fspath(asked) == path:
            raise OSError(code, os.strerror(code), path)
        return real(asked, **options)

    return call


def test_links_into_processes_of_others_are_skipped(readable_root: Path) -> None:
    write(readable_root, "a.py", "d/b.py")
    for name, target in (("cwd", "/proc/1/cwd"), ("deep", "/proc/1/root/etc"), ("d/exe", "/proc/1/exe")):
        (readable_root / name).symlink_to(target)
    with ordinary_user(readable_root):
        found = look(readable_root)
    assert {path for path, reason in found.items() if reason is None} == {"a.py", "d/b.py"}
    assert set(found) == {"a.py", "d/b.py", "cwd", "deep", "d/exe"}


def test_an_entry_of_which_the_file_system_says_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.py", "stale/b.py")
    monkeypatch.setattr(os, "lstat", refusing(os.lstat, os.fspath(tmp_path / "stale"), errno.ESTALE))
    assert look(tmp_path)["a.py"] is None


def test_a_submodule_that_cannot_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "outside", "l.py")
    root = tmp_path / "root"
    commit(root, "a.py")
    git(root, "submodule", "--quiet", "add", os.fspath(tmp_path / "outside"), "sub")
    monkeypatch.setattr(os, "lstat", refusing(os.lstat, os.fspath(root / "sub"), errno.ESTALE))
    assert look(root) == {".gitmodules": None, "a.py": None, "sub": UNREADABLE}


# What is reported and not read


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *((name, SECRET) for name in (".env", ".env.local", "prod.env", ".envrc", "id_rsa", "deploy/id_ed25519")),
        *((name, SECRET) for name in ("server.pem", "a.KEY", "a.p12", "a.pfx", "a.keystore", ".npmrc", ".pypirc")),
        *((name, SECRET) for name in (".netrc", ".aws/credentials", "x/.kube/config", ".docker/config.json")),
        *((name, None) for name in (".env.example", ".env.sample", ".env.template", "id_rsa.pub", "credentials.py")),
        *((name, None) for name in ("environment.ts", ".envoy.yaml", "config", "key.py", "png", "src/lock.py")),
        *((name, "generated (lock file)") for name in ("package-lock.json", "a/yarn.lock", "Cargo.lock", "go.sum")),
        *((name, "minified") for name in ("a.min.js", "a.min.css", "a.js.map")),
        *((name, "binary") for name in ("a.png", "a.ZIP", "a.so", "a.pyc", "a.woff2")),
    ],
)
def test_a_name_can_rule_a_file_out(path: str, reason: str | None) -> None:
    assert skip_reason(path) == reason


def test_a_large_file_is_skipped_with_the_numbers(tmp_path: Path) -> None:
    write(tmp_path, "fits.py", content="x" * 1000)
    write(tmp_path, "large.py", content="x" * 1001)
    assert look(tmp_path) == {"fits.py": None, "large.py": "too large (1,001 bytes, limit 1,000)"}


@pytest.mark.parametrize("in_git", [True, False])
def test_each_kind_of_symlink_is_skipped_with_its_reason(tmp_path: Path, in_git: bool) -> None:
    root = tmp_path / "root"
    write(root, "a.py", "d/b.py")
    write(tmp_path, "rootless.py")
    targets = {
        "out": tmp_path / "rootless.py",
        "up": "../..",
        "dir": "d",
        "gone": "nothing",
        "self": "self",
        "file": "a.py",
    }
    for name, target in targets.items():
        (root / name).symlink_to(target)
    if in_git:
        git(root, "init", "-q")
    reasons = {path: reason for path, reason in look(root).items() if reason}
    assert reasons == {
        "out": "symlink leaving the root",
        "up": "symlink leaving the root",
        "dir": "symlink to a directory",
        "gone": "broken symlink",
        "self": "broken symlink",
        "file": "symlink to a file of the repository",
    }


def test_a_root_reached_through_a_symlink_is_the_root_itself(tmp_path: Path) -> None:
    write(tmp_path, "real/a.py")
    (tmp_path / "real/link.py").symlink_to("a.py")
    (tmp_path / "alias").symlink_to("real")
    assert look(tmp_path / "alias") == {"a.py": None, "link.py": "symlink to a file of the repository"}


def test_pipes_and_sockets_are_skipped_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert set(look(tmp_path).values()) == {"not a regular file"}


def test_a_tracked_file_that_became_a_pipe_is_skipped(tmp_path: Path) -> None:
    commit(tmp_path, "a.py", "b.py")
    (tmp_path / "a.py").unlink()
    os.mkfifo(tmp_path / "a.py")
    assert look(tmp_path) == {"a.py": "not a regular file", "b.py": None}


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="macOS refuses such names")
def test_a_name_that_is_not_utf8_is_told_in_escaped_form(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("x")
    assert look(tmp_path) == {"caf\\xe9.py": "file name is not UTF-8"}


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="macOS refuses such names")
def test_an_escaped_name_does_not_hide_the_file_that_bears_it(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("x")
    write(tmp_path, "caf\\xe9.py")
    assert look(tmp_path) == {"caf\\xe9.py": None}


def test_a_name_with_a_line_break_is_a_name(tmp_path: Path) -> None:
    write(tmp_path, "a\nb.py")
    assert seen(tmp_path) == {"a\nb.py"}


def test_a_path_too_long_for_the_index_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, "/".join(["d" * 200] * 10) + "/a.py", "b.py")
    assert [reason for reason in look(tmp_path).values() if reason] == ["path too long (more than 2,000 bytes)"]


# What must not look like a deletion


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnreadableError, match="does not exist"):
        discover(tmp_path / "gone", max_file_bytes=1000)


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    with pytest.raises(RepositoryUnreadableError, match="is not a directory"):
        discover(tmp_path / "a.py", max_file_bytes=1000)


def test_an_unreadable_root_is_an_error(readable_root: Path) -> None:
    write(readable_root, "a/b.py")
    (readable_root / "a").chmod(0)
    with ordinary_user(readable_root), pytest.raises(RepositoryUnreadableError, match="cannot be read"):
        discover(readable_root / "a", max_file_bytes=1000)


def test_a_root_that_goes_away_during_the_look_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "root/a.py")
    discovery = discover(tmp_path / "root", max_file_bytes=1000)
    shutil.rmtree(tmp_path / "root")
    with pytest.raises(RepositoryUnreadableError, match="root"):
        list(discovery)


@pytest.mark.parametrize("in_git", [True, False])
def test_a_root_without_files_is_an_error(tmp_path: Path, in_git: bool) -> None:
    (tmp_path / "a").mkdir()
    if in_git:
        git(tmp_path, "init", "-q")
    with pytest.raises(RepositoryUnreadableError, match="contains no files"):
        look(tmp_path)


def test_a_work_tree_whose_files_are_all_deleted_is_an_error(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    (tmp_path / "a.py").unlink()
    with pytest.raises(RepositoryUnreadableError, match="contains no files"):
        look(tmp_path)


def test_a_root_of_which_nothing_can_be_read_is_an_error(readable_root: Path) -> None:
    write(readable_root, "closed/b.py")
    (readable_root / "closed").chmod(0)
    with ordinary_user(readable_root), pytest.raises(RepositoryUnreadableError, match="no files that can be read"):
        look(readable_root)


def test_a_file_that_cannot_be_looked_at_is_told(readable_root: Path) -> None:
    write(readable_root, "a.py", "listed/b.py")
    (readable_root / "listed").chmod(0o600)
    with ordinary_user(readable_root):
        discovery = Discovery(readable_root, 1000)
        assert [file.relative_path for file in discovery] == ["a.py", "listed"]
    assert discovery.is_unreadable("listed/b.py")


def test_what_goes_away_during_the_look_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.py", "c/d.py", "e.py")
    files = iter(discover(tmp_path, max_file_bytes=1000))
    assert next(files).relative_path == "a.py"
    (tmp_path / "b.py").unlink()
    shutil.rmtree(tmp_path / "c")
    assert [file.relative_path for file in files] == ["e.py"]


def test_what_becomes_unreadable_during_the_look_is_told(readable_root: Path) -> None:
    write(readable_root, "a.py", "b/c.py", "b/d/e.py", "f.py")
    discovery = discover(readable_root, max_file_bytes=1000)
    with ordinary_user(readable_root):
        files = iter(discovery)
        assert next(files).relative_path == "a.py"
        (readable_root / "b").chmod(0)
        assert [file.relative_path for file in files] == ["f.py", "b", "b/d"]
    assert [discovery.is_unreadable(path) for path in ("b/c.py", "b/d/e.py", "f.py")] == [True, True, False]


def test_a_root_that_becomes_unreadable_during_the_look_is_an_error(readable_root: Path) -> None:
    write(readable_root, "root/a.py")
    discovery = discover(readable_root / "root", max_file_bytes=1000)
    (readable_root / "root").chmod(0)
    with ordinary_user(readable_root), pytest.raises(RepositoryUnreadableError, match=r"root.*Permission denied"):
        list(discovery)


def test_the_default_exclusions_are_folders_no_one_keeps_sources_in() -> None:
    assert listing.GENERATED_DIRECTORIES.isdisjoint({"build", "dist", "target", "vendor", "env", "bin", "out", "lib"})
