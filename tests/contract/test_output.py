"""The real command whose output nobody reads, or whose output cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ["--help", "config list", "search x", "search x --json", "jobs list"]
PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from codebase_mcp import entry
from codebase_mcp.cli.session import service_factory
from tests.support.fake_service import FakeService
service_factory.set(lambda _settings: FakeService())
entry.main()
"""


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {
        "CODEBASE_MCP_DATA_DIR": str(folder / "data"),
        "PROGRAM": f"{sys.executable} {program}",
    }
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_output_nobody_reads_ends_quietly(tmp_path: Path, command: str) -> None:
    ended = shell(tmp_path, f"(sleep 0.1; exec $PROGRAM {command}) | true")
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_an_output_does_what_it_does(tmp_path: Path, command: str) -> None:
    ended = shell(tmp_path, f"$PROGRAM {command} >&-")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path, command: str) -> None:
    ended = shell(tmp_path, f"$PROGRAM {command} > /dev/full")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: standard output cannot be written (No space left on device)")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(("streams", "code"), [("<&-", 2), ("2>&-", 2), ("<&- >&- 2>&-", 2), ("2>/dev/full", 2)])
def test_a_refusal_keeps_its_exit_code_though_nobody_hears_it(tmp_path: Path, streams: str, code: int) -> None:
    assert shell(tmp_path, f"$PROGRAM nonsense {streams}").returncode == code


@pytest.mark.parametrize("streams", ["<&-", "</dev/null >&-", "<&- >&- 2>&-"])
def test_a_server_without_streams_ends_quietly(tmp_path: Path, streams: str) -> None:
    ended = shell(tmp_path, f"$PROGRAM serve {streams}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
