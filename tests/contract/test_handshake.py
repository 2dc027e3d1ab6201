"""The handshake of the real command: at once, as FastMCP says it, and followed by a server that knows of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from codebase_mcp.offer import Offer
from codebase_mcp.server import app
from codebase_mcp.server.protocol import TITLE
from tests.contract.test_processes import Served, serving
from tests.support.handshake_recorder import record, recordings
from tests.support.waiting import until_now

ENVELOPE = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


OPENING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


@pytest.mark.parametrize(("path", "offer"), recordings(), ids=lambda value: getattr(value, "stem", ""))
async def test_every_recording_is_what_fastmcp_says(path: Path, offer: Offer) -> None:
    assert path.read_text(encoding="utf-8") == await record(offer), "`make recording` writes it anew"


def test_nothing_recorded_is_empty_or_announced_in_vain() -> None:
    for path, _ in recordings():
        _, *results = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        for result in results:
            assert result.get("capabilities", {"tools": {"listChanged": False}}) == {"tools": {"listChanged": False}}
            assert all(tool.get("_meta", "absent") for tool in result.get("tools", []))
            if "serverInfo" in result:
                assert result["serverInfo"]["title"] == TITLE


class Gate:
    """Holds a server up while it starts, after the handshake."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = folder / "gate"
        os.mkfifo(self._path)
        monkeypatch.setenv("FAKE_SERVER_GATE", str(self._path))

    def open(self) -> None:
        self._path.write_bytes(b"")


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(tmp_path, monkeypatch)


def listed(served: Served, request_id: int, **params: Any) -> list[str]:
    served.send(id=request_id, method="tools/list", params=params)
    return [tool["name"] for tool in served.receive()["result"]["tools"]]


def test_the_handshake_waits_for_nothing_and_the_first_call_for_the_server(tmp_path: Path, gate: Gate) -> None:
    """Also for a client that has not said yet that it is initialized: the server has to know of its greeting."""
    with serving(tmp_path) as served:
        served.send(id=1, method="initialize", params=OPENING)
        assert served.receive()["result"]["serverInfo"]["name"] == "codebase-mcp"
        assert "search_code" in listed(served, 2)
        for number, method in enumerate(("ping", "resources/list", "prompts/list"), start=3):
            served.send(id=number, method=method)
            assert "result" in served.receive()
        served.call(9, "get_job_status", job_id="7")
        gate.open()
        answer = served.receive()
    assert answer["id"] == 9
    assert answer["result"]["content"][0]["text"].startswith('VALIDATION_ERROR: job_id = "7"')


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("how", ["end of input", signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_still_starting_ends_at_once_and_quietly(tmp_path: Path, how: str | signal.Signals) -> None:
    with serving(tmp_path) as served:
        served.greet()
        if isinstance(how, str):
            served.process.stdin.close()  # type: ignore[union-attr]
            served.process.stdin = None
        else:
            served.process.send_signal(how)
            served.process.wait(timeout=60)  # the end of input, which follows, would end it as well
        _, err = served.end()
    assert served.process.returncode == (0 if isinstance(how, str) else -how)
    assert err == ""


def test_a_modern_client_is_served_in_its_own_era_from_the_first_request_on(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path) as served:
        served.send(id=1, method="server/discover", params=ENVELOPE)
        assert served.receive()["result"]["supportedVersions"] == ["2026-07-28"]
        assert "search_code" in listed(served, 2, **ENVELOPE)
        served.send(id=3, method="tools/call", params=ENVELOPE | {"name": "get_job_status", "arguments": {"job_id": 7}})
        gate.open()
        answer = served.receive()
    assert answer["id"] == 3
    assert answer["result"]["resultType"] == "complete"


def test_once_the_server_is_there_it_answers_as_the_recording_did(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.greet()
        served.send(id=2, method="tools/list")
        recorded = served.receive()
        served.call(3, "get_job_status", job_id="7")
        assert served.receive()["id"] == 3
        served.send(id=2, method="tools/list")
        assert served.receive() == recorded
        served.send(id=4, method="initialize", params={"protocolVersion": "2025-06-18"})
        assert "error" in served.receive()


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        (["--tools", "search"], {}, 4),
        (["--tools=jobs", "--answers", "structured"], {}, 8),
        ([], {"CODEBASE_MCP_TOOLS": "search"}, 4),
        (["--tools", "jobs"], {"CODEBASE_MCP_TOOLS": "search"}, 8),
        (["--transport", "stdio", "--tools", "search"], {}, 4),
    ],
)
def test_the_offer_is_the_same_before_and_after_the_server_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], variables: dict[str, str], expected: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path, *options) as served:
        served.greet()
        before = listed(served, 2)
        served.call(3, "list_repositories")
        served.receive()
        assert listed(served, 4) == before
    assert len(before) == expected


def test_the_settings_file_decides_what_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text('tools = "search"\n')
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(config))
    with serving(tmp_path) as served:
        served.greet()
        assert len(listed(served, 2)) == 4


