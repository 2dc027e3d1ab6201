from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from codebase_mcp.domain import Host
from codebase_mcp.search.freshness import freshness_of, freshness_of_first_job, head_commit, heads_of
from codebase_mcp.storage.project_state import UnfinishedJob
from codebase_mcp.storage.projects import Repository
from tests.support.corpus import repository
from tests.support.repositories import folder_for_anybody, ordinary_user

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(directory: Path, *arguments: str) -> str:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "-q", "-b", "trunk")
    git(root, "commit", "-q", "--allow-empty", "-m", "first")
    return root


def test_the_head_is_what_git_says(checkout: Path) -> None:
    assert head_commit(checkout) == git(checkout, "rev-parse", "HEAD").strip()


def test_a_folder_below_the_root_has_the_same_head(checkout: Path) -> None:
    (checkout / "src").mkdir()
    place = (None, str(checkout / "src"))
    assert asyncio.run(heads_of([place], None)) == {place: head_commit(checkout)}


def test_of_a_tree_on_another_host_what_lies_at_the_same_path_here_is_not_read(checkout: Path) -> None:
    places = [("here", str(checkout)), ("there", str(checkout)), (None, str(checkout))]
    assert asyncio.run(heads_of(places, Host("here", "h"))) == {places[0]: head_commit(checkout)}


def test_packed_branches_and_detached_heads_are_read(checkout: Path) -> None:
    head = head_commit(checkout)
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/trunk").exists()
    assert head_commit(checkout) == head
    git(checkout, "checkout", "-q", "--detach")
    assert head_commit(checkout) == head


def test_a_linked_work_tree_has_its_own_head(checkout: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(checkout, "worktree", "add", "-q", "-b", "feature", str(linked))
    git(linked, "commit", "-q", "--allow-empty", "-m", "second")
    assert head_commit(linked) == git(linked, "rev-parse", "HEAD").strip() != head_commit(checkout)


def test_there_is_no_head_outside_git_or_before_the_first_commit(tmp_path: Path) -> None:
    assert head_commit(tmp_path / "missing") is None
    git(tmp_path, "init", "-q")
    assert head_commit(tmp_path) is None


@pytest.mark.parametrize(
    "content", ["ref: ../../../etc/passwd", "ref: refs/../../secret", "ref: refs/heads/a b", "not a commit", "", "\x00"]
)
def test_a_head_that_git_would_not_write_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "secret").write_text(COMMIT)
    (tmp_path / ".git/HEAD").write_text(content)
    assert head_commit(tmp_path) is None


def test_a_repository_that_nobody_may_look_at_has_no_head() -> None:
    with folder_for_anybody() as folder:
        (folder / "closed").mkdir(mode=0o700)
        (folder / ".git").symlink_to(folder / "closed/repository")
        (folder / "closed").chmod(0)
        with ordinary_user(folder):
            assert head_commit(folder) is None


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git/HEAD")
    assert head_commit(tmp_path) is None


def test_a_pointer_with_a_nul_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: a\x00b")
    assert head_commit(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "job", "state"),
    [
        ({}, None, "ready"),
        ({"is_complete": False}, None, "incomplete"),
        ({"is_complete": False, "file_count": 0}, None, "incomplete"),
        ({"is_complete": False}, UnfinishedJob("/repo", "repo", 40, True, True), "indexing"),
        ({}, UnfinishedJob("/repo", "repo", 0, True, True), "indexing"),
        ({}, UnfinishedJob("/repo", "repo", 40, True, False), "incomplete"),
        ({}, UnfinishedJob("/repo", "repo", 0, False, False), "incomplete"),
    ],
)
def test_the_state_says_how_far_the_index_can_be_trusted(
    changes: dict[str, object], job: UnfinishedJob | None, state: str
) -> None:
    item: Repository = dataclasses.replace(repository(), **changes)
    found = freshness_of(item, job, COMMIT)
    assert (found.state, found.head_commit) == (state, COMMIT)
    assert found.progress_percentage == (job.progress_percentage if job and job.is_active else None)


def test_a_first_job_is_shown_before_there_is_an_index() -> None:
    found = freshness_of_first_job(UnfinishedJob("/new", "new", 7, True, True), None)
    assert (found.state, found.repository, found.progress_percentage, found.last_indexed_at) == (
        "indexing", "new", 7, None,
    )  # fmt: skip


def test_the_time_of_the_last_job_is_passed_on() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    item = dataclasses.replace(repository(), last_indexed_at=moment, indexed_commit=COMMIT)
    assert freshness_of(item, None, None).last_indexed_at == moment
    assert freshness_of(item, None, None).indexed_commit == COMMIT
