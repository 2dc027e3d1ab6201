from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import Role
from codebase_mcp.search import catalogue
from codebase_mcp.search.catalogue import RELOAD_SECONDS, REST, Catalogue, RepositoryFiles, build_corpus
from codebase_mcp.search.query import analyse
from codebase_mcp.search.stems import explained_share
from codebase_mcp.storage import search_store
from codebase_mcp.storage.projects import Repository
from codebase_mcp.storage.search_store import FileColumns
from tests.support.corpus import corpus_of, repository, stored
from tests.support.parsed import parsed_file


def columns(runs: Sequence[tuple[int, int]], first_file_id: int = 1) -> FileColumns:
    """Files with these (first chunk id, chunk count)."""
    zeros = np.zeros(len(runs), np.int64)
    table = np.array(runs, dtype=np.int64).reshape(-1, 2)
    return FileColumns(
        ids=np.arange(first_file_id, first_file_id + len(runs)),
        first_chunk_ids=table[:, 0],
        chunk_counts=table[:, 1],
        definition_counts=zeros,
        reference_counts=zeros,
        paths=[f"f{number}.py" for number in range(len(runs))],
        languages=["python"] * len(runs),
        roles=["source"] * len(runs),
    )


_runs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=8).map(
    lambda gaps: [
        (10 + sum(gap + size for gap, size in gaps[:place]) + gap, size) for place, (gap, size) in enumerate(gaps)
    ]
)


@given(_runs, st.randoms(use_true_random=False), st.booleans())
def test_a_chunk_id_belongs_to_the_file_whose_run_holds_it(
    runs: list[tuple[int, int]], random: Any, is_sparse: bool
) -> None:
    random.shuffle(runs)
    with mock.patch.object(catalogue, "MOST_IDS_PER_CHUNK", 0 if is_sparse else 1000):
        corpus = build_corpus([RepositoryFiles(repository(), columns(runs), [])])
    assert is_sparse or not corpus.chunk_count or corpus.position_of_id is not None
    ids = np.arange(0, 120, dtype=np.uint32)
    owners = {first + step: f"f{number}.py" for number, (first, size) in enumerate(runs) for step in range(size)}
    positions = corpus.chunk_positions(ids)
    found = {
        int(chunk_id): corpus.paths[corpus.file_of_chunk[position]]
        for chunk_id, position in zip(ids, positions, strict=True)
        if position >= 0
    }
    assert found == owners
    live = positions[positions >= 0]
    assert sorted(live.tolist()) == list(range(corpus.chunk_count))
    assert corpus.chunk_ids(live).tolist() == ids[positions >= 0].tolist()


def test_files_are_found_by_their_ids() -> None:
    corpus = build_corpus([RepositoryFiles(repository(), columns([(30, 1), (10, 2)], first_file_id=7), [])])
    assert [corpus.paths[place] for place in corpus.file_positions([8, 7])] == ["f1.py", "f0.py"]
    assert corpus.file_positions([1, 9]).tolist() == [-1, -1]


def test_an_empty_corpus_has_no_files_and_no_chunks() -> None:
    corpus = build_corpus([])
    assert (corpus.file_count, corpus.chunk_count) == (0, 0)
    assert corpus.chunk_positions(np.array([1], np.uint32)).tolist() == [-1]
    assert corpus.file_positions([1]).tolist() == [-1]


def test_several_repositories_are_one_corpus() -> None:
    first = stored([parsed_file("a/cookie.py", "x\n")], owner=repository(1, "one")).files
    second = stored(
        [parsed_file("b/router.py", "y\n", role=Role.TEST, language="go")],
        owner=repository(2, "two"), first_chunk_id=10, first_file_id=20,
    ).files  # fmt: skip
    corpus = build_corpus([first, second])
    assert [(corpus.repository(file).name, corpus.paths[file]) for file in range(2)] == [
        ("one", "a/cookie.py"), ("two", "b/router.py"),
    ]  # fmt: skip
    assert corpus.languages.tolist() == ["python", "go"]
    assert corpus.roles.tolist() == ["source", "test"]
    assert explained_share(corpus.stems, analyse("cookie")).tolist() == [1.0, 0.0]


