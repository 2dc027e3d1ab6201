"""Which files a root holds: git's answer in a work tree, a walk with git's rules elsewhere. Names only."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.indexing.git import list_work_tree, work_tree_prefix
from codebase_mcp.indexing.ignore import IgnoreTree, read_if_regular

if TYPE_CHECKING:
    from pathlib import Path

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


def list_files(root: Path) -> Listing:
    """Everything below `root` that no rule leaves out; nothing is returned that lies behind a symlinked directory.

    Left out silently: what git ignores, what `.mcpignore` files exclude, version control bookkeeping, and, outside
    git work trees, directories that tools fill. Submodules and embedded repositories are listed by their own rules.
    """
    lister = _Lister(root)
    prefix = work_tree_prefix(root)
    if prefix is None:
        lister.walk()
    else:
        lister.add_work_tree("", prefix)
    return lister.finish()


class _Lister:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._listing = Listing()
        self._repositories: list[str] = []
        self._left_out_by_user = IgnoreTree(root, ".mcpignore")
        self._left_out_by_git = IgnoreTree(root, ".gitignore")

    def finish(self) -> Listing:
        while self._repositories:
            self._add_repository(self._repositories.pop())
        listing, left_out = self._listing, self._left_out_by_user
        files = {path for path in listing.files if not left_out.excludes(path)}
        unreadable = listing.unreadable | left_out.unreadable_directories | self._left_out_by_git.unreadable_directories
        return Listing(files, listing.remarks, unreadable)

    def add_work_tree(self, under: str, prefix: str) -> None:
        """List a work tree at `under` ("" or "a/b/"), and queue the repositories inside it."""
        listed = list_work_tree(self._root / under, prefix)
        self._listing.files.update(under + path for path in listed.files if _is_source(path))
        self._listing.unreadable.update(under + path for path in listed.unreadable_directories)
        self._repositories.extend(under + path for path in listed.repositories if _is_source(path))

    def _add_repository(self, path: str) -> None:
        if self._left_out_by_user.excludes(path, is_directory=True):
            return
        if not is_real_directory(self._root, path):
            self._listing.files.add(path)
        elif _is_linked_work_tree(self._root / path):
            self._listing.remarks[path] = LINKED_WORK_TREE
        elif not self._add_own_work_tree(path):
            self._listing.remarks[path] = NOT_CHECKED_OUT

    def _add_own_work_tree(self, path: str) -> bool:
        """List the repository whose top is `path`; False when there is none. One that git refuses becomes a remark."""
        try:
            prefix = work_tree_prefix(self._root / path)
            if prefix != "":
                return False
            self.add_work_tree(f"{path}/", prefix)
        except RepositoryUnreadableError as error:
            self._listing.remarks[path] = error.message
            self._listing.unreadable.add(path)
        return True

    def walk(self) -> None:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                folders.extend(self._walk_folder(folder))
            except OSError as error:
                if not folder:
                    raise
                if not isinstance(error, FileNotFoundError | NotADirectoryError):
                    self._listing.unreadable.add(folder)

    def _walk_folder(self, folder: str) -> list[str]:
        """Add the files of one folder and answer the folders to go into."""
        with os.scandir(self._root / folder) as entries:
            kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        if folder and (not REBUILDABLE_MARKERS.isdisjoint(kinds) or self._is_listed_by_git(folder, kinds)):
            return []
        subfolders: list[str] = []
        for name, is_directory in kinds.items():
            path = f"{folder}/{name}" if folder else name
            if self._is_left_out(path, name, is_directory):
                continue
            if is_directory:
                subfolders.append(path)
            else:
                self._listing.files.add(path)
        return subfolders

    def _is_listed_by_git(self, folder: str, names: dict[str, bool]) -> bool:
        return ".git" in names and self._add_own_work_tree(folder)

    def _is_left_out(self, path: str, name: str, is_directory: bool) -> bool:
        if name in BOOKKEEPING_DIRECTORIES or (is_directory and name in GENERATED_DIRECTORIES):
            return True
        if self._left_out_by_git.excludes(path, is_directory=is_directory):
            return True
        # Files are asked about at the end, for both kinds of listing; a folder now, so that it need not be walked.
        return is_directory and self._left_out_by_user.excludes(path, is_directory=True)


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
