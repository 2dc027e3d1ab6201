"""A corpus in memory, made of parsed files as the index would hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codebase_mcp.domain import ParsedFile, Postings, PostingSpace
from codebase_mcp.indexing.postings import build_postings
from codebase_mcp.search.catalogue import Corpus, RepositoryFiles, build_corpus
from codebase_mcp.storage.projects import Repository
from codebase_mcp.storage.search_store import FileColumns


@dataclass(frozen=True)
class StoredRows:
    """What the database would hold: files of one repository, and its postings rows (term, ids, impacts)."""

    files: RepositoryFiles
    rows: list[tuple[str, bytes, bytes]]


def repository(number: int = 1, name: str = "repo", path: str | None = None, version: int = 1) -> Repository:
    return Repository(number, path or f"/{name}", name, None, None, True, 1, 1, 0, version, version)


def stored(
    files: Sequence[ParsedFile],
    *,
    first_chunk_id: int = 1000,
    first_file_id: int = 500,
    owner: Repository | None = None,
    references: Mapping[str, int] | None = None,
) -> StoredRows:
    postings = build_postings(files)
    counts = np.array([len(file.chunks) for file in files], dtype=np.int64)
    columns = FileColumns(
        ids=first_file_id + np.arange(len(files)),
        first_chunk_ids=first_chunk_id + np.cumsum(counts) - counts,
        chunk_counts=counts,
        definition_counts=np.array([len(file.definitions) for file in files], dtype=np.int64),
        reference_counts=np.array([(references or {}).get(file.relative_path, 0) for file in files], dtype=np.int64),
        paths=[file.relative_path for file in files],
        languages=[file.language for file in files],
        roles=[file.role.value for file in files],
    )
    chunk_rows = _rows(postings[PostingSpace.CHUNK], first_chunk_id)
    stem_rows = [(term, ids) for term, ids, _ in _rows(postings[PostingSpace.STEM], first_file_id)]
    return StoredRows(RepositoryFiles(owner or repository(), columns, stem_rows), chunk_rows)


def _rows(postings: Postings, base: int) -> list[tuple[str, bytes, bytes]]:
    offsets = postings.offsets.tolist()
    ids = (postings.ids + np.uint32(base)).astype("<u4")
    return [
        (term, ids[start:end].tobytes(), postings.impacts[start:end].tobytes())
        for term, start, end in zip(postings.terms, offsets, offsets[1:], strict=False)
    ]


def corpus_of(*files: ParsedFile) -> Corpus:
    return build_corpus([stored(files).files])
