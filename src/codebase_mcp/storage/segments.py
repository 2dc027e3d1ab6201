"""Keeps the number of posting segments of a repository small: each batch writes one, a search reads them all.

Segments of one level are merged into one of the next level, like a log-structured merge tree, so that each posting is
rewritten a few times at most. A merge moves whole rows, term by term, so it may stop after any step and start anew.
Ids of deleted chunks and files stay in the postings, masked by every reader, until a cleaning merge drops them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import sqlalchemy as sa

from codebase_mcp.domain import PostingSpace
from codebase_mcp.storage import tables
from codebase_mcp.storage.database import copy_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

ROWS_PER_STEP = 10_000
"""Bounds how long one step keeps its transaction open: about a tenth of a second."""


class Key(NamedTuple):
    """A place in the order of the postings of one repository."""

    space: str
    term: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Source segments, the segment that takes their rows, and the keys at which its steps end."""

    schema: str
    repository_id: int
    sources: tuple[int, ...]
    target: int
    level: int
    bounds: tuple[Key, ...]

    def steps(self) -> list[tuple[Key | None, Key | None]]:
        """Key ranges (after, up to and including) that cover all rows; None is an open end."""
        edges = [None, *self.bounds, None]
        return list(pairwise(edges))


@dataclass(frozen=True, slots=True)
class LiveIds:
    """The ids that still exist: chunks as sorted, disjoint runs, each with its file; files as a sorted array."""

    first_chunk_ids: NDArray[np.int64]
    chunk_counts: NDArray[np.int64]
    owners: NDArray[np.int64]
    file_ids: NDArray[np.int64]

    def mask(self, space: str, ids: NDArray[np.uint32]) -> NDArray[np.bool_]:
        starts = self.first_chunk_ids if space == PostingSpace.CHUNK else self.file_ids
        if not len(starts):
            return np.zeros(len(ids), dtype=bool)
        position = np.searchsorted(starts, ids, side="right") - 1
        length = self.chunk_counts[position] if space == PostingSpace.CHUNK else 1
        return np.asarray((position >= 0) & (ids < starts[position] + length))

    def files_of(self, chunk_ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Distinct ids of the files that the chunks belong to; deleted chunks belong to none."""
        kept = chunk_ids[self.mask(PostingSpace.CHUNK, chunk_ids)]
        return np.unique(self.owners[np.searchsorted(self.first_chunk_ids, kept, side="right") - 1])


async def plan_merge(connection: AsyncConnection, schema: str, repository_id: int, *, fan_in: int) -> Merge | None:
    """A merge of the lowest level that has at least `fan_in` segments; None when no level has."""
    rows = await connection.execute(
        sa.text(
            f"SELECT level, array_agg(segment ORDER BY segment) FROM {schema}.lexical_segments"
            " WHERE repository_id = :repository_id GROUP BY level HAVING count(*) >= :fan_in ORDER BY level LIMIT 1"
        ),
        {"repository_id": repository_id, "fan_in": fan_in},
    )
    found = rows.one_or_none()
    return None if found is None else await _plan(connection, schema, repository_id, found[1], found[0] + 1)


async def plan_cleaning(connection: AsyncConnection, schema: str, repository_id: int) -> Merge | None:
    """A merge of all segments into one; None when there is nothing to merge."""
    rows = await connection.execute(
        sa.text(
            f"SELECT array_agg(segment ORDER BY segment), max(level) FROM {schema}.lexical_segments"
            " WHERE repository_id = :repository_id"
        ),
        {"repository_id": repository_id},
    )
    sources, level = rows.one()
    return await _plan(connection, schema, repository_id, sources, level) if sources else None


async def _plan(
    connection: AsyncConnection, schema: str, repository_id: int, sources: Sequence[int], level: int
) -> Merge:
    target = await connection.scalar(sa.text(f"SELECT nextval('{schema}.segment_ids')"))
    rows = await connection.execute(
        sa.text(
            f"SELECT space, term FROM (SELECT space, term, row_number() OVER (ORDER BY space, term, segment) AS n"
            f" FROM {schema}.lexical_postings WHERE repository_id = :repository_id AND segment = ANY(:sources)) ordered"
            " WHERE n % :rows = 0 ORDER BY space, term"
        ),
        {"repository_id": repository_id, "sources": list(sources), "rows": ROWS_PER_STEP},
    )
    bounds = tuple(dict.fromkeys(Key(space, term) for space, term in rows))
    return Merge(schema, repository_id, tuple(sources), int(target or 0), level, bounds)


async def open_target(connection: AsyncConnection, merge: Merge) -> None:
    """Makes the target known; in the same transaction as the first step."""
    await connection.execute(
        sa.insert(tables.lexical_segments).values(
            repository_id=merge.repository_id, segment=merge.target, level=merge.level
        )
    )


async def close_sources(connection: AsyncConnection, merge: Merge) -> None:
    """Forgets the emptied sources; in the same transaction as the last step."""
    segments = tables.lexical_segments
    await connection.execute(
        sa.delete(segments).where(
            segments.c.repository_id == merge.repository_id, segments.c.segment.in_(merge.sources)
        )
    )


async def merge_step(connection: AsyncConnection, merge: Merge, after: Key | None, up_to: Key | None) -> None:
    """Moves the rows of a key range from the sources to the target by concatenation, in one statement."""
    await connection.execute(
        sa.text(
            f"{_take_joined(merge, after, up_to)}"
            f" INSERT INTO {merge.schema}.lexical_postings (repository_id, space, term, segment, df, ids, impacts)"
            " SELECT :repository_id, space, term, :target, octet_length(impacts), ids, impacts FROM joined"
        ),
        {"target": merge.target, **_take_arguments(merge, after, up_to)},
    )


async def cleaning_step(
    connection: AsyncConnection, merge: Merge, after: Key | None, up_to: Key | None, live: LiveIds
) -> None:
    """Like `merge_step`, dropping the ids that no longer exist."""
    taken = await connection.execute(
        sa.text(f"{_take_joined(merge, after, up_to)} SELECT space, term, ids, impacts FROM joined"),
        _take_arguments(merge, after, up_to),
    )
    records = _cleaned_records(merge, taken.all(), live)
    columns = ("repository_id", "space", "term", "segment", "df", "ids", "impacts")
    await copy_rows(connection, tables.lexical_postings, merge.schema, columns, records)


def _cleaned_records(
    merge: Merge, rows: Sequence[sa.Row[tuple[str, str, bytes, bytes]]], live: LiveIds
) -> list[tuple[int, str, str, int, int, bytes, bytes]]:
    """All rows at once: most of them are far too short for a numpy call each."""
    if not rows:
        return []
    ids = np.frombuffer(b"".join(row.ids for row in rows), dtype="<u4")
    impacts = np.frombuffer(b"".join(row.impacts for row in rows), dtype=np.uint8)
    owners = np.repeat(np.arange(len(rows)), [len(row.impacts) for row in rows])
    kept = np.zeros(len(ids), dtype=bool)
    for space in PostingSpace:
        here = np.array([row.space == space for row in rows])[owners]
        kept[here] = live.mask(space, ids[here])
    ends = np.cumsum(np.bincount(owners[kept], minlength=len(rows))).tolist()
    kept_ids, kept_impacts = ids[kept].tobytes(), impacts[kept].tobytes()
    return [
        (
            merge.repository_id, row.space, row.term, merge.target, end - start,
            kept_ids[4 * start : 4 * end], kept_impacts[start:end],
        )
        for row, start, end in zip(rows, [0, *ends], ends, strict=False)
        if end > start
    ]  # fmt: skip


def _take_joined(merge: Merge, after: Key | None, up_to: Key | None) -> str:
    """Common table expressions that delete the sources' rows of a key range and join them, one row a term."""
    return (
        f"WITH moved AS ({_take_rows(merge, after, up_to)}), joined AS (SELECT space, term,"
        " string_agg(ids, CAST('' AS bytea) ORDER BY segment) AS ids,"
        " string_agg(impacts, CAST('' AS bytea) ORDER BY segment) AS impacts FROM moved GROUP BY space, term)"
    )


def _take_rows(merge: Merge, after: Key | None, up_to: Key | None) -> str:
    after_clause = "" if after is None else " AND (space, term) > (:after_space, :after_term)"
    up_to_clause = "" if up_to is None else " AND (space, term) <= (:up_to_space, :up_to_term)"
    return (
        f"DELETE FROM {merge.schema}.lexical_postings WHERE repository_id = :repository_id"
        f" AND segment = ANY(:sources){after_clause}{up_to_clause} RETURNING *"
    )


def _take_arguments(merge: Merge, after: Key | None, up_to: Key | None) -> dict[str, object]:
    arguments: dict[str, object] = {"repository_id": merge.repository_id, "sources": list(merge.sources)}
    if after is not None:
        arguments |= {"after_space": after.space, "after_term": after.term}
    if up_to is not None:
        arguments |= {"up_to_space": up_to.space, "up_to_term": up_to.term}
    return arguments


async def live_ids(connection: AsyncConnection, repository_id: int) -> LiveIds:
    files = tables.code_files
    rows = await connection.execute(
        sa.select(files.c.id, files.c.first_chunk_id, files.c.chunk_count)
        .where(files.c.repository_id == repository_id)
        .order_by(files.c.first_chunk_id)
    )
    table = np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 3)
    with_chunks = table[table[:, 2] > 0]
    return LiveIds(with_chunks[:, 1], with_chunks[:, 2], with_chunks[:, 0], np.sort(table[:, 0]))
