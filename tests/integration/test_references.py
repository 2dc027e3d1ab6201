"""Counting which files mention the names that others define."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.indexing.terms import joined_term
from codebase_mcp.storage import references, segments
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.segments import LiveIds
from tests.support import index, jobs

NESTED = """class ShoppingCart:
    def grand_total(self):
        def inner_helper():
            return 1
        return inner_helper()
"""


async def test_outer_types_and_functions_can_be_referred_to(database: Database, tmp_path: Path) -> None:
    target = await index.new_target(database)
    await index.write(database, target, tmp_path, {"cart.py": NESTED, "api.h": "int charge_card(int amount);\n"})
    async with database.transaction("writers", target.schema) as connection:
        names = {name for name, _ in await references.outer_definitions(connection, target.repository_id)}
    assert names == {"ShoppingCart", "grand_total"}


async def test_mentions_are_found_in_the_postings_of_the_joined_name(database: Database, tmp_path: Path) -> None:
    target = await index.new_target(database)
    await index.write(database, target, tmp_path, {"cart.py": NESTED})
    await index.write(database, target, tmp_path, {"pay.py": "from cart import ShoppingCart\n", "other.py": "x = 1\n"})
    await index.write(database, target, tmp_path, {"late.py": "shopping_cart = None\n"})
    term = joined_term("ShoppingCart")
    assert term is not None
    async with database.transaction("writers", target.schema) as connection:
        found = await references.chunks_with_terms(connection, target.repository_id, [term, "=nowhere"])
        live = await segments.live_ids(connection, target.repository_id)
    ids = dict(await jobs.execute(database, f"SELECT relative_path, id FROM {target.schema}.code_files"))
    pairs = references.mention_pairs(found, {term: [ids["cart.py"]]}, live)
    assert {tuple(pair) for pair in pairs.tolist()} == {
        (ids["cart.py"], ids["pay.py"]), (ids["cart.py"], ids["late.py"]),
    }  # fmt: skip


async def test_only_counts_that_differ_are_written(database: Database, tmp_path: Path) -> None:
    target = await index.new_target(database)
    await index.write(database, target, tmp_path, {"a.py": "x = 1\n", "b.py": "y = 1\n"})
    rows = f"SELECT id, reference_count, xmin::text FROM {target.schema}.code_files ORDER BY id"
    before = await jobs.execute(database, rows)
    async with database.transaction("writers", target.schema) as connection:
        await references.set_reference_counts(connection, [row.id for row in before], [0, 4])
    after = await jobs.execute(database, rows)
    assert [row.reference_count for row in after] == [0, 4]
    assert [one.xmin == other.xmin for one, other in zip(before, after, strict=True)] == [True, False]


chunk_lists = st.lists(st.integers(1, 12), max_size=8)


@given(st.dictionaries(st.sampled_from("abc"), chunk_lists), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_each_pair_of_files_is_counted_once_and_no_file_mentions_itself(
    postings: dict[str, list[int]], definers: list[int]
) -> None:
    """Four files of three chunks each: chunk n belongs to file (n + 2) // 3."""
    live = LiveIds(np.array([1, 4, 7, 10]), np.full(4, 3), np.arange(1, 5), np.arange(1, 5))
    found = [(term, np.array(ids, dtype=np.uint32)) for term, ids in postings.items()]
    pairs = references.mention_pairs(found, dict.fromkeys(postings, definers), live)
    expected = {
        (definer, (chunk + 2) // 3)
        for ids in postings.values()
        for chunk in ids
        for definer in definers
        if (chunk + 2) // 3 != definer
    }
    assert sorted(map(tuple, pairs.tolist())) == sorted(expected)
