"""Ends what works on a data directory once the tests that made it are gone: `python guard.py TESTS_PID DATA_DIR`."""

from __future__ import annotations

import contextlib
import signal
import sys
import time

import psutil


def kill_all(data_dir: str) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != psutil.Process().pid and process.environ().get("CODEBASE_MCP_DATA_DIR") == data_dir:
                process.kill()


def main(tests_pid: int, data_dir: str) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while psutil.pid_exists(tests_pid):
        time.sleep(0.2)
    kill_all(data_dir)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
