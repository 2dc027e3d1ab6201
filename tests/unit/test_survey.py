"""A look at a tree before it is indexed: what there is, what is left out and why, and an end in time."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from codebase_mcp.domain import DiscoveredFile
from codebase_mcp.indexing import listing
from codebase_mcp.indexing import survey as surveying
from codebase_mcp.indexing.git import GitTooSlowError, ignored_paths, list_work_tree
from codebase_mcp.indexing.survey import Amount, LeftOutFiles, Survey, by_language, largest_directories, survey
from tests.support.repositories import commit, folder_for_anybody, git, git_settings, ordinary_user, write


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in git_settings().items():
        monkeypatch.setenv(name, value)


def look(root: Path, seconds: float = 20, *, is_noting: bool = True) -> Survey:
    return survey(root, max_file_bytes=1_000, seconds=seconds, is_noting=is_noting)


def left_out(root: Path) -> dict[str, LeftOutFiles]:
    return {one.reason: one for one in look(root).left_out}


def test_what_is_left_out_is_told_by_reason_with_counts_bytes_and_examples(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "a.png", "b/c.png", ".env", "node_modules/x/y.js", "node_modules/z.js", "env/pyvenv.cfg")
    write(tmp_path, "huge.py", "larger.py", content="x" * 2_000)
    write(tmp_path, "out/a.o", "secret.txt", "data/x.sql", content="12345")
    write(tmp_path, ".gitignore", content="out/\nsecret.txt\n")
    write(tmp_path, ".mcpignore", content="data/\n")
    (tmp_path / ".git").mkdir()
    found = left_out(tmp_path)
    assert found["binary"] == LeftOutFiles("binary", Amount(2, 4), 0, ("a.png", "b/c.png"))
    assert found["may hold secrets"].examples == (".env",)
    assert found["too large"].amount == Amount(2, 4_000)
    assert found[listing.FILLED_BY_TOOLS] == LeftOutFiles(
        listing.FILLED_BY_TOOLS, Amount(3, 6), 2, ("node_modules/", "env/")
    )
    assert found[listing.IGNORED_BY_GIT] == LeftOutFiles(
        listing.IGNORED_BY_GIT, Amount(2, 10), 1, ("out/", "secret.txt")
    )
    assert found[listing.EXCLUDED_BY_USER] == LeftOutFiles(listing.EXCLUDED_BY_USER, Amount(1, 5), 1, ("data/",))
    assert len(found) == 6


def test_in_a_work_tree_git_says_what_it_ignores(tmp_path: Path) -> None:
    commit(tmp_path, "a.py", "inner/b.py")
    write(tmp_path, ".gitignore", content="out/\n*.o\n")
    write(tmp_path, "out/a.c", "out/deep/b.c", "x.o", "inner/y.o", content="123")
    write(tmp_path, ".mcpignore", content="inner/b.py\n")
    found = left_out(tmp_path)
    assert found[listing.IGNORED_BY_GIT] == LeftOutFiles(
        listing.IGNORED_BY_GIT, Amount(4, 12), 1, ("out/", "inner/y.o", "x.o")
    )
    assert found[listing.EXCLUDED_BY_USER].examples == ("inner/b.py",)


def test_without_notes_only_the_files_are_told(tmp_path: Path) -> None:
    commit(tmp_path, "a.py", "a.png")
    write(tmp_path, ".gitignore", content="out/\n")
    write(tmp_path, "out/a.c")
    looked = look(tmp_path, is_noting=False)
    assert [file.relative_path for file in looked.files] == [".gitignore", "a.png", "a.py"]
    assert (looked.left_out, looked.is_partial) == ((), False)


def test_a_list_that_takes_too_long_is_cut_and_said_to_be(tmp_path: Path) -> None:
    write(tmp_path, *(f"d{n}/a.py" for n in range(5)))
    looked = look(tmp_path, seconds=-1)
    assert (looked.files, looked.files_unseen, looked.is_partial) == ((), None, True)


def test_files_that_were_listed_but_not_looked_at_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *(f"{n}.py" for n in range(10)))
    looks = iter([False] * 4 + [True])
    monkeypatch.setattr(surveying.Look, "must_end", lambda look: _set(look, "is_cut", next(looks)))
    looked = look(tmp_path)
    assert (len(looked.files), looked.files_unseen) == (4, 6)


def _set(look: listing.Look, name: str, value: bool) -> bool:
    setattr(look, name, value)
    return value


def test_a_git_that_does_not_answer_in_time_cuts_a_look_and_fails_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path / "repo", "a.py")
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin" / "git"
    real = os.environ["PATH"]
    slow.write_text(f'#!/bin/sh\ncase "$*" in *ls-files*) exec sleep 20;; esac\nPATH="{real}" exec git "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{real}")
    looked = look(tmp_path / "repo", seconds=0.4)
    assert (looked.files, looked.files_unseen) == ((), None)
    for ask in (lambda: list_work_tree(tmp_path / "repo", "", 0.2), lambda: ignored_paths(tmp_path / "repo", 0.2)):
        with pytest.raises(GitTooSlowError, match=r"did not answer within 0\.2 s"):
            ask()


def test_what_is_left_out_is_measured_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py", *(f"node_modules/{n}/x.js" for n in range(10)))
    times = iter([0.0, 0.0])
    clock = SimpleNamespace(monotonic=lambda: next(times, 10.0**9))
    monkeypatch.setattr(surveying, "time", clock)  # not the clock of everybody: other threads look at it as well
    looked = survey(tmp_path, max_file_bytes=1_000, seconds=10.0**10)
    assert looked.is_left_out_measured
    times = iter([0.0, 0.0])
    monkeypatch.setattr(listing.Look, "must_end", lambda _look: False)
    monkeypatch.setattr(listing.Look, "list_seconds_left", 1.0)
    looked = survey(tmp_path, max_file_bytes=1_000, seconds=10)
    assert not looked.is_left_out_measured
    assert [one.directories for one in looked.left_out] == [1]


def test_what_cannot_be_measured_counts_nothing(tmp_path: Path) -> None:
    with folder_for_anybody() as folder:
        write(folder, "a.py", "node_modules/closed/b.js", "node_modules/c.js")
        with ordinary_user(folder):
            (folder / "node_modules" / "closed").chmod(0)
            assert [one.amount for one in look(folder).left_out] == [Amount(1, 2)]
    assert surveying._measured(tmp_path, "gone.py", 0) == (Amount(), True)


def found(*files: tuple[str, int]) -> list[DiscoveredFile]:
    return [DiscoveredFile(path, size_bytes, 0) for path, size_bytes in files]


def test_languages_come_largest_first_without_what_is_skipped() -> None:
    files = [*found(("a.py", 10), ("b.rs", 30), ("c.py", 5)), DiscoveredFile("d.rs", 900, 0, "too large")]
    assert list(by_language(files).items()) == [("rust", Amount(1, 30)), ("python", Amount(2, 15))]


def test_a_directory_is_left_out_in_favour_of_the_one_inside_it_that_holds_most() -> None:
    files = found(("a/b/c/x.py", 90), ("a/b/y.py", 5), ("d/z.py", 50), ("top.py", 500))
    assert list(largest_directories(files, 5).items()) == [("a/b/c", Amount(1, 90)), ("d", Amount(1, 50))]
    even = found(("a/b/x.py", 50), ("a/c/y.py", 50))
    assert list(largest_directories(even, 2)) == ["a", "a/b"]


def test_a_submodule_is_looked_at_by_its_own_rules(tmp_path: Path) -> None:
    commit(tmp_path / "lib", "x.py")
    write(tmp_path / "lib", ".gitignore", content="*.o\n")
    git(tmp_path / "lib", "add", ".gitignore")
    git(tmp_path / "lib", "commit", "-q", "-m", "y")
    commit(tmp_path / "main", "a.py")
    git(tmp_path / "main", "submodule", "--quiet", "add", str(tmp_path / "lib"), "lib")
    write(tmp_path / "main", "lib/built.o")
    assert left_out(tmp_path / "main")[listing.IGNORED_BY_GIT].examples == ("lib/built.o",)
