"""Changes one line of the settings file and leaves everything else as it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit

from codebase_mcp.config_file import LARGEST_BYTES, VARIABLE, ConfigFile, parse_config, read_config
from codebase_mcp.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def change_setting(path: Path, name: str, value: object, check: Callable[[ConfigFile], object]) -> None:
    """Set `name` to a TOML value, or remove its line when that is None. Everything else stays, comments included.

    `check` gets the file as it would be, and raises what must not be written. A symbolic link stays and its target is
    replaced, in one step, with mode 0600. Raises InvalidInputError when the file cannot be read or written.
    """
    if str(path) == os.devnull:
        raise InvalidInputError(
            f"no settings file is in use ({VARIABLE} is {os.devnull}, or there is no home directory). "
            f"Set {VARIABLE} to a path."
        )
    target = Path(os.path.realpath(path))
    with _explained(path, target.parent):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _only_writer(target.parent):
            changed = _with_setting(read_config(path), name, value)
            check(changed)
            _replace(target, _encoded(changed))


def _with_setting(file: ConfigFile, name: str, value: object) -> ConfigFile:
    document = tomlkit.parse(file.text)
    if value is None:
        document.remove(name)
    else:
        document[name] = value
    return parse_config(file.path, document.as_string())


def _encoded(file: ConfigFile) -> bytes:
    """Raises InvalidInputError for what could not be read again."""
    try:
        content = file.text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("the value is not UTF-8 text, as a settings file must be.") from None
    if len(content) > LARGEST_BYTES:
        raise InvalidInputError(f"with this value {file.path} would have more than {LARGEST_BYTES:,} bytes.")
    return content


@contextlib.contextmanager
def _explained(path: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written ({error.strerror or error}). Give this user write access to {folder}, "
            f"or set {VARIABLE} to another path."
        ) from None


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Prevents: two changes at once, of which one is lost. Network file systems may not lock folders."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(target: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            _keep_owner(target, file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _keep_owner(target: Path, descriptor: int) -> None:
    """Prevents: a file that its owner cannot read after root changed it."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        status = target.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)
