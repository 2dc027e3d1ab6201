"""`make clients`: what real assistants show a model of this server, without a model and without a login.

    python -m benchmarks.clients [--only NAME] [--command PATH/TO/codebase-mcp] [--keep FOLDER]

Each assistant comes from npm in a pinned version, gets a home of its own and is pointed at a scripted model on
loopback. The table tells whether `search_code` was in the first request to the model, whether the assistant's own
health command found the server connected, and what the answer of a search looked like to the model. `--command`
measures another installation; `--keep` writes every request there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import npm
from benchmarks.clients.assistants import (
    ASSISTANTS,
    INSPECTOR,
    NAME,
    PROMPT,
    Assistant,
    ServerCommand,
    inspector_arguments,
)
from benchmarks.clients.model_api import TOOL, Script, scripted_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "codebase_mcp" / "search"
TURN_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    client: str
    first_request: str
    health: str
    answer: str


@dataclass(frozen=True, slots=True)
class Bench:
    """An indexed project, the server for it, and where homes and requests are kept."""

    folder: Path
    server: ServerCommand

    @property
    def project(self) -> Path:
        return self.folder / "project"


def examine(assistant: Assistant, bench: Bench, keep: Path | None) -> Finding:
    home = bench.folder / assistant.program
    home.mkdir()
    try:
        installed = npm.install(assistant.program, assistant.package, run_scripts=True)
    except npm.NpmUnavailableError as error:
        return Finding(assistant.package, f"SKIPPED: {error}", "", "")
    script = Script({"query": PROMPT, "limit": 3})
    with scripted_model(script) as url:
        assistant.configure(home, bench.server, url)
        environment = _environment(home, installed) | assistant.environment(url)
        program = str(installed / "node_modules" / ".bin" / assistant.program)
        said = _run([program, *assistant.turn], bench.project, environment)
        health = _run([program, *assistant.health], bench.project, environment)
    if keep is not None:
        _keep(keep / assistant.program, script, said, health)
    return Finding(assistant.package, _first_request(script), _health(health), _answer(script))


def examine_inspector(bench: Bench) -> Finding:
    home = bench.folder / "inspector"
    home.mkdir()
    try:
        installed = npm.install("inspector", INSPECTOR)
    except npm.NpmUnavailableError as error:
        return Finding(INSPECTOR, f"SKIPPED: {error}", "", "")
    program = str(installed / "node_modules" / ".bin" / "mcp-inspector")
    command = [program, *inspector_arguments(bench.server, "tools/list")]
    said = _run(command, bench.project, _environment(home, installed))
    try:
        names = [tool["name"] for tool in json.loads(said[said.index("{") :])["tools"]]
    except (ValueError, KeyError):
        return Finding(INSPECTOR, "-", said.strip()[-80:], "-")
    return Finding(INSPECTOR, "-", f"lists {len(names)} tools, {TOOL}: {'yes' if TOOL in names else 'no'}", "-")


def _first_request(script: Script) -> str:
    if not script.requests:
        return "the model was not asked"
    position = next((n for n, one in enumerate(script.requests) if any(t.endswith(TOOL) for t in one.tools)), None)
    ours = [name for name in script.requests[0].tools if re.search("codebase.mcp", name)]
    if position == 0:
        return f"yes, {len(ours)} of our tools"
    later = "never" if position is None else f"in request {position + 1}"
    return f"NO ({len(ours)} of our tools), {later}"


def _health(said: str) -> str:
    """`enabled` is all that Codex says: it does not connect for that."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)  # colours
    words = re.compile(r"\b(connected|disconnected|enabled|failed)\b", re.IGNORECASE)
    found = [match[1].lower() for line in said.splitlines() if NAME in line and (match := words.search(line))]
    return found[-1] if found else " ".join(said.split())[-40:]


def _answer(script: Script) -> str:
    result = script.result()
    if result is None:
        return "-"
    form = "JSON" if '"structuredContent"' in result or '{"' in result[:200] else "text"
    return f"{form}, {len(result):,} characters"


def _environment(home: Path, installed: Path) -> dict[str, str]:
    """What a shell of a user would have; nothing of ours, so that the assistant meets the server as others do."""
    programs = [str(npm.node().parent), str(installed / "node_modules" / ".bin"), "/usr/local/bin", "/usr/bin", "/bin"]
    return {"HOME": str(home), "PATH": os.pathsep.join(programs), "TERM": "dumb", "LANG": "C.UTF-8", "CI": "1"}


def _run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    """Its output; the command and all that it started are gone afterwards."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=TURN_SECONDS)[0]
    except subprocess.TimeoutExpired:
        return f"it did not end in {TURN_SECONDS} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _keep(folder: Path, script: Script, said: str, health: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "output.txt").write_text(said)
    (folder / "health.txt").write_text(health)
    requests = [{"tools": one.tools, "results": one.results} for one in script.requests]
    (folder / "requests.json").write_text(json.dumps(requests, indent=1))


@contextmanager
def prepared(command: str) -> Iterator[Bench]:
    """A project that is indexed, and a database that runs until the end."""
    # The database of root is run by another user, who must get to its data.
    folder = Path(tempfile.mkdtemp(prefix="codebase-mcp-clients-")).resolve()
    folder.chmod(0o755)
    server = ServerCommand((command, "serve"), {"CODEBASE_MCP_DATA_DIR": str(folder / "data")})
    bench = Bench(folder, server)
    shutil.copytree(SAMPLE, bench.project)
    environment = os.environ | server.environment
    try:
        subprocess.run([command, "index", str(bench.project)], env=environment, check=True, stdout=subprocess.DEVNULL)
        with subprocess.Popen(
            server.command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as holder:
            yield bench
            holder.communicate(timeout=60)
    finally:
        subprocess.run([command, "stop"], env=environment, check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    names = [assistant.program for assistant in ASSISTANTS] + ["inspector"]
    parser.add_argument("--only", choices=names, action="append", help="examine this one, may be repeated")
    parser.add_argument("--command", default=str(Path(sys.executable).with_name(NAME)), help="codebase-mcp to start")
    parser.add_argument("--keep", type=Path, help="write what the model was sent into this folder")
    options = parser.parse_args()
    chosen = options.only or names
    try:
        npm.node()
    except npm.NpmUnavailableError as error:
        print(f"SKIPPED: {error}", file=sys.stderr)
        return 0
    print("| client | search_code in the first request | health command | answer as the model receives it |")
    print("|---|---|---|---|")
    with prepared(options.command) as bench:
        for assistant in ASSISTANTS:
            if assistant.program in chosen:
                _print(examine(assistant, bench, options.keep))
        if "inspector" in chosen:
            _print(examine_inspector(bench))
    return 0


def _print(finding: Finding) -> None:
    print(f"| {finding.client} | {finding.first_request} | {finding.health} | {finding.answer} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
