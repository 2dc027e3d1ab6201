"""Whose code a request is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codebase_mcp.errors import InvalidInputError, RepositoryNotFoundError
from codebase_mcp.search.models import SearchRequest
from codebase_mcp.search.selection import Choices, Selection, choices_of
from codebase_mcp.storage.project_state import UnfinishedJob
from tests.support.corpus import repository

FLASK, DJANGO, OLD = (
    repository(1, "flask", "/code/flask"),
    repository(2, "Django", "/code/django"),
    repository(3, "flask", "/old/flask"),
)


def first_job(path: str, *, is_active: bool = True) -> UnfinishedJob:
    return UnfinishedJob(path, path.rpartition("/")[2], 0, is_active, is_active)


CHOICES = choices_of([FLASK, DJANGO, OLD], [first_job("/code/new"), first_job("/code/flask")])


def chosen(choices: Choices = CHOICES, **fields: Any) -> Selection:
    return choices.for_request(SearchRequest(query="x", project_id="p", **fields))


def paths(selection: Selection) -> list[str]:
    return [*(item.path for item in selection.repositories), *(job.repo_path for job in selection.first_jobs)]


EVERYTHING = ["/code/flask", "/code/django", "/old/flask", "/code/new"]


def test_without_a_hint_everything_is_searched_and_nothing_is_said() -> None:
    assert paths(chosen()) == EVERYTHING
    assert chosen().note is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("flask", ["/code/flask", "/old/flask"]),
        ("FLASK/", ["/code/flask", "/old/flask"]),
        (2, ["/code/django"]),
        ("2", ["/code/django"]),
        ("/old/flask/", ["/old/flask"]),
        ("django", ["/code/django"]),
        (" Django\n", ["/code/django"]),
        ("new", ["/code/new"]),
        ("/code/new", ["/code/new"]),
        ("file:///old/flask", ["/old/flask"]),
        ("file://localhost/old/flask/", ["/old/flask"]),
        ("file:///code/%66lask", ["/code/flask"]),
        ("/code/flask/src/app.py", ["/code/flask"]),
        ("/code/flask/src/", ["/code/flask"]),
        ("file:///code/django/a%20b.py", ["/code/django"]),
        ("/code/new/src", ["/code/new"]),
        (".", ["/code/django"]),
        ("../flask", ["/code/flask"]),
    ],
)
def test_a_repository_is_named_by_id_name_or_a_path_into_it(wanted: str | int, expected: list[str]) -> None:
    selection = chosen(repository=wanted, here="/code/django")
    assert paths(selection) == expected
    assert selection.note is None


def test_a_path_below_the_home_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/code")
    assert paths(chosen(repository="~/flask")) == ["/code/flask"]


def test_a_link_to_a_repository_or_into_it_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    choices = choices_of([repository(1, "real", str(tmp_path / "real")), FLASK], [])
    for wanted in ("link", "link/", "link/src"):
        assert paths(chosen(choices, repository=f"{tmp_path}/{wanted}")) == [str(tmp_path / "real")]


@pytest.mark.parametrize("word", ["", "  ", "null", "None", "any", "undefined", "N/A", "''", '""'])
def test_a_word_that_means_nothing_is_as_good_as_none(word: str) -> None:
    assert paths(chosen(repository=word)) == EVERYTHING
    assert chosen(repository=word, here="/code/django") == chosen(here="/code/django")


@pytest.mark.parametrize("word", ["*", "all", " * ", "**"])
def test_a_star_means_everything_wherever_the_caller_works(word: str) -> None:
    selection = chosen(repository=word, here="/code/django")
    assert paths(selection) == EVERYTHING
    assert selection.note is None


@pytest.mark.parametrize("name", ["any", "*", "all", "null"])
def test_a_repository_of_that_very_name_wins(name: str) -> None:
    choices = choices_of([FLASK, repository(9, name, "/code/odd")], [])
    assert paths(chosen(choices, repository=name, here="/code/flask")) == ["/code/odd"]


def test_a_first_job_has_no_id() -> None:
    assert paths(chosen(repository="None")) == EVERYTHING


@pytest.mark.parametrize("wanted", ["rails", "/code", "/code/flasks", "src", "acme/flask", "file://host/code/flask"])
def test_an_unknown_repository_is_refused_with_those_that_exist(wanted: str) -> None:
    with pytest.raises(RepositoryNotFoundError, match=r"is not in this project.* Indexed are: flask \(/code/flask\)"):
        chosen(repository=wanted, here="/code/django")
    with pytest.raises(RepositoryNotFoundError, match=r"none yet\. Index it first: start_indexing_background"):
        chosen(choices_of([], []), repository=wanted)


def test_a_relative_path_that_exists_leads_to_its_repository(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    choices = choices_of([repository(1, "here", str(tmp_path)), FLASK], [])
    for wanted in ("./src", "src/", "src"):
        assert paths(chosen(choices, repository=wanted, here=str(tmp_path))) == [str(tmp_path)]
    for wanted in ("./src", str(tmp_path).removeprefix("/")):
        with pytest.raises(RepositoryNotFoundError):
            chosen(choices, repository=wanted)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [("flaks", "Did you mean 'flask'?"), ("acme/Django", "Did you mean 'Django'?"), ("rails", None), ("any2", None)],
)
def test_a_repository_is_suggested_only_where_its_name_is_spelt_nearly_so(wanted: str, hint: str | None) -> None:
    with pytest.raises(RepositoryNotFoundError) as caught:
        chosen(repository=wanted)
    assert (hint or "Did you mean") in caught.value.message or hint is None
    assert ("Did you mean" in caught.value.message) is (hint is not None)


def test_of_very_many_repositories_some_are_named() -> None:
    choices = choices_of([repository(n, f"r{n}") for n in range(40)], [])
    with pytest.raises(RepositoryNotFoundError, match=r"r9 \(/r9\) and 30 more\."):
        chosen(choices, repository="rails")


def test_a_name_with_nul_is_refused() -> None:
    for wanted in ("a\0b", "file:///code/a%00b"):
        with pytest.raises((InvalidInputError, RepositoryNotFoundError)):
            chosen(repository=wanted)


# --- the caller's place ---


@pytest.mark.parametrize("here", ["/code/django", "/code/django/src/app"])
def test_who_works_in_a_repository_searches_that_one_and_hears_of_the_others(here: str) -> None:
    selection = chosen(here=here)
    assert paths(selection) == ["/code/django"]
    assert selection.note == 'Searched only Django (working directory); repository="*" searches all 4.'


@pytest.mark.parametrize("here", ["/", "/code", "/code/djangos", "/elsewhere"])
def test_who_works_elsewhere_searches_everything(here: str) -> None:
    assert paths(chosen(here=here)) == EVERYTHING


def test_where_there_is_nothing_else_nothing_is_said() -> None:
    selection = chosen(choices_of([DJANGO], []), here="/code/django")
    assert (paths(selection), selection.note) == (["/code/django"], None)


def test_of_nested_repositories_the_innermost_counts() -> None:
    outer, inner = repository(1, "outer", "/code"), repository(2, "inner", "/code/lib/inner")
    choices = choices_of([outer, inner], [])
    assert paths(chosen(choices, here="/code/lib/inner/src")) == ["/code/lib/inner"]
    assert paths(chosen(choices, here="/code/lib")) == ["/code"]
    assert paths(chosen(choices, repository="/code/lib/inner/a.py")) == ["/code/lib/inner"]


def test_the_whole_disk_is_a_repository_like_any_other() -> None:
    choices = choices_of([repository(1, "disk", "/"), DJANGO], [])
    assert paths(chosen(choices, here="/elsewhere")) == ["/"]
    assert paths(chosen(choices, here="/code/django/x")) == ["/code/django"]


def test_a_repository_that_is_being_indexed_for_the_first_time_is_searched_alone() -> None:
    selection = chosen(here="/code/new/src")
    assert paths(selection) == ["/code/new"]
    assert selection.note == 'Searched only new (working directory); repository="*" searches all 4.'


def test_a_first_job_that_ended_without_an_index_does_not_hide_the_others() -> None:
    choices = choices_of([FLASK], [first_job("/code/new", is_active=False)])
    assert paths(chosen(choices, here="/code/new")) == ["/code/flask", "/code/new"]
    assert paths(chosen(choices, repository="new")) == ["/code/new"]


# --- the paths of a request ---


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("/code/flask/src/**", ["/code/flask"]),
        ("/code/flask", ["/code/flask"]),
        ("{/code/flask/src,/old/flask}/**", ["/code/flask", "/old/flask"]),
        ("/code/new/**", ["/code/new"]),
        ("/code/*/src/**", ["/code/django"]),
        ("{/code/flask,src}/**", ["/code/django"]),
        ("{/code/flask,/elsewhere}/**", ["/code/django"]),
        ("/src/**", ["/code/django"]),
        ("src/**", ["/code/django"]),
    ],
)
def test_an_absolute_glob_says_which_repository_is_meant(glob: str, expected: list[str]) -> None:
    assert paths(chosen(path_glob=glob, here="/code/django")) == expected
    assert paths(chosen(path_glob=glob, repository="/old/flask", here="/code/django")) == ["/old/flask"]


def test_what_a_path_decides_is_told_when_there_is_more() -> None:
    selection = CHOICES.containing("/code/flask/src/app.py", "where file_path is")
    assert paths(selection) == ["/code/flask"]
    assert selection.note == 'Searched only flask (where file_path is); repository="*" searches all 4.'
    assert not CHOICES.containing("/elsewhere/app.py", "where file_path is")
