"""Programs from npm: installed once, or not at all and said why."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import npm


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but a shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def pretend(programs: Path, name: str, script: str) -> None:
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_package_is_installed_once(programs: Path, tmp_path: Path) -> None:
    pretend(programs, "npm", f'echo "$@" >> {tmp_path}/calls; echo > package')
    folder = npm.install("it", "it@1.0.0", cache=tmp_path / "cache")
    assert npm.install("it", "it@1.0.0", cache=tmp_path / "cache") == folder
    assert (folder / "package").exists()
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert f"--ignore-scripts --before {npm.AS_OF} it@1.0.0" in call


def test_an_installation_that_fails_leaves_nothing_and_says_why(programs: Path, tmp_path: Path) -> None:
    pretend(programs, "npm", "echo no such registry >&2; exit 1")
    with pytest.raises(npm.NpmUnavailableError, match=r"npm cannot install it@1\.0\.0: no such registry"):
        npm.install("it", "it@1.0.0", cache=tmp_path / "cache")
    pretend(programs, "npm", "exit 0")
    assert npm.install("it", "it@1.0.0", cache=tmp_path / "cache").exists()


@pytest.mark.usefixtures("programs")
def test_a_machine_without_node_or_npm_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(npm.NpmUnavailableError, match=r"Node\.js is not installed"):
        npm.node()
    with pytest.raises(npm.NpmUnavailableError, match="npm is not installed"):
        npm.install("it", "it@1.0.0", cache=tmp_path / "cache")


def test_a_node_of_the_machine_is_used_when_it_is_new_enough(programs: Path) -> None:
    pretend(programs, "node", f"echo v{npm.OLDEST_NODE}.1.0")
    assert npm.node() == programs / "node"
