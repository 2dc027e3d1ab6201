"""The settings file `config.toml`: where it is and what it says."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from codebase_mcp.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "CODEBASE_MCP_CONFIG"
LARGEST_BYTES = 100_000


class ConfigFile(NamedTuple):
    """What the file says; `values` maps setting names to TOML values. A file that does not exist says nothing."""

    path: Path
    text: str = ""
    values: Mapping[str, object] = MappingProxyType({})

    def location_of(self, name: str) -> str:
        """`/home/me/.config/codebase-mcp/config.toml, line 3`; without a line when it cannot be found."""
        found = re.search(rf"^[ \t]*([\"']?){re.escape(name)}\1[ \t]*=", self.text, re.MULTILINE)
        return f"{self.path}, line {self.text.count(chr(10), 0, found.start()) + 1}" if found else str(self.path)


def config_path() -> Path:
    """CODEBASE_MCP_CONFIG, else `config.toml` in the user's configuration folder; `/dev/null` without a home directory.

    Also for root: no other user has to reach the file, as PostgreSQL's must the data, and it may hold passwords.
    Raises InvalidInputError when CODEBASE_MCP_CONFIG begins with the home directory of nobody.
    """
    if named := os.environ.get(VARIABLE, ""):
        try:
            return Path(named).expanduser().absolute()
        except RuntimeError:
            raise InvalidInputError(
                f"{VARIABLE} = {named}: there is no such user. Set it to an absolute path."
            ) from None
    return _default_path()


def _default_path() -> Path:
    import platformdirs

    try:
        folder = Path(platformdirs.user_config_dir("codebase-mcp", appauthor=False))
    except RuntimeError:
        return Path(os.devnull)
    return folder / "config.toml" if folder.is_absolute() else Path(os.devnull)


def read_config(path: Path) -> ConfigFile:
    """Raises InvalidInputError for anything but a missing file or a readable one in TOML."""
    if _is_missing(path):
        return ConfigFile(path)
    text = read_text(path, "TOML")
    return parse_config(path, text) if text else ConfigFile(path)


def parse_config(path: Path, text: str) -> ConfigFile:
    """Raises InvalidInputError, with the line, for a text that is not TOML."""
    import tomllib  # only those who have a file pay for the parser

    try:
        return ConfigFile(path, text, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{path} is not valid TOML: {error}. Correct the file.") from None


def _is_missing(path: Path) -> bool:
    """A file that cannot be seen is not missing: its settings must not be ignored by mistake."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def read_text(path: Path, language: str) -> str:
    """The text of a small configuration file; `/dev/null` is an empty one.

    Raises InvalidInputError, saying what is wrong, when it cannot be read, is too large or is not UTF-8.
    """
    try:
        return _read_bounded(path, language).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 text ({error.reason}). Correct or remove it.") from None
    except OSError as error:
        why = error.strerror or error
        raise InvalidInputError(
            f"{path} cannot be read ({why}). Make it readable for this user, or remove it."
        ) from None


def _read_bounded(path: Path, language: str) -> bytes:
    if str(path) == os.devnull:
        return b""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInputError(f"{path} is not a file. Put a {language} file there, or remove it.")
    with path.open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        size = max(status.st_size, len(content))
        raise InvalidInputError(
            f"{path} has {size:,} bytes, more than the {LARGEST_BYTES:,} that a configuration may have. "
            "Correct or remove it."
        )
    return content
