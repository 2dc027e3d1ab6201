"""Checks what callers give: each refusal says what is wrong, with the value, and what to do."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

from codebase_mcp.config_file import read_text
from codebase_mcp.domain import PROJECT_ID_PATTERN
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.lenient import is_absent, local_path, real_path
from codebase_mcp.search.globs import literal_directory

CONFIG_FILE = Path(".codebase-mcp") / "config.json"


def repository_root(repo_path: str, *, allow_large_root: bool) -> Path:
    """The real path of a directory that can be indexed."""
    if not repo_path.strip():
        raise InvalidInputError("repo_path is empty. Give the absolute path of a repository.")
    text = local_path(repo_path)
    refuse_nul("repo_path", text)
    given = Path(text)
    if not given.is_absolute():
        raise InvalidInputError(f"repo_path must be absolute, got {repo_path!r}. Give the full path of the repository.")
    root = _existing_directory(given)
    _refuse_undecodable(root)
    if not allow_large_root and _is_large_root(root):
        raise InvalidInputError(
            f"repo_path {root} is a whole disk or home directory, not a repository. "
            "Give a folder below it, or allow a large root (allow_large_root) if you mean it."
        )
    return root


def _refuse_undecodable(root: Path) -> None:
    """A link may lead anywhere; PostgreSQL and MCP know no text that is not Unicode."""
    try:
        os.fspath(root).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(root).decode("utf-8", "backslashreplace")
        raise InvalidInputError(f"repo_path leads to {shown}, a name that is not UTF-8. Rename the folder.") from error


def _existing_directory(given: Path) -> Path:
    try:
        root = given.resolve(strict=True)
        if not root.is_dir():
            raise InvalidInputError(f"repo_path {given} is a file, not a directory. Give the folder that contains it.")
        with os.scandir(root) as entries:
            is_empty = next(entries, None) is None
    except FileNotFoundError as error:
        raise InvalidInputError(f"repo_path {given} does not exist. Check the spelling of the path.") from error
    except NotADirectoryError as error:
        raise InvalidInputError(f"repo_path {given} leads through a file. Check the path.") from error
    except PermissionError as error:
        message = f"repo_path {given} cannot be read (permission denied). Give this user read access to it."
        raise InvalidInputError(message) from error
    except (OSError, RuntimeError) as error:
        raise InvalidInputError(f"repo_path {given} cannot be opened ({error}). Check the path.") from error
    if is_empty:
        raise InvalidInputError(f"repo_path {root} is empty: there is nothing to index.")
    return root


def _is_large_root(root: Path) -> bool:
    """The home directory, or anything above it; on a system without a home, only the root of the disk."""
    try:
        home = Path.home().resolve()
    except RuntimeError:
        return root == Path(root.anchor)
    return root == Path(root.anchor) or root == home or root in home.parents


def checked_project_id(project_id: str, source: str = "project_id") -> str:
    if is_project_id(project_id):
        return project_id
    raise InvalidInputError(
        f"{source} {_shown(project_id)!r} is not valid: use 1 to 255 letters, digits, hyphens and underscores."
    )


def is_project_id(text: str) -> bool:
    return PROJECT_ID_PATTERN.fullmatch(text) is not None


def checked_name(name: str | None, root: Path) -> str:
    """The name of a repository: as given, or else that of its directory."""
    if name is None or is_absent(name):
        return root.name or str(root)
    if len(name) > 255 or "\0" in name:
        raise InvalidInputError(f"name {name[:80]!r} is not valid: use 1 to 255 characters, or leave it out.")
    return name.strip()


def working_directory() -> Path:
    """Where this process runs; the root of the disk when that folder was deleted, as a removed work tree is."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def resolve_project(explicit: str | None, near: Sequence[Path], fallback: str) -> str:
    """The project of a request: given, else configured in or above the first path that can be, else the setting."""
    if explicit is not None:
        return checked_project_id(explicit)
    for folder in (folder for path in near for folder in (path, *path.parents)):
        if _is_there(folder / CONFIG_FILE):
            return _configured_project(folder / CONFIG_FILE)
    return fallback


def absolute_paths(*values: object) -> list[Path]:
    """Of what callers gave for paths and globs the absolute ones, with their links followed. Blocking."""
    paths = [local_path(value) for value in values if isinstance(value, str)]
    return [Path(real_path(literal_directory(path))) for path in paths if os.path.isabs(path) and "\0" not in path]


def _is_there(config: Path) -> bool:
    """Whatever has that name counts, even what is no file or cannot be seen: a project is never chosen by mistake."""
    try:
        config.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def _configured_project(config: Path) -> str:
    try:
        values = json.loads(read_text(config, "JSON"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{config} is not JSON ({error}). Correct or remove it.") from error
    project_id = values.get("project_id") if isinstance(values, dict) else None
    if not isinstance(project_id, str):
        found = f", but {_shown(json.dumps(project_id))}" if project_id is not None else ""
        raise InvalidInputError(
            f'{config} has no text under "project_id"{found}. Write {{"project_id": "my-project"}}.'
        )
    return checked_project_id(project_id, f"project_id in {config}")


def _shown(value: str) -> str:
    return value if len(value) <= 80 else f"{value[:80]}…"


def refuse_nul(name: str, value: str | None) -> None:
    """PostgreSQL and the file system know no text with a NUL."""
    if value is not None and "\0" in value:
        raise InvalidInputError(f"{name} contains a NUL character. Leave it out.")


def refuse_unconfirmed(confirmed: bool, what: str) -> None:
    if not confirmed:
        raise InvalidInputError(f"{what} needs confirmed=true. Nothing was changed.")
