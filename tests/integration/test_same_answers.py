"""An index that came about by many edits answers as one that was made in one go: same hits, same scores, same order."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from codebase_mcp.indexing.embed import local_embedder
from codebase_mcp.search import frequencies, wording
from codebase_mcp.search.catalogue import Catalogue
from codebase_mcp.search.coverage import coverage_of
from codebase_mcp.search.frequencies import live_frequencies
from codebase_mcp.search.models import SearchRequest
from codebase_mcp.service import Service
from tests.support.runs import Bench
from tests.support.shelf import PROJECT, SCHEMA, Shelf

WORDS = ["cart", "order", "price", "tax", "refund", "stock", "user", "session", "cookie", "route"]
QUERIES = [
    "cart", "order price", "how is tax added to a price", "RefundOrder", "refund_order", "session cookie of a user",
    "stock_route", "common helper", "src/cart/price.py", "the same text everywhere", " ".join(WORDS),
]  # fmt: skip
NAMES = ["common_helper", "Common", "refund_order", "cart_tax", "comon_helpr", "stok_rute", "price"]


def text_of(random: random.Random) -> str:
    first, second, third = random.sample(WORDS, 3)
    return (
        f"class {first.title()}{second.title()}:\n    def {second}_{third}(self):\n        return {first}_{third}()\n\n"
        f"def {first}_{third}():\n    return common_helper('{second}')\n"
    )


COPIED = "def common_helper(text):\n    return text  # the same text everywhere\n"


class Author:
    """Edits a tree at random, and only in ways that can be repeated."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self._was: dict[Path, str] = {}

    def edit(self, count: int) -> None:
        for _ in range(count):
            kinds = [
                self._add,
                self._add,
                self._copy,
                self._change,
                self._delete,
                self._rename,
                self._touch,
                self._revert,
            ]
            self._random.choice(kinds)()

    def _path(self) -> Path:
        folder, name = self._random.choice(WORDS), self._random.choice(WORDS)
        return self._root / "src" / folder / f"{name}{self._random.choice(['', '_a', '_b'])}.py"

    def _some(self) -> Path | None:
        found = sorted((self._root / "src").rglob("*.py"))
        return self._random.choice(found) if found else None

    def _write(self, path: Path, text: str) -> None:
        if path.exists():
            self._was[path] = path.read_text()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _add(self) -> None:
        self._write(self._path(), text_of(self._random))

    def _copy(self) -> None:
        self._write(self._path(), COPIED)

    def _change(self) -> None:
        if path := self._some():
            self._write(path, path.read_text() + text_of(self._random))

    def _delete(self) -> None:
        if path := self._some():
            path.unlink()

    def _rename(self) -> None:
        if path := self._some():
            target = self._path()
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    def _touch(self) -> None:
        if path := self._some():
            os.utime(path, (1, 1))

    def _revert(self) -> None:
        if self._was:
            path = self._random.choice(sorted(self._was))
            self._write(path, self._was[path])


async def answers(service: Service, project: str, root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for query in QUERIES:
        for options in ({}, {"path_glob": "src/c*/**"}, {"kind": "function"}, {"offset": 7}):
            answer = await service.search(
                query, project_id=project, limit=50, explain=True, max_tokens=50_000, **options
            )
            hits = [(hit.file_path, hit.start_line, hit.symbol, hit.score) for hit in answer.results]
            found[f"{query} {options}"] = (hits, answer.total_count, answer.warnings, answer.explanation)
    for name in NAMES:
        symbols = await service.find_symbol(name, project_id=project, limit=50)
        defined = [(hit.file_path, hit.start_line, hit.name, hit.match) for hit in symbols.results]
        found[f"symbol {name}"] = (defined, symbols.total_count, symbols.warnings)
    for path in sorted((root / "src").rglob("*.py"))[::4]:
        related = await service.find_related(str(path), 1, project_id=project, limit=50)
        near = [(hit.file_path, hit.start_line, hit.score) for hit in related.results]
        found[f"related {path}"] = (near, related.total_count)
    return found


def assert_in_order(found: dict[str, Any]) -> None:
    for key, (hits, *_) in found.items():
        if not key.startswith(("symbol", "related")):
            places = [(-score, path) for path, _, _, score in hits]
            assert places == sorted(places), key


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_history_of_edits_changes_no_answer(
    service: Service, bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wording, "MAX_TERMS", 6)  # so that a query is cut to its rarest terms
    bench.embedder = local_embedder()  # type: ignore[assignment]
    author = Author(bench.root, seed)
    for edits in (60, 25, 1, 40, 15):
        author.edit(edits)
        bench.configure(batch_files=random.Random(seed + edits).choice([1, 3, 100]))
        await bench.run()
    bench.project_id = "fresh"
    await bench.run()
    edited = await answers(service, "default", bench.root)
    fresh = await answers(service, "fresh", bench.root)
    assert {key: (value, fresh[key]) for key, value in edited.items() if value != fresh[key]} == {}
    assert_in_order(edited)
    assert sum(len(hits) for hits, *_ in edited.values()) > 500


async def test_a_term_is_as_rare_as_it_is_now(shelf: Shelf) -> None:
    target = await shelf.repository()
    await shelf.write(target, {f"a{number}.py": "alpha = beta\n" for number in range(5)})
    await shelf.write(target, {f"a{number}.py": "gamma = beta\n" for number in range(4)})
    await shelf.finish(target)
    async with shelf.database.snapshot("search", SCHEMA) as connection:
        repositories = (await coverage_of(connection, SCHEMA, request("x"), shelf.embedder.identity)).repositories
        corpus = await Catalogue().corpus(connection, SCHEMA, repositories)
        ids = [repository.id for repository in repositories]
        terms = ["alpha", "beta", "gamma", "delta"]
        found = await live_frequencies(connection, SCHEMA, corpus, ids, terms)
        with mock.patch.object(frequencies, "COUNTED_IDS", 8):
            cheap = await live_frequencies(connection, SCHEMA, corpus, ids, terms)
    assert found == {"alpha": 1, "beta": 5, "gamma": 4}
    assert cheap == {"alpha": 5, "beta": 9, "gamma": 4}


def request(query: str) -> SearchRequest:
    return SearchRequest(query=query, project_id=PROJECT)
