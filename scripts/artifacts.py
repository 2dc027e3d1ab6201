"""What a wheel and a source distribution must contain, and what they must not."""

from __future__ import annotations

import fnmatch
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NEEDED = (
    "codebase_mcp/indexing/model/model.safetensors",
    "codebase_mcp/indexing/model/tokenizer.json",
    "codebase_mcp/indexing/queries/*.scm",
    "codebase_mcp/jobs/queries.sql",
    "codebase_mcp/storage/migrations/*/versions/*.py",
    "codebase_mcp/py.typed",
    "*.dist-info/licenses/LICENSE",
)
"""Files without which an installation starts and then fails."""

Files = dict[str, bytes]


def problems(wheel: Path, sdist: Path, direct: Path, tree: Path, *, not_to_be_found: Sequence[str]) -> list[str]:
    """Sentences about what is wrong; none when all is well.

    `direct` is the wheel built from `tree`, not from the source distribution; `not_to_be_found` are paths of this
    machine.
    """
    files, source = wheel_files(wheel), sdist_files(sdist)
    return [
        *_missing(files, tree),
        *_superfluous(files),
        *_differing(files, wheel_files(direct)),
        *_metadata(files),
        *_named_paths({**files, **source}, not_to_be_found),
    ]


def wheel_files(wheel: Path) -> Files:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sdist_files(sdist: Path) -> Files:
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def _missing(files: Mapping[str, bytes], tree: Path) -> Iterator[str]:
    for pattern in NEEDED:
        if not fnmatch.filter(files, pattern):
            yield f"the wheel has no {pattern}"
    source = tree / "src"
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and "__pycache__" not in name and files.get(name) != path.read_bytes():
            yield f"the wheel lacks {name}, or has another content"


def _superfluous(files: Mapping[str, bytes]) -> Iterator[str]:
    for name in sorted(files):
        top = name.split("/", 1)[0]
        if top != "codebase_mcp" and not top.endswith(".dist-info"):
            yield f"{name} does not belong into the wheel"
        if name.endswith((".pyc", ".orig", ".rej")):
            yield f"{name} was made by a tool"


def _differing(files: Mapping[str, bytes], others: Mapping[str, bytes]) -> Iterator[str]:
    for name in sorted(files.keys() | others.keys()):
        if files.get(name) != others.get(name):
            yield f"{name} differs between the wheels of the source distribution and of the repository"


def _metadata(files: Mapping[str, bytes]) -> Iterator[str]:
    (name,) = fnmatch.filter(files, "*.dist-info/METADATA")
    metadata = message_from_bytes(files[name])
    text = files[name].decode()
    if metadata["Name"] != "codebase-mcp-server":
        yield f"the distribution is called {metadata['Name']}"
    if not metadata.get_all("Project-URL"):
        yield "the metadata have no address"
    if "mcp-name: " not in text or "{{" in text:
        yield "the README in the metadata was not rendered"
    (entry_points,) = fnmatch.filter(files, "*.dist-info/entry_points.txt")
    for command in ("codebase-mcp", "codebase-mcp-server"):
        if f"\n{command} = ".encode() not in files[entry_points]:
            yield f"there is no command {command}"


def _named_paths(files: Mapping[str, bytes], paths: Sequence[str]) -> Iterator[str]:
    for name, content in sorted(files.items()):
        for path in paths:
            if f"{path}/".encode() in content:
                yield f"{name} names the path {path} of this machine"
