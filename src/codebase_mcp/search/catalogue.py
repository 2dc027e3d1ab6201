"""The files of the searched repositories, held in memory so that ids become files without a query."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from codebase_mcp.domain import Host, host_label
from codebase_mcp.search.stems import StemIndex, build_stem_index
from codebase_mcp.storage import search_store
from codebase_mcp.storage.projects import Repository
from codebase_mcp.storage.search_store import FileColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

RELOAD_SECONDS = 2.0
"""While a job commits several times a second, its repository is read again at most this often …"""
REST = 20
"""… and at most once in so many times what reading takes, so that searches seldom meet it."""
KEPT_REPOSITORIES = 64
KEPT_CORPORA = 16
MOST_IDS_PER_CHUNK = 16
"""Ids of chunks are used once: many are dead after many changes. Each costs eight bytes."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class RepositoryFiles:
    """One version of a repository: its files, and for each stem of a file name the ids of files, deleted ones too."""

    repository: Repository
    columns: FileColumns
    stem_postings: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Several repositories as one. Files are numbered by their absolute paths, chunks through the files in that order.

    So whatever prefers the lower number of two equals prefers the path that comes first, however the index came about.

    File `i` has the chunks `offsets[i]` up to `offsets[i + 1]`, whose ids start at `first_chunk_ids[i]`. `run_starts`
    has these first ids in ascending order, and `run_files` the files they belong to, those without chunks left out.
    `position_of_id` has the number of each chunk by its id less the first one, -1 for dead ids and at the end; None
    where too many ids are dead.
    """

    repositories: tuple[Repository, ...]
    repository_of: NDArray[np.int64]
    file_ids: NDArray[np.int64]
    paths: list[str]
    languages: NDArray[np.str_]
    roles: NDArray[np.str_]
    definition_counts: NDArray[np.int64]
    reference_counts: NDArray[np.int64]
    first_chunk_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    file_of_chunk: NDArray[np.int32]
    run_starts: NDArray[np.int64]
    run_files: NDArray[np.int64]
    position_of_id: NDArray[np.int64] | None
    stems: StemIndex
    id_order: NDArray[np.int64]
    sorted_ids: NDArray[np.int64]

    @property
    def file_count(self) -> int:
        return len(self.file_ids)

    @property
    def chunk_count(self) -> int:
        return int(self.offsets[-1])

    def chunk_positions(self, chunk_ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """The number of each chunk in this corpus; -1 for chunks that are deleted or newer than it."""
        if not self.chunk_count:
            return np.full(len(chunk_ids), -1)
        wanted = chunk_ids.astype(np.int64)
        if self.position_of_id is None:
            return self._searched_positions(wanted)
        places = wanted - self.run_starts[0]
        return np.asarray(self.position_of_id[np.clip(places, -1, len(self.position_of_id) - 1)])

    def _searched_positions(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        runs = np.searchsorted(self.run_starts, wanted, side="right") - 1
        files = self.run_files[runs]
        positions = self.offsets[files] + wanted - self.first_chunk_ids[files]
        return np.where((runs >= 0) & (positions < self.offsets[files + 1]), positions, -1)

    @property
    def newest_chunk_id(self) -> int:
        """No file of the corpus has chunks above those of the file with this first chunk."""
        return int(self.run_starts[-1]) if self.chunk_count else 0

    def chunk_ids(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        files = self.file_of_chunk[positions]
        return np.asarray(self.first_chunk_ids[files] + positions - self.offsets[files])

    def file_positions(self, file_ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """The number of each file in this corpus; -1 for files that it does not have."""
        wanted = np.asarray(file_ids, dtype=np.int64)
        if not self.file_count:
            return np.full(len(wanted), -1)
        places = np.minimum(np.searchsorted(self.sorted_ids, wanted), self.file_count - 1)
        return np.where(self.sorted_ids[places] == wanted, self.id_order[places], -1)

    def repository(self, file: int) -> Repository:
        return self.repositories[int(self.repository_of[file])]

    def absolute_path(self, file: int) -> str:
        return f"{self.repository(file).path.rstrip('/')}/{self.paths[file]}"

    def place(self, file: int) -> tuple[str | None, str]:
        """The host and the absolute path: one file has one place."""
        return self.repository(file).host_id, self.absolute_path(file)

    def host_of(self, file: int, own: Host | None) -> str | None:
        """The host that the file is on, as people call it; None when it is the one that asks."""
        repository = self.repository(file)
        return host_label(repository.host_id, repository.host_name, own)


def build_corpus(parts: Sequence[RepositoryFiles]) -> Corpus:
    """Number the files and chunks of all repositories and index the words of their names."""
    owners = np.repeat(np.arange(len(parts)), [len(part.columns.ids) for part in parts])
    paths = [path for part in parts for path in part.columns.paths]
    order = np.array(_order_of_paths(parts), dtype=np.int64)
    first_chunk_ids = _joined(parts, lambda columns: columns.first_chunk_ids)[order]
    counts = _joined(parts, lambda columns: columns.chunk_counts)[order]
    file_ids = _joined(parts, lambda columns: columns.ids)[order]
    id_order = np.argsort(file_ids)
    with_chunks = np.flatnonzero(counts)
    run_files = with_chunks[np.argsort(first_chunk_ids[with_chunks])]
    roles = np.array([role for part in parts for role in part.columns.roles], dtype=np.str_)
    languages = np.array([language for part in parts for language in part.columns.languages], dtype=np.str_)
    return Corpus(
        repositories=tuple(part.repository for part in parts),
        repository_of=owners[order],
        file_ids=file_ids,
        paths=[paths[place] for place in order],
        languages=languages[order],
        roles=roles[order],
        definition_counts=_joined(parts, lambda columns: columns.definition_counts)[order],
        reference_counts=_joined(parts, lambda columns: columns.reference_counts)[order],
        first_chunk_ids=first_chunk_ids,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        file_of_chunk=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        run_starts=first_chunk_ids[run_files],
        run_files=run_files,
        position_of_id=_positions_by_id(first_chunk_ids[with_chunks], counts[with_chunks]),
        stems=_stem_index(parts, file_ids[id_order], id_order),
        id_order=id_order,
        sorted_ids=file_ids[id_order],
    )


def _order_of_paths(parts: Sequence[RepositoryFiles]) -> list[int]:
    paths = [f"{part.repository.path.rstrip('/')}/{path}" for part in parts for path in part.columns.paths]
    return sorted(range(len(paths)), key=paths.__getitem__)


def _positions_by_id(first_chunk_ids: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Looking a number up is ten times as fast as searching for it, which is felt from a hundred thousand chunks on."""
    if not len(counts):
        return None
    chunk_count, ends, lowest = int(counts.sum()), first_chunk_ids + counts, first_chunk_ids.min()
    span = int(ends.max() - lowest)
    if span > MOST_IDS_PER_CHUNK * chunk_count:
        return None
    positions = np.full(span + 1, -1)
    numbers = np.arange(chunk_count)
    run_starts = np.cumsum(counts) - counts
    positions[numbers + np.repeat(first_chunk_ids - lowest - run_starts, counts)] = numbers
    return positions


