"""The real command answers every line that carries a request, before and after its server is there, and ends quietly
when the client hangs up, however it does."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.server.message_lines import MAX_LINE_BYTES
from tests.contract.test_handshake import OPENING, Gate
from tests.contract.test_processes import COMMAND, PROMPTLY_SECONDS, ROOT, Served, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(tmp_path, monkeypatch)


def call(identifier: int, arguments: bytes) -> bytes:
    params = b'{"name":"find_symbol","arguments":' + arguments + b"}"
    return b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":%s}' % (identifier, params)


BROKEN: list[bytes] = [
    call(10, b'{"name":"cut \\ud83d"}'),
    call(11, b'{"name":"caf\xe9"}'),
    call(12, b'{"name":"nul\0"}'),
    b"\xef\xbb\xbf" + call(13, b'{"name":"mark"}'),
    call(14, b'{"name":' + b"[" * 300 + b"]" * 300 + b"}"),
    call(15, b'{"name":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    call(16, b'{"name":"x","limit":' + b"9" * 5_000 + b"}"),
    call(17, b'{"name":"x","limit":NaN}'),
    b'{"id":18,"method":"ping"}',
    call(19, b'{"name":"a"}') + b"\r" + call(20, b'{"name":"b"}'),
    b"[" + call(21, b'{"name":"a"}') + b"," + call(22, b'{"name":"b"}') + b"]",
    b'{"jsonrpc":"2.0","id":23,"method":"tools/call","params":["find_symbol"]}',
    b'{"jsonrpc":"2.0","id":24,"method":"tools/call","params":{"name":"find_',
    b'{"method":"ping","params":{"x":"' + b"y" * MAX_LINE_BYTES + b'"},"jsonrpc":"2.0","id":25}',
]
ANSWERED = set(range(10, 26))


def send(served: Served, line: bytes) -> None:
    assert served.process.stdin is not None
    served.process.stdin.buffer.write(line)  # type: ignore[attr-defined]
    served.process.stdin.flush()


def answered(served: Served, count: int) -> set[object]:
    return {served.receive().get("id") for _ in range(count)}


def test_every_broken_request_is_answered_before_and_after_the_server_is_there(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path) as served:
        served.greet()
        for line in BROKEN:
            send(served, line + b"\n")
        refused = answered(served, 5)
        gate.open()
        assert refused | answered(served, len(ANSWERED) - 5) == ANSWERED
        for line in BROKEN:
            send(served, line + b"\r\n")
        assert answered(served, len(ANSWERED)) == ANSWERED
        served.send(id=99, method="ping")
        assert served.receive() == {"jsonrpc": "2.0", "id": 99, "result": {}}
        served.process.stdin.close()  # type: ignore[union-attr]
        served.process.stdin = None
        _, err = served.end()
    assert served.process.returncode == 0
    assert "Traceback" not in err


def test_a_broken_opening_does_not_keep_the_client_from_opening_the_connection(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        send(served, b"\xef\xbb\xbf\n{}\n" + json.dumps({"id": 1, "method": "initialize", "params": OPENING}).encode())
        assert served.receive()["error"]["code"] == -32600
        assert served.receive()["result"]["serverInfo"]["name"] == "codebase-mcp"


def _by_pipe() -> tuple[int, int]:
    return os.pipe()


def _by_socket() -> tuple[int, int]:
    ours, its = socket.socketpair()
    return ours.detach(), its.detach()


def _by_terminal() -> tuple[int, int]:
    ours, its = pty.openpty()
    return ours, its


@pytest.mark.parametrize("is_waiting", [False, True])
@pytest.mark.parametrize("connect", [_by_pipe, _by_socket, _by_terminal])
def test_a_client_that_only_closes_what_it_reads_from_ends_the_server_quietly(
    tmp_path: Path, connect: Callable[[], tuple[int, int]], is_waiting: bool
) -> None:
    ours, its = connect()
    err = tmp_path / "err"
    environment = os.environ | {"CODEBASE_MCP_DATA_DIR": str(tmp_path / "data")}
    with err.open("wb") as stderr:
        process = subprocess.Popen(
            COMMAND, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=its, stderr=stderr, bufsize=0
        )
    os.close(its)
    try:
        with os.fdopen(ours, "rb") as output:
            for message in _conversation(is_waiting):
                process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
            while b'"id":2' not in output.readline():
                pass
        assert process.wait(PROMPTLY_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
    assert "Traceback" not in err.read_text()
    assert "INTERNAL_ERROR" not in (tmp_path / "data" / "logs" / "serve.log").read_text()


def _conversation(is_waiting: bool) -> list[dict[str, Any]]:
    tool = {"name": "index_repository", "arguments": {"repo_path": "/src/shop"}}
    waiting = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": tool}
    return [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING},
        *([waiting] if is_waiting else []),
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "search_code", "arguments": {}}},
    ]


def test_streams_that_do_not_block_carry_answers_larger_than_they_hold(tmp_path: Path) -> None:
    """As Node.js makes them. The first answer is the list of tools, the rest repeats it until the pipe is full."""
    output, its_output = os.pipe()
    its_input, to_it = os.pipe()
    for descriptor in (its_input, its_output):
        os.set_blocking(descriptor, False)
    environment = os.environ | {"CODEBASE_MCP_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stdin=its_input, stdout=its_output)
    os.close(its_input)
    os.close(its_output)
    try:
        with os.fdopen(to_it, "wb", buffering=0) as requests, os.fdopen(output, "rb") as answers:
            for message in _listing(20):
                requests.write(json.dumps(message).encode() + b"\n")
            time.sleep(0.5)  # nobody reads meanwhile
            read = [json.loads(answers.readline())["id"] for _ in range(21)]
        assert sorted(read) == list(range(21))
        assert process.wait(PROMPTLY_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def _listing(count: int) -> list[dict[str, Any]]:
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": OPENING}
    return [opening, *({"jsonrpc": "2.0", "id": n, "method": "tools/list"} for n in range(1, count + 1))]
