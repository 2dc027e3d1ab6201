"""Several repositories in one project: whose code is searched, by where the caller works and by what it says."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.errors import (
    FileNotIndexedError,
    InvalidInputError,
    ProjectNotFoundError,
    RepositoryNotFoundError,
)
from codebase_mcp.search.models import RelatedAnswer, SearchAnswer, SymbolAnswer
from codebase_mcp.service import Service, inputs, refresh
from codebase_mcp.settings import Settings
from codebase_mcp.storage import projects
from tests.support.runs import SERVED, everything
from tests.support.shelf import COOKIE, PROJECT, Shelf

NAMES = ("api", "shop", "web")
BAKERY = "class Bakery:\n    def bake(self):\n        return CookieJar()\n"
ONLY_SHOP = 'Searched only shop (working directory); repository="*" searches all 3.'

At = Callable[..., Service]
"""A service whose callers work in a folder below the test's own."""


def names(answer: SearchAnswer | SymbolAnswer | RelatedAnswer) -> set[str]:
    return {hit.repository for hit in answer.results}


def searched(answer: SearchAnswer | SymbolAnswer | RelatedAnswer) -> list[str]:
    return sorted(entry.repository for entry in answer.freshness)


@pytest.fixture
async def roots(shelf: Shelf, tmp_path: Path) -> Path:
    """The folder of three repositories with the same files, and one file each of its own."""
    async with shelf.database.transaction() as connection:
        await projects.ensure_project(connection, PROJECT)
    for name in NAMES:
        root = tmp_path / name
        texts = {
            "src/cookie.py": COOKIE,
            "src/bakery.py": BAKERY,
            f"src/{name}.py": f"def {name}_cookie():\n    pass\n",
        }
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        target = await shelf.repository(str(root))
        await shelf.write(target, texts)
        await shelf.finish(target)
    return tmp_path


@pytest.fixture
async def at(roots: Path, shelf: Shelf, settings: Settings) -> AsyncIterator[At]:
    async with AsyncExitStack() as stack:

        def make(*below: str, **options: Any) -> Service:
            options.setdefault("working_directory", lambda: roots.joinpath(*below))
            made = Service(settings.model_copy(update=SERVED | {"project_id": PROJECT}), **options)
            made.__dict__["_embedder"] = shelf.embedder
            stack.push_async_callback(made.close)
            return made

        yield make


async def ready(service: Service) -> Service:
    await service.launch()
    await service.ready(10)
    return service


# --- the working directory ---


@pytest.mark.parametrize("below", [("shop",), ("shop", "src")])
async def test_who_works_in_a_repository_searches_that_one(at: At, below: tuple[str, ...]) -> None:
    service = await ready(at(*below))
    for answer in (await service.search("cookie"), await service.find_symbol("CookieJar")):
        assert (names(answer), searched(answer)) == ({"shop"}, ["shop"])
        assert answer.warnings == [ONLY_SHOP]


async def test_each_server_finds_the_code_of_its_own_repository_first(at: At) -> None:
    for name in NAMES:
        answer = await (await ready(at(name))).search("cookie jar")
        assert names(answer) == {name}


async def test_a_star_searches_all_of_the_project(at: At) -> None:
    service = await ready(at("shop"))
    for answer in (
        await service.search("cookie", repository="*"),
        await service.find_symbol("CookieJar", repository="*"),
    ):
        assert names(answer) == set(NAMES)
        assert answer.warnings == []


async def test_who_names_a_repository_searches_that_one(at: At, roots: Path) -> None:
    service = await ready(at("shop"))
    for wanted in ("api", str(roots / "api"), (roots / "api" / "src").as_uri(), "../api"):
        answer = await service.search("cookie", repository=wanted)
        assert (names(answer), answer.warnings) == ({"api"}, [])
    answer = await service.search("cookie", path_glob=f"{roots}/web/src/*.py")
    assert (names(answer), answer.warnings) == ({"web"}, [])


async def test_who_works_elsewhere_searches_everything(at: At) -> None:
    answer = await (await ready(at())).search("cookie")
    assert (names(answer), answer.warnings) == (set(NAMES), [])


async def test_callers_of_a_shared_server_work_anywhere(at: At) -> None:
    service = await ready(at("shop", is_shared=True))
    assert names(await service.search("cookie")) == set(NAMES)
    with pytest.raises(RepositoryNotFoundError):
        await service.search("cookie", repository=".")


async def test_a_working_directory_that_is_a_link_or_was_deleted_is_no_riddle(
    at: At, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await ready(at(working_directory=inputs.working_directory))
    (roots / "link").symlink_to(roots / "shop")
    monkeypatch.chdir(roots / "link" / "src")
    assert names(await service.search("cookie")) == {"shop"}
    gone = roots / "shop" / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError):
        os.getcwd()
    assert names(await service.search("cookie")) == set(NAMES)


