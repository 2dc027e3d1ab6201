"""A file system that never answers, as a network drive does whose server is gone: FUSE without anybody behind it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_DETACH = 2


@contextlib.contextmanager
def dead_mount(folder: Path) -> Iterator[Path]:
    """Whoever looks into `folder` hangs until the end of the block. Skips the test where nothing may be mounted."""
    system = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    try:
        options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
        if system.mount(b"dead", os.fsencode(folder), b"fuse", 0, options) != 0:
            pytest.skip(f"nothing may be mounted here: {os.strerror(ctypes.get_errno())}")
        yield folder
    finally:
        os.close(device)  # ends all that hangs
        system.umount2(os.fsencode(folder), _DETACH)
