"""Work trees, submodules and the ways in which a repository can try to run something or to leave its root."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.git import head_commit, list_work_tree
from codebase_mcp.indexing.listing import Look, _Lister
from tests.support.repositories import commit, folder_for_anybody, git, git_settings, look, ordinary_user, seen, write


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in git_settings().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def readable_root() -> Iterator[Path]:
    with folder_for_anybody() as folder:
        yield folder


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_tracked_and_untracked_files_are_listed_and_ignored_ones_are_not(tmp_path: Path) -> None:
    commit(tmp_path, "tracked.py", "tracked.log")
    write(tmp_path, "new.py", "new.log", "node_modules/i.js")
    write(tmp_path, ".gitignore", content="*.log")
    assert seen(tmp_path) == {".gitignore", "tracked.py", "tracked.log", "new.py", "node_modules/i.js"}


def test_a_deleted_tracked_file_is_not_listed(tmp_path: Path) -> None:
    commit(tmp_path, "a.py", "b/c.py")
    shutil.rmtree(tmp_path / "b")
    assert look(tmp_path) == {"a.py": None}


def test_a_tracked_file_replaced_by_a_folder_gives_way_to_its_files(tmp_path: Path) -> None:
    commit(tmp_path, "a", "b.py")
    (tmp_path / "a").unlink()
    write(tmp_path, "a/c.py")
    assert look(tmp_path) == {"a/c.py": None, "b.py": None}


def test_a_file_in_conflict_is_listed_once(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    git(tmp_path, "checkout", "-q", "-b", "other")
    write(tmp_path, "a.py", content="1")
    git(tmp_path, "commit", "-q", "-a", "-m", "1")
    git(tmp_path, "checkout", "-q", "-b", "third", "HEAD~1")
    write(tmp_path, "a.py", content="2")
    git(tmp_path, "commit", "-q", "-a", "-m", "2")
    merged = subprocess.run(["git", "merge", "other"], cwd=tmp_path, check=False, capture_output=True)
    assert b"CONFLICT" in merged.stdout
    assert look(tmp_path) == {"a.py": None}


def test_a_subfolder_lists_only_what_lies_below_it(tmp_path: Path) -> None:
    commit(tmp_path, "a.py", "sub/b.py")
    write(tmp_path, ".gitignore", content="*.log")
    write(tmp_path, "sub/c.log")
    assert look(tmp_path / "sub") == {"b.py": None}


def test_a_folder_that_its_work_tree_ignores_is_walked(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    write(tmp_path, ".gitignore", content="/project/")
    write(tmp_path, "project/b.py", "project/.gitignore", "project/node_modules/c.js")
    assert seen(tmp_path / "project") == {".gitignore", "b.py"}
    assert head_commit(tmp_path) is not None


def test_submodules_are_listed_and_those_not_checked_out_are_told(tmp_path: Path) -> None:
    commit(tmp_path / "library", "l.py")
    commit(tmp_path / "main", "a.py")
    for name in ("used", "unused"):
        git(tmp_path / "main", "submodule", "--quiet", "add", os.fspath(tmp_path / "library"), f"deps/{name}")
    git(tmp_path / "main", "submodule", "--quiet", "deinit", "-f", "deps/unused")
    assert look(tmp_path / "main") == {
        ".gitmodules": None,
        "a.py": None,
        "deps/unused": "submodule not checked out (git submodule update --init)",
        "deps/used/l.py": None,
    }


def test_inner_repositories_are_not_asked_when_the_time_is_up(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    commit(tmp_path / "inner", "b.py")
    patience = Look()
    lister = _Lister(tmp_path, patience)
    lister.add_work_tree("", "")
    patience.list_deadline = -math.inf
    assert lister.finish().files == {"a.py"}
    assert patience.is_list_cut


def test_a_repository_that_mcpignore_excludes_is_not_even_asked(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    commit(tmp_path / "inner", "b.py")
    (tmp_path / "inner/.git/index").write_bytes(b"not an index, but long enough to be read as one")
    write(tmp_path, ".mcpignore", content="inner/")
    assert look(tmp_path) == {".mcpignore": None, "a.py": None}


def test_an_embedded_repository_is_listed_by_its_own_rules(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    commit(tmp_path / "inner/deeper", "b.py")
    commit(tmp_path / "inner", "c.py")
    write(tmp_path, "inner/d.log")
    write(tmp_path, "inner/.gitignore", content="*.log")
    assert seen(tmp_path) == {"a.py", "inner/.gitignore", "inner/c.py", "inner/deeper/b.py"}


def test_a_linked_work_tree_inside_the_root_is_not_a_second_copy(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    git(tmp_path, "worktree", "add", "-q", "trees/feature")
    assert look(tmp_path) == {"a.py": None, "trees/feature": "linked work tree of a repository (index it on its own)"}
    assert look(tmp_path / "trees/feature") == {"a.py": None}


def test_a_refused_inner_repository_is_told_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py")
    commit(tmp_path / "inner", "b.py")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    discovery = discover(tmp_path, max_file_bytes=1000)
    files = {file.relative_path: file.skip_reason for file in discovery}
    assert files.keys() == {"a.py", "inner"}
    assert "git cannot list" in (files["inner"] or "")
    assert discovery.is_unreadable("inner/b.py")


def test_a_tracked_path_behind_a_symlinked_folder_is_gone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    commit(root, "a.py", "d/b.py")
    shutil.rmtree(root / "d")
    write(tmp_path, "elsewhere/b.py")
    (root / "d").symlink_to(tmp_path / "elsewhere")
    assert look(root) == {"a.py": None, "d": "symlink leaving the root"}


def test_a_submodule_that_became_a_symlink_is_not_entered(tmp_path: Path) -> None:
    commit(tmp_path / "outside", "l.py")
    root = tmp_path / "root"
    commit(root, "a.py")
    git(root, "submodule", "--quiet", "add", os.fspath(tmp_path / "outside"), "sub")
    shutil.rmtree(root / "sub")
    (root / "sub").symlink_to(tmp_path / "outside")
    assert look(root) == {".gitmodules": None, "a.py": None, "sub": "symlink leaving the root"}


def test_an_unreadable_folder_of_a_work_tree_is_told(readable_root: Path) -> None:
    commit(readable_root, "top.py", "sub/a.py", "sub/closed/tracked.py")
    write(readable_root, "sub/half/untracked.py")
    (readable_root / "sub/half").chmod(0o300)
    (readable_root / "sub/closed").chmod(0)
    with ordinary_user(readable_root):
        discovery = discover(readable_root / "sub", max_file_bytes=1000)
        assert [file.relative_path for file in discovery if file.skip_reason is None] == ["a.py"]
    assert discovery.unreadable_paths == {"half", "closed"}


# Hostile or broken repositories


def test_a_file_system_monitor_of_the_repository_is_not_run(tmp_path: Path) -> None:
    commit(tmp_path / "root", "a.py")
    script = program(tmp_path / "monitor", f"touch '{tmp_path}/ran'")
    git(tmp_path / "root", "config", "core.fsmonitor", os.fspath(script))
    assert look(tmp_path / "root") == {"a.py": None}
    assert head_commit(tmp_path / "root") is not None
    assert not (tmp_path / "ran").exists()
    git(tmp_path / "root", "ls-files", "-o")
    assert (tmp_path / "ran").exists(), "the trap itself does not work"


def test_missing_objects_are_not_fetched_by_programs_of_the_repository(tmp_path: Path) -> None:
    root = tmp_path / "root"
    commit(root, "a/b.py", "c.py")
    script = program(tmp_path / "upload-pack", f"touch '{tmp_path}/ran'; exit 1")
    git(root, "sparse-checkout", "set", "--cone", "--sparse-index", "nothing")
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": os.fspath(root),
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": os.fspath(script),
        "protocol.file.allow": "always",
    }.items():
        git(root, "config", name, value)
    tree = subprocess.run(["git", "rev-parse", "HEAD:a"], cwd=root, check=True, capture_output=True, text=True).stdout
    (root / ".git/objects" / tree[:2] / tree[2:].strip()).unlink()
    assert look(root) == {"c.py": None}
    assert not (tmp_path / "ran").exists()
    subprocess.run(["git", "ls-files"], cwd=root, check=False, capture_output=True)
    assert (tmp_path / "ran").exists(), "the trap itself does not work"


def test_variables_of_a_surrounding_hook_do_not_redirect_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "other", "other.py")
    commit(tmp_path / "root", "a.py")
    write(tmp_path / "root", "private.py")
    (tmp_path / "root/.git/info/exclude").write_text("private.py")
    monkeypatch.setenv("GIT_DIR", os.fspath(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", os.fspath(tmp_path / "other/.git/index"))
    assert look(tmp_path / "root") == {"a.py": None}


def test_an_owner_git_does_not_trust_is_an_error_that_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path, "a.py")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(RepositoryUnreadableError, match=r"dubious ownership[^$]*safe\.directory") as raised:
        look(tmp_path)
    assert os.fspath(tmp_path) in raised.value.message


def damage_index(git_directory: Path) -> None:
    (git_directory / "index").write_bytes(b"not an index, but long enough to be read as one")


def lose(git_directory: Path) -> None:
    shutil.rmtree(git_directory)
    git_directory.write_text("gitdir: /nowhere/at/all\n")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "index": (damage_index, "index file"),
    "repository elsewhere": (lose, "not a git repository: /nowhere/at/all"),
    "configuration": (lambda folder: (folder / "config").write_text("[core"), "bad config"),
    "format": (lambda folder: (folder / "config").write_text("[core]\nrepositoryformatversion = 99\n"), "99"),
    "head": (lambda folder: (folder / "HEAD").unlink(), "not a git repository"),
    "pointer": (lambda folder: (shutil.rmtree(folder), folder.write_text("?")), "invalid gitfile format"),
    "loop": (lambda folder: (shutil.rmtree(folder), folder.symlink_to(folder)), ""),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("place", ["", "inner/"])
def test_a_work_tree_whose_repository_cannot_be_read_is_walked_with_a_warning(
    tmp_path: Path, damage: str, place: str
) -> None:
    """As a container sees it that mounts the folder alone. Ignore files count, and so do repositories inside."""
    do, words = DAMAGE[damage]
    write(tmp_path, "beside.py")
    commit(tmp_path / place, "a.py", "d/b.py")
    write(tmp_path, f"{place}c.log", f"{place}node_modules/x.js", f"{place}.gitignore", content="*.log\n")
    commit(tmp_path / place / "whole", "w.py", "build/kept.py")
    write(tmp_path, f"{place}whole/.gitignore", content="build/\n")
    do(tmp_path / place / ".git")
    discovery = discover(tmp_path, max_file_bytes=1000)
    files = {file.relative_path for file in discovery if file.skip_reason is None}
    below = ("a.py", "d/b.py", ".gitignore", "whole/w.py", "whole/build/kept.py", "whole/.gitignore")
    assert files == {"beside.py", *(place + path for path in below)}
    assert discovery.unreadable_paths == set()
    if damage == "loop":  # git says nothing of it
        return
    (warning,) = discovery.warnings
    assert warning.startswith(f"{tmp_path / place} is indexed without git".replace("/ is", " is"))
    assert words in warning
    assert head_commit(tmp_path / place) is None or damage == "index"


def test_a_submodule_whose_repository_is_missing_is_walked(tmp_path: Path) -> None:
    """As in a clone of which only the work tree is mounted."""
    commit(tmp_path / "outside", "l.py")
    root = tmp_path / "root"
    commit(root, "a.py")
    git(root, "submodule", "--quiet", "add", os.fspath(tmp_path / "outside"), "sub")
    shutil.rmtree(root / ".git/modules")
    discovery = discover(root, max_file_bytes=1000)
    assert {file.relative_path for file in discovery} == {".gitmodules", "a.py", "sub/l.py"}
    assert len(discovery.warnings) == 1
    shutil.rmtree(root / ".git")
    discovery = discover(root, max_file_bytes=1000)
    assert {file.relative_path for file in discovery} == {".gitmodules", "a.py", "sub/l.py"}


def test_a_whole_repository_has_no_warning(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    discovery = discover(tmp_path, max_file_bytes=1000)
    assert list(discovery)
    assert discovery.warnings == []


def test_the_inside_of_a_repository_is_not_a_root(tmp_path: Path) -> None:
    commit(tmp_path, "a.py")
    with pytest.raises(RepositoryUnreadableError, match="work tree"):
        look(tmp_path / ".git")


# Without git


def test_without_git_a_work_tree_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path, "a.py", "b.log")
    write(tmp_path, ".gitignore", content="*.log")
    monkeypatch.setenv("PATH", os.fspath(tmp_path / "empty"))
    assert look(tmp_path) == {".gitignore": None, "a.py": None}
    assert head_commit(tmp_path) is None
    with pytest.raises(RepositoryUnreadableError, match="not installed"):
        list_work_tree(tmp_path, "")


def test_a_placeholder_that_is_no_git_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "root", "a.py")
    program(tmp_path / "bin/git", "echo 'xcrun: error: no developer tools were found' >&2; exit 1")
    monkeypatch.setenv("PATH", os.fspath(tmp_path / "bin"), prepend=os.pathsep)
    assert look(tmp_path / "root") == {"a.py": None}


def test_a_git_that_cannot_be_started_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "root/a.py")
    program(tmp_path / "bin/git", "").write_text("#!/no/such/interpreter\n")
    monkeypatch.setenv("PATH", os.fspath(tmp_path / "bin"), prepend=os.pathsep)
    with pytest.raises(RepositoryUnreadableError, match="git cannot be run"):
        look(tmp_path / "root")


# The commit


def test_the_commit_is_the_one_checked_out(tmp_path: Path) -> None:
    commit(tmp_path, "sub/a.py")
    expected = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert head_commit(tmp_path) == expected.stdout.strip()
    assert head_commit(tmp_path / "sub") == expected.stdout.strip()


def test_there_is_no_commit_outside_git_or_before_the_first(tmp_path: Path) -> None:
    assert head_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert head_commit(tmp_path) is None
