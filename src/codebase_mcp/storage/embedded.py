"""The embedded PostgreSQL: one server per data directory, shared by every process that names that directory.

Whoever needs it first starts it, under `server.lock`; it then outlives its starter. Three files carry the locks:
- `server.lock`: held while the server is started or stopped;
- `alive.lock`: inherited by every process of the server, so it is free exactly when no such process lives. Process ids
  would not do: a pid left over from a crash may since belong to anybody;
- `clients.lock`: shared by the processes that use the server, so that the last one out knows that it is the last.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import psutil

from codebase_mcp.errors import (
    DatabaseError,
    DatabaseStartingError,
    DatabaseUnavailableError,
    SchemaMismatchError,
    StorageFullError,
)
from codebase_mcp.logs import get_logger
from codebase_mcp.storage.embedded_configuration import configuration
from codebase_mcp.storage.embedded_install import (
    CURRENT_MAJOR,
    NO_SPACE,
    Installation,
    bundled_majors,
    find_installation,
    last_lines,
)
from codebase_mcp.storage.file_lock import FileLock, is_held, locked

log = get_logger(__name__)

DATABASE_NAME = "codebase_mcp"
SUPERUSER = "postgres"

_PORT = 5432  # only a part of the socket's name: the server listens on no network
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
_PROBE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_LOCK_SECONDS = 180.0
_LOG_LIMIT_BYTES = 10_000_000
_CANNOT_CONNECT_NOW = b"57P03"


_UNMOVED_BY_ENVIRONMENT = (
    "sslmode=disable&sslnegotiation=postgres&target_session_attrs=any&gsslib=gssapi&password=none&passfile=/dev/null"
)
"""What PGSSLMODE, PGTARGETSESSIONATTRS, PGPASSFILE and their kind would say otherwise, which are meant for others."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie below a data directory."""

    data_dir: Path

    @property
    def database(self) -> Path:
        return self.data_dir / "database"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "logs" / "postgresql.log"

    @property
    def socket_dir(self) -> Path:
        """Inside the data directory, unless that makes a path too long for a socket."""
        inside = self.data_dir / "run"
        if len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return inside
        # Not the temporary folder of the environment: every process must come to the same answer.
        return Path("/tmp") / f"codebase-mcp-{hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]}"

    @property
    def url(self) -> str:
        place = f"{_UNMOVED_BY_ENVIRONMENT}&host={quote(str(self.socket_dir))}&port={_PORT}"
        return f"postgresql+asyncpg://{SUPERUSER}@/{DATABASE_NAME}?{place}"

    def lock(self, name: str) -> Path:
        return self.data_dir / f"{name}.lock"


_SOCKET_NAME = f".s.PGSQL.{_PORT}"


class _Answer(Enum):
    READY = "ready"
    STARTING = "starting"
    NONE = "none"


def ensure_running(
    data_dir: Path,
    *,
    overrides: Mapping[str, str] | None = None,
    start_seconds: float = _START_SECONDS,
    new_major: int = CURRENT_MAJOR,
) -> str:
    """Start the server unless it answers, and return its address; blocks until it takes connections.

    Several processes may call this at once. A database is served by the major version that made it, a new one is made
    by `new_major`. `overrides` are server settings for tests and measurements.
    Raises DatabaseStartingError when crash recovery takes longer than `start_seconds` (it goes on by itself),
    DatabaseUnavailableError when the server does not start, StorageFullError when there is no room to start it,
    SchemaMismatchError when the data belong to a version that is not carried, DatabaseError when the directory cannot
    be used.
    """
    layout = Layout(_prepared(data_dir))
    _major(layout, new_major)
    if _probe(layout) is not _Answer.READY or _has_lost_its_programs(layout):
        with _starting_or_stopping(layout), _our_errors(layout):
            if _has_lost_its_programs(layout):
                log.warning("the database restarts", reason="the programs that it was started from were removed")
                _stop(layout, _STOP_SECONDS)
            _start(layout, new_major, overrides or {}, time.monotonic() + start_seconds)
    _trim_log(layout.log_file)
    return layout.url


def exists(data_dir: Path) -> bool:
    """Whether a database has been made in this directory."""
    return Layout(data_dir.resolve()).database.is_dir()


def is_answering(data_dir: Path) -> bool:
    """Whether the server of this directory takes connections."""
    return _probe(Layout(data_dir.resolve())) is _Answer.READY


def stop(data_dir: Path, *, stop_seconds: float = _STOP_SECONDS) -> bool:
    """Stop the server, rolling back transactions in progress; False if none was running.

    After `stop_seconds` it is told to leave at once, to recover at its next start; DatabaseUnavailableError if it
    does not leave then either.
    """
    layout = Layout(data_dir.resolve())
    if not layout.data_dir.is_dir():
        return False
    with _starting_or_stopping(layout):
        return _stop(layout, stop_seconds)


