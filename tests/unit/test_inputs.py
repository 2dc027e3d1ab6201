"""Refusals of what callers give: each says what is wrong, with the value, and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.service import inputs
from tests.support.repositories import folder_for_anybody, ordinary_user


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "home" / "src" / "shop"
    root.mkdir(parents=True)
    (root / "a.py").write_text("x = 1\n")
    return root


def refusal(repo_path: object, *, allow_large_root: bool = False) -> str:
    with pytest.raises(InvalidInputError) as caught:
        inputs.repository_root(str(repo_path), allow_large_root=allow_large_root)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value.message


def test_a_repository_is_known_by_its_real_path(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository)
    for given in (repository, tmp_path / "link", f"{repository}/../shop/"):
        assert inputs.repository_root(str(given), allow_large_root=False) == repository


@pytest.mark.parametrize("given", ["", "   "])
def test_an_empty_path_is_refused(given: str) -> None:
    assert "repo_path is empty" in refusal(given)


def test_a_path_below_the_home_or_as_an_address_is_understood(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(repository.parent))
    for given in ("~/shop", repository.as_uri(), f"file://localhost{repository}/", f" {repository}\n"):
        assert inputs.repository_root(given, allow_large_root=False) == repository


@pytest.mark.parametrize("given", ["shop", "./shop", "file://elsewhere/shop", "https://example.org/shop"])
def test_a_relative_path_is_refused(given: str) -> None:
    assert f"must be absolute, got '{given}'" in refusal(given)


def test_a_path_with_nul_is_refused() -> None:
    assert "NUL" in refusal("/src\0shop")
    assert "NUL" in refusal("file:///src%00shop")


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}/gone does not exist" in refusal(tmp_path / "gone")


def test_a_file_is_refused(repository: Path) -> None:
    assert "is a file, not a directory" in refusal(repository / "a.py")
    assert "leads through a file" in refusal(repository / "a.py" / "b")


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    assert "is empty: there is nothing to index" in refusal(tmp_path / "void")


def test_links_that_turn_in_circles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "cannot be opened" in refusal(tmp_path / "a")


def test_a_name_that_no_system_can_hold_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / ("x" * 300))


def test_an_unreadable_directory_is_refused() -> None:
    with folder_for_anybody() as folder:
        (folder / "closed").mkdir()
        with ordinary_user(folder):
            (folder / "closed").chmod(0)
            assert "permission denied" in refusal(folder / "closed")


def test_disks_and_homes_are_refused_unless_they_are_meant(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for root in (tmp_path / "home", tmp_path, Path("/")):
        assert "(allow_large_root)" in refusal(root)
        assert inputs.repository_root(str(root), allow_large_root=True) == root
    assert inputs.repository_root(str(tmp_path / "home" / "src"), allow_large_root=False)


def test_without_a_home_only_the_disk_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert "whole disk" in refusal("/")
    assert inputs.repository_root(str(repository), allow_large_root=False) == repository


@pytest.mark.parametrize("good", ["a", "My_project-1", "x" * 255])
def test_plain_project_ids_are_taken(good: str) -> None:
    assert inputs.checked_project_id(good) == good


@pytest.mark.parametrize("bad", ["", "x" * 256, "a b", "a;DROP", "é", "a/b", "a\n"])
def test_other_project_ids_are_refused_and_shown_in_part(bad: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 255 letters") as caught:
        inputs.checked_project_id(bad)
    assert len(caught.value.message) < 200


def test_a_name_is_trimmed_and_that_of_the_directory_where_none_is_given() -> None:
    root = Path("/src/shop")
    assert inputs.checked_name(" My shop ", root) == "My shop"
    for absent in (None, "", "  ", "null", "None", "*"):
        assert inputs.checked_name(absent, root) == "shop"
    assert inputs.checked_name(None, Path("/")) == "/"
    for bad in ("x" * 256, "a\0b"):
        with pytest.raises(InvalidInputError, match="name"):
            inputs.checked_name(bad, root)


def configure(folder: Path, content: str) -> None:
    (folder / ".codebase-mcp").mkdir()
    (folder / ".codebase-mcp" / "config.json").write_text(content)


def test_a_project_is_named_by_the_call_then_the_nearest_config_then_the_setting(repository: Path) -> None:
    assert inputs.resolve_project(None, [repository], "setting") == "setting"
    configure(repository.parent, json.dumps({"project_id": "above"}))
    assert inputs.resolve_project(None, [repository], "setting") == "above"
    configure(repository, json.dumps({"project_id": "nearest"}))
    assert inputs.resolve_project(None, [repository], "setting") == "nearest"
    assert inputs.resolve_project("explicit", [repository], "setting") == "explicit"


def test_the_first_path_below_a_config_names_the_project(repository: Path, tmp_path: Path) -> None:
    configure(repository, json.dumps({"project_id": "shop"}))
    elsewhere = tmp_path / "home" / "elsewhere"
    elsewhere.mkdir()
    assert inputs.resolve_project(None, [elsewhere, repository / "gone" / "a.py"], "setting") == "shop"
    configure(elsewhere, json.dumps({"project_id": "other"}))
    assert inputs.resolve_project(None, [elsewhere, repository], "setting") == "other"


def test_of_the_arguments_the_absolute_paths_may_lie_in_a_project(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository)
    assert inputs.resolve_project(None, inputs.absolute_paths(f"{repository}/{'x' * 5_000}"), "setting") == "setting"
    given = [None, 7, "shop", "src/**", f"{tmp_path}/link/*.py", repository.as_uri(), "*", "/a\0b"]
    assert inputs.absolute_paths(*given) == [repository, repository]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 90_000, "is not JSON"),
        ("[1]", 'no text under "project_id"'),
        ("{}", 'no text under "project_id"'),
        ('{"project_id": 7}', 'no text under "project_id", but 7'),
        ('{"project_id": null}', 'no text under "project_id"'),
        (json.dumps({"project_id": ["x" * 500]}), 'no text under "project_id", but ["xxx'),
        ('{"project_id": ""}', "'' is not valid"),
        ('{"project_id": "a b"}', "'a b' is not valid"),
        ('{"project_id": "../up"}', "'../up' is not valid"),
        ('{"project_id": "a\\u0000b"}', r"'a\x00b' is not valid"),
        ('{"project_id": "a; DROP SCHEMA"}', "'a; DROP SCHEMA' is not valid"),
        (json.dumps({"project_id": "x" * 256}), "1 to 255 letters"),
        (" " * 100_001, "has 100,001 bytes"),
    ],
    ids=lambda text: text[:20],
)
def test_a_config_file_that_names_no_project_is_refused_by_its_path(
    repository: Path, content: str, complaint: str
) -> None:
    configure(repository, content)
    with pytest.raises(InvalidInputError, match=r"config\.json") as caught:
        inputs.resolve_project(None, [repository], "setting")
    assert complaint in caught.value.message
    assert caught.value.code == "VALIDATION_ERROR"
    assert len(caught.value.message) < 500


def test_a_config_with_a_byte_order_mark_is_read(repository: Path) -> None:
    configure(repository, '\ufeff{"project_id": "marked"}')
    assert inputs.resolve_project(None, [repository], "setting") == "marked"


def refused_config(near: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        inputs.resolve_project(None, [near], "setting")
    assert str(near / ".codebase-mcp" / "config.json") in caught.value.message
    return caught.value.message


def test_a_config_that_is_no_file_is_refused(repository: Path) -> None:
    config = repository / ".codebase-mcp" / "config.json"
    config.mkdir(parents=True)
    assert "is not a file" in refused_config(repository)
    config.rmdir()
    config.symlink_to("gone.json")
    assert "cannot be read (No such file" in refused_config(repository)
    config.unlink()
    config.symlink_to(config.name)
    assert "cannot be read (Too many levels" in refused_config(repository)
    config.unlink()
    os.mkfifo(config)
    assert "is not a file" in refused_config(repository)


def test_a_config_that_is_no_text_is_refused(repository: Path) -> None:
    configure(repository, "")
    (repository / ".codebase-mcp" / "config.json").write_bytes(b'{"project_id": "caf\xe9"}')
    assert "is not UTF-8 text" in refused_config(repository)


@pytest.mark.parametrize("closed", [".codebase-mcp/config.json", ".codebase-mcp"])
def test_a_config_that_cannot_be_read_is_refused(closed: str) -> None:
    """Prevents: a project taken from further up, or the default one, because of a missing permission."""
    with folder_for_anybody() as folder:
        configure(folder, '{"project_id": "hidden"}')
        with ordinary_user(folder):
            (folder / closed).chmod(0)
            assert "Permission denied" in refused_config(folder)


def test_a_folder_that_only_looks_like_a_configuration_is_passed_over(repository: Path) -> None:
    (repository / ".codebase-mcp").write_text("a file of this name")
    assert inputs.resolve_project(None, [repository], "setting") == "setting"


def test_what_must_be_confirmed_says_so() -> None:
    inputs.refuse_unconfirmed(True, "Leaving")
    with pytest.raises(InvalidInputError, match=r"Leaving needs confirmed=true\. Nothing was changed\."):
        inputs.refuse_unconfirmed(False, "Leaving")
