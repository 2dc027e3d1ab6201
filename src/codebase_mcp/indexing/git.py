"""The few questions asked of git, in a way that runs nothing a repository brings along."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.git_process import NOT_STARTED, GitStalledError, run_git

if TYPE_CHECKING:
    from pathlib import Path

GIT_TIMEOUT_SECONDS = 600

# A repository's own configuration can name programs: a file system monitor, hooks, and, when a partial clone lacks
# objects, whatever its remotes say. GIT_ALLOW_PROTOCOL outranks that configuration; no transport is called "none".
_GUARDS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-pager", "--no-replace-objects")
_GUARD_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
# Set inside hooks and aliases, where they would point every call at one repository.
_REDIRECTIONS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX")
_OBJECT_REDIRECTIONS = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_INTERNAL_SUPER_PREFIX")

_OUTSIDE = re.compile(r"not a git repository \(or any ")
_DELIBERATE = re.compile(r"dubious ownership|must be run in a work tree")
"""What git says of a repository that is whole, and that it will not list all the same."""
_UNREADABLE_DIRECTORY = re.compile(rb"^warning: could not open directory '(.+?)/?': ", re.MULTILINE)
_SUBMODULE_MODE = "160000"


class GitTooSlowError(RepositoryUnreadableError):
    """Git did not answer in time."""


class DamagedRepositoryError(RepositoryUnreadableError):
    """Git cannot read the repository of a work tree, or does not find it; the files of the tree are there.

    `reason` is what git says.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class GitListing:
    """What git lists below a folder, relative to it; `repositories` are submodules and embedded repositories."""

    files: tuple[str, ...]
    repositories: tuple[str, ...]
    unreadable_directories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    exit_status: int
    output: bytes
    complaint: bytes

    @property
    def words(self) -> str:
        return self.complaint.decode("utf-8", "backslashreplace").strip()


def work_tree_prefix(folder: Path, seconds: float = GIT_TIMEOUT_SECONDS) -> str | None:
    """Where `folder` lies in its git work tree ("" at the top, else "a/b/"), or None when git has no say over it.

    That is so outside any work tree, below a folder which the surrounding work tree ignores, and where git is not
    installed. Raises DamagedRepositoryError with git's words when git cannot read the repository, another
    RepositoryUnreadableError when it refuses to, and GitTooSlowError when it takes so many seconds.
    """
    answer = _run(folder, "rev-parse", "--show-prefix", seconds=seconds)
    if answer is None or _OUTSIDE.search(answer.words):
        if answer is not None and os.path.lexists(folder / ".git"):
            raise _refused(folder, answer)
        return None
    if answer.exit_status != 0:
        if not _is_git_usable(folder):
            return None
        raise _refused(folder, answer)
    prefix = os.fsdecode(answer.output.removesuffix(b"\n"))
    return None if prefix and _is_ignored(folder, seconds) else prefix


def list_work_tree(folder: Path, prefix: str, seconds: float = GIT_TIMEOUT_SECONDS) -> GitListing:
    """The tracked and the not ignored files at and below `folder`, sorted; `prefix` is its place in the work tree.

    Raises GitTooSlowError after so many seconds.
    """
    options = ("-t", "--stage", "--cached", "--others", "--exclude-standard", "-z")
    answer = _run(folder, "ls-files", *options, seconds=seconds)
    if answer is None or answer.exit_status != 0:
        raise _refused(folder, answer)
    files: set[str] = set()
    repositories: set[str] = set()
    for record in answer.output.split(b"\0")[:-1]:
        path, is_repository = _parse_record(os.fsdecode(record))
        (repositories if is_repository else files).add(path)
    unreadable = (os.fsdecode(name) for name in _UNREADABLE_DIRECTORY.findall(answer.complaint))
    below = (name.removeprefix(prefix) for name in unreadable if f"{name}/".startswith(prefix))
    return GitListing(tuple(sorted(files)), tuple(sorted(repositories)), tuple(sorted(below)))


