"""Definitions are found by name: exact, folded, by prefix, misspelt; in the order in which somebody wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.search.catalogue import Catalogue
from codebase_mcp.search.models import SearchRequest, SymbolAnswer
from codebase_mcp.search.symbols import SymbolService
from codebase_mcp.storage import symbol_store
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.symbol_store import Which
from tests.support.index import remove
from tests.support.jobs import HOST
from tests.support.shelf import PROJECT, SCHEMA, Shelf

SESSION = """class Session:
    @property
    def user(self):
        return self._user

    def get(self, key, default=None):
        return self.data.get(key, default)


class SessionStore:
    def get(self, session_id):
        return Session()
"""
FAKE = "class Session:\n    def get(self, key):\n        '''Longer than the real one." + "\n" * 9 + "        '''\n"
CODE = {
    "shop/session.py": SESSION,
    "shop/cart.py": "class Cart:\n    def get(self, item):\n        return item\n\n\ndef session():\n    pass\n",
    "shop/limits.py": "MAX_COOKIES = 12\n",
    "shop/store.h": "struct Store { int x; };\nint open_store(\n\n\n\n\n  struct Store *store);\n",
    "shop/store.c": '#include "store.h"\n\nint open_store(struct Store *store) {\n  return store->x;\n}\n',
    "shop/jar.cpp": "namespace jam {\nint Jar::open() {\n  return 1;\n}\n}\n",
    "tests/test_session.py": FAKE,
    "docs/session.md": "# Session\n\nHow sessions work.\n",
}


class Names:
    """Asks for names, in the files below `/src/shop`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.service = SymbolService(shelf.database, shelf.embedder, Catalogue())  # type: ignore[arg-type]

    async def find(self, name: str, **fields: Any) -> SymbolAnswer:
        return await self.service.find(
            SearchRequest(query=name, project_id=PROJECT, host=HOST, **{"limit": 20} | fields)
        )

    async def places(self, name: str, **fields: Any) -> list[tuple[str, str, str]]:
        answer = await self.find(name, **fields)
        return [(hit.match, hit.qualified_name or hit.name, Path(hit.file_path).name) for hit in answer.results]


@pytest.fixture
async def target(shelf: Shelf) -> Target:
    target = await shelf.repository()
    await shelf.write(target, CODE)
    await shelf.finish(target)
    return target


@pytest.fixture
def names(shelf: Shelf, target: Target) -> Names:
    return Names(shelf)


async def test_exact_comes_before_folded_before_longer_names(names: Names) -> None:
    assert await names.places("Session") == [
        ("exact", "Session", "session.py"),
        ("exact", "Session", "test_session.py"),
        ("folded", "session", "cart.py"),
        ("prefix", "SessionStore", "session.py"),
    ]
    assert (await names.places("session"))[0] == ("exact", "session", "cart.py")
    assert [match for match, *_ in await names.places("max_cookies")] == ["folded"]


async def test_a_hit_says_what_where_and_how_it_reads(names: Names) -> None:
    hit = (await names.find("Session.get")).results[0]
    assert (hit.file_path, hit.start_line, hit.end_line) == ("/src/shop/shop/session.py", 6, 7)
    assert (hit.name, hit.qualified_name, hit.kind, hit.depth) == ("get", "Session.get", "method", 1)
    assert hit.signature == "def get(self, key, default=None):"
    assert (hit.language, hit.repository, hit.is_declaration) == ("python", "shop", False)
    decorated = (await names.find("Session.user")).results[0]
    assert decorated.signature == "def user(self):"


async def test_of_a_qualified_name_the_owner_comes_first(names: Names) -> None:
    assert (await names.places("SessionStore.get"))[0][1] == "SessionStore.get"
    assert (await names.places("Cart#get()"))[0][1] == "Cart.get"
    assert (await names.places("cart.session"))[0] == ("exact", "session", "cart.py")
    assert (await names.places("Jar::open"))[0] == ("exact", "Jar::open", "jar.cpp")
    assert len(await names.places("Nobody.get")) == 4


async def test_main_definitions_come_before_declarations_and_tests(names: Names) -> None:
    found = (await names.find("open_store")).results
    assert [(Path(hit.file_path).name, hit.is_declaration) for hit in found] == [("store.c", False), ("store.h", True)]
    assert [place for _, _, place in await names.places("Session", kind="class")][:2] == [
        "session.py",
        "test_session.py",
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Sesion", "Session"),
        ("SesionStroe", "SessionStore"),
        ("max_cokies", "MAX_COOKIES"),
        ("StoreSessions", "SessionStore"),
    ],
)
async def test_a_misspelt_name_is_found(names: Names, name: str, first: str) -> None:
    found = await names.places(name)
    assert found[0][:2] == ("fuzzy", first)