def _joined(parts: Sequence[RepositoryFiles], column: Callable[[FileColumns], NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *(column(part.columns) for part in parts)])


def _stem_index(
    parts: Sequence[RepositoryFiles], sorted_ids: NDArray[np.int64], id_order: NDArray[np.int64]
) -> StemIndex:
    ids_of: dict[str, list[bytes]] = {}
    for part in parts:
        for term, ids in part.stem_postings:
            ids_of.setdefault(term, []).append(ids)
    terms = list(ids_of)
    packed = [b"".join(ids_of[term]) for term in terms]
    all_ids = np.frombuffer(b"".join(packed), dtype="<u4").astype(np.int64)
    places = np.minimum(np.searchsorted(sorted_ids, all_ids), max(len(sorted_ids) - 1, 0))
    is_live = sorted_ids[places] == all_ids if len(sorted_ids) else np.zeros(len(all_ids), dtype=bool)
    ends = np.cumsum([len(ids) // 4 for ids in packed]).tolist()
    postings = {
        term: id_order[places[start:end][is_live[start:end]]]
        for term, start, end in zip(terms, [0, *ends], ends, strict=False)
    }
    return build_stem_index(postings, len(sorted_ids))


@dataclass(frozen=True, slots=True)
class _Kept(Generic[_Value]):
    """Something read from the database, when that was done and how long it took."""

    value: _Value
    read_at: float
    seconds: float

    def is_recent(self, now: float) -> bool:
        """Whether it may still stand for something that changes all the time."""
        return now - self.read_at < max(RELOAD_SECONDS, REST * self.seconds)


class Catalogue:
    """Keeps the repositories searched lately, each as good as one version of it, and the corpora made of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files: OrderedDict[tuple[str, int], _Kept[RepositoryFiles]] = OrderedDict()
        self._corpora: OrderedDict[tuple[str, tuple[int, ...]], _Kept[Corpus]] = OrderedDict()
        self._locks: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()

    async def corpus(
        self,
        connection: AsyncConnection,
        schema: str,
        repositories: Sequence[Repository],
        *,
        changing: Collection[int] = (),
    ) -> Corpus:
        """The corpus of these repositories.

        Of repositories whose id is in `changing` an older version will do: one of the last `RELOAD_SECONDS`, or of
        the last `REST` times what it took to read, or any while a newer one is being read.
        """
        key = (schema, tuple(repository.id for repository in repositories))
        lock = self._locks.setdefault(key, asyncio.Lock())
        kept = self._corpora.get(key)
        is_usable = kept is not None and _are_but_for(kept.value.repositories, repositories, changing)
        if kept is not None and is_usable and lock.locked():
            return kept.value
        async with lock:
            return await self._current(connection, schema, repositories, changing)

    async def _current(
        self, connection: AsyncConnection, schema: str, repositories: Sequence[Repository], changing: Collection[int]
    ) -> Corpus:
        key = (schema, tuple(repository.id for repository in repositories))
        kept = self._corpora.get(key)
        if kept is None or not self._will_do(kept, kept.value.repositories, repositories, changing):
            began = self._clock()
            parts = [await self._read(connection, schema, repository, changing) for repository in repositories]
            corpus = await asyncio.to_thread(build_corpus, parts)
            kept = self._corpora[key] = _Kept(corpus, self._clock(), self._clock() - began)
        self._corpora.move_to_end(key)
        _shrink(self._corpora, KEPT_CORPORA)
        return kept.value

    async def _read(
        self, connection: AsyncConnection, schema: str, repository: Repository, changing: Collection[int]
    ) -> RepositoryFiles:
        key = (schema, repository.id)
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept = self._files.get(key)
            if kept is None or not self._will_do(kept, [kept.value.repository], [repository], changing):
                began = self._clock()
                columns = await search_store.file_columns(connection, schema, repository.id)
                stem_postings = await search_store.stem_postings(connection, schema, repository.id)
                files = RepositoryFiles(repository, columns, stem_postings)
                kept = self._files[key] = _Kept(files, self._clock(), self._clock() - began)
            self._files.move_to_end(key)
            _shrink(self._files, KEPT_REPOSITORIES)
            return kept.value

    def _will_do(
        self,
        kept: _Kept[Any],
        mine: Sequence[Repository],
        wanted: Sequence[Repository],
        changing: Collection[int],
    ) -> bool:
        is_current = tuple(mine) == tuple(wanted)
        return is_current or (kept.is_recent(self._clock()) and _are_but_for(mine, wanted, changing))


def _are_but_for(mine: Sequence[Repository], wanted: Sequence[Repository], changing: Collection[int]) -> bool:
    """Whether these are the wanted versions, those of `changing` repositories aside."""
    return all(one == other or other.id in changing for one, other in zip(mine, wanted, strict=True))


def _shrink(kept: OrderedDict[_Key, _Value], limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)
