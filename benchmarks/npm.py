"""Programs from npm, for tests and measurements: exact versions, installed once into a folder that git ignores."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = Path(__file__).parent / ".cache" / "npm"
AS_OF = "2026-11-28"
"""What the packages depend on is resolved as of this day, so that the same programs run next year."""
NODE = "node@24.21.0"
"""Installed when the machine's own is older than `OLDEST_NODE`."""
OLDEST_NODE = 22
INSTALL_SECONDS = 240


class NpmUnavailableError(Exception):
    """Nothing can be installed; the message says why."""


def install(name: str, *packages: str, run_scripts: bool = False, cache: Path = CACHE) -> Path:
    """The folder whose `node_modules` holds the packages (`name@version`); they are installed at the first call only.

    Install scripts run only when a package cannot do without. Raises NpmUnavailableError.
    """
    digest = hashlib.sha256("\n".join((AS_OF, *packages)).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{digest}"
    with _locked(cache):
        if not folder.exists():
            _install_into(folder, packages, run_scripts=run_scripts)
    return folder


def node() -> Path:
    """A Node.js of at least `OLDEST_NODE`, from npm when the machine's own is older. Raises NpmUnavailableError."""
    found = shutil.which("node")
    if found is None:
        raise NpmUnavailableError("Node.js is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)\.", said)
    if major and int(major[1]) >= OLDEST_NODE:
        return Path(found)
    return install("node", NODE, run_scripts=True) / "node_modules" / "node" / "bin" / "node"


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_into(folder: Path, packages: tuple[str, ...], *, run_scripts: bool) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NpmUnavailableError("npm is not installed")
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    # Without a package.json of its own, npm would install into the nearest folder above that has one.
    (unfinished / "package.json").write_text(json.dumps({"private": True}))
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    # Where the registry cannot be reached, that is to be known soon.
    quiet += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]
    scripts = [] if run_scripts else ["--ignore-scripts"]
    command = [npm, "install", *quiet, *scripts, "--before", AS_OF, *packages]
    try:
        done = subprocess.run(
            command, cwd=unfinished, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NpmUnavailableError(f"npm did not install {' '.join(packages)} in {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        reason = "; ".join(done.stderr.strip().splitlines()[:4])
        raise NpmUnavailableError(f"npm cannot install {' '.join(packages)}: {reason}")
    unfinished.rename(folder)