async def test_nothing_fuzzy_is_added_to_a_name_that_exists(names: Names) -> None:
    assert {match for match, *_ in await names.places("Cart")} == {"exact"}
    assert [match for match, *_ in await names.places("SessionSt")] == ["prefix"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "class"}, {"session.py", "test_session.py"}),
        ({"kind": "function"}, {"cart.py"}),
        ({"kind": "section"}, {"session.md"}),
        ({"path_glob": "tests/**"}, {"test_session.py"}),
        ({"language": "python", "path_glob": "shop/**"}, {"session.py", "cart.py"}),
    ],
)
async def test_filters_apply_to_every_match(names: Names, fields: dict[str, str], expected: set[str]) -> None:
    assert {place for _, _, place in await names.places("Session", **fields)} == expected


async def test_the_limit_cuts_the_results_not_the_count(names: Names) -> None:
    answer = await names.find("Session", limit=1)
    assert (len(answer.results), answer.total_count, answer.truncated) == (1, 4, False)


async def test_the_budget_leaves_out_signatures_then_definitions(names: Names, target: Target) -> None:
    many = "".join(f"def gather_{n}():\n    pass\n\n\n" for n in range(20))
    await names.shelf.write(target, {"shop/gather.py": many})
    answer = await names.find("gather", max_tokens=200)
    assert answer.truncated
    assert len(answer.results) < answer.total_count
    assert answer.results[0].signature is None


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        (
            "SessionThing",
            {},
            "Nothing called 'SessionThing' is defined in what was searched. The nearest names are ",
        ),
        ("quetzalcoatl", {}, "or be made at run time: search_code finds where it is used."),
        (
            "MAX_COOKIES",
            {"kind": "class"},
            "'MAX_COOKIES' passes the filters; without them there are 1 (constant).",
        ),
        ("Session", {"path_glob": "x/**"}, "path_glob 'x/**' matches none of the 8 files"),
        ("🦄", {}, "Nothing called '🦄' is defined"),
    ],
)
async def test_an_empty_answer_says_how_to_go_on(names: Names, name: str, fields: dict[str, str], words: str) -> None:
    answer = await names.find(name, **fields)
    assert (answer.results, answer.total_count) == ([], 0)
    (warning,) = answer.warnings
    assert words in warning
    assert [fresh.state for fresh in answer.freshness] == ["ready"]


async def test_wrong_requests_are_refused(names: Names) -> None:
    for fields, words in (
        ({"kind": "klass"}, "Did you mean 'class'"),
        ({"kind": "block"}, "kind 'block' is not known"),
        ({"language": "pyton"}, "Did you mean 'python'"),
        ({"limit": 51}, "limit is 51"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            await names.find("x", **fields)
    with pytest.raises(InvalidInputError, match="name is empty"):
        await names.find(" ")
    with pytest.raises(RepositoryNotFoundError):
        await names.find("x", repository="other")


async def test_names_follow_the_index(names: Names, shelf: Shelf, target: Target) -> None:
    assert await names.places("Zebra") == []
    await shelf.write(target, {"shop/zebra.py": "class Zebra:\n    pass\n"})
    assert await names.places("Zebra") == [("exact", "Zebra", "zebra.py")]
    assert await names.places("Zebr_a_") == [("folded", "Zebra", "zebra.py")]
    assert await names.places("Zeebra") == [("fuzzy", "Zebra", "zebra.py")]
    await remove(shelf.database, target, "shop/zebra.py")
    assert await names.places("Zeebra") == []


async def test_a_project_without_an_index_answers_nothing(shelf: Shelf) -> None:
    answer = await Names(shelf).find("Session")
    assert (answer.results, answer.freshness) == ([], [])


async def test_a_definition_of_a_file_that_two_repositories_hold_counts_once(names: Names, shelf: Shelf) -> None:
    inner = await shelf.repository("/src/shop/shop")
    await shelf.write(inner, {"limits.py": CODE["shop/limits.py"]})
    assert len(await names.places("MAX_COOKIES")) == 1


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("by", ["name", "prefix"])
async def test_names_are_looked_up_through_their_index(shelf: Shelf, by: str) -> None:
    scans = sa.text(f"SELECT pg_stat_get_xact_numscans('{SCHEMA}.symbols_by_name'::regclass)")
    async with shelf.database.transaction("search", SCHEMA) as connection:
        await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        which = Which({"class"}, None)
        if by == "name":
            found = await symbol_store.definitions_named(connection, [1], ["session"], which)
        else:
            found = await symbol_store.definitions_beginning(connection, [1], "session", which)
        assert await connection.scalar(scans) == 1
    assert {row.name for row in found} == {"Session" if by == "name" else "SessionStore"}
