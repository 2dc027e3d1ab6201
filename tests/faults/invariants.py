"""What must hold after every fault test, whatever happened in it. Each rule gives a sentence for each violation.

The rules read the product's tables and the ledger; they are meant to run when every process of the test has left.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codebase_mcp.domain import MAX_RUNNING_JOBS
from codebase_mcp.errors import DatabaseError
from codebase_mcp.indexing.read import decode
from codebase_mcp.storage import embedded
from codebase_mcp.storage.database import Database
from tests.support.processes import PATIENCE_SECONDS, Site
from tests.support.waiting import until

ACTIVE = ("pending", "running", "blocked")
LONGEST_LEASE_SECONDS = 60
LONGEST_WAIT_SECONDS = 75
"""The longest delay of a blocked job, jitter included, with a little to spare."""
FILES_COMPARED = 400
"""Files of a repository whose index is compared with the disk."""
SHOWN = 5
TEST_WRITERS = ("observer", "tests")
"""Connections of the tests themselves, which may put a job into any state."""

Rows = list[sa.RowMapping]
Rule = Callable[[AsyncConnection], Awaitable[list[str]]]


async def check_invariants(site: Site) -> None:
    """Fails with every violation there is. The site's processes must have been dismissed before."""
    await asyncio.to_thread(embedded.ensure_running, site.data_dir)
    await _database_answers(site.observer)
    found = [*await left_connections(site.observer), *await violations(site.observer)]
    assert not found, "invariants violated:\n" + "\n".join(found)


async def violations(database: Database, chosen: tuple[Rule, ...] = ()) -> list[str]:
    """Every violation by what the tables and the ledger say; on a connection without deadlines."""
    async with database.maintenance() as connection:
        return [sentence for rule in chosen or RULES for sentence in await rule(connection)]


async def _rows(connection: AsyncConnection, statement: str, **arguments: object) -> Rows:
    return list((await connection.execute(sa.text(statement), arguments)).mappings())


async def _sentences(connection: AsyncConnection, statement: str, **arguments: object) -> list[str]:
    """The first column of the first few rows."""
    return [str(next(iter(row.values()))) for row in await _rows(connection, f"{statement} LIMIT {SHOWN}", **arguments)]


# --- the order of transitions: slots, one job per repository, progress ---


@dataclass
class _Replay:
    """All jobs' states, transition by transition, in the order in which they took effect."""

    status: dict[Any, tuple[str | None, str]] = field(default_factory=dict)
    active: dict[tuple[str, str | None, str], set[Any]] = field(default_factory=lambda: defaultdict(set))
    found: list[str] = field(default_factory=list)

    def take(self, row: sa.RowMapping) -> None:
        job_id, status, host_id = row["job_id"], row["status"], row["host_id"]
        repository = self.active[row["project_id"], host_id, row["repo_path"]]
        repository.discard(job_id)
        self.status.pop(job_id, None)
        if row["operation"] == "DELETE":
            if status in ACTIVE and row["writer"] not in TEST_WRITERS:
                self.found.append(f"the active job {job_id} was deleted")
            return
        self.status[job_id] = host_id, status
        if status in ACTIVE:
            repository.add(job_id)
        if len(repository) > 1:
            self.found.append(f"{len(repository)} active jobs for {row['repo_path']} at {row['at']}")
        running = sum(one == (host_id, "running") for one in self.status.values())
        if running > MAX_RUNNING_JOBS:
            self.found.append(f"{running} jobs were running at {row['at']}")


async def slots_and_repositories(connection: AsyncConnection) -> list[str]:
    """Of a host never more than three running jobs, never two active ones of one repository, no active job deleted."""
    replay = _Replay()
    columns = "job_id, project_id, host_id, repo_path, operation, status, at, writer"
    # Of one job only what changes its status matters here.
    for row in await _rows(
        connection,
        f"SELECT {columns} FROM ledger.transitions WHERE old_status IS DISTINCT FROM status OR operation = 'DELETE'"
        " ORDER BY id",
    ):
        replay.take(row)
    return replay.found[:SHOWN]


