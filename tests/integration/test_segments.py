"""Merging and cleaning posting segments: what a search sees stays the same, however often a merge is interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import PostingSpace
from codebase_mcp.storage import projects, segments
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.segments import Key, LiveIds, Merge
from tests.support import index, jobs
from tests.support.postgres import TestServer, in_new_loop

FILES = 6


@pytest.fixture
async def target(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Target]:
    # Few rows in a step, so that a merge of small files has many.
    monkeypatch.setattr(segments, "ROWS_PER_STEP", 7)
    return await index.new_target(database)


async def written(database: Database, target: Target, folder: Path) -> str:
    """Some files, each in a segment of its own; the digest of them."""
    for n in range(FILES):
        text = f"def function_{n}(shared, other):\n    return {' + '.join(['shared'] * (n + 1))}\n"
        await index.write(database, target, folder, {f"shop/part_{n}.py": text})
    return await index.digest(database, target)


async def decoded(database: Database, target: Target) -> Counter[tuple[str, str, int, int]]:
    """Every posting as (space, term, id, impact)."""
    rows = await jobs.execute(database, f"SELECT space, term, ids, impacts FROM {target.schema}.lexical_postings")
    return Counter(
        (space, term, int(one), impact)
        for space, term, ids, impacts in rows
        for one, impact in zip(np.frombuffer(ids, "<u4"), impacts, strict=True)
    )


async def test_a_merge_keeps_every_posting(database: Database, target: Target, tmp_path: Path) -> None:
    before = await written(database, target, tmp_path)
    postings = await decoded(database, target)
    merge = await index.plan(database, target, FILES)
    assert merge is not None
    assert len(merge.steps()) > 5
    await index.run_merge(database, merge)
    assert await decoded(database, target) == postings
    assert await index.digest(database, target) == before
    assert await index.segments_by_level(database, target) == {1: 1}
    in_use = await jobs.execute(database, f"SELECT DISTINCT segment FROM {target.schema}.lexical_postings")
    assert [row[0] for row in in_use] == [merge.target]


async def test_a_merged_term_is_one_row_with_its_ids_in_order(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await written(database, target, tmp_path)
    merge = await index.plan(database, target, FILES)
    assert merge is not None
    await index.run_merge(database, merge)
    rows = await jobs.execute(
        database,
        f"SELECT df, ids FROM {target.schema}.lexical_postings WHERE space = 'directory' AND term = 'shop'",
    )
    assert [row[0] for row in rows] == [FILES]
    ids = np.frombuffer(rows[0][1], "<u4").tolist()
    assert ids == sorted(ids)


async def test_levels_are_merged_from_the_lowest_and_only_when_full(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await written(database, target, tmp_path)
    assert await index.plan(database, target, FILES + 1) is None
    lowest = await index.plan(database, target, 2)
    assert lowest is not None
    assert (len(lowest.sources), lowest.level) == (FILES, 1)
    await index.run_merge(database, lowest)
    assert await index.plan(database, target, 2) is None


@pytest.mark.parametrize("steps", [1, 2, 5])
async def test_an_interrupted_merge_changes_nothing_and_a_later_one_completes(
    database: Database, target: Target, tmp_path: Path, steps: int
) -> None:
    before = await written(database, target, tmp_path)
    postings = await decoded(database, target)
    for _ in range(3):
        merge = await index.plan(database, target, FILES)
        assert merge is not None
        await index.run_merge(database, merge, most_steps=steps)
        assert await decoded(database, target) == postings
        assert await index.digest(database, target) == before
    while merge := await index.plan(database, target, 2):
        await index.run_merge(database, merge)
    assert await decoded(database, target) == postings
    assert await index.digest(database, target) == before
    assert sum((await index.segments_by_level(database, target)).values()) == 1


async def test_files_written_between_the_steps_of_a_merge_stay_out_of_it(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await written(database, target, tmp_path)
    merge = await index.plan(database, target, FILES)
    assert merge is not None
    await index.run_merge(database, merge, most_steps=2)
    await index.write(database, target, tmp_path, {"late.py": "shared = 1\n"})
    before = await index.digest(database, target)
    again = await index.plan(database, target, FILES)
    assert again is not None
    await index.run_merge(database, again)
    assert await index.digest(database, target) == before


async def clean(database: Database, target: Target, most_steps: int | None = None) -> Merge | None:
    async with database.transaction("writers", target.schema) as connection:
        merge = await segments.plan_cleaning(connection, target.schema, target.repository_id)
        live = await segments.live_ids(connection, target.repository_id)
    for after, up_to in merge.steps()[:most_steps] if merge else ():
        assert merge is not None
        async with database.transaction("writers", target.schema) as connection:
            if after is None:
                await segments.open_target(connection, merge)
            await segments.cleaning_step(connection, merge, after, up_to, live)
            if up_to is None:
                await segments.close_sources(connection, merge)
                await projects.forget_deleted_chunks(connection, target.repository_id)
    return merge


async def test_cleaning_drops_the_ids_of_what_is_gone(database: Database, target: Target, tmp_path: Path) -> None:
    await written(database, target, tmp_path)
    await index.remove(database, target, "shop/part_0.py", "shop/part_3.py")
    await index.write(database, target, tmp_path, {"shop/part_1.py": "def renewed(shared):\n    return shared\n"})
    before = await index.digest(database, target)
    dirty = await decoded(database, target)
    await clean(database, target, most_steps=3)
    assert await index.digest(database, target) == before
    await clean(database, target)
    assert await index.digest(database, target) == before
    after = await decoded(database, target)
    live = await live_ids(database, target)
    assert after == Counter({key: n for key, n in dirty.items() if live.mask(key[0], np.array([key[2]]))[0]})
    assert not any(term == "=function0" for _, term, _, _ in after)
    assert await index.segments_by_level(database, target) == {0: 1}
    async with database.transaction("writers", target.schema) as connection:
        assert (await projects.repository(connection, target.repository_id)).deleted_chunk_count == 0


async def test_cleaning_an_emptied_repository_leaves_no_posting(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await written(database, target, tmp_path)
    await index.remove(database, target, *(f"shop/part_{n}.py" for n in range(FILES)))
    await clean(database, target)
    assert not await decoded(database, target)


async def test_a_repository_without_postings_needs_no_cleaning(database: Database, target: Target) -> None:
    assert await clean(database, target) is None


async def live_ids(database: Database, target: Target) -> LiveIds:
    async with database.transaction("writers", target.schema) as connection:
        return await segments.live_ids(connection, target.repository_id)


# --- pure parts ---


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), max_size=12), st.lists(st.integers(0, 80), max_size=40)
)
def test_exactly_the_ids_of_runs_are_live(runs: list[tuple[int, int]], asked: list[int]) -> None:
    """Runs are (gap before, chunks); a file without chunks has no run."""
    files, next_id = [], 1
    for file_id, (gap, chunks) in enumerate(runs, start=1):
        files.append((10 * file_id, next_id + gap, chunks))
        next_id += gap + chunks
    with_chunks = np.array([row for row in files if row[2]], dtype=np.int64).reshape(-1, 3)
    file_ids = np.array([row[0] for row in files], dtype=np.int64)
    live = LiveIds(with_chunks[:, 1], with_chunks[:, 2], with_chunks[:, 0], file_ids)
    owner = {chunk: file for file, first, count in files for chunk in range(first, first + count)}
    ids = np.array(asked, dtype=np.uint32)
    assert live.mask(PostingSpace.CHUNK, ids).tolist() == [one in owner for one in asked]
    assert live.mask(PostingSpace.STEM, ids).tolist() == [one in file_ids for one in asked]
    assert live.files_of(ids).tolist() == sorted({owner[one] for one in asked if one in owner})


keys = st.builds(Key, st.sampled_from(["chunk", "directory", "stem"]), st.text("ab_=Zé", max_size=3))


@given(st.sets(keys), st.sets(keys))
def test_every_key_lies_in_exactly_one_step(bounds: set[Key], asked: set[Key]) -> None:
    merge = Merge("schema", 1, (1, 2), 3, 1, tuple(sorted(bounds)))
    for key in asked | bounds:
        holding = [
            (after, up_to)
            for after, up_to in merge.steps()
            if (after is None or key > after) and (up_to is None or key <= up_to)
        ]
        assert len(holding) == 1


def test_the_planned_bounds_cut_the_rows_of_a_real_table_into_steps(postgres: TestServer, tmp_path: Path) -> None:
    """Terms in an order that differs between collations, in one, few or many steps."""

    async def steps_of(url: str) -> None:
        database = Database(url, application_name="test", control_seconds=10)
        target = await index.new_target(database)
        texts = {f"Zeta_{n}/été-{n}.py": f"Alpha{n} = alpha_{n} + ÄRGER + zoë\n" for n in range(3)}
        for path, text in texts.items():
            await index.write(database, target, tmp_path, {path: text})
        postings = await decoded(database, target)
        all_rows = f"SELECT space, term FROM {target.schema}.lexical_postings"
        rows = [Key(*row) for row in await jobs.execute(database, all_rows)]
        for rows_per_step in (1, 3, 1000):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(segments, "ROWS_PER_STEP", rows_per_step)
                async with database.transaction("writers", target.schema) as connection:
                    merge = await segments.plan_cleaning(connection, target.schema, target.repository_id)
                assert merge is not None
                found = Counter[Key]()
                for after, up_to in merge.steps():
                    statement = segments._take_rows(merge, after, up_to)
                    arguments = segments._take_arguments(merge, after, up_to)
                    async with database.maintenance(autocommit=False) as connection:
                        taken = (await connection.execute(sa.text(statement), arguments)).all()
                        await connection.rollback()
                    found.update(Key(row.space, row.term) for row in taken)
                assert found == Counter(rows)
        assert await decoded(database, target) == postings
        await database.close()

    with postgres.fresh_database() as url:
        in_new_loop(steps_of(url))