async def test_a_repository_that_is_being_indexed_for_the_first_time_is_not_answered_with_the_others(
    at: At, shelf: Shelf, roots: Path
) -> None:
    await shelf.start_job(str(roots / "new"))
    answer = await (await ready(at("new"))).search("cookie")
    assert answer.results == []
    assert [(entry.repository, entry.state) for entry in answer.freshness] == [("new", "indexing")]
    assert answer.warnings == ['Searched only new (working directory); repository="*" searches all 4.']


async def test_only_what_is_searched_is_brought_up_to_date(
    at: At, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "FRESH_WITHIN_SECONDS", 0.0)
    service = await ready(at("shop"))
    for name in NAMES:
        (roots / name / "src" / "cookie.py").write_text(f"# cookie of {name}\n")
    answer = await service.search("cookie", require_fresh=True)
    assert answer.warnings[0] == ONLY_SHOP
    assert [job.repo_path for job in (await service.list_jobs()).jobs] == [str(roots / "shop")]


async def test_a_server_rehearses_with_the_repository_in_which_it_works(at: At) -> None:
    service = await ready(at("shop"))
    asked: list[SearchAnswer] = []
    search = service.search

    async def remembered(*arguments: Any, **more: Any) -> SearchAnswer:
        asked.append(await search(*arguments, **more))
        return asked[-1]

    service.__dict__["search"] = remembered
    service.rehearse()
    assert service._rehearsal is not None
    await service._rehearsal
    assert [searched(answer) for answer in asked] == [["shop"]]


# --- find_related ---


async def test_a_path_is_sought_where_the_caller_works_first(at: At, roots: Path) -> None:
    service = await ready(at("shop", "src"))
    for path in ("src/cookie.py", "cookie.py", str(roots / "shop" / "src" / "cookie.py")):
        answer = await service.find_related(path, 1)
        assert answer.origin.file_path == str(roots / "shop" / "src" / "cookie.py")
        assert (names(answer), answer.warnings) == ({"shop"}, [ONLY_SHOP])


async def test_a_path_elsewhere_says_itself_whose_code_is_meant(at: At, roots: Path) -> None:
    service = await ready(at("shop"))
    file = roots / "api" / "src" / "cookie.py"
    for path in ("src/api.py", str(file), file.as_uri(), "../api/src/cookie.py"):
        answer = await service.find_related(path, 1)
        assert answer.origin.repository == "api"
        assert names(answer) == {"api"}
        assert answer.warnings == ['Searched only api (where file_path is); repository="*" searches all 3.']


async def test_with_a_star_what_is_related_may_be_anywhere(at: At, roots: Path) -> None:
    service = await ready(at("shop"))
    answer = await service.find_related(str(roots / "api" / "src" / "cookie.py"), 1, repository="*")
    assert names(answer) == set(NAMES)
    with pytest.raises(InvalidInputError, match="is in several repositories"):
        await service.find_related("src/cookie.py", 1, repository="*")


async def test_who_works_elsewhere_finds_what_is_related_anywhere(at: At, roots: Path) -> None:
    answer = await (await ready(at())).find_related(str(roots / "api" / "src" / "cookie.py"), 1)
    assert (names(answer), answer.warnings) == (set(NAMES), [])


async def test_a_file_that_nobody_has_is_said_to_be_in_no_repository(at: At) -> None:
    service = await ready(at("shop"))
    with pytest.raises(FileNotIndexedError, match=r"is in none of the indexed repositories \(.*api, .*shop, .*web\)"):
        await service.find_related("/elsewhere/a.py", 1)
    with pytest.raises(FileNotIndexedError, match=r"Indexed files of that name: src/api\.py"):
        await service.find_related("lib/api.py", 1)


# --- words that mean nothing ---

TEXTS = ("project_id", "repository", "language", "path_glob", "kind", "role")
NOTHING = ["", " ", "null", "None", "any", "undefined"]


@pytest.mark.parametrize("word", NOTHING)
async def test_a_filter_that_means_nothing_filters_nothing(at: At, word: str) -> None:
    service = await ready(at())
    answer = await service.search("cookie", **dict.fromkeys(TEXTS, word))
    assert (names(answer), answer.warnings) == (set(NAMES), [])
    of_symbol = dict.fromkeys(("project_id", "repository", "language", "path_glob", "kind"), word)
    assert names(await service.find_symbol("CookieJar", **of_symbol)) == set(NAMES)


@pytest.mark.parametrize("word", NOTHING)
async def test_a_repository_that_means_nothing_is_the_one_of_the_caller(at: At, word: str) -> None:
    assert names(await (await ready(at("shop"))).search("cookie", repository=word)) == {"shop"}