async def progress_never_falls(connection: AsyncConnection) -> list[str]:
    return await _sentences(
        connection,
        "SELECT format('the progress of %s fell from %s %% (%s files) to %s %% (%s files)', job_id, old_progress,"
        " old_files_indexed, progress, files_indexed) FROM ledger.transitions"
        " WHERE operation = 'UPDATE' AND (progress < old_progress OR files_indexed < old_files_indexed)",
    )


async def attempts_only_rise(connection: AsyncConnection) -> list[str]:
    """Also: a claim has a number of its own."""
    return await _sentences(
        connection,
        "SELECT format('the attempt of %s went from %s to %s', job_id, old_attempt, attempt) FROM ledger.transitions"
        " WHERE operation = 'UPDATE' AND (attempt NOT IN (old_attempt, old_attempt + 1)"
        " OR (attempt = old_attempt AND status = 'running' AND old_status <> 'running'))",
    )


# --- who wrote ---


async def writers_hold_the_claim(connection: AsyncConnection) -> list[str]:
    """No effect of an older attempt after a newer one: who writes for a job is who claimed its current attempt."""
    return await _sentences(
        connection,
        "SELECT format('%s was %s for %s at %s by %s, but attempt %s was claimed by %s', path, kind, job_id, at,"
        " writer, attempt, coalesce(ledger.claimer(job_id, id), 'nobody')) FROM ledger.effects"
        " WHERE writer <> ALL(:tests) AND job_id IS NOT NULL AND writer IS DISTINCT FROM ledger.claimer(job_id, id)",
        tests=list(TEST_WRITERS),
    )


async def transitions_hold_the_claim(connection: AsyncConnection) -> list[str]:
    """Only its claimer renews, commits, blocks, releases or ends a running job; others may claim, cancel or give up.

    Who adopts a job releases it once its lease has lapsed.
    """
    return await _sentences(
        connection,
        "SELECT format('%s went from %s to %s at %s by %s, but attempt %s was claimed by %s', job_id, old_status,"
        " status, at, writer, attempt, coalesce(ledger.claimer(job_id, id), 'nobody')) FROM ledger.transitions"
        " WHERE operation = 'UPDATE' AND old_status = 'running' AND attempt = old_attempt AND status <> 'cancelled'"
        " AND error_type IS DISTINCT FROM 'WorkerDied'"
        " AND NOT (status = 'pending' AND old_lease < at AND EXISTS (SELECT 1 FROM codebase_mcp.job_events e"
        " WHERE e.job_id = transitions.job_id AND e.event_type = 'adopted'))"
        " AND writer <> ALL(:tests) AND writer IS DISTINCT FROM ledger.claimer(job_id, id)",
        tests=list(TEST_WRITERS),
    )


async def effects_are_fenced(connection: AsyncConnection) -> list[str]:
    """Every write of a job is in one transaction with a guarded write of the job's own row."""
    return await _sentences(
        connection,
        "SELECT format('%s was %s for %s at %s by %s outside a transaction of the job', path, kind, job_id, at, writer)"
        " FROM ledger.effects WHERE NOT is_fenced AND writer <> ALL(:tests)",
        tests=list(TEST_WRITERS),
    )


async def nothing_after_the_end(connection: AsyncConnection) -> list[str]:
    ended = "SELECT job_id, min(id) AS id FROM ledger.transitions WHERE status IN ('completed', 'failed', 'cancelled')"
    return await _sentences(
        connection,
        f"WITH ended AS ({ended} GROUP BY job_id), late AS ("
        " SELECT e.job_id, e.kind || ' ' || e.path AS what, e.at FROM ledger.effects e JOIN ended USING (job_id)"
        " WHERE e.id > ended.id UNION ALL"
        " SELECT t.job_id, format('%s from %s to %s', t.operation, t.old_status, t.status), t.at"
        " FROM ledger.transitions t JOIN ended USING (job_id) WHERE t.id > ended.id AND t.operation <> 'DELETE'"
        " AND (t.status, t.attempt, t.progress, t.files_indexed)"
        " IS DISTINCT FROM (t.old_status, t.old_attempt, t.old_progress, t.old_files_indexed))"
        " SELECT format('after its end %s saw: %s at %s', job_id, what, at) FROM late",
    )


