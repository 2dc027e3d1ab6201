"""One run of git that ends: when it stands still, when its time is up, and when whoever started it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STALLED_SECONDS = 20.0
"""Git that does nothing at all for so long waits for a pipe or for a file system that does not answer."""
POLL_SECONDS = 1.0
KILLED_SECONDS = 2.0
"""How long a killed git may take to be gone. In a call that the system does not interrupt, it never is."""

# Git ends with the process that started it, however that ends: its end of the pipe closes then. Neither a thread of
# ours nor a signal from us could do it after a kill -9, and a fork with a hook in it is no good beside other threads.
_GUARDIAN = """
exec 3<&0 </dev/null
"$@" 3<&- & git=$!
exec 2>/dev/null
{ read -r _ <&3; kill -9 -$$; } >/dev/null & guard=$!
exec 3<&-
wait $git; status=$?
kill -9 $guard
exit $status
"""
NOT_STARTED = (126, 127)
"""Exit codes of the shell: the program cannot be run, or is not there."""


class GitStalledError(Exception):
    """Git made no progress for `seconds`; `place` is the path that it waits for, where the system tells."""

    def __init__(self, seconds: float, place: str | None) -> None:
        self.seconds = seconds
        self.place = place
        super().__init__(f"no progress for {seconds:g} s")


@dataclass(frozen=True, slots=True)
class GitAnswer:
    exit_code: int
    output: bytes
    errors: bytes


def run_git(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_seconds: float,
    stalled_seconds: float = STALLED_SECONDS,
) -> GitAnswer:
    """Raises GitStalledError, subprocess.TimeoutExpired when the time is up, and OSError when it cannot be started.

    Whichever it is, no process of the run is left, unless the system cannot end it.
    """
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, "sh", *command],
            cwd="/",
            env=environment,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    try:
        return _answer(process, timeout_seconds, stalled_seconds)
    finally:
        os.close(writing)
        _end(process)


def _answer(process: subprocess.Popen[bytes], timeout_seconds: float, stalled_seconds: float) -> GitAnswer:
    deadline = time.monotonic() + timeout_seconds
    progressed_at, activity = time.monotonic(), None
    while True:
        left = deadline - time.monotonic()
        try:
            output, errors = process.communicate(timeout=max(0.01, min(POLL_SECONDS, left)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
            now = _activity(process.pid)
            if now != activity:
                progressed_at, activity = time.monotonic(), now
            elif (still_seconds := time.monotonic() - progressed_at) >= stalled_seconds:
                raise GitStalledError(still_seconds, _place(process.pid)) from None
        else:
            return GitAnswer(process.returncode, output, errors)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILLED_SECONDS)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _activity(process_id: int) -> object:
    """Differs from one look to the next while git works or waits for a disk that answers."""
    import psutil  # takes long to load, and is needed only when git is slow

    try:
        gits = psutil.Process(process_id).children(recursive=True)
        return [(git.pid, git.cpu_times()[:2], git.num_ctx_switches()) for git in gits]
    except psutil.Error:
        return time.monotonic()  # not known: only the limit of the whole run holds


# --- where it hangs ---

_PATH_ARGUMENT = {
    "x86_64": {2: 0, 4: 0, 6: 0, 21: 0, 80: 0, 89: 0, 257: 1, 262: 1, 267: 1, 269: 1, 332: 1},
    "aarch64": {48: 1, 49: 0, 56: 1, 78: 1, 79: 1, 291: 1},
}
"""By number: open, stat, lstat, access, chdir, readlink, openat, newfstatat, readlinkat, faccessat and statx."""
_LONGEST_PATH = 4_096


def _place(process_id: int) -> str | None:
    """The path of the call that git hangs in. None where the system does not tell: not Linux, not our own process."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError, ValueError):
        for git in psutil.Process(process_id).children(recursive=True):
            if (place := _place_of_call(git.pid)) is not None:
                return place
    return None


def _place_of_call(process_id: int) -> str | None:
    with open(f"/proc/{process_id}/syscall", encoding="ascii") as file:
        number, *arguments = file.read().split()
    position = _PATH_ARGUMENT.get(os.uname().machine, {}).get(int(number))
    if position is None:
        return None
    with open(f"/proc/{process_id}/mem", "rb", buffering=0) as memory:
        path = _string_at(memory.fileno(), int(arguments[position], 16))
    return os.path.join(os.readlink(f"/proc/{process_id}/cwd"), os.fsdecode(path))


def _string_at(memory: int, address: int) -> bytes:
    """Up to the end of its page at a time: the next one may not be there."""
    found = b""
    while b"\0" not in found and len(found) < _LONGEST_PATH:
        part = os.pread(memory, _LONGEST_PATH - (address + len(found)) % _LONGEST_PATH, address + len(found))
        if not part:
            break
        found += part
    return found.partition(b"\0")[0]
