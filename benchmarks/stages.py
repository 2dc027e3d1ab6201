"""The stages of indexing by themselves: a sample of files, one process, one batch after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from benchmarks.corpora import Corpus
from benchmarks.figures import rates
from codebase_mcp.domain import Definition, DiscoveredFile, PreparedBatch
from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.embed import Embedder, open_embedder
from codebase_mcp.indexing.pipeline import BatchRequest, index_fingerprint, prepare_batch
from codebase_mcp.indexing.postings import build_postings
from codebase_mcp.indexing.read import UnreadableFile, read_source
from codebase_mcp.settings import Settings
from codebase_mcp.storage import index_store, projects, tables
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.migrate import migrate_project

PROJECT = "stages"


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A corpus with the files that discovery lets through, and the bytes of those that an index takes.

    The two differ: what is binary or generated shows only when it is read.
    """

    corpus: Corpus
    files: tuple[DiscoveredFile, ...]
    source_bytes: int
    discover_seconds: float


@dataclass
class StageTimes:
    """Seconds and work of each stage over the whole sample."""

    parse_seconds: float = 0.0
    postings_seconds: float = 0.0
    embed_seconds: float = 0.0
    commit_seconds: float = 0.0
    files: int = 0
    chunks: int = 0
    size_bytes: int = 0
    definitions: list[Definition] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        work = {"files": self.files, "chunks": self.chunks, "size_bytes": self.size_bytes}
        seconds = {
            "read_parse_chunk": self.parse_seconds,
            "tokenise_postings": self.postings_seconds,
            "embed": self.embed_seconds,
            "commit": self.commit_seconds,
        }
        stages = {name: rates(taken, **work) for name, taken in seconds.items()}
        return stages | {"all_but_discover": rates(sum(seconds.values()), **work)}


def survey(corpus: Corpus, max_file_bytes: int) -> Surveyed:
    """Discovery, timed; then every file is read once, which also leaves all of them in the system's cache."""
    started = time.perf_counter()
    found = list(discover(corpus.root, max_file_bytes=max_file_bytes))
    seconds = time.perf_counter() - started
    files = tuple(file for file in found if file.skip_reason is None)
    source_bytes = sum(_source_bytes(corpus, file, max_file_bytes) for file in files)
    return Surveyed(corpus, files, source_bytes, seconds)


def _source_bytes(corpus: Corpus, file: DiscoveredFile, max_file_bytes: int) -> int:
    try:
        return read_source(corpus.root, file.relative_path, max_file_bytes=max_file_bytes).size_bytes
    except UnreadableFile:
        return 0


def sampled_batches(surveys: Sequence[Surveyed], settings: Settings, sample_bytes: int) -> Iterator[BatchRequest]:
    """Groups of neighbouring files, evenly spread over all corpora, of `sample_bytes` in all."""
    groups = [group for surveyed in surveys for group in _groups(surveyed, settings)]
    wanted = min(len(groups), max(1, round(sample_bytes / max(1, _size(groups)) * len(groups))))
    for number in range(wanted):
        yield groups[number * len(groups) // wanted][0]


def _groups(surveyed: Surveyed, settings: Settings) -> Iterator[tuple[BatchRequest, int]]:
    """Batches as a job cuts them, with their bytes."""
    paths: list[str] = []
    size_bytes = 0
    for file in surveyed.files:
        is_full = len(paths) >= settings.batch_files or size_bytes + file.size_bytes > settings.batch_bytes
        if paths and is_full:
            yield _request(surveyed, paths, settings), size_bytes
            paths, size_bytes = [], 0
        paths.append(file.relative_path)
        size_bytes += file.size_bytes
    if paths:
        yield _request(surveyed, paths, settings), size_bytes


def _request(surveyed: Surveyed, paths: Sequence[str], settings: Settings) -> BatchRequest:
    return BatchRequest(surveyed.corpus.root, tuple(paths), {}, settings.max_file_bytes)


def _size(groups: Sequence[tuple[BatchRequest, int]]) -> int:
    return sum(size_bytes for _, size_bytes in groups)


async def time_stages(database: Database, settings: Settings, batches: Sequence[BatchRequest]) -> StageTimes:
    """Runs each stage's own function on one batch at a time; the rows go into a project that is dropped at the end."""
    embedder = open_embedder(settings)
    # Grammars and the model are loaded once in a worker's life, not once a sample.
    await embedder.embed_documents(["warm up"])
    prepare_batch(batches[0])
    schema = tables.schema_name(PROJECT)
    times = StageTimes()
    try:
        target = await _new_target(database, embedder, schema)
        for request in batches:
            await _time_batch(times, database, target, embedder, request)
            await asyncio.sleep(0)
    finally:
        async with database.transaction("writers") as connection:
            await projects.drop_project(connection, PROJECT, schema)
    return times


async def _new_target(database: Database, embedder: Embedder, schema: str) -> Target:
    await migrate_project(database, schema)
    async with database.transaction("writers", schema) as connection:
        repository = await projects.ensure_repository(connection, "stages", "/stages", "stages")
        model_id = await projects.ensure_model(connection, embedder.identity, embedder.dimensions)
    return Target(schema, repository.id, model_id, index_fingerprint(embedder.identity), uuid4())


async def _time_batch(
    times: StageTimes, database: Database, target: Target, embedder: Embedder, request: BatchRequest
) -> None:
    started = time.perf_counter()
    batch = prepare_batch(request)
    prepared = time.perf_counter()
    build_postings(batch.files)
    repeated = time.perf_counter()
    vectors = await embedder.embed_documents([header for file in batch.files for header in file.headers])
    embedded = time.perf_counter()
    await _commit(database, target, batch, vectors)
    committed = time.perf_counter()
    # Preparing ends with the postings; building them once more, with warm caches as in a long job, tells their share.
    times.postings_seconds += repeated - prepared
    times.parse_seconds += (prepared - started) - (repeated - prepared)
    times.embed_seconds += embedded - repeated
    times.commit_seconds += committed - embedded
    _count(times, batch)


async def _commit(database: Database, target: Target, batch: PreparedBatch, vectors: Any) -> None:
    """The writes of a job's batch, without the job's own rows."""
    chunks = sum(len(file.chunks) for file in batch.files)
    async with database.transaction("writers") as connection:
        ids = await index_store.reserve_ids(connection, target.schema, chunks=chunks, files=len(batch.files))
    async with database.transaction("writers", target.schema) as connection:
        await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        await index_store.replace_files(connection, target, batch, ids, vectors)


def _count(times: StageTimes, batch: PreparedBatch) -> None:
    times.files += len(batch.files)
    times.chunks += sum(len(file.chunks) for file in batch.files)
    times.size_bytes += sum(file.size_bytes for file in batch.files)
    for file in batch.files:
        times.definitions += file.definitions