async def effects_are_counted_once(connection: AsyncConnection) -> list[str]:
    """A job writes each file once; what its row counts is what was written and what was marked."""
    twice = await _sentences(
        connection,
        "SELECT format('%s was %s %s times by %s', path, kind, count(*), job_id) FROM ledger.effects"
        " WHERE kind <> 'file updated' GROUP BY job_id, kind, path HAVING count(*) > 1",
    )
    miscounted = await _sentences(
        connection,
        "SELECT format('%s counts %s indexed files; %s were written and %s marked', id, files_indexed, written, marked)"
        " FROM (SELECT j.id, j.files_indexed, count(e.id) FILTER (WHERE e.kind = 'file written') AS written,"
        " count(e.id) FILTER (WHERE e.kind = 'marked indexed') AS marked FROM codebase_mcp.indexing_jobs j"
        " LEFT JOIN ledger.effects e ON e.job_id = j.id GROUP BY j.id) counted"
        " WHERE files_indexed <> written OR files_indexed <> marked",
    )
    return twice + miscounted


# --- the events ---

_MOVES = {
    "created": ((None,), "pending"),
    "started": (("pending",), "running"),
    "resumed": (("pending", "running"), "running"),
    "unblocked": (("blocked",), "running"),
    "blocked": (("running",), "blocked"),
    "released": (("running",), "pending"),
    "completed": (("running",), "completed"),
    "failed": (("running",), "failed"),
    "cancelled": (ACTIVE, "cancelled"),
}
_REMARKS = {"progress": ("running",), "captured": ("running",), "adopted": ("pending", "blocked")}
"""Events that leave the status as it is, and in which they come."""


async def events_tell_the_status(connection: AsyncConnection) -> list[str]:
    """Folding a job's events gives its status; a terminal job has one terminal event, at the end."""
    found = await _rows(
        connection,
        "SELECT j.id, j.status, j.attempt, array_remove(array_agg(e.event_type ORDER BY e.id), NULL) AS events,"
        " count(e.id) FILTER (WHERE e.event_type IN ('started', 'resumed', 'unblocked')) AS claims"
        " FROM codebase_mcp.indexing_jobs j LEFT JOIN codebase_mcp.job_events e ON e.job_id = j.id GROUP BY j.id",
    )
    sentences = [sentence for job in found if (sentence := _fold(job))]
    return sentences[:SHOWN]


def _fold(job: sa.RowMapping) -> str | None:
    status: str | None = None
    for event in job["events"]:
        allowed, after = _MOVES.get(event, (_REMARKS.get(event, ()), status))
        if status not in allowed:
            return f"job {job['id']}: the event {event!r} came in status {status!r} ({', '.join(job['events'])})"
        status = after
    if status != job["status"]:
        return f"job {job['id']} is {job['status']}, its events say {status} ({', '.join(map(str, job['events']))})"
    if job["claims"] != job["attempt"]:
        return f"job {job['id']} is at attempt {job['attempt']} after {job['claims']} events of a claim"
    return None


# --- nothing is stuck ---


async def every_active_job_can_be_claimed(connection: AsyncConnection) -> list[str]:
    """Now, and at every transition: a lease and a retry lie no further ahead than they may."""
    now = await _sentences(
        connection,
        "SELECT format('nobody will claim %s: %s, lease until %s, retry at %s', id, status, lease_expires_at, retry_at)"
        " FROM codebase_mcp.indexing_jobs WHERE status IN ('pending', 'running', 'blocked') AND NOT ("
        " status = 'pending' OR (status = 'blocked' AND retry_at < clock_timestamp() + make_interval(secs => :wait))"
        " OR (status = 'running' AND lease_expires_at < clock_timestamp() + make_interval(secs => :lease)))",
        wait=LONGEST_WAIT_SECONDS,
        lease=LONGEST_LEASE_SECONDS,
    )
    then = await _sentences(
        connection,
        "SELECT format('%s was out of reach at %s: %s, lease until %s, retry at %s', job_id, at, status, lease,"
        " retry_at) FROM ledger.transitions WHERE operation <> 'DELETE' AND writer <> ALL(:tests)"
        " AND ((status = 'running' AND old_lease IS DISTINCT FROM lease AND lease > at + make_interval(secs => :lease))"
        " OR (status = 'blocked' AND retry_at > at + make_interval(secs => :wait)))",
        wait=LONGEST_WAIT_SECONDS,
        lease=LONGEST_LEASE_SECONDS,
        tests=list(TEST_WRITERS),
    )
    return now + then