async def test_a_repository_called_any_is_found_by_its_name(at: At, shelf: Shelf, roots: Path) -> None:
    odd = await shelf.repository(str(roots / "any"))
    await shelf.write(odd, {"cookie.py": COOKIE})
    service = await ready(at("shop"))
    assert names(await service.search("cookie", repository="any")) == {"any"}
    assert len(names(await service.search("cookie", repository="*"))) == 4


async def test_a_project_called_any_is_found_by_its_name(at: At, shelf: Shelf) -> None:
    service = await ready(at())
    assert (await service.list_repositories(project_id="any")).project_id == PROJECT
    async with shelf.database.transaction() as connection:
        await projects.ensure_project(connection, "any")
    assert (await service.list_repositories(project_id="any")).project_id == "any"


async def test_numbers_out_of_range_are_answered_with_a_warning(at: At, roots: Path) -> None:
    service = await ready(at())
    many = {"limit": 100, "max_tokens": 1}
    told = ["limit 100 reduced to 50, the maximum.", "max_tokens 1 raised to 200, the minimum."]
    assert (await service.search("cookie", **many)).warnings == told
    assert (await service.find_symbol("CookieJar", **many)).warnings == told
    assert (await service.find_related(str(roots / "shop" / "src" / "cookie.py"), 1, **many)).warnings == told
    least = await service.search("cookie", limit=0, offset=-1)
    assert len(least.results) == 1
    assert least.warnings == ["limit 0 raised to 1, the minimum.", "offset -1 raised to 0, the minimum."]
    with pytest.raises(InvalidInputError, match="lines are counted from 1"):
        await service.find_related("src/cookie.py", 0)


@pytest.mark.parametrize("word", ["", " ", "*", "any", "all", "null", "'shop'", "src", "shop/src", "./src"])
async def test_nothing_is_guessed_where_an_index_is_deleted(at: At, shelf: Shelf, word: str) -> None:
    service = await ready(at("shop"))
    before = await everything(shelf.database)
    for arguments in ({"repository": word}, {"repository": "shop", "project_id": word}):
        with pytest.raises((RepositoryNotFoundError, InvalidInputError, ProjectNotFoundError)):
            await service.remove_repository(**arguments, confirmed=True)
    assert await everything(shelf.database) == before
    assert len((await service.list_repositories()).repositories) == 3


async def test_a_path_inside_a_repository_deletes_nothing(at: At, roots: Path) -> None:
    service = await ready(at("shop"))
    for wanted in (roots / "shop" / "src", roots / "shop" / "src" / "cookie.py"):
        with pytest.raises(RepositoryNotFoundError):
            await service.remove_repository(str(wanted), confirmed=True)
    assert (await service.remove_repository((roots / "web").as_uri(), confirmed=True)).name == "web"
    assert (await service.remove_repository(".", confirmed=True)).name == "shop"


# --- the project of a path ---


async def test_the_project_is_found_from_the_paths_among_the_arguments(at: At, roots: Path) -> None:
    service = await ready(at())
    config = roots / "api" / ".codebase-mcp" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"project_id": "elsewhere"}))
    file = roots / "api" / "src" / "cookie.py"
    for call in (
        service.find_related(str(file), 1),
        service.find_related(file.as_uri(), 1),
        service.search("cookie", repository=str(roots / "api")),
        service.search("cookie", path_glob=f"{roots}/api/src/*.py"),
        service.find_symbol("CookieJar", repository=str(roots / "api" / "src")),
        service.remove_repository(str(roots / "api"), confirmed=True),
    ):
        with pytest.raises(ProjectNotFoundError, match="'elsewhere'"):
            await call
    assert names(await service.search("cookie", repository="api")) == {"api"}
    assert names(await service.search("cookie", repository=str(roots / "api"), project_id=PROJECT)) == {"api"}
    assert names(await service.search("cookie", repository=str(roots / "shop"))) == {"shop"}


async def test_changes_are_counted_in_the_project_that_was_searched(at: At, roots: Path) -> None:
    (roots / ".codebase-mcp").mkdir()
    (roots / ".codebase-mcp" / "config.json").write_text(json.dumps({"project_id": "elsewhere"}))
    (roots / "shop" / ".codebase-mcp").mkdir()
    (roots / "shop" / ".codebase-mcp" / "config.json").write_text(json.dumps({"project_id": PROJECT}))
    service = await ready(at())
    answer = await service.search("cookie", repository=str(roots / "shop"))
    counted = await service.count_changes(answer, seconds=20, repository=str(roots / "shop"))
    assert counted.freshness[0].changed_files is not None


async def test_a_broken_configuration_above_a_path_is_refused_by_its_name(at: At, roots: Path) -> None:
    config = roots / "api" / ".codebase-mcp" / "config.json"
    config.parent.mkdir()
    config.write_text("{")
    service = await ready(at())
    with pytest.raises(InvalidInputError, match=rf"{config} is not JSON"):
        await service.search("cookie", repository=str(roots / "api"))
