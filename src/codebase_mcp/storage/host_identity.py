"""Which host this is: a setting, or an identity made once and kept in the data directory, for each machine one.

The host name would not do: containers and laptops change theirs, and several have the same. The file maps machines to
identities, so that a copy of a data directory on a second machine gets an identity of its own there, and a home
directory on a network gives each machine its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import re
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codebase_mcp.domain import Host
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.storage.file_lock import locked

if TYPE_CHECKING:
    from codebase_mcp.settings import Settings

FILE_NAME = "host.json"
MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_LOCK_SECONDS = 10.0
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """`former_ids`: other identities of this data directory; in a database inside it, what is theirs is this host's.

    `copied_from` is the identity under which another machine used this data directory, and which is not used here.
    """

    host: Host
    former_ids: tuple[str, ...] = ()
    copied_from: str | None = None


def machine_id() -> str | None:
    """What the system says that this machine is; None where it does not, as in many containers."""
    if sys.platform == "darwin":
        return _darwin_machine_id()
    for path in MACHINE_ID_FILES:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if _MACHINE_ID.fullmatch(text := path.read_text("ascii").strip()):
                return text
    return None


def _darwin_machine_id() -> str | None:
    """The hardware's identifier; not tried on a Mac."""
    identifier, patience = ctypes.create_string_buffer(16), (ctypes.c_long * 2)(1, 0)
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).gethostuuid(identifier, patience) == 0:
            return identifier.raw.hex()
    return None


def identify_host(settings: Settings, *, read_machine_id: Callable[[], str | None] = machine_id) -> HostIdentity:
    """Who this host is; the first call on a machine makes its identity. Blocking.

    Raises InvalidInputError when there is none and none can be kept.
    """
    name = socket.gethostname()
    if settings.host_id is not None:
        kept = _read(settings.data_dir / FILE_NAME) or _Kept()
        former = kept.ids if settings.is_embedded else kept.ids_of(_digest(read_machine_id()))
        return HostIdentity(Host(settings.host_id, name), tuple(one for one in former if one != settings.host_id))
    kept, host_id = _kept_identity(settings.data_dir, _digest(read_machine_id()))
    former = [one for one in kept.ids if one != host_id] if settings.is_embedded else []
    return HostIdentity(
        Host(host_id, name),
        tuple(former),
        copied_from=None if host_id == kept.first else kept.first,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """`first` is the identity made first, `machines` has one for each machine that said which it is."""

    first: str = ""
    machines: tuple[tuple[str, str], ...] = ()

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(one for one in (self.first, *(dict(self.machines).values())) if one))

    def ids_of(self, machine: str | None) -> list[str]:
        known = dict(self.machines)
        found = known.get(machine) if machine is not None and known else self.first
        return [found] if found else []

    def including(self, machine: str | None) -> tuple[_Kept, str]:
        """With an identity for this machine, and that identity."""
        known = dict(self.machines)
        if not self.first:
            new = str(uuid.uuid4())
            return _Kept(new, ((machine, new),) if machine else ()), new
        if machine is None:
            return self, self.first
        if machine in known:
            return self, known[machine]
        # A file that no machine has signed tells nothing of a copy.
        own = str(uuid.uuid4()) if known else self.first
        return _Kept(self.first, (*self.machines, (machine, own))), own


def _kept_identity(data_dir: Path, machine: str | None) -> tuple[_Kept, str]:
    path = data_dir / FILE_NAME
    kept = _read(path)
    if kept is not None and (found := kept.including(machine))[0] == kept:
        return found
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Several processes may start at once on a new data directory; they must agree.
        with locked(data_dir / "host.lock", wait_seconds=_LOCK_SECONDS, waiting_for="another process identifies it"):
            kept, host_id = (_read(path) or _Kept()).including(machine)
            _write(path, kept)
    except OSError as error:
        raise InvalidInputError(
            f"The identity of this host cannot be kept in {path} ({error.strerror}). Give this user write access, or"
            " set CODEBASE_MCP_HOST_ID to a name that no other host has."
        ) from error
    return kept, host_id


def _read(path: Path) -> _Kept | None:
    """None when there is no such file yet. A damaged one is not replaced: what it said may be all that tells whose
    repositories are whose."""
    try:
        values: Any = json.loads(path.read_text("utf-8"))
        return _Kept(_checked(values["host_id"]), tuple((str(k), _checked(v)) for k, v in values["machines"].items()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror}). Give this user read access.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is damaged: it holds the identity of this host. Restore it, set CODEBASE_MCP_HOST_ID, or delete it"
            " for a new identity; `codebase-mcp repos adopt` then takes over what belonged to the old one."
        ) from error


def _checked(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def _write(path: Path, kept: _Kept) -> None:
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(json.dumps({"host_id": kept.first, "machines": dict(kept.machines)}) + "\n", "utf-8")
    unfinished.replace(path)


def _digest(machine: str | None) -> str | None:
    """The identifier of a machine is not to be shown to others, so a hash of it is kept."""
    return None if machine is None else hashlib.sha256(f"codebase-mcp {machine}".encode()).hexdigest()[:32]
