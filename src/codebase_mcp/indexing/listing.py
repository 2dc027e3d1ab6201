"""Which files a root holds: git's answer in a work tree, a walk with git's rules elsewhere. Names only."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.git import (
    GIT_TIMEOUT_SECONDS,
    DamagedRepositoryError,
    GitTooSlowError,
    ignored_paths,
    list_work_tree,
    work_tree_prefix,
)
from codebase_mcp.indexing.ignore import IgnoreTree, read_if_regular

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

IGNORED_BY_GIT = "ignored by git"
EXCLUDED_BY_USER = "excluded by .mcpignore"
FILLED_BY_TOOLS = "filled by tools (dependencies, environments, caches)"
NOT_CHECKED_OUT = "submodule not checked out (git submodule update --init)"
LINKED_WORK_TREE = "linked work tree of a repository (index it on its own)"

# Both kinds of listing. Whatever they hold is bookkeeping, never source.
BOOKKEEPING_DIRECTORIES = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"})
# The walk only, where no ignore file may say so. Names that people also give to sources, such as build, dist, target,
# vendor, env and bin, are not among them.
GENERATED_DIRECTORIES = frozenset(
    {"node_modules", "bower_components", "jspm_packages", "__pycache__", "__pypackages__", ".venv", "venv", ".tox"}
    | {".nox", ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints"}
    | {".gradle", ".terraform", ".next", ".nuxt", ".svelte-kit", ".parcel-cache", ".turbo", ".dart_tool"}
)
# A file of this name says that its directory can be rebuilt: a Python environment, or a cache (cargo, mypy, bazel).
REBUILDABLE_MARKERS = frozenset({"pyvenv.cfg", "CACHEDIR.TAG"})


@dataclass(slots=True)
class Listing:
    """Posix paths below a root. `remarks` are paths that are reported instead of indexed, with the reason."""

    files: set[str] = field(default_factory=set)
    remarks: dict[str, str] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Look:
    """How to look: for how long, and whether what is left out silently is noted.

    Deadlines are of time.monotonic; `is_list_cut` and `is_cut` say that one of them came. `left_out` maps posix paths
    to reasons; a directory stands for all it holds and ends in a slash. With `is_noting` off nothing is noted, which
    saves calls of git.
    """

    list_deadline: float = math.inf
    deadline: float = math.inf
    is_noting: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    is_list_cut: bool = False
    is_cut: bool = False
    place: str = ""
    """The path that was last looked at: where a look hangs that does not get on."""
    steps: int = 0
    """How many were."""
    is_asking_git: bool = False
    """Git has limits of its own."""

    def step(self, path: str) -> None:
        self.place = path
        self.steps += 1

    @contextlib.contextmanager
    def asking_git(self) -> Iterator[None]:
        self.is_asking_git = True
        try:
            yield
        finally:
            self.is_asking_git = False
            self.steps += 1

    @property
    def list_seconds_left(self) -> float:
        return self.list_deadline - time.monotonic()

    @property
    def git_seconds(self) -> float:
        """How long git may take for its next answer."""
        return min(self.list_seconds_left, GIT_TIMEOUT_SECONDS)

    @contextlib.contextmanager
    def patience_with_git(self) -> Iterator[None]:
        """With a deadline for the list, git's lateness cuts it short; without one it is an error."""
        try:
            yield
        except GitTooSlowError:
            if self.list_deadline == math.inf:
                raise
            self.is_list_cut = True

    def must_end_list(self) -> bool:
        self.is_list_cut = self.is_list_cut or self.list_seconds_left < 0
        return self.is_list_cut

    def must_end(self) -> bool:
        self.is_cut = time.monotonic() > self.deadline
        return self.is_cut

    def note(self, path: str, reason: str) -> None:
        if self.is_noting:
            self.left_out[path] = reason


def list_files(root: Path, look: Look | None = None) -> Listing:
    """Everything below `root` that no rule leaves out; nothing is returned that lies behind a symlinked directory.

    Left out silently: what git ignores, what `.mcpignore` files exclude, version control bookkeeping, and, outside
    git work trees, directories that tools fill. Submodules and embedded repositories are listed by their own rules.
    """
    look = look or Look()
    lister = _Lister(root, look)
    with look.patience_with_git():
        try:
            prefix = lister.work_tree_prefix("")
            if prefix is not None:
                lister.add_work_tree("", prefix)
        except DamagedRepositoryError as error:
            prefix = None
            lister.warn("", error.reason)
        if prefix is None:
            lister.walk("")
    return lister.finish()