# --- the index ---

_TORN = """
SELECT format('%s in {schema}: %s chunks announced, %s there, %s in order, %s with a vector', f.relative_path,
  f.chunk_count, f.chunks, f.ordinals, f.vectors)
FROM (SELECT f.relative_path, f.chunk_count, count(c.id) AS chunks,
        count(DISTINCT c.ordinal) FILTER (WHERE c.ordinal < f.chunk_count
          AND c.id = f.first_chunk_id + c.ordinal) AS ordinals,
        count(DISTINCT e.chunk_id) AS vectors
      FROM {schema}.code_files f LEFT JOIN {schema}.code_chunks c ON c.file_id = f.id
      LEFT JOIN {schema}.embeddings e ON e.chunk_id = c.id AND e.file_id = f.id GROUP BY f.id) f
WHERE NOT (f.chunk_count = f.chunks AND f.chunks = f.ordinals AND f.ordinals = f.vectors)"""

_ORPHANS = """
SELECT format('%s %s in {schema} without their file', count(*), what) FROM (
  SELECT 'chunks' AS what, file_id FROM {schema}.code_chunks UNION ALL
  SELECT 'vectors', file_id FROM {schema}.embeddings UNION ALL SELECT 'symbols', file_id FROM {schema}.symbols) r
WHERE NOT EXISTS (SELECT 1 FROM {schema}.code_files f WHERE f.id = r.file_id) GROUP BY what"""

_COUNTS = """
SELECT format('%s counts %s files and %s chunks; there are %s and %s', r.path, r.file_count, r.chunk_count, f.files,
  coalesce(f.chunks, 0))
FROM {schema}.repositories r
LEFT JOIN LATERAL (SELECT count(*) AS files, sum(chunk_count) AS chunks FROM {schema}.code_files f
  WHERE f.repository_id = r.id) f ON true
WHERE (r.file_count, r.chunk_count) IS DISTINCT FROM (f.files, coalesce(f.chunks, 0))"""

_LATEST = """
SELECT DISTINCT ON (j.project_id, j.repo_path) j.id, j.status, j.repo_path, j.repository_id, p.schema_name,
  coalesce(jsonb_array_length(j.metadata -> 'unreadable_paths'), 0) AS unreadable
FROM codebase_mcp.indexing_jobs j JOIN codebase_mcp.projects p USING (project_id)
WHERE to_regclass(p.schema_name || '.code_files') IS NOT NULL
ORDER BY j.project_id, j.repo_path, j.created_at DESC"""

_MISSING = """
SELECT format('%s of {schema} is %s in the completed job %s, but not in the index', m.relative_path, m.state, m.job_id)
FROM codebase_mcp.job_files m WHERE m.job_id = :job_id AND m.state NOT IN ('skipped', 'failed')
  AND EXISTS (SELECT 1 FROM {schema}.repositories r WHERE r.id = :repository_id)
  AND NOT EXISTS (SELECT 1 FROM {schema}.code_files f
    WHERE f.repository_id = :repository_id AND f.relative_path = m.relative_path)"""

_UNCALLED = """
SELECT format('%s of {schema} is in the index, but the completed job %s did not list it', f.relative_path,
  CAST(:job AS text))
FROM {schema}.code_files f WHERE f.repository_id = :repository_id AND NOT EXISTS (SELECT 1
  FROM codebase_mcp.job_files m WHERE m.job_id = :job_id AND m.relative_path = f.relative_path)"""

