"""Takes one guard after the other out of a copy of the sources and runs the tests that must notice.

`python -m tests.faults.mutants [--only NAME]... [--jobs N] [--write-docs]`. Exit code 1 when a mutant survives, when
its tests are red without it (then it is not even tried), or when it no longer applies.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults import code_guards, sql_guards
from tests.faults.mutation import Mutant, apply

MUTANTS = (*sql_guards.MUTANTS, *code_guards.MUTANTS)

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "benchmarks", "pyproject.toml", "docs")
DOCS = ROOT / "docs" / "jobs.md"
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"
LONGEST_SECONDS = 900.0
ALL_PASSED, SOME_FAILED = 0, 1
NICENESS = 10


_CAUGHT = re.compile(r"^(?:FAILED (?=.)|ERROR (?=.* - AssertionError))(.+?)(?: - .*)?$", re.MULTILINE)
_RED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run of tests ended; `output` is what to look at when it was not expected."""

    code: int
    seconds: float
    output: str

    @property
    def red(self) -> list[str]:
        """The tests that failed or could not even begin."""
        return _RED.findall(self.output)

    @property
    def caught_by(self) -> str | None:
        """The first test that failed, or whose check of what must always hold failed before or after it."""
        match = _CAUGHT.search(self.output)
        return match.group(1) if match else None


# --- running ---


def copy_of_the_checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def run_tests(root: Path, tests: Sequence[str], *, stop_at_first: bool = True) -> Result:
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    began = time.monotonic()
    process = subprocess.Popen(
        command + (["-x"] if stop_at_first else []),
        cwd=root,
        env=environment,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        # As a user would, so that fixtures end the processes they started.
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    return Result(process.returncode, time.monotonic() - began, output)


def try_mutant(root: Path, mutant: Mutant) -> Result:
    undo = apply(root, mutant)
    try:
        return run_tests(root, mutant.tests)
    finally:
        undo()


def verdict(result: Result) -> str:
    """Caught means that a check failed; a test that could not even begin proves nothing."""
    if result.code == SOME_FAILED and result.caught_by:
        return "caught"
    return "SURVIVED" if result.code == ALL_PASSED else "BROKEN"


def try_all(mutants: Sequence[Mutant], copies: Sequence[Path]) -> dict[str, Result]:
    free: queue.Queue[Path] = queue.Queue()
    for path in copies:
        free.put(path)

    def one(mutant: Mutant) -> Result:
        root = free.get()
        try:
            result = try_mutant(root, mutant)
        finally:
            free.put(root)
        say(f"{verdict(result):8} {result.seconds:5.1f} s  {mutant.name}: {result.caught_by or ''}")
        if verdict(result) != "caught":
            say(result.output[-3000:])
        return result

    with ThreadPoolExecutor(len(copies)) as threads:
        return dict(zip((mutant.name for mutant in mutants), threads.map(one, mutants), strict=True))


# --- telling ---


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the output of a script


def table(results: dict[str, Result]) -> str:
    lines = ["| guard | taken out | first test to turn red | seconds |", "|---|---|---|---|"]
    for mutant in MUTANTS:
        result = results[mutant.name]
        path, _, test = str(result.caught_by).partition("::")
        name = test.partition("[")[0]
        lines.append(f"| {mutant.name} | {mutant.removes} | `{Path(path).stem}`: {name} | {result.seconds:.0f} |")
    return "\n".join(lines)


def write_docs(results: dict[str, Result]) -> None:
    text = DOCS.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{DOCS} has no place for the table: {BEGIN} … {END}")
    DOCS.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", "utf-8")


def chosen(names: Iterable[str]) -> list[Mutant]:
    wanted = list(names)
    unknown = set(wanted) - {mutant.name for mutant in MUTANTS}
    if unknown:
        raise SystemExit(f"no such mutant: {', '.join(sorted(unknown))}")
    return [mutant for mutant in MUTANTS if not wanted or mutant.name in wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutant; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (default 1)")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/jobs.md")
    parser.add_argument("--list", action="store_true", help="name the mutants and end")
    options = parser.parse_args(arguments)
    if options.write_docs and options.only:
        parser.error("--write-docs needs a run of all mutants")
    mutants = chosen(options.only)
    if options.list:
        say("\n".join(f"{mutant.name}: {mutant.removes}" for mutant in mutants))
        return 0
    os.nice(NICENESS)
    with tempfile.TemporaryDirectory(prefix="codebase-mcp-mutants-") as folder:
        # PostgreSQL's user and the workers must be able to enter it.
        Path(folder).chmod(0o755)
        copies = [copy_of_the_checkout(Path(folder, str(n))) for n in range(options.jobs)]
        results = _tried(mutants, copies)
    if results and options.write_docs:
        write_docs(results)
    return 0 if results else 1


def _tried(mutants: Sequence[Mutant], copies: Sequence[Path]) -> dict[str, Result] | None:
    """None unless every mutant was caught by tests that are green without it."""
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    untouched = run_tests(copies[0], tests, stop_at_first=False)
    say(f"untouched: {'green' if untouched.code == ALL_PASSED else 'RED'}, {untouched.seconds:.1f} s")
    if untouched.code != ALL_PASSED:
        say(untouched.output[-5000:])
        if untouched.code != SOME_FAILED:
            return None
    provable = [mutant for mutant in mutants if not _is_red(mutant, untouched.red)]
    results = try_all(provable, copies)
    caught = [name for name, result in results.items() if verdict(result) == "caught"]
    say(f"{len(caught)} of {len(mutants)} mutants caught, {len(mutants) - len(provable)} not tried")
    return results if len(caught) == len(mutants) else None


def _is_red(mutant: Mutant, red: Sequence[str]) -> bool:
    return any(name == test or name.startswith(f"{test}[") for test in mutant.tests for name in red)


if __name__ == "__main__":
    sys.exit(main())
