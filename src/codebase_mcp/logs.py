"""One JSON object a line, in one file per role that several processes may share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict, Processor, WrappedLogger

    from codebase_mcp.settings import Settings

Role = Literal["serve", "worker", "cli"]

MAX_LOG_BYTES = 10_000_000
KEPT_LOG_FILES = 3
REDACTED = "***"
SHORTEST_SECRET = 4
"""A shorter password would blot out innocent words of the log; inside a URL it is hidden all the same."""

_URL_PASSWORD = re.compile(r"(://[^:/@\s\"]*:)[^@\s\"]+(@)")


def configure_logging(settings: Settings, role: Role) -> None:
    """Send every log record of this process to `log_dir/<role>.log`, and to stderr when the settings ask for it.

    May be called again; the last call counts. A log directory that cannot be written is reported once on stderr and the
    program goes on without the file.
    """
    formatter = _json_formatter(role, _secrets_of(settings))
    handlers: list[logging.Handler] = [SharedFileHandler(log_file(settings, role))]
    if settings.log_to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(formatter)
    _replace_root_handlers(handlers)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # Libraries tell their everyday business at INFO; only somebody debugging wants it.
    logging.getLogger().setLevel(logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING))
    logging.getLogger("codebase_mcp").setLevel(level)


def announce(message: str) -> None:
    """Tell whoever started this process, on stderr, what they should know although nothing is wrong; also logged."""
    get_logger(__name__).warning(message)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"codebase-mcp: {message}\n")


def get_logger(name: str) -> BoundLogger:
    """A logger below `codebase_mcp`: `get_logger(__name__).info("job claimed", job_id=…)`."""
    qualified = name if name.partition(".")[0] == "codebase_mcp" else f"codebase_mcp.{name}"
    # Wrapped by hand: structlog's global default prints to stdout, which belongs to the protocol.
    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(qualified),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return logger


def log_file(settings: Settings, role: Role) -> Path:
    return settings.log_dir / f"{role}.log"


def current_log_file() -> Path | None:
    """The file that this process logs to; None before the log is configured."""
    paths = (handler.path for handler in logging.getLogger().handlers if isinstance(handler, SharedFileHandler))
    return next(paths, None)


def log_incident(error: BaseException, event: str, **facts: object) -> str:
    """Log an unexpected error with its traceback; answers the short id that the user is shown instead of it."""
    incident = secrets.token_hex(4)
    get_logger(__name__).error(event, incident=incident, exc_info=error, **facts)
    return incident


class SharedFileHandler(logging.Handler):
    """Appends whole lines to a file that other processes append to and rotate as well."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_LOG_BYTES, kept_files: int = KEPT_LOG_FILES) -> None:
        super().__init__()
        self.path = path
        self._max_bytes = max_bytes
        self._kept_files = kept_files
        self._descriptor: int | None = None
        self._has_complained = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:  # a record that cannot be formatted is the caller's bug; logging has its own way to say so
            self.handleError(record)
            return
        try:
            self._write_line(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._complain_once(error)

    def close(self) -> None:
        with self.lock or contextlib.nullcontext():
            self._close_file()
        super().close()

    def _write_line(self, line: bytes) -> None:
        descriptor = self._current_file()
        if os.fstat(descriptor).st_size + len(line) > self._max_bytes:
            self._rotate()
            descriptor = self._current_file()
        # One write: with O_APPEND the lines of several processes never mix.
        os.write(descriptor, line)

    def _current_file(self) -> int:
        """The open file, opened anew when another process has moved it aside."""
        if self._descriptor is not None and not _is_same_file(self._descriptor, self.path):
            self._close_file()
        if self._descriptor is None:
            _make_folder(self.path.parent)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def _rotate(self) -> None:
        lock = os.open(self._numbered("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever waited for the lock may find that the file was rotated meanwhile.
            if self._descriptor is not None and _is_same_file(self._descriptor, self.path):
                self._shift_files()
            self._close_file()
        finally:
            os.close(lock)

    def _shift_files(self) -> None:
        for number in range(self._kept_files, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number - 1).replace(self._numbered(number))
        self.path.replace(self._numbered(1))

    def _numbered(self, suffix: int | str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")

    def _close_file(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _complain_once(self, error: OSError) -> None:
        if not self._has_complained:
            self._has_complained = True
            sys.stderr.write(f"codebase-mcp: cannot write the log {self.path}: {error.strerror}; going on without it\n")


def _make_folder(log_dir: Path) -> None:
    """Also the data directory above it, as private as whoever starts the database would make it."""
    log_dir.parent.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    log_dir.mkdir(exist_ok=True)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _replace_root_handlers(handlers: Sequence[logging.Handler]) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
            old.close()
    for handler in handlers:
        root.addHandler(handler)


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def _json_formatter(role: Role, passwords: Sequence[str]) -> logging.Formatter:
    redact = _redactor(passwords)

    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["role"] = role
        event["pid"] = os.getpid()
        return event

    def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        return redact(json.dumps(_event_first(event), default=str, ensure_ascii=False))

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_processors(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, add_process, render],
    )


def _event_first(event: EventDict) -> dict[str, Any]:
    leading = ("timestamp", "level", "event")
    return {key: event[key] for key in (*leading, *event) if key in event}


def _secrets_of(settings: Settings) -> list[str]:
    key = settings.embedding_api_key
    return _database_passwords(settings) + ([key.get_secret_value()] if key is not None else [])


def _database_passwords(settings: Settings) -> list[str]:
    if settings.database_url is None:
        return []
    try:
        password = urlsplit(settings.database_url.get_secret_value()).password
    except ValueError:  # not a URL at all; whoever connects says so
        return []
    spellings = {password or "", unquote(password or "")}
    return [spelling for spelling in spellings if len(spelling) >= SHORTEST_SECRET]


def _redactor(passwords: Sequence[str]) -> Callable[[str], str]:
    spellings = {password for plain in passwords for password in (plain, json.dumps(plain, ensure_ascii=False)[1:-1])}

    def redact(line: str) -> str:
        line = _URL_PASSWORD.sub(rf"\1{REDACTED}\2", line)
        for spelling in sorted(spellings, key=len, reverse=True):
            line = line.replace(spelling, REDACTED)
        return line

    return redact
