"""What is indexed: repositories given by path, or pinned source distributions and the interpreter's own library."""

from __future__ import annotations

import hashlib
import shutil
import sysconfig
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(__file__).resolve().parent / ".cache"
DOWNLOAD_BYTES = 1 << 20
NOT_THE_LIBRARY = ("site-packages", "dist-packages", "__pycache__")


class BenchmarkError(Exception):
    """The measurement cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """One repository to index; `name` is what the report calls it."""

    name: str
    root: Path


@dataclass(frozen=True, slots=True)
class SourceDistribution:
    """A pinned release, so that figures of different days compare."""

    project: str
    version: str
    filename: str
    sha256: str


DJANGO = SourceDistribution(
    "django",
    "5.2.19",
    "django-5.2.19.tar.gz",
    "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
)
SCIPY = SourceDistribution(
    "scipy",
    "1.17.1",
    "scipy-1.17.1.tar.gz",
    "95d8e012d8cb8816c226aef832200b1d45109ed4464303e997c5b13122b297c0",
)


def given_corpora(paths: Sequence[Path]) -> list[Corpus]:
    """Repositories as they lie on the disk; nothing is written to them."""
    for path in paths:
        if not path.is_dir():
            raise BenchmarkError(f"{path} is not a directory; --repo takes the root of a repository.")
    return [Corpus(path.resolve().name or "root", path.resolve()) for path in paths]


def default_corpora(folder: Path, *, quick: bool) -> list[Corpus]:
    """Trees unpacked below `folder`, outside any checkout whose ignore rules would hide them."""
    wanted = () if quick else (DJANGO, SCIPY)
    released = [Corpus(f"{item.project} {item.version}", unpacked(item, folder)) for item in wanted]
    return [*released, Corpus(f"python {sysconfig.get_python_version()} library", _copied_library(folder))]


def _copied_library(folder: Path) -> Path:
    target = folder / "library"
    ignored = shutil.ignore_patterns(*NOT_THE_LIBRARY)
    shutil.copytree(sysconfig.get_path("stdlib"), target, symlinks=True, ignore=ignored)
    return target


def unpacked(item: SourceDistribution, folder: Path) -> Path:
    """The root of its sources, below `folder`."""
    target = folder / item.project
    with tarfile.open(_archive(item)) as archive:
        archive.extractall(target, filter="data")
    return next(path for path in target.iterdir() if path.is_dir())


def _archive(item: SourceDistribution) -> Path:
    path = CACHE / item.filename
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        _download(item, partial)
        partial.rename(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != item.sha256:
        raise BenchmarkError(f"{path} has sha256 {found}, not {item.sha256}. Remove it and run again.")
    return path


def _download(item: SourceDistribution, target: Path) -> None:
    """Fetches the archive alone; `pip download` would first run the build of what it downloads, compilers and all.

    It asks pip's own finder, so that the index, certificates and proxies are those that pip is configured with.
    """
    try:
        from pip._internal.commands import create_command
    except ImportError as error:
        raise BenchmarkError("Fetching the corpus needs pip: run `python -m ensurepip`, or give --repo.") from error
    command: Any = create_command("download")
    options, _ = command.parse_args(["--no-binary", ":all:", "--quiet"])
    with command.main_context():
        session = command.get_default_session(options)
        link = _link(command._build_package_finder(options, session), item)
        with session.get(link.url_without_fragment, stream=True) as response, target.open("wb") as file:
            response.raise_for_status()
            file.writelines(response.iter_content(DOWNLOAD_BYTES))


def _link(finder: Any, item: SourceDistribution) -> Any:
    for candidate in finder.find_all_candidates(item.project):
        if candidate.link.filename == item.filename:
            return candidate.link
    raise BenchmarkError(
        f"The package index offers no {item.filename}. "
        "Check pip's index configuration, or give --repo where the command takes it."
    )
