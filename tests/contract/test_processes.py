"""The real command as a process, over a service without a database."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.support.fake_service import JOB_ID

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.support.fake_server"]
PROMPTLY_SECONDS = 15.0
"""Far more than is promised, for a machine that does much else, and half of what ends a server that hangs."""


class Served:
    """A server process spoken to line by line."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *options],
            cwd=ROOT,
            env=os.environ | {"CODEBASE_MCP_DATA_DIR": str(data_dir)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        self.lines.append(self.process.stdout.readline())
        return json.loads(self.lines[-1])

    def greet(self) -> dict[str, Any]:
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self.send(id=1, method="initialize", params=client)
        hello = self.receive()
        self.send(method="notifications/initialized")
        return hello

    def call(self, request_id: int, tool: str, **arguments: Any) -> None:
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "token"}}
        self.send(id=request_id, method="tools/call", params=params)

    def end(self) -> tuple[float, str]:
        """Wait for the end; the seconds it took and what was said on stderr."""
        started = time.monotonic()
        out, err = self.process.communicate(timeout=60)
        self.lines.extend(out.splitlines())
        return time.monotonic() - started, err


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[Served]:
    served = Served(data_dir, *options)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.communicate()


def test_only_the_protocol_is_written_to_stdout(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.greet()
        served.call(2, "search_code", query="x")
        assert served.receive()["id"] == 2
        served.process.stdin.close()  # type: ignore[union-attr]
        served.process.stdin = None
        _, err = served.end()
    assert "a library prints" in err
    assert "a child prints" in err
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in served.lines)


@pytest.mark.parametrize(
    ("how", "is_waiting"),
    [
        ("end of input", False),
        ("end of input", True),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGINT, False),
        (signal.SIGHUP, True),
    ],
)
def test_the_server_ends_promptly_and_closes_the_service(
    tmp_path: Path, how: str | signal.Signals, is_waiting: bool
) -> None:
    with serving(tmp_path) as served:
        served.greet()
        served.call(2, "list_repositories")
        assert served.receive()["id"] == 2
        if is_waiting:
            served.call(3, "index_repository", repo_path="/src/shop")
            assert served.receive()["method"] == "notifications/progress"
        if isinstance(how, str):
            served.process.stdin.close()  # type: ignore[union-attr]
            served.process.stdin = None
        else:
            served.process.send_signal(how)
        seconds, err = served.end()
    assert seconds < PROMPTLY_SECONDS
    assert served.process.returncode == 0
    assert err.endswith("service closed\n")
    assert "Traceback" not in err


def test_a_client_that_hangs_up_at_once_leaves_no_server_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.process.stdin.close()  # type: ignore[union-attr]
        served.process.stdin = None
        served.end()
    assert served.process.returncode == 0


def test_the_greeting_does_not_wait_for_the_database(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert served.greet()["result"]["serverInfo"]["name"] == "codebase-mcp"
        served.call(2, "list_repositories")
        answer = served.receive()["result"]
    assert answer["isError"] is True
    assert answer["content"][0]["text"].startswith("DATABASE_STARTING: ")


def test_a_dotenv_file_in_the_working_directory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"FASTMCP_LOG_LEVEL=nonsense\n\xff\xfe")
    environment = os.environ | {"CODEBASE_MCP_DATA_DIR": str(tmp_path / "data")}
    run = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_module({COMMAND[-1]!r}, run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", run],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


async def test_the_plain_sdk_client_understands_the_server(tmp_path: Path) -> None:
    parameters = StdioServerParameters(
        command=COMMAND[0],
        args=COMMAND[1:],
        cwd=ROOT,
        env=dict(os.environ) | {"CODEBASE_MCP_DATA_DIR": str(tmp_path)},
    )
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        good = await session.call_tool("get_job_status", {"job_id": str(JOB_ID)})
        bad = await session.call_tool("get_job_status", {"job_id": "7"})
    assert len(tools) == 11
    assert good.structured_content["job_id"] == str(JOB_ID)
    assert bad.is_error
    assert bad.content[0].text.startswith('VALIDATION_ERROR: job_id = "7"')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=1)
        except OSError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        else:
            connection.close()
            return


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
async def test_http_serves_the_same_tools_and_ends_on_a_signal(tmp_path: Path, how: signal.Signals) -> None:
    port = _free_port()
    with serving(tmp_path, "--transport", "http", "--port", str(port)) as served:
        _wait_for_port(port)
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            assert len(await client.list_tools()) == 11
            bad = await client.call_tool("get_job_status", {"job_id": "7"}, raise_on_error=False)
        assert bad.content[0].text.startswith('VALIDATION_ERROR: job_id = "7"')
        served.process.send_signal(how)
        seconds, err = served.end()
    assert seconds < PROMPTLY_SECONDS
    assert served.process.returncode == 0
    assert f"http://127.0.0.1:{port}/mcp" in err
    assert "The service is shared." in err
    assert "service closed" in err


def _post(port: int, body: bytes) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/mcp", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, json.loads(text.partition("data: ")[2] or text)


BROKEN_BODIES = {
    "cut": (b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"x":', 7, -32700),
    "deep": (b'{"jsonrpc":"2.0","id":8,"method":"ping","params":{"x":' + b"[" * 300 + b"]" * 300 + b"}}", 8, -32600),
    "fractional id": (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 1.5, -32600),
    "null id": (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600),
    "digits": (b'{"id":9,"jsonrpc":"2.0","method":"ping","params":{"x":' + b"9" * 5_000 + b"}}", 9, -32700),
    "long": (b'{"jsonrpc":"2.0","id":10,"method":"ping","params":{"x":"' + b"x" * 5_000_000 + b'"}}', 10, -32600),
    "batch": (b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]', None, -32600),
}


def test_every_request_over_http_is_answered(tmp_path: Path) -> None:
    port = _free_port()
    opening = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test \ud83d", "version": "1"},
    }
    hello = json.dumps({"id": 1, "method": "initialize", "params": opening}, indent=2).encode()
    with serving(tmp_path, "--transport", "http", "--port", str(port)):
        _wait_for_port(port)
        for body, identifier, code in BROKEN_BODIES.values():
            status, answer = _post(port, body)
            assert (status, answer["id"], answer["error"]["code"]) == (400, identifier, code)
        status, answer = _post(port, b"\xef\xbb\xbf" + hello)
    assert (status, answer["id"]) == (200, 1)
    assert answer["result"]["serverInfo"]["name"] == "codebase-mcp"


def test_a_web_page_of_another_origin_is_refused(tmp_path: Path) -> None:
    port = _free_port()
    with serving(tmp_path, "--transport", "http", "--port", str(port)):
        _wait_for_port(port)
        for header in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/mcp", b"{}", header)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=30)
            refused.value.close()
            assert refused.value.code in (403, 421), header


def test_an_address_in_use_is_a_plain_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(tmp_path, "--transport", "http", "--port", str(port)) as served:
            _, err = served.end()
    assert served.process.returncode == 2
    assert err.startswith(f"error: VALIDATION_ERROR: cannot listen on 127.0.0.1:{port}")
    assert err.count("\n") == 1
