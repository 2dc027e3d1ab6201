"""Searches over a real index: what is written as a job writes it is found, fresh and in the right order."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import sqlalchemy as sa

from codebase_mcp.errors import EmbeddingError, InvalidInputError, RepositoryNotFoundError
from codebase_mcp.indexing.embed import EmbedderIdentity
from codebase_mcp.search import dense
from codebase_mcp.search.catalogue import RELOAD_SECONDS
from codebase_mcp.search.models import SearchAnswer
from codebase_mcp.storage import search_store, vector_index
from codebase_mcp.storage.database import halfvec_literal
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.vector_index import VectorIndex
from tests.support.index import remove
from tests.support.shelf import COOKIE, DIMENSIONS, SCHEMA, SHOP, Shelf

# --- what is found ---


@pytest.mark.usefixtures("shop")
async def test_a_hit_says_where_what_and_whose(shelf: Shelf) -> None:
    hit = (await shelf.search("cookie jar")).results[0]
    assert (hit.file_path, hit.start_line, hit.end_line) == ("/src/shop/shop/cookie.py", 1, 3)
    assert (hit.symbol, hit.kind, hit.language, hit.repository) == ("CookieJar", "class", "python", "shop")
    assert (hit.content, hit.content_form, hit.content_start_line) == (COOKIE, "full", 1)


@pytest.mark.usefixtures("shop")
async def test_tests_and_prose_come_after_the_code_unless_asked_for(shelf: Shelf) -> None:
    assert (await shelf.paths("cookie jar"))[0] == "shop/cookie.py"
    assert (await shelf.paths("test of the cookie jar"))[0] == "tests/test_cookie.py"


@pytest.mark.usefixtures("shop")
async def test_a_symbol_is_found_in_any_spelling(shelf: Shelf) -> None:
    for query in ("OpenSession", "open_session", "opensession"):
        assert (await shelf.paths(query))[0] == "shop/session.go"


@pytest.mark.usefixtures("shop")
async def test_an_answer_is_explained_when_asked(shelf: Shelf) -> None:
    assert (await shelf.search("cookie jar")).explanation is None
    answer = await shelf.search("cookie jar", explain=True)
    assert answer.explanation is not None
    assert [sum(signals.values()) for signals in answer.explanation] == pytest.approx(
        [hit.score for hit in answer.results], abs=1e-3
    )


async def test_a_chunk_goes_by_the_definition_that_was_asked_for(shelf: Shelf, shop: Target) -> None:
    await shelf.write(
        shop, {"shop/errors.py": "class ShopError(Exception):\n    pass\n\n\nclass SoldOut(ShopError):\n    pass\n"}
    )
    assert (await shelf.search("SoldOut")).results[0].symbol == "SoldOut"
    assert (await shelf.search("ShopError")).results[0].symbol == "ShopError"


async def test_a_file_is_found_by_meaning_alone(shelf: Shelf, shop: Target) -> None:
    shelf.embedder.synonyms["biscuit"] = "cookie"
    assert (await shelf.paths("biscuit"))[0] in ("shop/cookie.py", "tests/test_cookie.py")
    assert (await shelf.search("biscuit")).results[0].score > 0


@pytest.mark.usefixtures("shop")
async def test_the_limit_cuts_the_results_not_the_count(shelf: Shelf) -> None:
    answer = await shelf.search("cookie", limit=1)
    assert (len(answer.results), answer.truncated) == (1, False)
    assert answer.total_count > 1


async def test_the_budget_shortens_texts_and_says_so(shelf: Shelf, shop: Target) -> None:
    await shelf.write(shop, {"shop/oven.py": "def bake(cookie):\n" + "    cookie += 1\n" * 100})
    answer = await shelf.search("cookie", max_tokens=200)
    assert answer.truncated
    assert "full" not in {hit.content_form for hit in answer.results if hit.file_path.endswith("oven.py")}
    assert sum(len(hit.content) for hit in answer.results) < 200 * 3.5


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    "query",
    ["🦄", "how does it work", "?!", "a\x00b", "\ud800", "'; DROP TABLE x; --", "%(a)s :b", "x" * 2000, "=", "_"],
)
async def test_odd_queries_are_answered(shelf: Shelf, query: str) -> None:
    answer = await shelf.search(query)
    assert answer.total_count >= len(answer.results)


# --- filters ---


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"language": "go"}, {"shop/session.go"}),
        ({"language": "golang", "path_glob": "shop/**"}, {"shop/session.go"}),
        ({"path_glob": "tests/"}, {"tests/test_cookie.py"}),
        ({"path_glob": "*.md"}, {"README.md"}),
        ({"path_glob": "nowhere/**"}, set()),
    ],
)
async def test_filters_apply_before_anything_is_chosen(
    shelf: Shelf, fields: dict[str, str], expected: set[str]
) -> None:
    assert set(await shelf.paths("cookie session router shop", **fields)) == expected


@pytest.mark.usefixtures("shop")
async def test_tests_can_be_left_out_or_let_in(shelf: Shelf) -> None:
    assert "tests/test_cookie.py" in await shelf.paths("cookie jar")
    assert "tests/test_cookie.py" not in await shelf.paths("cookie jar", include_tests=False)
    pushed, lifted = await shelf.search("cookie jar"), await shelf.search("cookie jar", include_tests=True)
    scores = [next(hit.score for hit in answer.results if "tests/" in hit.file_path) for answer in (pushed, lifted)]
    assert scores[1] == pytest.approx(scores[0] + 3)


@pytest.mark.usefixtures("shop")
async def test_wrong_requests_are_refused(shelf: Shelf) -> None:
    with pytest.raises(InvalidInputError):
        await shelf.search(" ")
    with pytest.raises(RepositoryNotFoundError, match=r"shop \(/src/shop\)"):
        await shelf.search("cookie", repository="other")


# --- several repositories ---


async def test_several_repositories_are_searched_as_one(shelf: Shelf, shop: Target) -> None:
    other = await shelf.repository("/src/bakery")
    await shelf.write(other, {"oven/cookie.py": "def bake_cookie(dough):\n    return dough\n"})
    answer = await shelf.search("cookie")
    assert {hit.repository for hit in answer.results} == {"shop", "bakery"}
    assert {item.repository for item in answer.freshness} == {"shop", "bakery"}
    only = await shelf.search("cookie", repository="bakery")
    assert {hit.repository for hit in only.results} == {"bakery"}
    assert [item.repository for item in only.freshness] == ["bakery"]


async def test_repositories_within_one_another_show_a_file_once(shelf: Shelf, shop: Target) -> None:
    inner = await shelf.repository("/src/shop/shop")
    await shelf.write(inner, {"cookie.py": COOKIE})
    paths = [hit.file_path for hit in (await shelf.search("cookie jar")).results]
    assert paths.count("/src/shop/shop/cookie.py") == 1


# --- freshness ---


async def test_a_project_without_an_index_answers_nothing_and_says_why(shelf: Shelf) -> None:
    assert (await shelf.search("cookie")).freshness == []
    await shelf.start_job(progress=3)
    for fields in ({}, {"repository": "shop"}, {"repository": "/src/shop"}):
        answer = await shelf.search("cookie", **fields)
        assert (answer.results, answer.total_count) == ([], 0)
        assert [(item.state, item.progress_percentage) for item in answer.freshness] == [("indexing", 3)]


async def test_an_answer_says_how_fresh_it_is(shelf: Shelf) -> None:
    target = await shelf.repository()
    states = [(await shelf.search("cookie")).freshness[0].state]
    await shelf.write(target, SHOP)
    states.append((await shelf.search("cookie")).freshness[0].state)
    await shelf.finish(target, "a" * 40)
    done = (await shelf.search("cookie")).freshness[0]
    await shelf.start_job()
    again = (await shelf.search("cookie")).freshness[0]
    assert [*states, done.state, again.state] == ["incomplete", "incomplete", "ready", "indexing"]
    assert (done.indexed_commit, again.progress_percentage) == ("a" * 40, 40)
    assert done.last_indexed_at is not None


async def test_a_deleted_file_is_not_found_any_more(shelf: Shelf, shop: Target) -> None:
    assert "shop/cookie.py" in await shelf.paths("cookie jar")
    await remove(shelf.database, shop, "shop/cookie.py")
    assert "shop/cookie.py" not in await shelf.paths("cookie jar")


async def test_a_file_replaced_under_a_job_is_seen_at_once(shelf: Shelf, shop: Target) -> None:
    await shelf.start_job()
    await shelf.paths("cookie jar")
    await shelf.write(shop, {"shop/cookie.py": COOKIE + "\n# a better cookie jar\n"})
    answer = await shelf.search("cookie jar")
    assert "better" in next(hit.content for hit in answer.results if hit.file_path.endswith("shop/cookie.py"))


@pytest.mark.parametrize("query", ["zebra", "stripes"])
async def test_new_content_of_a_known_file_is_found_at_once(shelf: Shelf, shop: Target, query: str) -> None:
    shelf.embedder.synonyms["stripes"] = "zebra"
    await shelf.start_job()
    assert (await shelf.search(query, path_glob="shop/router.py")).total_count <= 1
    await shelf.write(shop, {"shop/router.py": "def zebra():\n    return 'zebra'\n"})
    answer = await shelf.search(query, path_glob="shop/router.py")
    assert "zebra" in answer.results[0].content


async def test_a_new_file_under_a_job_is_found_after_a_short_while(shelf: Shelf, shop: Target) -> None:
    await shelf.start_job()
    await shelf.paths("zebra")
    await shelf.write(shop, {"shop/zebra.py": "def zebra():\n    return 1\n"})
    assert "shop/zebra.py" not in await shelf.paths("zebra")
    shelf.clock.now += RELOAD_SECONDS
    assert (await shelf.paths("zebra"))[0] == "shop/zebra.py"


async def test_a_file_that_is_replaced_all_the_time_is_found_every_time(shelf: Shelf, shop: Target) -> None:
    await shelf.start_job()
    is_over = asyncio.Event()

    async def keep_replacing() -> int:
        turns = 0
        while not is_over.is_set():
            turns += 1
            await shelf.write(shop, {"shop/cookie.py": f"{COOKIE}\n# turn {turns}\n"})
        return turns

    writing = asyncio.create_task(keep_replacing())
    missed = 0
    for _ in range(25):
        missed += "shop/cookie.py" not in await shelf.paths("cookie jar")
    is_over.set()
    assert await writing > 5
    assert missed == 0


# --- vectors ---


async def test_without_the_embedding_service_the_answer_says_what_is_missing(shelf: Shelf, shop: Target) -> None:
    shelf.embedder.failure = EmbeddingError("the service is away.")
    answer = await shelf.search("cookie jar")
    assert answer.results[0].file_path.endswith("shop/cookie.py")
    assert answer.warnings == ["Ranked without the meaning of words, because the service is away."]


async def test_an_index_made_with_another_model_is_still_searched(shelf: Shelf, shop: Target) -> None:
    shelf.embedder.identity = EmbedderIdentity("fake", "words", "2")
    answer = await shelf.search("cookie jar")
    assert answer.results[0].file_path.endswith("shop/cookie.py")
    assert "Index the repository again" in answer.warnings[0]


async def test_a_query_without_a_direction_is_answered_by_words(shelf: Shelf, shop: Target) -> None:
    shelf.embedder.synonyms["cookie"] = ""
    zeros = np.zeros(DIMENSIONS, np.float32)
    shelf.embedder._vector = lambda _text: zeros  # type: ignore[method-assign]
    answer = await shelf.search("cookie")
    assert answer.results
    assert answer.warnings == []


async def test_chunks_without_a_direction_are_no_candidates_by_vector(shelf: Shelf) -> None:
    target = await shelf.repository()
    real = shelf.embedder._vector
    shelf.embedder._vector = lambda _text: np.zeros(DIMENSIONS, np.float32)  # type: ignore[method-assign]
    await shelf.write(target, SHOP)
    shelf.embedder._vector = real  # type: ignore[method-assign]
    assert (await shelf.search("biscuit")).total_count == 0


@pytest.mark.parametrize("file_filter", [None, "shop/**"])
async def test_the_vector_index_finds_what_a_scan_finds(
    shelf: Shelf, shop: Target, monkeypatch: pytest.MonkeyPatch, file_filter: str | None
) -> None:
    await shelf.write(shop, {f"shop/part{n}/item{n}.py": f"def thing{n}():\n    return {n}\n" for n in range(300)})
    by_scan = await shelf.search("thing seven item", path_glob=file_filter, limit=20)
    assert await vector_index.build(shelf.database, VectorIndex(SCHEMA, shop.model_id, DIMENSIONS), least_rows=1)
    monkeypatch.setattr(dense, "EXACT_CHUNKS", 0)
    by_index = await shelf.search("thing seven item", path_glob=file_filter, limit=20)
    found = [hit.file_path for hit in by_index.results]
    assert found[:5] == [hit.file_path for hit in by_scan.results[:5]]


async def test_the_statement_can_use_the_vector_index(shelf: Shelf, shop: Target) -> None:
    await vector_index.build(shelf.database, VectorIndex(SCHEMA, shop.model_id, DIMENSIONS), least_rows=1)
    vector = halfvec_literal(await shelf.embedder.embed_query("cookie"))
    scans = sa.text(f"SELECT pg_stat_get_xact_numscans('{SCHEMA}.nearest_headers_{shop.model_id}'::regclass)")
    async with shelf.database.transaction("search", SCHEMA) as connection:
        await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        await connection.execute(sa.text("SET LOCAL enable_sort = off"))
        found = await search_store.nearest_files_by_index(
            connection, SCHEMA, shop.model_id, vector,
            dimensions=DIMENSIONS, repository_ids=[shop.repository_id], only=None,
        )  # fmt: skip
        assert await connection.scalar(scans) == 1
    assert len(found) == len({file_id for file_id, _ in found}) == len(SHOP)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)


async def test_a_model_whose_right_answers_stand_out_more_counts_for_less(shelf: Shelf, shop: Target) -> None:
    def header_of(answer: SearchAnswer) -> float:
        assert answer.explanation is not None
        return answer.explanation[0]["header"]

    whole = header_of(await shelf.search("cookie", explain=True))
    shelf.embedder.cosine_scale = 0.5
    assert header_of(await shelf.search("cookie", explain=True)) == pytest.approx(whole / 2, rel=1e-3)
