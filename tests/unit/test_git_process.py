"""A run of git ends: when it stands still, when its time is up, and with whoever started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from codebase_mcp.indexing.git_process import GitAnswer, GitStalledError, run_git
from tests.support.repositories import git

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def run(*command: str, timeout_seconds: float = 30, stalled_seconds: float = 1) -> GitAnswer:
    return run_git(command, environment=ENVIRONMENT, timeout_seconds=timeout_seconds, stalled_seconds=stalled_seconds)


def processes_named_in(*words: str) -> list[psutil.Process]:
    """Those of this machine with all of these words in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if all(word in line for word in words):
            found.append(process)
    return found


def becomes(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """What was killed is gone a moment later."""
    deadline = time.monotonic() + seconds
    while not (is_so := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so


def test_output_errors_and_exit_code_are_those_of_the_program() -> None:
    answer = run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert answer == GitAnswer(3, b"out\n", b"err\n")
    assert run("sh", "-c", "kill -9 $$").exit_code == 128 + signal.SIGKILL


def test_arguments_arrive_as_they_are() -> None:
    odd = ["", " ", "$HOME", "a'b\"c", "*", "-n", "\\", "\n", "--"]
    assert run("printf", "%s|", *odd).output == "".join(f"{word}|" for word in odd).encode()


def test_a_large_output_is_read_whole() -> None:
    assert len(run(sys.executable, "-c", "print('x' * 5_000_000)").output) == 5_000_001


def test_a_program_that_is_not_there_is_told_by_its_exit_code(tmp_path: Path) -> None:
    assert run(os.fspath(tmp_path / "none")).exit_code == 127


@pytest.mark.parametrize("place", ["d/.gitignore", ".git/info/exclude", ".git/HEAD", ".git/index", "included"])
def test_git_that_waits_for_a_pipe_is_ended_and_the_pipe_is_named(tmp_path: Path, place: str) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "include.path", os.fspath(tmp_path / "included"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.py").write_text("x")
    (tmp_path / place).unlink(missing_ok=True)
    os.mkfifo(tmp_path / place)
    with pytest.raises(GitStalledError) as stalled:
        run("git", "-C", os.fspath(tmp_path), "ls-files", "--others", "--exclude-standard")
    if sys.platform == "linux":
        assert stalled.value.place is not None
        assert os.path.realpath(stalled.value.place) == os.fspath(tmp_path / place)
    assert becomes(lambda: processes_named_in("ls-files", os.fspath(tmp_path)) == [])


def test_a_program_at_work_is_not_taken_to_stand_still_and_ends_with_its_time(tmp_path: Path) -> None:
    mark = os.fspath(tmp_path / "mark")
    with pytest.raises(subprocess.TimeoutExpired):
        run(sys.executable, "-c", "while True: pass", mark, timeout_seconds=3.5)
    assert becomes(lambda: processes_named_in(mark) == [])


def test_programs_started_by_the_program_end_with_it(tmp_path: Path) -> None:
    mark = os.fspath(tmp_path / "mark")
    with pytest.raises(GitStalledError):
        run("sh", "-c", f"sh -c 'sleep 600; : {mark}' & wait; : {mark}")
    assert becomes(lambda: processes_named_in(mark) == [])


def test_a_program_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    mark = os.fspath(tmp_path / "mark")
    code = (
        "from codebase_mcp.indexing.git_process import run_git\n"
        f"run_git(['sh', '-c', 'sleep 60; : {mark}'], environment={ENVIRONMENT!r}, timeout_seconds=600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code])
    assert becomes(lambda: len(processes_named_in("sleep 60", mark)) >= 2)
    of_the_run = [child for shell in processes_named_in("sleep 60", mark) for child in shell.children(recursive=True)]
    starter.kill()
    starter.wait()
    try:
        assert becomes(lambda: not any(process.is_running() for process in of_the_run))
        assert becomes(lambda: processes_named_in("sleep 60", mark) == [])
    finally:
        for process in of_the_run:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
