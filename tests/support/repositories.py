"""Folders and git repositories to look into, and a user whom permissions stop."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.file_stat import FINE_TICK_NS

NOBODY = 65534


def git_settings() -> dict[str, str]:
    """Environment in which git knows an author and nothing of whoever runs the tests."""
    options = {"user.name": "A", "user.email": "a@example.org", "protocol.file.allow": "always"}
    numbered = enumerate(options.items())
    pairs = {f"GIT_CONFIG_{part}_{i}": item[k] for i, item in numbered for k, part in enumerate(("KEY", "VALUE"))}
    return {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": str(len(options)), **pairs}


@contextmanager
def folder_for_anybody() -> Iterator[Path]:
    """A folder that an ordinary user can reach, unlike those of pytest when root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="discover-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    shutil.rmtree(folder)


@contextmanager
def ordinary_user(folder: Path) -> Iterator[None]:
    """Permissions do not stop root: become somebody whom they stop, and who owns `folder`."""
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
    os.setresuid(NOBODY, NOBODY, 0)  # the real one too: a shell goes back to that
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def write(root: Path, *paths: str, content: str = "x\n") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def settle(root: Path) -> None:
    """Waits until no file below `root` is so new that another write could get the same stamps."""
    newest = max(path.lstat().st_ctime_ns for path in root.rglob("*"))
    while time.time_ns() - newest <= FINE_TICK_NS:
        time.sleep(0.01)


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path, *paths: str) -> None:
    """A repository at `root` with these files committed."""
    write(root, *paths)
    git(root, "init", "-q")
    git(root, "add", "-f", *paths)
    git(root, "commit", "-q", "-m", "x")


def look(root: Path, max_file_bytes: int = 1000) -> dict[str, str | None]:
    """Path to skip reason, of everything discovered; fails on a path that comes twice."""
    files = list(discover(root, max_file_bytes=max_file_bytes))
    reasons = {file.relative_path: file.skip_reason for file in files}
    assert len(reasons) == len(files)
    return reasons


def seen(root: Path) -> set[str]:
    return {path for path, reason in look(root).items() if reason is None}
