"""What belongs to a place in the code, and what is said of a place that is not in the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from codebase_mcp.errors import FileNotIndexedError, InvalidInputError
from codebase_mcp.search.catalogue import Catalogue
from codebase_mcp.search.models import RelatedAnswer, SearchRequest
from codebase_mcp.search.related import RelatedService
from codebase_mcp.storage import tables
from codebase_mcp.storage.index_store import Target
from tests.support.jobs import HOST
from tests.support.shelf import PROJECT, SCHEMA, Shelf

FILLER = "".join(f"# filler {n}\n" for n in range(200))
JAR = "class CookieJar:\n    def add(self, cookie):\n        return cookie\n\n\n"
CODE = {
    "shop/jar.py": JAR + FILLER + "\n\ndef unrelated():\n    pass\n",
    "shop/baker.py": "def bake(dough):\n    jar = CookieJar()\n    jar.add(dough)\n    return jar\n",
    "shop/jar_cookie.py": "def fill(tin):\n    return tin\n",
    "shop/router.py": "def route(path):\n    return path\n",
    "tests/test_jar.py": "def test_cookie_jar():\n    assert CookieJar().add(1)\n",
    "empty.py": "",
}


class Relations:
    """Asks what is related, in the files below `/src/shop`."""

    def __init__(self, shelf: Shelf) -> None:
        self.service = RelatedService(shelf.database, shelf.embedder, Catalogue())  # type: ignore[arg-type]

    async def find(self, file_path: str, line: int, **fields: Any) -> RelatedAnswer:
        return await self.service.find(SearchRequest(query=file_path, project_id=PROJECT, host=HOST, **fields), line)

    async def paths(self, file_path: str, line: int, **fields: Any) -> list[str]:
        answer = await self.find(file_path, line, **fields)
        return [hit.file_path.removeprefix("/src/shop/") for hit in answer.results]


@pytest.fixture
async def target(shelf: Shelf) -> Target:
    target = await shelf.repository()
    await shelf.write(target, CODE)
    await shelf.finish(target)
    return target


@pytest.fixture
def related(shelf: Shelf, target: Target) -> Relations:
    return Relations(shelf)


async def test_files_that_share_names_or_headers_come_first(related: Relations) -> None:
    answer = await related.find("shop/jar.py", 2)
    paths = [hit.file_path.removeprefix("/src/shop/") for hit in answer.results]
    source = [path for path in paths if path.startswith("shop/")]
    assert source == ["shop/baker.py", "shop/jar_cookie.py", "shop/router.py", "shop/jar.py"]
    assert answer.total_count == len(paths)
    assert [fresh.state for fresh in answer.freshness] == ["ready"]
    assert answer.warnings == []


async def test_the_origin_is_the_chunk_at_that_line(related: Relations) -> None:
    origin = (await related.find("shop/jar.py", 2)).origin
    assert (origin.file_path, origin.start_line, origin.symbol) == ("/src/shop/shop/jar.py", 1, "CookieJar")
    assert origin.start_line <= 2 <= origin.end_line
    assert (origin.kind, origin.repository) == ("class", "shop")


async def test_the_same_file_comes_last_with_another_chunk(related: Relations) -> None:
    answer = await related.find("shop/jar.py", 2)
    last = answer.results[-1]
    assert last.file_path == "/src/shop/shop/jar.py"
    assert last.start_line > answer.origin.end_line
    assert "shop/baker.py" not in await related.paths("shop/baker.py", 1)


async def test_tests_are_pushed_down_unless_asked_for(related: Relations) -> None:
    assert (await related.paths("shop/jar.py", 2))[0] == "shop/baker.py"
    lifted = await related.find("shop/jar.py", 2, include_tests=True)
    pushed = await related.find("shop/jar.py", 2)
    scores = [next(hit.score for hit in one.results if "tests/" in hit.file_path) for one in (pushed, lifted)]
    assert scores[1] == pytest.approx(scores[0] + 3)
    assert "tests/test_jar.py" not in await related.paths("shop/jar.py", 2, include_tests=False)


async def test_filters_restrict_what_is_found_not_where_it_starts(related: Relations) -> None:
    assert await related.paths("shop/jar.py", 2, path_glob="tests/**") == ["tests/test_jar.py"]
    answer = await related.find("shop/jar.py", 2, language="rust")
    assert answer.results == []
    assert answer.warnings[0].startswith("language 'rust' matches none")


async def test_limit_and_budget_bound_the_answer(related: Relations) -> None:
    answer = await related.find("shop/jar.py", 2, limit=3)
    assert len(answer.results) <= 3 < answer.total_count
    assert (await related.find("shop/jar.py", 2, max_tokens=200)).truncated


async def test_the_other_copy_of_the_file_is_not_related_to_it(related: Relations, shelf: Shelf) -> None:
    inner = await shelf.repository("/src/shop/shop")
    await shelf.write(inner, {path.removeprefix("shop/"): CODE[path] for path in ("shop/jar.py", "shop/baker.py")})
    paths = await related.paths("shop/jar.py", 2)
    assert paths.count("shop/baker.py") == 1
    assert paths[-1] == "shop/jar.py"
    assert paths.count("shop/jar.py") == 1


async def test_without_vectors_names_relate_and_the_answer_says_so(
    related: Relations, shelf: Shelf, target: Target
) -> None:
    async with shelf.database.transaction("writers", SCHEMA) as connection:
        await connection.execute(sa.delete(tables.embeddings))
    answer = await related.find("shop/jar.py", 2)
    assert answer.results[0].file_path == "/src/shop/shop/baker.py"
    assert answer.warnings[0].startswith("Related by names alone")


# --- where is that? ---


@pytest.mark.parametrize(
    "path",
    [
        "shop/jar.py",
        "./shop/jar.py",
        "shop/../shop/jar.py",
        "/src/shop/shop/jar.py",
        " shop/jar.py\n",
        "file:///src/shop/shop/%6Aar.py",
        "shop/jar.py:2",
        "shop: shop/jar.py",
        "shop: shop/jar.py:1-3",
        "/src/shop/shop/jar.py:2-3",
        "file:///src/shop/shop/jar.py#L2",
    ],
)
async def test_a_file_is_named_absolutely_or_below_its_repository(related: Relations, path: str) -> None:
    assert (await related.find(path, 1)).origin.file_path == "/src/shop/shop/jar.py"


async def test_a_file_is_named_from_the_working_directory_and_through_links(shelf: Shelf, tmp_path: Path) -> None:
    root = tmp_path / "real"
    (root / "shop").mkdir(parents=True)
    (root / "shop" / "jar.py").write_text("x = 1\n")
    (tmp_path / "link").symlink_to(root)
    await shelf.write(await shelf.repository(str(root)), {"shop/jar.py": CODE["shop/jar.py"]})
    link = tmp_path / "link" / "shop" / "jar.py"
    for path in ("jar.py", "../shop/jar.py", str(link), link.as_uri()):
        found = await Relations(shelf).find(path, 1, here=str(root / "shop"))
        assert found.origin.file_path == str(root / "shop" / "jar.py")


@pytest.mark.parametrize(
    ("path", "line", "words"),
    [
        ("shop/baker.py", 900, "line 900 is past the end of /src/shop/shop/baker.py, which has 4 lines in the index."),
        ("empty.py", 1, "line 1 is past the end of /src/shop/empty.py, which has 0 lines"),
        ("shop/baker.py", 0, "line is 0; lines are counted from 1"),
        ("  ", 1, "file_path is empty"),
        ("a\0b", 1, "is not a path"),
        ("file:///src/shop/a%00b", 1, "is not a path"),
        ("x" * 5_000, 1, "is not a path: at most 4,096 characters"),
    ],
)
async def test_a_place_that_does_not_exist_is_refused_with_the_numbers(
    related: Relations, path: str, line: int, words: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await related.find(path, line)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("lib/jar.py", "is not in the index. Indexed files of that name: shop/jar.py. Check the spelling"),
        ("/elsewhere/a.py", "is in none of the indexed repositories (/src/shop). Index its repository first:"),
        ("~/a.py", "is in none of the indexed repositories"),
    ],
)
async def test_a_file_that_is_not_indexed_says_how_to_index_it(related: Relations, path: str, words: str) -> None:
    with pytest.raises(FileNotIndexedError) as caught:
        await related.find(path, 1)
    assert words in caught.value.message
    assert caught.value.code == "FILE_NOT_INDEXED"


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("skipped", "binary", "/src/shop/logo.png is not indexed: it was skipped (binary)."),
        ("failed", "the parser crashed", "it was failed (the parser crashed)"),
        ("pending", None, "its job has not come to it yet"),
    ],
)
async def test_a_file_that_was_left_out_says_why(
    related: Relations, shelf: Shelf, state: str, reason: str | None, words: str
) -> None:
    job = uuid4()
    async with shelf.database.transaction() as connection:
        await connection.execute(
            sa.insert(tables.indexing_jobs).values(
                id=job, host_id=HOST.id, repo_path="/src/shop", repo_name="shop", project_id=PROJECT
            )
        )
        await connection.execute(
            sa.insert(tables.job_files).values(
                job_id=job, ordinal=1, relative_path="logo.png", size_bytes=1, mtime_ns=1, state=state, reason=reason
            )
        )
    for path in ("logo.png", "/src/shop/logo.png"):
        with pytest.raises(FileNotIndexedError) as caught:
            await related.find(path, 1)
        assert words in caught.value.message


async def test_a_new_file_is_told_from_a_misspelt_one(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.write(await shelf.repository(str(tmp_path)), {"shop/jar.py": CODE["shop/jar.py"]})
    (tmp_path / "new.py").write_text("x = 1\n")
    with pytest.raises(FileNotIndexedError, match=r"It is new, or ignored .* start_indexing_background"):
        await Relations(shelf).find(str(tmp_path / "new.py"), 1)


async def test_a_path_in_several_repositories_is_refused_with_all_of_them(related: Relations, shelf: Shelf) -> None:
    other = await shelf.repository("/src/other")
    await shelf.write(other, {"shop/jar.py": CODE["shop/jar.py"]})
    with pytest.raises(InvalidInputError, match=r"/src/other/shop/jar.py, /src/shop/shop/jar.py\. Give the absolute"):
        await related.find("shop/jar.py", 1)
    assert (await related.find("/src/other/shop/jar.py", 1)).origin.repository == "other"
    assert (await related.find("shop/jar.py", 1, repository="other")).origin.repository == "other"


async def test_a_project_without_an_index_says_how_to_index(shelf: Shelf) -> None:
    with pytest.raises(FileNotIndexedError, match=r"none of the indexed repositories \(none yet\)"):
        await Relations(shelf).find("shop/jar.py", 1)