def test_deleted_files_left_in_the_stem_postings_are_dropped() -> None:
    kept = stored([parsed_file("cookie.py", "x\n")]).files
    dead = np.array([499, 501], dtype="<u4").tobytes()
    corpus = build_corpus([RepositoryFiles(kept.repository, kept.columns, [*kept.stem_postings, ("dead", dead)])])
    assert corpus.stems.vocabulary == ("cooki",)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """Stands in for the statements that load a repository, and counts them."""

    def __init__(self) -> None:
        self.loads = 0
        self.gates: dict[int, asyncio.Event] = {}
        self.clock = Clock()
        self.seconds = 0.0

    async def file_columns(self, _connection: object, _schema: str, repository_id: int) -> FileColumns:
        self.loads += 1
        self.clock.now += self.seconds
        first_chunk_id = self.loads * 10
        if gate := self.gates.get(repository_id):
            await gate.wait()
        return columns([(first_chunk_id, 1)])

    async def stem_postings(self, _connection: object, _schema: str, _repository_id: int) -> list[tuple[str, bytes]]:
        return []


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader()
    monkeypatch.setattr(search_store, "file_columns", reader.file_columns)
    monkeypatch.setattr(search_store, "stem_postings", reader.stem_postings)
    return reader


async def corpora(kept: Catalogue, item: Repository, *, changing: bool = False) -> catalogue.Corpus:
    no_connection: Any = None
    return await kept.corpus(no_connection, "s", [item], changing=[item.id] if changing else [])


async def test_one_version_of_a_repository_is_read_once(reader: Reader) -> None:
    kept = Catalogue()
    assert await corpora(kept, repository()) is await corpora(kept, repository())
    assert reader.loads == 1


async def test_searches_that_come_at_once_read_a_repository_once(reader: Reader) -> None:
    kept = Catalogue()
    first, second = await asyncio.gather(corpora(kept, repository()), corpora(kept, repository()))
    assert first is second
    assert reader.loads == 1


async def test_a_repository_that_is_slow_to_read_keeps_no_other_search_waiting(reader: Reader) -> None:
    gate = reader.gates[1] = asyncio.Event()
    kept = Catalogue()
    slow = asyncio.create_task(corpora(kept, repository(1)))
    await asyncio.wait_for(corpora(kept, repository(2)), 5)
    assert not slow.done()
    gate.set()
    assert (await slow).file_count == 1


async def test_a_new_version_is_read_at_once_when_no_job_is_active(reader: Reader) -> None:
    kept = Catalogue(Clock())
    await corpora(kept, repository(version=1))
    await corpora(kept, repository(version=2))
    assert reader.loads == 2


@pytest.mark.parametrize(("reading_seconds", "good_for_seconds"), [(0.0, RELOAD_SECONDS), (1.0, REST)])
async def test_a_repository_under_a_job_is_read_again_the_later_the_longer_that_takes(
    reader: Reader, reading_seconds: float, good_for_seconds: float
) -> None:
    clock = reader.clock = Clock()
    kept = Catalogue(clock)
    reader.seconds = reading_seconds
    await corpora(kept, repository(version=1), changing=True)
    clock.now += good_for_seconds - 0.1
    await corpora(kept, repository(version=2), changing=True)
    assert reader.loads == 1
    clock.now += 0.2
    await corpora(kept, repository(version=2), changing=True)
    assert reader.loads == 2


async def test_while_a_changing_repository_is_read_again_others_get_the_version_before(reader: Reader) -> None:
    clock = Clock()
    kept = Catalogue(clock)
    first = await corpora(kept, repository(version=1), changing=True)
    clock.now += RELOAD_SECONDS + 0.1
    gate = reader.gates[1] = asyncio.Event()
    reading = asyncio.create_task(corpora(kept, repository(version=2), changing=True))
    await asyncio.sleep(0)
    assert await corpora(kept, repository(version=2), changing=True) is first
    finished = asyncio.create_task(corpora(kept, repository(version=2)))
    gate.set()
    assert await finished is await reading is not first


async def test_what_was_not_searched_lately_is_forgotten(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "KEPT_REPOSITORIES", 1)
    monkeypatch.setattr(catalogue, "KEPT_CORPORA", 1)
    kept = Catalogue()
    await corpora(kept, repository(1))
    await corpora(kept, repository(2))
    await corpora(kept, repository(1))
    assert reader.loads == 3


def test_a_corpus_of_files_has_their_chunks() -> None:
    assert corpus_of(parsed_file("a.py", "x\n", "y\n"), parsed_file("b.py")).chunk_count == 2
