"""The long form of the fault suite, `python -m tests.faults.soak`: hundreds of faults at random, hundreds of kills.

What was measured is written to a folder as it comes, as JSON and, at the end, as a table in Markdown. With the same
folder, a run that was interrupted goes on where it stopped. The exit code is 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults import ledger
from tests.faults.chaos import one_round
from tests.faults.checks import completed
from tests.faults.generated import generate
from tests.faults.invariants import check_invariants
from tests.faults.kills import Kills
from tests.faults.takeovers import spread
from tests.support.processes import Site, prepared_data_dir, site_like

CYCLES_PER_ROUND = 50
PATIENCE_SECONDS = 1800


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}; the summary goes to {options.out}")
    with prepared_data_dir(ledger.install) as prepared:
        if options.cycles:
            asyncio.run(_chaos(prepared, options))
        if options.kills:
            asyncio.run(_kills(prepared, options))
    table = markdown(_stored(options.out / "chaos.json"), _stored(options.out / "kills.json"))
    (options.out / "summary.md").write_text(table)
    say(table)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=500, help="faults at random; 0 leaves that part out")
    parser.add_argument("--kills", type=int, default=200, help="kills on a large repository; 0 leaves that part out")
    parser.add_argument("--workers", type=int, default=4, help="workers during the random faults")
    parser.add_argument("--seconds", type=float, default=0.6, help="mean pause between two random faults")
    parser.add_argument("--files", type=int, default=15_000, help="files of the large repository")
    parser.add_argument("--kills-per-run", type=int, default=4, help="kills during one indexing of it, at most")
    parser.add_argument("--lanes", type=int, default=1, help="projects that index it at the same time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "codebase-mcp-soak")
    return parser.parse_args(arguments)


def say(what: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {what}\n")
    sys.stdout.flush()


def _stored(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return stored


def _store(path: Path, values: dict[str, Any]) -> None:
    """In one piece: an interrupted run must not leave half a file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1))
    partial.replace(path)


# --- random faults ---


async def _chaos(prepared: Path, options: argparse.Namespace) -> None:
    path = options.out / "chaos.json"
    rounds: list[dict[str, Any]] = _stored(path).get("rounds", [])
    while (done := sum(each["cycles"] for each in rounds)) < options.cycles:
        number = options.seed + len(rounds)
        say(f"chaos: {done} of {options.cycles} cycles done; the next round has seed {number}")
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            async with site_like(prepared, check=check_invariants, batch_files=1) as site:
                summary = await one_round(
                    site, Path(folder), random.Random(number), cycles=min(CYCLES_PER_ROUND, options.cycles - done),
                    workers=options.workers, pause_seconds=options.seconds,
                )  # fmt: skip
        rounds.append(summary | {"seed": number, "seconds": round(time.monotonic() - began, 1)})
        _store(path, {"rounds": rounds})


# --- kills ---


async def _kills(prepared: Path, options: argparse.Namespace) -> None:
    path = options.out / "kills.json"
    parts: list[dict[str, Any]] = _stored(path).get("parts", [])
    done = sum(part["kills"] for part in parts)
    if done >= options.kills:
        return
    with _repository(options.files) as root:
        async with _large_site(prepared) as site, site.service() as service:
            began = time.monotonic()
            calm = await _calm_digest(site, root)
            say(f"kills: an undisturbed index of {options.files} files took {time.monotonic() - began:.0f} s")
            progress = _Progress(done, options.kills)
            kills = Kills(
                site, service, root, calm, random.Random(options.seed), options.kills_per_run, {}, progress.say
            )
            try:
                await kills.go_on(options.kills - done, lanes=options.lanes, workers=2)
            finally:
                with contextlib.suppress(IndexError):  # not one job has completed
                    parts.append(await kills.summary() | {"seconds": round(time.monotonic() - began, 1)})
                    _store(path, {"parts": parts})


@contextlib.asynccontextmanager
async def _large_site(prepared: Path) -> AsyncIterator[Site]:
    """With everything as shipped."""
    async with site_like(prepared, check=check_invariants, pool_processes=2) as site:
        yield site


@contextlib.contextmanager
def _repository(files: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="codebase-mcp-soak-") as folder:
        yield generate(Path(folder) / "large", files)


async def _calm_digest(site: Site, root: Path) -> str:
    """In a project of its own, by a worker that nobody disturbs."""
    worker = site.worker()
    async with site.service() as service:
        started = await service.start_indexing(str(root), project_id="calm")
        job = await completed(site, started.job_id, patience_seconds=PATIENCE_SECONDS)
    worker.terminate()
    await asyncio.to_thread(worker.wait)
    return await site.digest(job)


class _Progress:
    def __init__(self, before: int, total: int) -> None:
        self._before, self._total = before, total
        self._began = time.monotonic()

    def say(self, kills: Kills) -> None:
        minutes = (time.monotonic() - self._began) / 60
        done = self._before + len(kills.kills)
        say(f"kills: {done} of {self._total} after {minutes:.1f} min; {len(kills.runs)} indexes completed, all equal")


# --- the summary ---


def markdown(chaos: dict[str, Any], kills: dict[str, Any]) -> str:
    lines = ["| what | measured |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in [*_chaos_facts(chaos), *_kill_facts(kills)]]
    return "\n".join(lines) + "\n"


def _chaos_facts(chaos: dict[str, Any]) -> list[tuple[str, object]]:
    rounds = chaos.get("rounds", [])
    if not rounds:
        return []
    faults = sum((Counter(each["faults"]) for each in rounds), Counter[str]())
    counted = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in faults.most_common())
    share = sum(each["texts_embedded"] for each in rounds) / sum(each["chunks_committed"] for each in rounds) - 1
    idle = [each["longest_idle_seconds"] for each in rounds]
    return [
        ("random cycles", sum(each["cycles"] for each in rounds)),
        ("of which", counted),
        ("jobs (cancelled)", f"{sum(each['jobs'] for each in rounds)} ({sum(each['cancelled'] for each in rounds)})"),
        ("take-over after a kill, s", spread([one for each in rounds for one in each["takeover_seconds"]])),
        ("texts embedded beyond those committed, tiny repositories", f"{share:.1%}"),
        ("longest time without an active worker, s", max(idle)),
        ("slowest answer of a tool, s", max(each["slowest_answer_seconds"] for each in rounds)),
        ("minutes", round(sum(each["seconds"] for each in rounds) / 60, 1)),
    ]


def _kill_facts(kills: dict[str, Any]) -> list[tuple[str, object]]:
    parts = kills.get("parts", [])
    if not parts:
        return []
    phases = sum((Counter(part["kills_by_phase"]) for part in parts), Counter[str]())
    share = sum(part["texts_embedded"] for part in parts) / sum(part["chunks_committed"] for part in parts) - 1
    shares = [one for part in parts for one in part["embedded_twice_shares"]]
    return [
        ("kill -9 of a worker", sum(part["kills"] for part in parts)),
        ("in the phase", ", ".join(f"{phase} {number}" for phase, number in phases.items())),
        ("indexes completed, all with the undisturbed digest", sum(part["runs"] for part in parts)),
        ("files in each", parts[0]["files_per_run"]),
        ("embedded twice, of all and in the worst run", f"{share:.2%}, {max(shares):.2%}"),
        ("take-over after a kill, s", spread([one for part in parts for one in part["takeover_seconds"]])),
        ("longest time without an active worker, s", max(part["longest_idle_seconds"] for part in parts)),
        ("minutes", round(sum(part["seconds"] for part in parts) / 60, 1)),
    ]


if __name__ == "__main__":
    sys.exit(main())
