"""Filters are exact: they lose nothing that they let through, and say so when they let nothing through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from codebase_mcp.search import dense, rank
from codebase_mcp.search.catalogue import Corpus
from codebase_mcp.search.coverage import coverage_of
from codebase_mcp.search.kinds import KindCatalogue
from codebase_mcp.search.models import SearchRequest
from codebase_mcp.search.service import _Looking, _query_vector
from codebase_mcp.storage import search_store, vector_index
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.vector_index import VectorIndex
from tests.support.jobs import HOST
from tests.support.shelf import DIMENSIONS, PROJECT, SCHEMA, Shelf

SMALL_FUNCTIONS = "\n\n".join(f"def step_{n}(tray):\n    return tray\n" for n in range(6))
PANTRY = {
    "shop/jar.py": "class Jar:\n    def fill(self, cookie):\n        return 1\n\n    def empty(self):\n        pass\n",
    "shop/steps.py": SMALL_FUNCTIONS,
    "shop/limits.py": "MAX_COOKIES = 12\nDEFAULT_TRAY = 'tray'\n",
    "shop/point.go": "package shop\n\ntype Tray struct {\n\tX int\n}\n\nfunc NewTray() Tray {\n\treturn Tray{}\n}\n",
    "tests/test_jar.py": "def test_jar():\n    assert Jar().fill('cookie')\n",
    "docs/jar.md": "# Jars\n\nA jar holds a cookie.\n\n## Trays\n\nA tray holds many.\n",
    "examples/bake.py": "from shop import Jar\n\nJar().fill('cookie')\n",
}


@pytest.fixture
async def pantry(shelf: Shelf) -> Target:
    target = await shelf.repository()
    await shelf.write(target, PANTRY)
    await shelf.finish(target)
    return target


# --- role ---


@pytest.mark.usefixtures("pantry")
@pytest.mark.parametrize(
    ("role", "paths"),
    [
        ("source", {"shop/jar.py", "shop/steps.py", "shop/limits.py", "shop/point.go"}),
        ("test", {"tests/test_jar.py"}),
        ("Docs", {"docs/jar.md"}),
        ("example", {"examples/bake.py"}),
    ],
)
async def test_only_files_of_the_role_are_found(shelf: Shelf, role: str, paths: set[str]) -> None:
    assert set(await shelf.paths("cookie jar tray limits", role=role)) == paths


@pytest.mark.usefixtures("pantry")
async def test_the_role_that_is_asked_for_is_not_pushed_down(shelf: Shelf) -> None:
    mixed = await shelf.search("cookie jar")
    asked = await shelf.search("cookie jar", role="test")
    score = next(hit.score for hit in mixed.results if "tests/" in hit.file_path)
    assert asked.results[0].score > score + 2


# --- kind ---


@pytest.mark.usefixtures("pantry")
@pytest.mark.parametrize(
    ("kind", "query", "expected"),
    [
        ("class", "jar cookie", {"shop/jar.py": "Jar", "shop/point.go": "Tray"}),
        ("struct", "tray", {"shop/point.go": "Tray"}),
        ("method", "jar fill", {"shop/jar.py": "Jar.fill"}),
        ("method", "Jar.empty", {"shop/jar.py": "Jar.empty"}),
        ("constant", "cookies", {"shop/limits.py": "MAX_COOKIES"}),
        ("section", "trays", {"docs/jar.md": "Jars"}),
        (
            "function",
            "step_4",
            {"shop/steps.py": "step_4", "shop/point.go": "NewTray", "tests/test_jar.py": "test_jar"},
        ),
    ],
)
async def test_what_is_shown_is_of_the_kind_and_called_after_it(
    shelf: Shelf, kind: str, query: str, expected: dict[str, str]
) -> None:
    answer = await shelf.search(query, kind=kind)
    assert {hit.kind for hit in answer.results} == {kind}
    found = {hit.file_path.removeprefix("/src/shop/"): hit.symbol for hit in answer.results}
    assert found == expected


async def test_the_chunk_that_is_shown_is_one_of_the_kind(shelf: Shelf, pantry: Target) -> None:
    talk = "def talk(cookie):\n" + "    cookie = cookie + cookie\n" * 80 + "    return cookie\n"
    await shelf.write(pantry, {"shop/talk.py": f"{talk}\n\nclass Quiet:\n    '''Says nothing.'''\n"})
    hit = (await shelf.search("cookie", kind="class", path_glob="shop/talk.py")).results[0]
    assert (hit.symbol, hit.kind) == ("Quiet", "class")
    assert "class Quiet" in hit.content


async def test_a_file_is_ranked_by_its_chunks_of_the_kind_alone(shelf: Shelf, pantry: Target) -> None:
    talk = "def talk(cookie):\n" + "    cookie = cookie + cookie\n" * 80 + "    return cookie\n"
    oven = "class Oven:\n    '''Bakes a cookie.'''\n"
    await shelf.write(pantry, {"shop/a.py": f"{talk}\n\nclass Quiet:\n    '''Nothing.'''\n", "shop/b.py": oven})
    found = await shelf.paths("cookie", kind="class")
    assert found.index("shop/b.py") < found.index("shop/a.py")


async def test_what_is_of_a_kind_follows_the_index(shelf: Shelf, pantry: Target) -> None:
    assert "shop/limits.py" not in await shelf.paths("cookies", kind="class")
    await shelf.write(pantry, {"shop/limits.py": "class Cookies:\n    pass\n"})
    assert "shop/limits.py" in await shelf.paths("cookies", kind="class")


# --- nothing matches ---


@pytest.mark.usefixtures("pantry")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path_glob": "x/**"}, "path_glob 'x/**' matches none of the 7 files; paths are relative to the repository,"),
        ({"language": "rust"}, "language 'rust' matches none of the 7 files; there are python (5), go (1), markdown"),
        ({"role": "vendored"}, "role 'vendored' matches none of the 7 files; there are source (4), docs (1),"),
        ({"kind": "trait"}, "kind 'trait' matches none of the 7 files."),
        ({"kind": "struct", "path_glob": "*.rs"}, "path_glob '*.rs' matches none of the 7 files"),
        (
            {"kind": "struct", "language": "python"},
            "language 'python' and kind 'struct' together match none of the 7 files, though each alone matches some.",
        ),
        ({"role": "test", "include_tests": False}, "role 'test' and include_tests=false together match none"),
    ],
)
async def test_filters_that_leave_no_file_say_which_of_them(shelf: Shelf, fields: dict[str, Any], words: str) -> None:
    answer = await shelf.search("cookie jar", **fields)
    assert (answer.results, answer.total_count, answer.next_offset) == ([], 0, None)
    (warning,) = answer.warnings
    assert warning.startswith(words)


# --- against brute force ---


def wide() -> dict[str, str]:
    """A few hundred files that say the query louder than the handful that the filters let through."""
    loud = "def cookie_{n}(cookie_jar):\n    cookie = cookie_jar\n    return cookie, cookie_jar\n"
    quiet = "# a cookie\n\n\ndef number_{n}():\n    return {n}\n\n\nclass Item{n}:\n    '''jar'''\n"
    files = {f"shop/loud{n}/cookie{n}.py": loud.format(n=n) for n in range(200)}
    files |= {f"quiet/part{n}/item{n}.py": quiet.format(n=n) + "# jar\n" * (n % 5) for n in range(24)}
    return files | {f"tests/cookie{n}/test_item{n}.py": f"def test_{n}():\n    assert cookie\n" for n in range(15)}


async def brute_force(shelf: Shelf, request: SearchRequest, wanted: Callable[[Corpus], Any]) -> list[tuple[str, float]]:
    """Every file that `wanted` says is ranked, not only candidates; with a filter by kind, by the chunks it gives."""
    vector = _query_vector(await shelf.embedder.embed_query(request.query), 1)
    async with shelf.database.snapshot("search", SCHEMA) as connection:
        coverage = await coverage_of(connection, SCHEMA, request, shelf.embedder.identity)
        corpus = await shelf.service._catalogue.corpus(connection, SCHEMA, coverage.repositories)
        looking = _Looking(connection, SCHEMA, coverage, corpus, request, vector, KindCatalogue())
        chunks = np.asarray(wanted(corpus), dtype=bool)
        files = np.unique(corpus.file_of_chunk[chunks])
        allowed = np.isin(np.arange(corpus.file_count), files)
        evidence = await looking._evidence((await looking._query())[0], allowed, chunks)
        cosines = await looking._cosines(files.tolist(), chunks)
    ranked = rank.rank_files(evidence, cosines, files.tolist())
    return [(f"/src/shop/{corpus.paths[item.file]}", round(item.score, 4)) for item in ranked]


def chunks_of_files(is_wanted: Callable[[str], bool]) -> Callable[[Corpus], Any]:
    return lambda corpus: np.array([is_wanted(path) for path in corpus.paths])[corpus.file_of_chunk]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"path_glob": "quiet/**"}, chunks_of_files(lambda path: path.startswith("quiet/"))),
        ({"role": "test"}, chunks_of_files(lambda path: path.startswith("tests/"))),
        ({"kind": "class"}, chunks_of_files(lambda path: path.startswith("quiet/"))),
        (
            {"path_glob": "quiet/part1*/**", "kind": "function", "role": "source"},
            chunks_of_files(lambda path: path.startswith("quiet/part1")),
        ),
    ],
)
async def test_a_filtered_search_is_a_ranking_of_all_that_the_filter_lets_through(
    shelf: Shelf, fields: dict[str, Any], wanted: Callable[[Corpus], Any]
) -> None:
    await shelf.write(await shelf.repository(), wide())
    request = SearchRequest(query="cookie jar", project_id=PROJECT, host=HOST, limit=15, **fields)
    answer = await shelf.service.search(request)
    expected = await brute_force(shelf, request, wanted)
    assert [(hit.file_path, hit.score) for hit in answer.results] == expected[: len(answer.results)]
    assert len(answer.results) == min(15, len(expected))


@pytest.mark.parametrize("fields", [{"path_glob": "quiet/**"}, {"kind": "class"}])
async def test_a_filter_that_hides_what_is_near_does_not_end_the_search_by_vector(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    target = await shelf.repository()
    await shelf.write(target, wide())
    # As in a large project: the index is used, and gives up long before it has seen all of it.
    async with shelf.database.maintenance() as connection:
        name = await connection.scalar(sa.select(sa.func.current_database()))
        for setting in ("hnsw.max_scan_tuples = 1", "enable_seqscan = off", "enable_sort = off"):
            await connection.execute(sa.text(f"ALTER DATABASE {name} SET {setting}"))
    await shelf.database.close()
    assert await vector_index.build(shelf.database, VectorIndex(SCHEMA, target.model_id, DIMENSIONS), least_rows=1)
    monkeypatch.setattr(dense, "EXACT_CHUNKS", 0)
    monkeypatch.setattr(search_store, "INDEX_CANDIDATES", 20)
    shelf.embedder.synonyms["biscuit"] = "cookie"
    assert (await shelf.search("biscuit", **fields)).total_count >= 20


async def test_a_large_project_without_its_index_is_searched_among_files_that_share_words(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await shelf.repository()
    await shelf.write(target, {"a.py": "def cookie(): pass\n", "b.py": "def biscuit(): pass\n"})
    shelf.embedder.synonyms["biscuit"] = "cookie"
    assert len((await shelf.search("cookie")).results) == 2
    monkeypatch.setattr(dense, "SCANNED_CHUNKS", 1)
    answer = await shelf.search("cookie")
    assert [hit.file_path.rpartition("/")[2] for hit in answer.results] == ["a.py"]
    assert any("vector index" in warning for warning in answer.warnings)
    monkeypatch.setattr(dense, "EXACT_CHUNKS", 1)
    assert await vector_index.build(shelf.database, VectorIndex(SCHEMA, target.model_id, DIMENSIONS), least_rows=1)
    answer = await shelf.search("cookie")
    assert (len(answer.results), answer.warnings) == (2, [])