class ClientPresence:
    """Says that this process uses the server, from construction to `release`; a killed process is gone at once.

    Construct it before calling `ensure_running`: it waits while the last one out is stopping the server.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = _prepared(data_dir)
        self._lock: FileLock | None = FileLock(Layout(self._data_dir).lock("clients"))
        self._lock.acquire("shared", wait_seconds=_LOCK_SECONDS, waiting_for="the database server is being stopped")

    def release(self, *, stop_if_last: bool = True) -> bool:
        """Leave, and stop the server if nobody else is left and `stop_if_last`. True if it was stopped."""
        if self._lock is None:
            return False
        lock, self._lock = self._lock, None
        with lock:
            return stop_if_last and lock.try_acquire("exclusive") and stop(self._data_dir)


def _prepared(data_dir: Path) -> Path:
    """The directory, made if it is missing: for root enterable by PostgreSQL's user, for others private."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            data_dir.mkdir()
            data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise DatabaseError(
            f"The data directory {data_dir} cannot be made ({error.strerror})."
            " Set CODEBASE_MCP_DATA_DIR to another one."
        ) from error
    return data_dir.resolve()


def _major(layout: Layout, new_major: int) -> int:
    """The version that made the database, or that is to make it."""
    try:
        found = (layout.database / "PG_VERSION").read_text().strip()
    except (FileNotFoundError, PermissionError):  # reported, or made, further on
        return new_major
    carried = bundled_majors()
    if found in map(str, carried):
        return int(found)
    raise SchemaMismatchError(
        f"The database in {layout.database} was made by PostgreSQL {found}, this program brings"
        f" {' and '.join(map(str, carried))}. Move that folder away and index again, or go back to the release of"
        " codebase-mcp that made it."
    )


@contextlib.contextmanager
def _our_errors(layout: Layout) -> Iterator[None]:
    """Prevents: a full or failing disk under the server's files from ending whoever tries to start it."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFullError from error
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL could not be started: {error}. Check {layout.data_dir}, then try again."
        ) from error


# --- starting and stopping, under server.lock ---


def _starting_or_stopping(layout: Layout) -> contextlib.AbstractContextManager[None]:
    why = "another process is starting or stopping the database server"
    return locked(layout.lock("server"), wait_seconds=_LOCK_SECONDS, waiting_for=why)


def _start(layout: Layout, new_major: int, overrides: Mapping[str, str], deadline: float) -> None:
    """Wait for a server that lives (it may be recovering, or going down), or launch one if none does."""
    is_launched = False
    while _probe(layout) is not _Answer.READY:
        if not is_launched:
            is_launched = _launch_if_none_lives(layout, new_major, overrides)
        elif not is_held(layout.lock("alive")):
            raise _start_failure(layout)
        if time.monotonic() > deadline:
            raise DatabaseStartingError(
                "The embedded PostgreSQL does not answer yet; it may be recovering from a crash."
                f" Try again later; {layout.log_file} says how far it is."
            )
        time.sleep(_POLL_SECONDS)


def _launch_if_none_lives(layout: Layout, new_major: int, overrides: Mapping[str, str]) -> bool:
    """Every program started here inherits the lock: even an orphaned initdb keeps others from interfering."""
    with FileLock(layout.lock("alive")) as alive:
        if not alive.try_acquire("exclusive"):
            return False
        installation = find_installation(layout.data_dir, layout.database, _major(layout, new_major))
        if not layout.database.exists():
            _initialise(layout, installation, alive)
        _remove_leftovers(layout)
        _make_socket_dir(layout.socket_dir, installation)
        _write_configuration(layout, installation, overrides)
        _launch(layout, installation, alive)
    return True


def _start_failure(layout: Layout) -> DatabaseError:
    ending = last_lines(layout.log_file.read_text(errors="replace"), 4)
    if NO_SPACE in ending:
        return StorageFullError()
    return DatabaseUnavailableError(f"The embedded PostgreSQL did not start: {ending} (from {layout.log_file})")


def _remove_leftovers(layout: Layout) -> None:
    """No process of this server lives, so these are leftovers of a crash, and their pids may be anybody's by now."""
    for path in (layout.database / "postmaster.pid", layout.socket_dir / f"{_SOCKET_NAME}.lock"):
        path.unlink(missing_ok=True)


