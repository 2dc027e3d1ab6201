"""Which programs run, as whom, and what their failures mean."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from codebase_mcp.errors import DatabaseError, StorageFullError
from codebase_mcp.storage.embedded import Layout, is_answering
from codebase_mcp.storage.embedded_install import CURRENT_MAJOR, Account, Installation, account_for, bundled_tree

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Its program `speak` prints its second argument and ends with its first as status."""
    program = tmp_path / "speak"
    program.write_text('#!/bin/sh\nprintf "$2"\nexit "$1"\n')
    program.chmod(0o755)
    return Installation(tmp_path, CURRENT_MAJOR, None)


def test_the_output_of_a_program_is_returned(installation: Installation) -> None:
    assert installation.run("speak", "0", "one\\ntwo") == "one\ntwo"


def test_a_program_that_fails_is_quoted_with_its_last_lines(installation: Installation) -> None:
    with pytest.raises(DatabaseError, match=r"speak failed with status 3: two \| three \| four"):
        installation.run("speak", "3", "one\\ntwo\\nthree\\nfour\\n")


def test_a_program_that_fails_in_silence_is_reported_as_such(installation: Installation) -> None:
    with pytest.raises(DatabaseError, match="it printed nothing"):
        installation.run("speak", "1", "")


def test_a_program_that_found_the_disk_full_is_reported_as_such(installation: Installation) -> None:
    with pytest.raises(StorageFullError):
        installation.run("speak", "1", "could not write: No space left on device")


def test_a_program_sees_nothing_of_our_environment(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    (installation.bin_dir / "show").write_text("#!/bin/sh\nenv\n")
    (installation.bin_dir / "show").chmod(0o755)
    assert "PGDATA" not in installation.run("show")


@pytest.mark.parametrize("package", ["json", "no_such_package"])
def test_a_package_without_programs_is_an_error_with_advice(package: str) -> None:
    with pytest.raises(DatabaseError, match="Install codebase-mcp again, or set CODEBASE_MCP_DATABASE_URL"):
        bundled_tree(CURRENT_MAJOR, package)


@only_root
@pytest.mark.parametrize(("uid", "name"), [(65534, "nobody"), (4_242, "4242")])
def test_the_owner_of_the_data_goes_on_running_them(tmp_path: Path, uid: int, name: str) -> None:
    os.chown(tmp_path, uid, uid)
    assert account_for(tmp_path) == Account(name, uid, uid)


def test_nobody_runs_them_when_no_user_can_be_made(tmp_path: Path) -> None:
    commands = [("no-such-command",), ("false",), ("true",)]
    assert account_for(tmp_path / "none", "no-such-user", commands).name == "nobody"


def test_the_socket_path_always_fits(tmp_path: Path) -> None:
    limit = 103 if sys.platform == "darwin" else 107
    for length in range(1, 120):
        layout = Layout(Path("/" + "d" * length))
        assert len(str(layout.socket_dir / ".s.PGSQL.5432")) <= limit
    assert Layout(tmp_path).socket_dir == tmp_path / "run" or len(str(tmp_path)) > 80


def hang_up_on_the_next(server: socket.socket) -> None:
    server.accept()[0].close()


def test_a_peer_that_hangs_up_is_no_server() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name, socket.socket(socket.AF_UNIX) as server:
        data_dir = Path(name)
        (data_dir / "run").mkdir()
        server.bind(str(data_dir / "run" / ".s.PGSQL.5432"))
        server.listen()
        peer = threading.Thread(target=hang_up_on_the_next, args=(server,))
        peer.start()
        assert not is_answering(data_dir)
        peer.join()
