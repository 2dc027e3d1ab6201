"""The official conformance suite, run against a server that listens on loopback."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks import npm

PACKAGE = "@modelcontextprotocol/conformance"
RUN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Suite:
    """One pinned version of the suite, and which of its scenarios to run."""

    version: str
    options: tuple[str, ...]

    def run(self, url: str, folder: Path) -> dict[str, str]:
        """Scenario → the checks that did not pass, or nothing. Raises NpmUnavailableError when it cannot run."""
        home = npm.install(f"conformance-{self.version}", f"{PACKAGE}@{self.version}")
        program = home / "node_modules" / PACKAGE / "dist" / "index.js"
        command = [str(npm.node()), str(program), "server", "--url", url, "-o", str(folder), *self.options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        outcomes = {_scenario(result.parent): _failures(result) for result in folder.glob("*/checks.json")}
        assert outcomes, f"the suite ran nothing: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return outcomes


OLDER = Suite("0.1.16", ("--suite", "all"))
NEWER = Suite("0.2.0-alpha.12", ("--requirements", "2026-07-28"))


def _scenario(folder: Path) -> str:
    named = re.fullmatch(r"server-(.+?)-\d{4}-\d\d-\d\dT[\d-]+Z", folder.name)
    assert named, f"{folder.name} is not how the suite names its results"
    return named[1]


def _failures(result: Path) -> str:
    """A check may be reported several times; a failure counts before a warning."""
    checks = json.loads(result.read_text("utf-8"))
    failed = {check["id"] for check in checks if check["status"] == "FAILURE"}
    warned = {check["id"] for check in checks if check["status"] == "WARNING"} - failed
    return ", ".join([*sorted(failed), *(f"{check} (warning)" for check in sorted(warned))])
