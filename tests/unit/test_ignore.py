"""Ignore files against git itself, which is the specification."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from codebase_mcp.indexing.ignore import IgnoreTree
from codebase_mcp.indexing.listing import list_files


def write_tree(root: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        file = root / path
        if any(parent.is_file() for parent in file.parents) or file.is_dir():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())


def ignored(rules: str, path: str, *, is_directory: bool = False) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder), {".gitignore": rules})
        return IgnoreTree(Path(folder), ".gitignore").excludes(path, is_directory=is_directory)


@pytest.fixture(scope="module")
def git_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder / ".git"


def files_listed_by_git(git_dir: Path, root: Path) -> set[str]:
    command = ["git", f"--git-dir={git_dir}", f"--work-tree={root}", "ls-files", "-o", "--exclude-standard", "-z"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    output = subprocess.run(command, check=True, capture_output=True, cwd=root, env=environment).stdout
    return set(output.decode().split("\0")) - {""}


NAMES = st.sampled_from(["a", "b", "ab", "ba", "a.log", "b.log", "foo", "é", "a b", "!a", "[a]", "a\\b", "-"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
WORDS = st.sampled_from(
    [
        *(
            "a",
            "b",
            "ab",
            "foo",
            "*",
            "**",
            "?",
            "??",
            "a*",
            "*b",
            "*.log",
            "***",
            "a**",
            "*a*b*",
            "é",
            "?*",
            "a b",
            "#",
        ),
        *(
            "[ab]",
            "[!a]",
            "[^a]",
            "[a-c]*",
            "[]a]",
            "[!]a]",
            "[a",
            "[[:alpha:]]",
            "[[:nope:]]",
            "[a-]",
            "[z-a]",
            "[--0]",
        ),
        *("[[]a[]]", "[a/b]", "[!a]*[!b]", "[[:punct:]]", "[é]"),
        *("\\a", "\\*", "a\\", "[\\]a]", "a\\\\b", "\\!a", "\\[a]", "a\\ b"),
    ]
)
LINES = st.builds(
    lambda negation, anchor, words, slash, space: negation + anchor + "/".join(words) + slash + space,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(WORDS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
    st.sampled_from(["", "", "", " ", "\\ ", "\r"]),
)
RULES = st.lists(LINES, max_size=5).map("\n".join)
FOLDERS_WITH_RULES = st.dictionaries(st.sampled_from(["", "a/", "b/", "a/b/", "foo/"]), RULES, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(paths=st.lists(PATHS, min_size=1, max_size=12), rules=FOLDERS_WITH_RULES)
@example(paths=["foo/a", "foo/b/a"], rules={"": "foo/**\n!foo/b/"})
@example(paths=["a/b/ab", "a/b/a.log"], rules={"": "*.log\n", "a/": "b\n!b\n"})
@example(paths=["foo/a"], rules={"": "foo/\n!foo/a"})
@example(paths=["a/foo/b", "a/b"], rules={"": "a/**/b"})
@example(paths=["a/b"], rules={"": "a\n/**\n!a"})
@example(paths=["a/b/a", "ab/a/a"], rules={"": "a**/a"})
def test_a_walk_lists_what_git_lists(git_dir: Path, paths: list[str], rules: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root, dict.fromkeys(paths, "x") | {f"{under}.gitignore": lines for under, lines in rules.items()})
        assert list_files(root).files == files_listed_by_git(git_dir, root)


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ("*.log", "a/b.log", True),
        ("/a", "b/a", False),
        ("b/", "a/b", False),
        ("b/", "b/anything", True),
        ("*\n!keep", "keep", False),
        ("!keep\n*", "keep", True),
        ("#a", "#a", False),
        ("\\#a", "#a", True),
        ("a  ", "a", True),
        ("a\\ ", "a ", True),
        ("a\r\nb\r\n", "a", True),
        ("\ufeffa", "a", True),
        ("a//b", "a/b", False),
        ("[[:digit:]]", "7", True),
        ("x[", "x[", False),
    ],
)
def test_a_rule_means_what_git_says(rules: str, path: str, expected: bool) -> None:
    assert ignored(rules, path) is expected


def test_a_slash_pattern_excludes_the_folder_only_as_a_folder() -> None:
    assert ignored("b/", "b", is_directory=True)


def test_a_deeper_file_overrides_a_higher_one(tmp_path: Path) -> None:
    write_tree(tmp_path, {".gitignore": "*.log", "keep/.gitignore": "!*.log"})
    tree = IgnoreTree(tmp_path, ".gitignore")
    assert [tree.excludes("a.log"), tree.excludes("keep/a.log"), tree.excludes("keep/deep/a.log")] == [
        True,
        False,
        False,
    ]


def test_nothing_below_an_excluded_folder_comes_back(tmp_path: Path) -> None:
    write_tree(tmp_path, {".gitignore": "out/", "out/.gitignore": "!a"})
    tree = IgnoreTree(tmp_path, ".gitignore")
    assert tree.excludes("out/a")
    assert tree.excludes("out/deep/er/a")


def test_a_name_that_is_not_utf8_is_matched_byte_by_byte(tmp_path: Path) -> None:
    write_tree(tmp_path, {".gitignore": "caf?.py"})
    assert IgnoreTree(tmp_path, ".gitignore").excludes(os.fsdecode(b"caf\xe9.py"))


def test_a_pattern_of_many_stars_is_answered_at_once() -> None:
    assert not ignored("*a" * 40 + "*b", "a" * 250)


def test_a_pattern_of_many_double_stars_is_answered_at_once() -> None:
    assert not ignored("**/a/" * 20 + "b", "a/" * 300 + "c")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_an_ignore_file_that_is_no_regular_file_has_no_rules(tmp_path: Path, make) -> None:
    (tmp_path / "elsewhere").write_text("*")
    make(tmp_path / ".gitignore")
    tree = IgnoreTree(tmp_path, ".gitignore")
    assert not tree.excludes("a")
    assert not tree.unreadable_directories


def test_a_path_of_a_thousand_folders_is_within_reach(tmp_path: Path) -> None:
    write_tree(tmp_path, {".gitignore": "*.log"})
    assert IgnoreTree(tmp_path, ".gitignore").excludes("d/" * 1200 + "a.log")
