from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from codebase_mcp.server.streams import PIPE_READ_BYTES, STDIN, StdinRelay, stdout_on_stderr


def test_what_is_printed_meanwhile_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, b"before\n")
    with stdout_on_stderr():
        os.write(1, b"stray\n")
    os.write(1, b"after\n")
    captured = capfd.readouterr()
    assert captured.out == "before\nafter\n"
    assert captured.err == "stray\n"


def test_stdout_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), stdout_on_stderr():
        raise KeyError
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


@pytest.fixture
def client() -> Iterator[int]:
    """The client's end of stdin; the test process gets its own stdin back afterwards."""
    kept = os.dup(STDIN)
    read_end, write_end = os.pipe()
    os.dup2(read_end, STDIN)
    os.close(read_end)
    yield write_end
    os.close(write_end)
    os.dup2(kept, STDIN)
    os.close(kept)


@pytest.fixture
def relay(client: int) -> Iterator[StdinRelay]:
    relay = StdinRelay()
    yield relay
    relay.end_input()


def read_all() -> bytes:
    received = b""
    while data := os.read(STDIN, PIPE_READ_BYTES):
        received += data
    return received


@pytest.mark.usefixtures("relay")
def test_what_the_client_writes_arrives(client: int) -> None:
    os.write(client, b'{"jsonrpc": "2.0"}\n')
    assert os.read(STDIN, 100) == b'{"jsonrpc": "2.0"}\n'


def test_ending_the_input_is_seen_as_its_end_while_the_client_stays(client: int, relay: StdinRelay) -> None:
    os.write(client, b"first\n")
    assert os.read(STDIN, 100) == b"first\n"
    relay.end_input()
    relay.end_input()
    os.write(client, b"too late\n")
    assert read_all() == b""


def test_the_client_hanging_up_is_passed_on() -> None:
    kept = os.dup(STDIN)
    read_end, write_end = os.pipe()
    os.dup2(read_end, STDIN)
    os.close(read_end)
    try:
        hung_up = threading.Event()
        StdinRelay(hung_up.set)
        os.write(write_end, b"x" * 50_000)
        os.close(write_end)
        assert read_all() == b"x" * 50_000
        assert hung_up.is_set()
    finally:
        os.dup2(kept, STDIN)
        os.close(kept)
