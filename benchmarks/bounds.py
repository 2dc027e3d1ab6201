"""Peak memory of a real worker and its pool on hostile files and on given trees: `python -m benchmarks.bounds`.

Each tree is indexed by itself, all of them one after the other by one worker; figures are sums over its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import hostile
from benchmarks.corpora import Corpus, given_corpora
from benchmarks.installation import Installation, temporary_installation
from benchmarks.jobs import finished, start
from benchmarks.memory import PROPORTIONAL, MemoryWatch

JOB_SECONDS = 7_200.0


async def measure(installation: Installation, corpora: Sequence[Corpus]) -> None:
    """Prints a line for each tree as soon as it is indexed."""
    async with installation.server() as server:
        await server.ready("list_background_jobs")
        for corpus in corpora:
            began = time.perf_counter()
            with MemoryWatch({"worker": installation.worker_family}) as watch:
                report = await finished(server, await start(server, corpus), seconds=JOB_SECONDS)
            seconds = time.perf_counter() - began
            peak = watch.as_json().get("worker", {})
            print(
                f"{corpus.name}: {peak.get(f'{PROPORTIONAL}_mb')} MB ({PROPORTIONAL.upper()}, {peak.get('processes')}"
                f" processes), {seconds:,.0f} s: {report['progress_message']}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=__doc__)
    parser.add_argument("--repo", type=Path, nargs="*", default=[], help="trees to index beside the hostile files")
    parser.add_argument("--hostile-bytes", type=int, nargs="*", default=[60_000, 300_000], help="their sizes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="codebase-mcp-hostile-") as folder:
        corpora = given_corpora(arguments.repo)
        for size in arguments.hostile_bytes:
            root = Path(folder, f"hostile{size}")
            hostile.write(root, size)
            corpora.append(Corpus(f"hostile files of {size:,} bytes", root))
        with temporary_installation() as installation:
            asyncio.run(measure(installation, corpora))


if __name__ == "__main__":
    main()
