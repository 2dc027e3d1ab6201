"""How fast searches are, from small repositories to large ones: alone, side by side, at first, and beside three jobs.

    python -m benchmarks.latency --repo NAME=PATH ... --data-dir DIR [--load PATH] [--out FILE]

Each repository is a project of its own, called NAME, indexed by the worker; what DIR holds already is only brought up
to date, which takes a while for a large one the first time. Queries are identifiers, qualified names, words and
questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.corpora import BenchmarkError, Corpus, given_corpora
from benchmarks.figures import commit, machine, milliseconds, rounded
from benchmarks.installation import Installation, Refusal, Server, kept_installation
from benchmarks.jobs import Load, finished, start
from benchmarks.queries import varied_queries
from benchmarks.searches import index_size, time_first_searches, time_searches, vector_index_built
from codebase_mcp.domain import Definition
from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.tables import schema_name

INDEXING_SECONDS = 3 * 3600.0
VECTOR_INDEX_SECONDS = 3600.0
NAMES = 4_000
SIDE_BY_SIDE = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Extent:
    queries: int
    fresh_servers: int
    load: Corpus | None
    """What three jobs index, over and over, while searches are timed; None to leave that out."""


class Measuring:
    """One repository and the server that is asked about it."""

    def __init__(self, installation: Installation, server: Server, database: Database, corpus: Corpus) -> None:
        settings = installation.settings.model_copy(update={"project_id": corpus.name})
        self._project = Installation(installation.folder, settings)
        self._server = server
        self._database = database
        self._corpus = corpus

    async def measure(self, extent: Extent) -> dict[str, Any]:
        answer = await self._index()
        settings = self._project.settings
        if answer["chunks"] >= settings.vector_index_rows:
            answer["vector_index"] = await vector_index_built(self._database, settings, VECTOR_INDEX_SECONDS)
        answer["size"] = await index_size(self._database, settings)
        queries = varied_queries(await self._definitions(), extent.queries)
        await self._timed(queries)  # what is read once is read now, as in a server that has been up for a while
        answer["warm"] = await self._timed(queries)
        answer["side_by_side"] = await self._side_by_side(queries)
        answer |= await time_first_searches(self._project, queries[-extent.fresh_servers :])
        if extent.load is not None:
            answer["while_3_jobs_run"] = await self._beside_jobs(extent.load, queries)
        return answer

    async def _index(self) -> dict[str, Any]:
        begun = time.perf_counter()
        job_id = await start(self._server, self._corpus, project_id=self._corpus.name)
        report = await finished(self._server, job_id, seconds=INDEXING_SECONDS)
        seconds = rounded(time.perf_counter() - begun)
        counts = "SELECT count(*), coalesce(sum(chunk_count), 0) FROM {}.code_files"
        schema = schema_name(self._corpus.name)
        async with self._database.transaction() as connection:
            files, chunks = (await connection.execute(sa.text(counts.format(schema)))).one()
        return {
            "files": int(files),
            "chunks": int(chunks),
            "last_job": {"seconds": seconds, "files_indexed": report["files_indexed"]},
        }

    async def _definitions(self) -> list[Definition]:
        """The same ones for the same index, from all over it."""
        statement = (
            "SELECT name, kind, start_line, end_line, depth, parent, is_declaration"
            f" FROM {schema_name(self._corpus.name)}.symbols"
            " WHERE kind <> 'section' ORDER BY md5(name || file_id) LIMIT :limit"
        )
        async with self._database.transaction() as connection:
            rows = await connection.execute(sa.text(statement), {"limit": NAMES})
            return [Definition(*row) for row in rows]

    async def _timed(self, queries: Sequence[str]) -> dict[str, Any]:
        return await time_searches(self._server, queries, project_id=self._corpus.name)

    async def _side_by_side(self, queries: Sequence[str]) -> dict[str, Any]:
        """Latencies when so many clients ask one query after the other, and how many answers come in a second."""
        found: dict[str, Any] = {}
        for clients in SIDE_BY_SIDE:
            left = iter(queries)
            begun = time.perf_counter()
            samples = await asyncio.gather(*(self._ask_each(left) for _ in range(clients)))
            seconds = time.perf_counter() - begun
            latencies = milliseconds([sample for part in samples for sample in part]) or {}
            found[f"{clients}_clients"] = latencies | {"answers_per_second": rounded(len(queries) / seconds)}
        return found

    async def _ask_each(self, left: Iterator[str]) -> list[float]:
        return [
            (await self._server.timed("search_code", query=query, project_id=self._corpus.name))[1] for query in left
        ]

    async def _beside_jobs(self, load: Corpus, queries: Sequence[str]) -> dict[str, Any]:
        jobs = Load(self._project, self._server, [load])
        async with jobs.running():
            return await self._timed(queries)


async def measure(installation: Installation, corpora: Sequence[Corpus], extent: Extent) -> dict[str, Any]:
    results: dict[str, Any] = {}
    async with installation.server() as server, installation.database() as opened:
        await server.ready("list_background_jobs")
        for corpus in corpora:
            sys.stderr.write(f"{corpus.name} …\n")
            results[corpus.name] = await Measuring(installation, server, opened.database, corpus).measure(extent)
    return results


def table(results: dict[str, Any]) -> str:
    """Milliseconds as the client sees them, p50 / p95, one repository a line."""
    titles = ("chunks", "alone", "in server", "8 at once", "first", "beside 3 jobs")
    rows = [_cells(found) for found in results.values()]
    return "\n".join(
        f"{name:18}" + "".join(f"{cell:>16}" for cell in cells)
        for name, cells in zip(("", *results), (titles, *rows), strict=True)
    )


def _cells(found: dict[str, Any]) -> list[str]:
    beside = found.get("while_3_jobs_run")
    return [
        f"{found['chunks']:,}",
        _cell(found["warm"]["through_mcp"]),
        _cell(found["warm"]["in_server"]),
        _cell(found["side_by_side"]["8_clients"]),
        _cell(found["first_search"]),
        _cell(beside["through_mcp"]) if beside else "-",
    ]


def _cell(spread: dict[str, float]) -> str:
    return f"{spread['p50']:.1f} / {spread['p95']:.1f}"


def _named(text: str) -> Corpus:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return Corpus(name, Path(path).resolve())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repo", type=_named, nargs="+", action="extend", required=True, metavar="NAME=PATH")
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="keeps the index for the next run")
    parser.add_argument("--load", type=Path, metavar="PATH", help="time searches beside three jobs over this as well")
    parser.add_argument("--queries", type=int, default=240, metavar="N", help="how many for each figure")
    parser.add_argument("--fresh-servers", type=int, default=5, metavar="N", help="servers for the first search")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where every figure goes as JSON")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    try:
        load = given_corpora([arguments.load])[0] if arguments.load else None
        extent = Extent(arguments.queries, arguments.fresh_servers, load)
        with kept_installation(arguments.data_dir) as installation:
            result = {**commit(), "started_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
            result["results"] = asyncio.run(measure(installation, arguments.repo, extent))
    except (BenchmarkError, Refusal, CodebaseMcpError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(table(result["results"]))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
