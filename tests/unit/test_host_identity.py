"""Which host this is, and whether its data directory came from another one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from codebase_mcp.domain import Host, host_label
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.settings import Settings
from codebase_mcp.storage.host_identity import FILE_NAME, HostIdentity, identify_host

ONE, OTHER = "1" * 32, "2" * 32
EXTERNAL = SecretStr("postgresql://db.example/shared")


def identified(data_dir: Path, machine: str | None, *, is_embedded: bool = False, host_id: str = "") -> HostIdentity:
    settings = Settings(data_dir=data_dir, database_url=None if is_embedded else EXTERNAL, host_id=host_id or None)
    return identify_host(settings, read_machine_id=lambda: machine)


@pytest.mark.parametrize("machine", [ONE, None])
def test_an_identity_is_made_once_and_kept(tmp_path: Path, machine: str | None) -> None:
    first = identified(tmp_path / "data", machine)
    assert identified(tmp_path / "data", machine) == first
    assert (first.former_ids, first.copied_from) == ((), None)
    assert identified(tmp_path / "other", machine).host.id != first.host.id


def test_a_setting_comes_before_what_is_kept(tmp_path: Path) -> None:
    kept = identified(tmp_path, ONE).host.id
    assert identified(tmp_path, ONE, host_id="build-1").host.id == "build-1"
    assert identified(tmp_path, ONE, host_id="build-1").former_ids == (kept,), "what was its own stays so"
    assert identified(tmp_path, OTHER, host_id="build-2").former_ids == (), "that was another machine's"


@pytest.mark.parametrize("host_id", ["a b", "x" * 101, "a/b", "a\nb"])
def test_an_identity_that_is_no_name_is_refused(tmp_path: Path, host_id: str) -> None:
    with pytest.raises(ValidationError, match="letters, digits, dots, hyphens and underscores"):
        identified(tmp_path, ONE, host_id=host_id)


def test_a_data_directory_that_was_copied_to_a_second_machine_is_noticed_there(tmp_path: Path) -> None:
    first = identified(tmp_path, ONE)
    second = identified(tmp_path, OTHER)
    assert second.host.id != first.host.id
    assert second.copied_from == first.host.id
    assert identified(tmp_path, OTHER) == second
    assert identified(tmp_path, ONE) == first, "on the first machine nothing has changed"


def test_an_embedded_database_goes_with_the_data_directory(tmp_path: Path) -> None:
    first = identified(tmp_path, ONE, is_embedded=True)
    second = identified(tmp_path, OTHER, is_embedded=True)
    assert second.former_ids == (first.host.id,)


@pytest.mark.parametrize("first", [ONE, None])
def test_without_a_word_of_the_system_nothing_is_noticed(tmp_path: Path, first: str | None) -> None:
    made = identified(tmp_path, first)
    assert identified(tmp_path, None).host == made.host
    assert identified(tmp_path, ONE) == made, "the first machine that says what it is has nobody before it"


def test_many_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from codebase_mcp.settings import Settings;"
        "from codebase_mcp.storage.host_identity import identify_host; sys.stdin.readline();"
        "print(identify_host(Settings(data_dir=Path(sys.argv[1]))).host.id)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "new")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert len({racer.communicate()[0] for racer in racers}) == 1
    assert [racer.returncode for racer in racers] == [0] * 4


@pytest.mark.parametrize("text", ["", "{}", '{"host_id": "", "machines": {}}', '{"host_id": "x", "machines": 1}', "[]"])
def test_a_damaged_identity_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(InvalidInputError, match=r"host\.json is damaged.*CODEBASE_MCP_HOST_ID"):
        identified(tmp_path, ONE)
    assert (tmp_path / FILE_NAME).read_text() == text


def test_an_identity_that_cannot_be_kept_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=r"cannot be kept in .*Give this user write access"):
        identified(tmp_path / "file", ONE)
    assert identified(tmp_path / "file" / "deeper", ONE, host_id="build-1").host.id == "build-1"


def test_no_machine_can_be_told_from_the_file(tmp_path: Path) -> None:
    identified(tmp_path, ONE)
    assert ONE not in (tmp_path / FILE_NAME).read_text()
    assert list(json.loads((tmp_path / FILE_NAME).read_text())) == ["host_id", "machines"]


MADE = "0f2d8a52-9c1d-4e55-8a51-0b9a5f0c3f11"


@pytest.mark.parametrize(
    ("host_id", "name", "label"),
    [
        ("own", "laptop", None),
        (None, None, "no known host"),
        (MADE, "desk", "desk"),
        (MADE, "laptop", "laptop (0f2d8a52)"),
        (MADE, None, MADE),
        ("build-1", "3f2a9c", "build-1"),
    ],
)
def test_a_host_is_called_what_people_know_it_by(host_id: str | None, name: str | None, label: str | None) -> None:
    assert host_label(host_id, name, Host("own", "laptop")) == label