def _initialise(layout: Layout, installation: Installation, alive: FileLock) -> None:
    """Build the database beside its place and rename it there, so that a crash on the way leaves nothing half made."""
    unfinished = layout.data_dir / ".database.unfinished"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    installation.own(unfinished)
    locale = ["--locale=C"]
    if installation.major >= 17:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["--auth-local=trust", "--auth-host=reject", f"--username={SUPERUSER}"]
    # As in every later start: /dev/shm may be tiny or read-only.
    memory = ["--set=dynamic_shared_memory_type=mmap"]
    held = (alive.fileno,)
    installation.run("initdb", f"--pgdata={unfinished}", "--encoding=UTF8", *memory, *locale, *access, pass_fds=held)
    create = f"CREATE DATABASE {DATABASE_NAME}\n"
    installation.run("postgres", "--single", "-D", str(unfinished), SUPERUSER, stdin=create, pass_fds=held)
    unfinished.rename(layout.database)
    _sync_directory(layout.data_dir)


def _sync_directory(path: Path) -> None:
    """Make a rename in it survive a power loss."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _make_socket_dir(socket_dir: Path, installation: Installation) -> None:
    """A directory only PostgreSQL's user may enter: whoever reaches the socket is trusted."""
    try:
        socket_dir.mkdir(mode=0o700)
        installation.own(socket_dir)
    except FileExistsError:
        found = socket_dir.lstat()
        owner = installation.account.uid if installation.account else os.geteuid()
        if socket_dir.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
            raise DatabaseError(
                f"The folder for the database's socket, {socket_dir}, is not private to the user running PostgreSQL."
                " Remove it, or set CODEBASE_MCP_DATA_DIR to another directory."
            ) from None


def _write_configuration(layout: Layout, installation: Installation, overrides: Mapping[str, str]) -> None:
    """Written at every start, so that an upgrade brings its settings along; ALTER SYSTEM still overrides them."""
    written = layout.database / ".postgresql.conf.unfinished"
    written.write_text(configuration(layout.socket_dir, _PORT, overrides))
    installation.own(written)
    written.rename(layout.database / "postgresql.conf")


def _launch(layout: Layout, installation: Installation, alive: FileLock) -> None:
    """The server gets nothing of ours but the log and the lock."""
    layout.log_file.parent.mkdir(exist_ok=True)
    log = os.open(layout.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        installation.launch("postgres", "-D", str(layout.database), log=log, pass_fds=(alive.fileno,))
    finally:
        os.close(log)


def _stop(layout: Layout, stop_seconds: float) -> bool:
    if not is_held(layout.lock("alive")):
        return False
    for how in (signal.SIGINT, signal.SIGQUIT):
        postmaster = _postmaster(layout)
        if postmaster:
            postmaster.send_signal(how)
        deadline = time.monotonic() + stop_seconds
        while time.monotonic() < deadline:
            if not is_held(layout.lock("alive")):
                return True
            time.sleep(_POLL_SECONDS)
    raise DatabaseUnavailableError(
        f"The embedded PostgreSQL in {layout.database} does not stop; see {layout.log_file}."
    )


def _has_lost_its_programs(layout: Layout) -> bool:
    """Prevents: a server that lives on when the environment it came from is deleted, and whose new connections then
    cannot load pgvector."""
    try:
        started_as = (layout.database / "postmaster.opts").read_text().split(' "', 1)[0].strip()
    except OSError:
        return False
    return is_held(layout.lock("alive")) and not os.path.exists(started_as)


def _postmaster(layout: Layout) -> psutil.Process | None:
    """The server's first process, told from a stranger that got its pid by name and user."""
    try:
        first_line = (layout.database / "postmaster.pid").read_text().splitlines()[0]
        process = psutil.Process(int(first_line))
        is_ours = process.name() == "postgres" and process.uids().real == layout.database.stat().st_uid
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return None
    return process if is_ours else None


# --- probing, logging ---


def _probe(layout: Layout) -> _Answer:
    """Connect as a client would and read the first message of the answer."""
    parameters = b"".join(
        word.encode() + b"\0" for word in ("user", SUPERUSER, "database", SUPERUSER, "application_name", "probe", "")
    )
    startup = struct.pack("!ii", len(parameters) + 8, 3 << 16) + parameters
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_PROBE_SECONDS)
            link.connect(str(layout.socket_dir / _SOCKET_NAME))
            link.sendall(startup)
            answer = link.recv(1024)
            link.sendall(struct.pack("!ci", b"X", 4))
    except OSError:
        return _Answer.NONE
    if not answer:
        return _Answer.NONE
    return _Answer.STARTING if answer[:1] == b"E" and _CANNOT_CONNECT_NOW in answer else _Answer.READY


def _trim_log(log_file: Path) -> None:
    """Keep the newest part of a log that grew too long; the server appends, so it may go on writing meanwhile.

    A disk too full for the copy loses the log rather than the database; a copy that fails otherwise leaves it as it is.
    """
    try:
        if log_file.stat().st_size > _LOG_LIMIT_BYTES:
            shutil.copyfile(log_file, log_file.with_suffix(".log.1"))
            os.truncate(log_file, 0)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("the database's log was not kept when it was trimmed", error=str(error))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            os.truncate(log_file, 0)
