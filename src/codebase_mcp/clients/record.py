"""What was done to which file, kept for an exact undo: which files and folders are ours, what an entry replaced."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs

from codebase_mcp.clients import files
from codebase_mcp.clients.errors import ClientConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Undo = dict[str, Any]
"""What the editor of a file needs to undo its edit; empty when the text alone tells."""


@dataclass(slots=True)
class Edited:
    """One edited file: who uses it, and how to undo the edit."""

    part: Literal["server", "skill", "instructions"]
    clients: list[str] = field(default_factory=list)
    created_file: bool = False
    undo: Undo = field(default_factory=dict)


def merged(earlier: Undo, later: Undo) -> Undo:
    """How to undo two edits of one entry: the first one says what was there before."""
    if not earlier or not later or "insertion" in later or "inserted" in later:
        return later or earlier
    if "inserted" in earlier:
        return {"inserted": earlier["inserted"].replace(*later["replaced"])}
    if isinstance(earlier.get("replaced"), list) and "replaced" in later:
        old, new = earlier["replaced"]
        return {"replaced": [old, new.replace(*later["replaced"])]}
    return earlier


def default_path() -> Path:
    return Path(platformdirs.user_config_dir("codebase-mcp", appauthor=False), "installed.json")


class Record:
    """The edited files by path, and all folders that were made for them, in a file that is gone when none is left.

    Without it `uninstall` still works: it then leaves empty objects and files that it cannot know to be ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders, self.edited = _parse(files.read(path), path)

    def change(self, change: Callable[[dict[str, Edited]], None], made: Sequence[Path] = ()) -> None:
        """Apply a change to what is on disk now, which another process may have changed; add the folders `made`."""
        more = [*made, *files.missing_folders(self.path.parent)]

        def edit(content: bytes | None) -> bytes | None:
            self.folders, self.edited = _parse(content, self.path)
            self.folders = [folder for folder in self.folders if folder.exists()] + more
            change(self.edited)
            return _dump(self.folders, self.edited)

        files.rewrite(self.path, edit, is_private=True)
        if not self.edited:
            files.remove_empty(self.folders)


def _parse(content: bytes | None, path: Path) -> tuple[list[Path], dict[str, Edited]]:
    """The folders that were made, and the edited files."""
    if content is None:
        return [], {}
    try:
        found = json.loads(content)
        folders = [Path(folder) for folder in found["folders"]]
        return folders, {name: Edited(**entry) for name, entry in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientConfigError(
            f"{path}, which says what was installed, cannot be read ({error}). Delete it; uninstalling then leaves "
            "empty objects and files behind."
        ) from None


def _dump(folders: list[Path], edited: dict[str, Edited]) -> bytes | None:
    if not edited:
        return None
    entries = {name: asdict(entry) for name, entry in sorted(edited.items())}
    return json.dumps({"folders": [str(folder) for folder in folders], "files": entries}, indent=2).encode() + b"\n"
