"""The files of the searched repositories, held in memory so that ids become files without a query."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from codebase_mcp.search.stems import StemIndex, build_stem_index
from codebase_mcp.storage import search_store
from codebase_mcp.storage.projects import Repository
from codebase_mcp.storage.search_store import FileColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

RELOAD_SECONDS = 2.0
"""While a job commits several times a second, its repository is read again at most this often."""
KEPT_REPOSITORIES = 64
KEPT_CORPORA = 16

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
    """Several repositories as one. Files are numbered by their first chunk, chunks through the files in that order.

    File `i` has the chunks `offsets[i]` up to `offsets[i + 1]`, whose ids start at `first_chunk_ids[i]`.
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
        if not self.file_count:
            return np.full(len(chunk_ids), -1)
        wanted = chunk_ids.astype(np.int64)
        files = np.searchsorted(self.first_chunk_ids, wanted, side="right") - 1
        within = wanted - self.first_chunk_ids[files]
        positions = self.offsets[files] + within
        return np.where((files >= 0) & (positions < self.offsets[files + 1]), positions, -1)

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


def build_corpus(parts: Sequence[RepositoryFiles]) -> Corpus:
    """Number the files and chunks of all repositories and index the words of their names."""
    owners = np.repeat(np.arange(len(parts)), [len(part.columns.ids) for part in parts])
    first_chunk_ids = _joined(parts, lambda columns: columns.first_chunk_ids)
    counts = _joined(parts, lambda columns: columns.chunk_counts)
    # A file without chunks shares its first id with the next file, which must win the look-up: it comes last.
    order = np.lexsort((counts, first_chunk_ids))
    counts = counts[order]
    file_ids = _joined(parts, lambda columns: columns.ids)[order]
    id_order = np.argsort(file_ids)
    paths = [path for part in parts for path in part.columns.paths]
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
        first_chunk_ids=first_chunk_ids[order],
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        file_of_chunk=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        stems=_stem_index(parts, file_ids[id_order], id_order),
        id_order=id_order,
        sorted_ids=file_ids[id_order],
    )


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


class Catalogue:
    """Keeps the repositories searched lately, each as good as one version of it, and the corpora made of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loaded: OrderedDict[tuple[str, int], tuple[float, RepositoryFiles]] = OrderedDict()
        self._corpora: OrderedDict[tuple[str, tuple[Repository, ...]], Corpus] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, object], asyncio.Lock] = WeakValueDictionary()

    async def corpus(
        self,
        connection: AsyncConnection,
        schema: str,
        repositories: Sequence[Repository],
        *,
        changing: Collection[int] = (),
    ) -> Corpus:
        """The corpus of these repositories.

        Of a repository whose id is in `changing` a version up to `RELOAD_SECONDS` old will do.
        """
        parts = [
            await self._files(connection, schema, repository, may_be_old=repository.id in changing)
            for repository in repositories
        ]
        key = (schema, tuple(part.repository for part in parts))
        async with self._alone(key):
            if key not in self._corpora:
                self._corpora[key] = await asyncio.to_thread(build_corpus, parts)
            corpus = self._corpora[key]
            self._corpora.move_to_end(key)
            _shrink(self._corpora, KEPT_CORPORA)
            return corpus

    def _alone(self, key: tuple[str, object]) -> asyncio.Lock:
        """Who makes the same thing waits for the first to have made it; nobody waits for other things."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def _files(
        self, connection: AsyncConnection, schema: str, repository: Repository, *, may_be_old: bool
    ) -> RepositoryFiles:
        key = (schema, repository.id)
        async with self._alone(key):
            loaded_at, files = self._loaded.get(key, (0.0, None))
            is_current = files is not None and files.repository == repository
            is_recent = may_be_old and self._clock() - loaded_at < RELOAD_SECONDS
            if files is None or not (is_current or is_recent):
                columns = await search_store.file_columns(connection, schema, repository.id)
                stem_postings = await search_store.stem_postings(connection, schema, repository.id)
                files = RepositoryFiles(repository, columns, stem_postings)
                self._loaded[key] = (self._clock(), files)
            self._loaded.move_to_end(key)
            _shrink(self._loaded, KEPT_REPOSITORIES)
        return files


def _shrink(kept: OrderedDict[_Key, _Value], limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)