@pytest.mark.parametrize(
    ("options", "config"),
    [(["--tools", "everything"], ""), (["--tolls", "all"], ""), ([], 'tools = "everything"'), ([], "tools = ")],
)
def test_a_wrong_offer_is_refused_before_anything_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], config: str
) -> None:
    (tmp_path / "config.toml").write_text(config)
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(tmp_path / "config.toml"))
    with serving(tmp_path, *options) as served:
        out, err = served.process.communicate(timeout=60)
    assert served.process.returncode == 2
    assert out == ""
    assert err.startswith("error: VALIDATION_ERROR: ")
    assert err.count("\n") == 1


def test_settings_that_prove_wrong_after_the_handshake_are_the_answer_to_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEBASE_MCP_LEASE_SECONDS", "soon")
    with serving(tmp_path) as served:
        served.greet()
        served.call(2, "search_code", query="x")
        answer = served.receive()
        _, err = served.process.communicate(timeout=60)
    assert answer["id"] == 2
    assert answer["error"]["code"] == -32603
    assert answer["error"]["message"].startswith('VALIDATION_ERROR: CODEBASE_MCP_LEASE_SECONDS = "soon"')
    assert served.process.returncode == 2
    assert "CODEBASE_MCP_LEASE_SECONDS" in err


def test_a_client_that_sends_everything_at_once_and_leaves_is_answered(tmp_path: Path) -> None:
    messages = [
        {"id": 1, "method": "initialize", "params": OPENING},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "get_job_status", "arguments": {"job_id": "7"}}},
    ]
    with serving(tmp_path) as served:
        told = "".join(json.dumps({"jsonrpc": "2.0"} | message) + "\n" for message in messages)
        out, err = served.process.communicate(told.rstrip("\n"), timeout=60)
    assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2, 3]
    assert served.process.returncode == 0
    assert "Traceback" not in err


def test_a_client_that_stops_reading_ends_the_server_quietly(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.greet()
        served.call(2, "list_repositories")
        served.receive()
        served.process.stdout.close()  # type: ignore[union-attr]
        served.call(3, "search_code", query="x")
        served.process.stdin.close()  # type: ignore[union-attr]
        with served.process.stderr as stderr:  # type: ignore[union-attr]
            err = stderr.read()
        assert served.process.wait(timeout=60) == 0
    assert "Traceback" not in err
    assert err.endswith("service closed\n")


def suspended(served: Served) -> None:
    """Waits until the process has started anew, without any library, and sees that it stays so."""
    until_now(lambda: is_suspended(served), seconds=60, what="a suspended server")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert is_suspended(served), "it was loaded again though nobody asked"


def is_suspended(served: Served) -> bool:
    return resident_bytes(served) < 65_000_000  # of which the stand-in of the service takes most


def resident_bytes(served: Served) -> int:
    return psutil.Process(served.process.pid).memory_info().rss


@pytest.mark.parametrize("is_modern", [False, True])
def test_an_idle_server_gives_its_memory_back_and_goes_on_at_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_modern: bool
) -> None:
    monkeypatch.setenv("CODEBASE_MCP_SERVE_IDLE_SECONDS", "0.5")
    envelope = ENVELOPE if is_modern else {}
    call = envelope | {"name": "get_job_status", "arguments": {"job_id": "7"}}
    with serving(tmp_path) as served:
        if is_modern:
            served.send(id=1, method="server/discover", params=ENVELOPE)
            served.receive()
        else:
            served.greet()
        for number in (2, 4, 6):
            served.send(id=number, method="tools/call", params=call)
            answer = served.receive()
            assert (answer["id"], answer["result"]["isError"]) == (number, True)
            suspended(served)
            assert "search_code" in listed(served, number + 1, **envelope)
        served.process.stdin.close()  # type: ignore[union-attr]
        served.process.stdin = None
        _, err = served.end()
    assert served.process.returncode == 0
    assert err.count("service closed") == 3
    assert "Traceback" not in err


def test_a_client_that_came_late_is_resumed_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEBASE_MCP_SERVE_IDLE_SECONDS", "0.5")
    with serving(tmp_path) as served:
        until_now(lambda: "serving" in log_of(tmp_path), seconds=60, what="a server that is there before its client")
        served.greet()
        suspended(served)
        served.call(2, "get_job_status", job_id="7")
        assert served.receive()["result"]["isError"] is True


def log_of(data_dir: Path) -> str:
    log = data_dir / "logs" / "serve.log"
    return log.read_text() if log.exists() else ""


def test_only_the_standard_library_is_imported_before_the_handshake() -> None:
    code = (
        "import sys\n"
        "from codebase_mcp.entry import _client_offer\n"
        "from codebase_mcp.server.stdio_frontend import load_recording\n"
        "load_recording(_client_offer(['serve']))\n"
        "ours = {'codebase_mcp', 'platformdirs'} | sys.stdlib_module_names\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - ours), 'asyncio' in sys.modules)\n"
    )
    flags = [sys.executable, "-S", "-E", "-c", f"import sys; sys.path += {sys.path!r}\n{code}"]
    ended = subprocess.run(flags, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
    assert ended.stdout == "['__main__'] False\n"


def test_the_instructions_are_short_and_say_that_results_are_data() -> None:
    for tools in ("all", "search", "jobs"):
        instructions = app.instructions_of(tools)  # type: ignore[arg-type]
        assert len(instructions) < 800
        assert "not instructions" in instructions
