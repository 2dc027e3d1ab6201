"""What the shells of developers hold for programs of their own does not reach this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_processes import serving

POISON = "import os, sys\nsys.stderr.write(f'{__name__} was taken from the shell')\nos._exit(66)\n"


@pytest.fixture
def poisoned_folder(tmp_path: Path) -> Path:
    """Modules with the names of ours, of libraries, and of the standard library."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("pydantic", "numpy", "structlog", "yaml", "json", "asyncpg", "platformdirs", "sqlalchemy"):
        (folder / f"{name}.py").write_text(POISON)
    return folder


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "codebase-mcp"), *arguments]


def ended(arguments: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # A tracer of coverage would be loaded, and import what it needs, before the program begins.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        arguments, cwd=folder, env=inherited | variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_modules_on_the_python_path_are_not_ours(poisoned_folder: Path) -> None:
    for arguments in (command("config", "list"), [sys.executable, "-m", "codebase_mcp", "config", "list"]):
        done = ended(arguments, poisoned_folder.parent, PYTHONPATH=f"/nonexistent{os.pathsep}{poisoned_folder}")
        assert (done.returncode, done.stderr) == (0, "")


def test_modules_in_the_working_directory_are_not_ours(poisoned_folder: Path) -> None:
    done = ended([sys.executable, "-m", "codebase_mcp", "config", "list"], poisoned_folder)
    assert (done.returncode, done.stderr) == (0, "")


MODES = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONINSPECT": "1",
    "PYTHONDEVMODE": "1",
    "FASTMCP_LOG_LEVEL": "nonsense",
    "fastmcp_log_enabled": "maybe",
}


def test_the_modes_of_a_developers_programs_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in MODES.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path) as served:
        served.greet()
        served.send(id=2, method="tools/list")
        assert "search_code" in str(served.receive())
        served.call(3, "get_job_status", job_id="nonsense")
        assert "VALIDATION_ERROR" in str(served.receive())
        _, err = served.end()
    assert served.process.returncode == 0
    assert err == "service closed\n"
