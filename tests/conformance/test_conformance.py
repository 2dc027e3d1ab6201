"""The official conformance suite says of our server exactly what `outcomes.json` expects.

`UPDATE_CONFORMANCE=1 pytest tests/conformance` writes what it says now. Scenarios that fail newly need a reason there:
the tests stay red until somebody has written it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.npm import NpmUnavailableError

from tests.conformance.suite import NEWER, OLDER, Suite
from tests.support.waiting import until_now

ROOT = Path(__file__).parents[2]
OUTCOMES = Path(__file__).with_name("outcomes.json")
APPS = {
    "fixture": ("tests.conformance.fixture_app",),
    "product": ("tests.support.fake_server", "--transport", "http", "--port"),
}
UNEXPLAINED = "unexplained"


@contextmanager
def listening(app: str, data_dir: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"CODEBASE_MCP_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *APPS[app], str(port)]
    with (data_dir / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until_now(lambda: answers(port) or process.poll() is not None, seconds=60, what=f"{app} to listen")
        assert process.poll() is None, (data_dir / "server.log").read_text()
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def recorded() -> dict[str, Any]:
    return json.loads(OUTCOMES.read_text("utf-8"))


def with_reasons(outcomes: dict[str, str], known: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What passed, and what did not by its reason; what failed before keeps the reason it had."""
    reason_of = {scenario: reason for reason, scenarios in known.items() for scenario in scenarios}
    not_passed: dict[str, dict[str, str]] = {}
    for scenario, checks in sorted(outcomes.items()):
        if checks:
            not_passed.setdefault(reason_of.get(scenario, UNEXPLAINED), {})[scenario] = checks
    passed = sorted(scenario for scenario, checks in outcomes.items() if not checks)
    return {"passed": passed, "not_passed": dict(sorted(not_passed.items()))}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", [OLDER, NEWER], ids=lambda suite: suite.version)
@pytest.mark.parametrize("app", APPS)
def test_the_suite_finds_what_is_expected(app: str, suite: Suite, tmp_path: Path) -> None:
    with listening(app, tmp_path) as url:
        try:
            outcomes = suite.run(url, tmp_path / "results")
        except NpmUnavailableError as error:
            pytest.skip(f"CONFORMANCE IS NOT TESTED: {error}")
    key, everything = f"{app} {suite.version}", recorded()
    found = with_reasons(outcomes, everything.get(key, {}).get("not_passed", {}))
    if os.environ.get("UPDATE_CONFORMANCE"):
        OUTCOMES.write_text(
            json.dumps(everything | {key: found}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    assert found == recorded()[key]


def test_every_scenario_that_does_not_pass_has_a_reason() -> None:
    runs = recorded()
    reasons = set(runs.pop("reasons"))
    assert {reason for run in runs.values() for reason in run["not_passed"]} == reasons


def test_all_that_the_newer_specification_requires_passes_with_the_fixtures() -> None:
    """The suite scores neither extensions nor what its own fixtures cannot pass."""
    assert set(recorded()[f"fixture {NEWER.version}"]["not_passed"]) == {"inlined schemas", "tasks"}
