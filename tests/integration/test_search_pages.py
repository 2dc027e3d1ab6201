"""An answer that is read page by page is the answer that was too long for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.search.models import SearchAnswer
from codebase_mcp.storage.index_store import Target
from tests.support.shelf import Shelf

BAKE = "def bake_{n}(cookie):\n    return {n}\n\n\ndef eat_{n}(cookie):\n    pass\n"
MANY = {f"shop/part{n}/cookie{n}.py": BAKE.format(n=n) for n in range(47)}
ROOM = 100_000


@pytest.fixture
async def bakery(shelf: Shelf) -> Target:
    target = await shelf.repository()
    await shelf.write(target, MANY)
    await shelf.finish(target)
    return target


async def pages(shelf: Shelf, query: str, **fields: Any) -> AsyncIterator[SearchAnswer]:
    offset: int | None = 0
    while offset is not None:
        answer = await shelf.search(query, offset=offset, **fields)
        yield answer
        offset = answer.next_offset


@pytest.mark.usefixtures("bakery")
@pytest.mark.parametrize("limit", [1, 7, 50])
async def test_pages_together_are_one_longer_answer(shelf: Shelf, limit: int) -> None:
    whole = await shelf.search("cookie", limit=50, max_tokens=ROOM)
    read = [answer async for answer in pages(shelf, "cookie", limit=limit, max_tokens=ROOM)]
    hits = [hit for answer in read for hit in answer.results]
    assert [answer.total_count for answer in read] == [whole.total_count] * len(read)
    assert len(hits) == whole.total_count > 20
    assert hits == whole.results
    assert len({hit.file_path for hit in hits}) == len(hits)


@pytest.mark.usefixtures("bakery")
async def test_what_the_budget_left_out_comes_on_the_next_page(shelf: Shelf) -> None:
    whole = await shelf.search("cookie", limit=50, max_tokens=ROOM)
    read = [answer async for answer in pages(shelf, "cookie", limit=10, max_tokens=200)]
    assert all(answer.truncated and len(answer.results) < 10 for answer in read[:-1])
    assert [hit.file_path for answer in read for hit in answer.results] == [hit.file_path for hit in whole.results]


async def test_the_chunk_that_stands_for_a_file_does_not_depend_on_the_page(shelf: Shelf, bakery: Target) -> None:
    recipe = "def recipe():\n    baker = oven + dough\n    return baker, oven, dough\n\n\n"
    other = recipe + "# filler\n" * 400 + "def make_it():\n    pass\n"
    await shelf.write(bakery, {"shop/exact.py": "class MakeIt:\n    pass\n", "shop/other.py": other})
    query = "MakeIt baker oven dough"
    whole = await shelf.search(query, limit=50, max_tokens=ROOM)
    read = [answer async for answer in pages(shelf, query, limit=1, max_tokens=ROOM)]
    assert [hit for answer in read for hit in answer.results] == whole.results


@pytest.mark.usefixtures("bakery")
async def test_an_offset_beyond_the_results_is_answered_with_nothing_and_a_reason(shelf: Shelf) -> None:
    total = (await shelf.search("cookie")).total_count
    answer = await shelf.search("cookie", offset=total)
    assert (answer.results, answer.next_offset, answer.total_count) == ([], None, total)
    assert answer.warnings == [
        f"offset {total} is beyond the {total} candidate files of this query: nothing is left. "
        "Ask differently, or with a filter, to see other files."
    ]
    with pytest.raises(InvalidInputError, match="offset is -1"):
        await shelf.search("cookie", offset=-1)


async def test_nothing_found_has_no_next_page_and_no_complaint_about_the_offset(shelf: Shelf) -> None:
    answer = await shelf.search("cookie", offset=5)
    assert (answer.results, answer.next_offset) == ([], None)
    assert not any("offset" in warning for warning in answer.warnings)