_TEXTS = """
SELECT f.relative_path, f.content_hash, f.size_bytes, f.mtime_ns,
  coalesce((SELECT string_agg(c.content, '' ORDER BY c.ordinal) FROM {schema}.code_chunks c WHERE c.file_id = f.id), '')
    AS text
FROM {schema}.code_files f WHERE f.repository_id = :repository_id ORDER BY md5(f.relative_path) LIMIT :files"""


async def files_are_whole(connection: AsyncConnection) -> list[str]:
    """At any time, in every project: chunks gapless with one vector each, nothing without its file, counts right."""
    schemas = await _rows(
        connection,
        "SELECT schema_name FROM codebase_mcp.projects WHERE to_regclass(schema_name || '.code_files') IS NOT NULL",
    )
    found = []
    for schema in schemas:
        for statement in (_TORN, _ORPHANS, _COUNTS):
            found += await _sentences(connection, statement.format(schema=schema["schema_name"]))
    return found


async def completed_jobs_left_the_repository_in_the_index(connection: AsyncConnection) -> list[str]:
    """Every file of a repository's last job once, if that completed, with the text that is on the disk."""
    found = []
    for job in await _rows(connection, _LATEST):
        if job["status"] != "completed":
            continue
        schema, ids = job["schema_name"], {"job_id": job["id"], "repository_id": job["repository_id"]}
        found += await _sentences(connection, _MISSING.format(schema=schema), **ids)
        if not job["unreadable"]:
            found += await _sentences(connection, _UNCALLED.format(schema=schema), job=str(job["id"]), **ids)
        texts = await _rows(
            connection, _TEXTS.format(schema=schema), repository_id=job["repository_id"], files=FILES_COMPARED
        )
        found += (await asyncio.to_thread(_differing, Path(job["repo_path"]), texts))[:SHOWN]
    return found


def _differing(root: Path, files: Rows) -> list[str]:
    """Files whose index is not what the disk has, though their size and time are."""
    found = []
    for file in files:
        path = root / file["relative_path"]
        try:
            if not path.is_file():  # reading a pipe would wait for ever
                continue
            status, content = path.stat(), path.read_bytes()
        except OSError:
            continue
        if (status.st_size, status.st_mtime_ns) != (file["size_bytes"], file["mtime_ns"]):
            continue
        if hashlib.sha256(content).digest() != file["content_hash"]:
            found.append(f"{path}: the hash in the index is not that of the file")
        elif file["text"] != decode(content)[0]:
            found.append(f"{path}: the chunks in the index are not the text of the file")
    return found


# --- nobody is left ---


async def _database_answers(database: Database) -> None:
    async def answers() -> bool:
        try:
            async with database.transaction() as connection:
                return bool(await _rows(connection, "SELECT true"))
        except DatabaseError:
            return False

    await until(answers, what="the database to answer at the end of the test", seconds=PATIENCE_SECONDS)


async def left_connections(database: Database, seconds: float = PATIENCE_SECONDS / 3) -> list[str]:
    """Connections of processes that have left; one that was killed is noticed within moments."""

    async def left() -> list[str]:
        async with database.transaction() as connection:
            return await _sentences(
                connection,
                "SELECT format('a connection of %s is left: %s, %s', application_name, state, query)"
                " FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database()"
                " AND application_name <> current_setting('application_name')",
            )

    async def none_left() -> bool:
        return not await left()

    try:
        await until(none_left, what="the end of every connection", seconds=seconds)
    except AssertionError:
        return await left()
    return []


RULES: tuple[Rule, ...] = (
    slots_and_repositories,
    progress_never_falls,
    attempts_only_rise,
    writers_hold_the_claim,
    transitions_hold_the_claim,
    effects_are_fenced,
    nothing_after_the_end,
    effects_are_counted_once,
    events_tell_the_status,
    every_active_job_can_be_claimed,
    files_are_whole,
    completed_jobs_left_the_repository_in_the_index,
)
LIVE_RULES = tuple(rule for rule in RULES if rule is not completed_jobs_left_the_repository_in_the_index)
"""Those that hold at any moment, while processes work."""
