"""The process's standard streams while it serves: stdout is the protocol's, and stdin can be ended by us."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDIN, STDOUT, STDERR = 0, 1, 2
PIPE_READ_BYTES = 65_536


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send what anybody prints meanwhile, this process or a child, to stderr instead of stdout."""
    protocol = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        yield
    finally:
        os.dup2(protocol, STDOUT)
        os.close(protocol)


class StdinRelay:
    """Stands between the client and our stdin, so that a signal can end the input as the client's hanging up does.

    The protocol library reads stdin in a thread that nothing can interrupt; at the end of input it leaves by itself,
    through the same path as always.
    """

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        """`on_end` is called, in another thread, when the client has hung up."""
        self._on_end = on_end
        self._client = os.dup(STDIN)
        read_end, self._write_end = os.pipe()
        os.dup2(read_end, STDIN)
        os.close(read_end)
        threading.Thread(target=self._copy, name="stdin-relay", daemon=True).start()

    def end_input(self) -> None:
        """Let the reader of stdin see the end; may be called from any thread, any number of times."""
        # Replaced, not closed: a write that is under way must not find the number given to another file.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._write_end, inheritable=False)
        os.close(nowhere)

    def _copy(self) -> None:
        # The reader may be gone, or stdin closed by whoever started us: both are the end.
        with contextlib.suppress(OSError):
            while data := os.read(self._client, PIPE_READ_BYTES):
                while data:
                    data = data[os.write(self._write_end, data) :]
        self._on_end()
        self.end_input()