def ignored_paths(folder: Path, seconds: float) -> tuple[str, ...]:
    """What git's rules leave out at and below `folder`; a directory stands for all it holds and ends in a slash.

    Raises GitTooSlowError after so many seconds.
    """
    options = ("--others", "--ignored", "--exclude-standard", "--directory", "-z")
    answer = _run(folder, "ls-files", *options, seconds=seconds)
    if answer is None or answer.exit_status != 0:
        return ()
    return tuple(os.fsdecode(name) for name in answer.output.split(b"\0")[:-1])


def head_commit(root: Path) -> str | None:
    """The commit checked out at `root`; None outside git, without commits, and where git refuses to say."""
    answer = _run(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if answer is None or answer.exit_status != 0:
        return None
    return answer.output.decode("ascii").strip()


def _parse_record(record: str) -> tuple[str, bool]:
    """`? path` is untracked, with a trailing slash for an embedded repository; else `H mode object stage TAB path`."""
    if record.startswith("? "):
        path = record[2:]
        return path.removesuffix("/"), path.endswith("/")
    head, _, path = record.partition("\t")
    return path, head.split(" ")[1] == _SUBMODULE_MODE


def _is_ignored(folder: Path, seconds: float) -> bool:
    answer = _run(folder, "check-ignore", "--quiet", ".", seconds=seconds)
    return answer is not None and answer.exit_status == 0


def _is_git_usable(folder: Path) -> bool:
    """On macOS a placeholder stands where git would be until the developer tools are installed."""
    answer = _run(folder, "--version")
    return answer is not None and answer.exit_status == 0


def _run(folder: Path, *arguments: str, seconds: float = GIT_TIMEOUT_SECONDS) -> _Answer | None:
    """Git's answer, or None where git is not installed."""
    program = shutil.which("git")
    if program is None:
        return None
    # Not as the working directory to start in: on a file system that hangs, nobody could stop waiting for that.
    command = [program, "-C", os.fspath(folder), *_GUARDS, *arguments]
    try:
        done = run_git(command, environment=_environment(), timeout_seconds=max(seconds, 0.01))
    except OSError as error:
        raise RepositoryUnreadableError(f"git cannot be run in {folder}: {error.strerror}. Check the path.") from error
    except GitStalledError as error:
        raise GitTooSlowError(_stalled(folder, error)) from error
    except subprocess.TimeoutExpired as error:
        message = f"git did not answer within {seconds:g} s in {folder}. Check the disk, then start again."
        raise GitTooSlowError(message) from error
    answer = _Answer(done.exit_code, done.output, done.errors)
    if answer.exit_status in NOT_STARTED:
        raise RepositoryUnreadableError(f"git cannot be run in {folder}: {answer.words}. Check its installation.")
    return answer


def _stalled(folder: Path, error: GitStalledError) -> str:
    place = f" at {error.place}" if error.place is not None else ""
    return (
        f"git has stood still for {error.seconds:.0f} s in {folder}{place}. A named pipe in place of a file, or a file"
        " system that does not answer, is in its way. Remove it, then start again; what is indexed is kept."
    )


def _environment() -> dict[str, str]:
    dropped = {*_REDIRECTIONS, *_OBJECT_REDIRECTIONS}
    return {name: value for name, value in os.environ.items() if name not in dropped} | _GUARD_ENVIRONMENT


def _refused(folder: Path, answer: _Answer | None) -> RepositoryUnreadableError:
    words = answer.words if answer is not None else "it is not installed any more"
    advice = "Repair the repository so that `git status` works there, then start again."
    if "dubious ownership" in words:
        advice = f"If you trust it, run: git config --global --add safe.directory '{folder}'"
    message = f"git cannot list {folder}: {words or 'it gave no reason'}. {advice}"
    if answer is None or not words or _DELIBERATE.search(words):
        return RepositoryUnreadableError(message)
    fatal = [line.removeprefix("fatal: ") for line in words.splitlines() if line.startswith("fatal: ")]
    return DamagedRepositoryError(message, (fatal or words.splitlines())[-1])
