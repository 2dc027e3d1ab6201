"""The canonical digest: the same for every way to the same index, another for any difference that a search can see."""

from __future__ import annotations

from pathlib import Path

import pytest

from codebase_mcp.storage.database import Database
from codebase_mcp.storage.index_store import Target
from tests.support import index, jobs

TEXTS = {
    "README.md": "# Shop\n\nIt sells things.\n",
    "shop/__init__.py": "",
    "shop/cart.py": "class Cart:\n    def total(self, prices):\n        return sum(prices)\n",
    "shop/pay.py": "from shop.cart import Cart\n\n\ndef pay(cart: Cart):\n    return cart.total([1])\n",
}


@pytest.fixture
async def target(database: Database) -> Target:
    return await index.new_target(database)


async def test_the_way_to_an_index_leaves_no_trace_in_its_digest(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await index.write(database, target, tmp_path, TEXTS)
    other = await index.new_target(database, "/src/other", "cb_proj_other_00000000")
    for path in sorted(TEXTS, reverse=True):
        await index.write(database, other, tmp_path, {path: f"something_else = {path!r}\n"})
    await index.write(database, other, tmp_path, {"gone.py": "def gone():\n    pass\n"})
    merge = await index.plan(database, other, 2)
    assert merge is not None
    await index.run_merge(database, merge)
    await index.remove(database, other, "gone.py")
    for path in reversed(TEXTS):
        await index.write(database, other, tmp_path, {path: TEXTS[path]})
    assert await index.digest(database, target) == await index.digest(database, other)


async def test_an_empty_repository_has_a_digest(database: Database, target: Target, tmp_path: Path) -> None:
    empty = await index.digest(database, target)
    await index.write(database, target, tmp_path, TEXTS)
    assert await index.digest(database, target) != empty
    await index.remove(database, target, *TEXTS)
    assert await index.digest(database, target) == empty


CHANGES = {
    "a path": "UPDATE {s}.code_files SET relative_path = 'shop/paid.py' WHERE relative_path = 'shop/pay.py'",
    "a content hash": "UPDATE {s}.code_files SET content_hash = '\\x00' WHERE relative_path = 'shop/pay.py'",
    "a language": "UPDATE {s}.code_files SET language = 'ruby' WHERE relative_path = 'shop/pay.py'",
    "a role": "UPDATE {s}.code_files SET role = 'test' WHERE relative_path = 'shop/pay.py'",
    "a count of references": "UPDATE {s}.code_files SET reference_count = 9 WHERE relative_path = 'shop/pay.py'",
    "a count of definitions": "UPDATE {s}.code_files SET definition_count = 9 WHERE relative_path = 'shop/pay.py'",
    "a file less": "DELETE FROM {s}.code_files WHERE relative_path = 'shop/__init__.py'",
    "a chunk's start": "UPDATE {s}.code_chunks SET start_line = 2 WHERE content LIKE '%pay%'",
    "a chunk's end": "UPDATE {s}.code_chunks SET end_line = 99 WHERE content LIKE '%pay%'",
    "a chunk's content": "UPDATE {s}.code_chunks SET content = content || ' ' WHERE content LIKE '%pay%'",
    "a chunk's symbol": "UPDATE {s}.code_chunks SET symbol = 'other' WHERE content LIKE '%pay%'",
    "a chunk less": "DELETE FROM {s}.code_chunks WHERE content LIKE '%pay%'",
    "a vector": "UPDATE {s}.embeddings SET vector = '[1,0,0,0,0,0,0,0]' WHERE chunk_id = 1",
    "a vector less": "DELETE FROM {s}.embeddings WHERE chunk_id = 1",
    "a symbol's name": "UPDATE {s}.symbols SET name = 'Paid' WHERE name = 'pay'",
    "a symbol's line": "UPDATE {s}.symbols SET end_line = 99 WHERE name = 'pay'",
    "a symbol less": "DELETE FROM {s}.symbols WHERE name = 'pay'",
    "an impact": "UPDATE {s}.lexical_postings SET impacts = set_byte(impacts, 0, 3) WHERE term = 'cart'",
    "a posted id": "UPDATE {s}.lexical_postings SET ids = '\\x02000000' WHERE space = 'stem' AND term = 'cart'",
    "a posting less": "DELETE FROM {s}.lexical_postings WHERE space = 'stem' AND term = 'cart'",
    "a space": "UPDATE {s}.lexical_postings SET space = 'directory' WHERE space = 'stem' AND term = 'cart'",
}
NO_CHANGES = {
    "a time": "UPDATE {s}.code_files SET mtime_ns = 1",
    "a job": "UPDATE {s}.code_files SET indexed_by_job = gen_random_uuid()",
    "a segment": "UPDATE {s}.lexical_postings SET segment = segment + 40",
    "a dead posting": "INSERT INTO {s}.lexical_postings VALUES (1, 'chunk', 'dead', 1, 1, '\\xffffff7f', '\\x01')",
}


async def test_the_digest_sees_every_difference_that_a_search_sees_and_no_other(
    database: Database, target: Target, tmp_path: Path
) -> None:
    await index.write(database, target, tmp_path, TEXTS)
    digests = {"nothing": await index.digest(database, target)}
    tables = ("code_files", "code_chunks", "embeddings", "symbols", "lexical_postings")
    for table in tables:
        await jobs.execute(database, f"CREATE TABLE saved_{table} AS TABLE {target.schema}.{table}")
    for name, statement in (CHANGES | NO_CHANGES).items():
        await jobs.execute(database, statement.format(s=target.schema))
        digests[name] = await index.digest(database, target)
        for table in tables:
            await jobs.execute(database, f"DELETE FROM {target.schema}.{table}")
            await jobs.execute(database, f"INSERT INTO {target.schema}.{table} TABLE saved_{table}")
    assert await index.digest(database, target) == digests["nothing"]
    assert {name for name in NO_CHANGES if digests[name] != digests["nothing"]} == set()
    changed = [digests[name] for name in CHANGES]
    assert {name for name in CHANGES if digests[name] == digests["nothing"]} == set()
    assert len(set(changed)) == len(changed)