class _Lister:
    def __init__(self, root: Path, look: Look) -> None:
        self._root = root
        self._look = look
        self._listing = Listing()
        self._repositories: list[str] = []
        self._left_out_by_user = IgnoreTree(root, ".mcpignore")
        self._left_out_by_git = IgnoreTree(root, ".gitignore")

    def finish(self) -> Listing:
        while self._repositories and not self._look.must_end_list():
            self._add_repository(self._repositories.pop())
        listing, left_out = self._listing, self._left_out_by_user
        files = {path for path in listing.files if not self._is_excluded_by_user(path)}
        for path in listing.files - files if self._look.is_noting else ():
            self._look.note(path, EXCLUDED_BY_USER)
        unreadable = listing.unreadable | left_out.unreadable_directories | self._left_out_by_git.unreadable_directories
        return Listing(files, listing.remarks, unreadable, listing.warnings)

    def _is_excluded_by_user(self, path: str) -> bool:
        self._look.step(path)
        return self._left_out_by_user.excludes(path)

    def warn(self, path: str, reason: str) -> None:
        """Of a work tree that is walked because git cannot list it."""
        self._listing.warnings.append(
            f"{self._root / path} is indexed without git, which cannot read its repository: {reason}. Its ignore files"
            " count; what else git would exclude, and which commit is checked out, is not known."
        )

    def work_tree_prefix(self, path: str) -> str | None:
        with self._look.asking_git():
            return work_tree_prefix(self._root / path, self._look.git_seconds)

    def add_work_tree(self, under: str, prefix: str) -> None:
        """List a work tree at `under` ("" or "a/b/"), and queue the repositories inside it."""
        look = self._look
        with look.asking_git():
            listed = list_work_tree(self._root / under, prefix, look.git_seconds)
            ignored = ignored_paths(self._root / under, look.git_seconds) if look.is_noting else ()
        for path in ignored:
            look.note(under + path, IGNORED_BY_GIT)
        self._listing.files.update(under + path for path in listed.files if _is_source(path))
        self._listing.unreadable.update(under + path for path in listed.unreadable_directories)
        self._repositories.extend(under + path for path in listed.repositories if _is_source(path))

    def _add_repository(self, path: str) -> None:
        self._look.step(path)
        if self._left_out_by_user.excludes(path, is_directory=True):
            return
        try:
            if not is_real_directory(self._root, path):
                self._listing.files.add(path)
            elif _is_linked_work_tree(self._root / path):
                self._listing.remarks[path] = LINKED_WORK_TREE
            elif not self._add_own_work_tree(path):
                self._listing.remarks[path] = NOT_CHECKED_OUT
        except OSError:
            self._listing.unreadable.add(path)

    def _add_own_work_tree(self, path: str) -> bool:
        """List the repository whose top is `path`; False when there is none.

        One that git refuses becomes a remark; one that is damaged is walked.
        """
        try:
            with self._look.patience_with_git():
                prefix = self.work_tree_prefix(path)
                if prefix != "":
                    return False
                self.add_work_tree(f"{path}/", prefix)
        except DamagedRepositoryError as error:
            self.warn(path, error.reason)
            self.walk(path)
        except RepositoryUnreadableError as error:
            self._listing.remarks[path] = error.message
            self._listing.unreadable.add(path)
        return True

    def walk(self, top: str) -> None:
        """Add what lies below `top`, which git is not asked about."""
        folders = [top]
        while folders:
            if self._look.must_end_list():
                return
            folder = folders.pop()
            try:
                folders.extend(self._walk_folder(folder, is_top=folder == top))
            except OSError as error:
                if not folder:
                    raise
                if not isinstance(error, FileNotFoundError | NotADirectoryError):
                    self._listing.unreadable.add(folder)

    def _walk_folder(self, folder: str, *, is_top: bool) -> list[str]:
        """Add the files of one folder and answer the folders to go into."""
        self._look.step(folder)
        with os.scandir(self._root / folder) as entries:
            kinds = {entry.name: self._is_directory(entry, folder) for entry in entries}
        if folder and not REBUILDABLE_MARKERS.isdisjoint(kinds):
            self._look.note(f"{folder}/", FILLED_BY_TOOLS)
            return []
        if not is_top and self._is_listed_by_git(folder, kinds):
            return []
        subfolders: list[str] = []
        for name, is_directory in kinds.items():
            path = f"{folder}/{name}" if folder else name
            if name in BOOKKEEPING_DIRECTORIES or is_directory is None:
                continue
            if (reason := self._left_out_reason(path, name, is_directory)) is not None:
                self._look.note(f"{path}/" if is_directory else path, reason)
                continue
            if is_directory:
                subfolders.append(path)
            else:
                self._listing.files.add(path)
        return subfolders

    def _is_directory(self, entry: os.DirEntry[str], folder: str) -> bool | None:
        """None for an entry of which the file system says nothing, such as a stale handle."""
        try:
            return entry.is_dir(follow_symlinks=False)
        except OSError:
            self._listing.unreadable.add(f"{folder}/{entry.name}" if folder else entry.name)
            return None

    def _is_listed_by_git(self, folder: str, names: Collection[str]) -> bool:
        return ".git" in names and self._add_own_work_tree(folder)

    def _left_out_reason(self, path: str, name: str, is_directory: bool) -> str | None:
        if is_directory and name in GENERATED_DIRECTORIES:
            return FILLED_BY_TOOLS
        if self._left_out_by_git.excludes(path, is_directory=is_directory):
            return IGNORED_BY_GIT
        # Files are asked about at the end, for both kinds of listing; a folder now, so that it need not be walked.
        if is_directory and self._left_out_by_user.excludes(path, is_directory=True):
            return EXCLUDED_BY_USER
        return None


def is_real_directory(root: Path, relative_path: str) -> bool:
    """Whether neither the path nor a folder above it, up to the root, is a symlink or missing."""
    folder = os.fspath(root)
    for name in relative_path.split("/"):
        folder = f"{folder}/{name}"
        try:
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _is_source(path: str) -> bool:
    """Not bookkeeping, and no way out of the root, which a forged git index could contain."""
    parts = path.split("/")
    return BOOKKEEPING_DIRECTORIES.isdisjoint(parts) and ".." not in parts and parts[0] != ""


def _is_linked_work_tree(folder: Path) -> bool:
    """A submodule's `.git` file points below `modules`, a linked work tree's below `worktrees`."""
    return b"/worktrees/" in read_if_regular(os.fspath(folder / ".git"))
