"""Servers and addresses as people have them: what does not fit is refused with the cause and the remedy."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import struct
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from codebase_mcp.errors import CodebaseMcpError, DatabaseError, DatabaseUnavailableError, SchemaMismatchError
from codebase_mcp.service import Service
from codebase_mcp.settings import Settings
from codebase_mcp.storage.address import driver_address
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.driver_errors import classify
from codebase_mcp.storage.embedded import Layout
from codebase_mcp.storage.migrate import migrate_control, migrate_project, require_sessions
from tests.support.postgres import TestServer
from tests.support.waiting import until
from tests.unit.test_database import raised


@pytest.fixture
def empty_url(postgres: TestServer) -> Iterator[str]:
    with postgres.fresh_database("template1") as url:
        yield url


@pytest.fixture
def role(postgres: TestServer) -> Iterator[str]:
    name = f"role_{uuid.uuid4().hex}"
    postgres.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    postgres.execute(f"DROP ROLE {name}")


def as_role(url: str, role: str) -> str:
    return sa.make_url(url).set(username=role).render_as_string(hide_password=False)


def name_of(url: str) -> str:
    return str(sa.make_url(url).database)


async def opened(url: str) -> None:
    """What a process does with a database first."""
    database = Database(url, application_name="tests", control_seconds=5)
    try:
        await require_sessions(database)
        await migrate_control(database)
        await migrate_project(database, "cb_proj_default_37a8eec1")
    finally:
        await database.close()


async def refusal(url: str) -> str:
    with pytest.raises(CodebaseMcpError) as raised:
        await opened(url)
    return raised.value.message


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hunter2@h:99999/d", "has the port 99999; it must be between 1 and 65535"),
        ("postgresql://u:hunter2@h/d?host=/run&port=0", "has the port 0; it must be"),
        ("postgresql://u:hunter2@h/d?sslrootcert=/nonexistent/root.crt", "sslrootcert=/nonexistent/root.crt, a file"),
        (
            "postgresql://u:hunter2@h/d?sslmode=require&sslkey=~/none.key",
            "sslkey=~/none.key, a file that cannot be read",
        ),
        ("postgresql://u:hunter2@127.0.0.1/d?sslmode=always", "database_url is not usable: `sslmode`"),
        ("postgresql://u:hunter2@127.0.0.1/d?gsslib=odd", "database_url is not usable: gsslib"),
    ],
)
async def test_an_address_that_cannot_work_is_refused_with_what_is_wrong_in_it(url: str, message: str) -> None:
    said = await refusal(url)
    assert message in said
    assert "hunter2" not in said


def test_blanks_around_an_address_do_not_matter() -> None:
    assert driver_address("  postgresql://u@h/d \n") == ("postgresql://u@h/d", None)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("&foo=bar", 'unrecognized configuration parameter "foo". Correct what follows the question mark'),
        ("&work_mem=soon", "Correct what follows the question mark"),
        ("&target_session_attrs=standby", "No server of database_url is what its target_session_attrs asks for"),
    ],
)
async def test_what_follows_the_question_mark_is_named_when_the_server_refuses_it(
    database_url: str, query: str, message: str
) -> None:
    assert message in await refusal(database_url + query)


async def test_an_unknown_database_or_user_is_named_with_the_remedy(database_url: str) -> None:
    said = await refusal(database_url.replace(name_of(database_url), "no_such_database"))
    assert 'database "no_such_database" does not exist. Correct the name in database_url, or create' in said
    said = await refusal(as_role(database_url, "no_such_role"))
    assert 'role "no_such_role" does not exist. Correct user, host or sslmode in database_url' in said


# --- servers ---


async def test_the_extension_may_be_in_a_schema_that_is_not_searched(postgres: TestServer, empty_url: str) -> None:
    postgres.execute('CREATE SCHEMA "Odd ext"; CREATE EXTENSION vector SCHEMA "Odd ext"', name_of(empty_url))
    for url in (empty_url, f"{empty_url}&search_path=elsewhere"):
        await opened(url)
        database = Database(url, application_name="tests")
        async with database.transaction("search") as connection:
            distance = "SELECT CAST('[1,2]' AS halfvec) <=> CAST('[2,1]' AS halfvec)"
            assert await connection.scalar(sa.text(distance)) == pytest.approx(0.2)
        await database.close()


@pytest.mark.parametrize("path", ["elsewhere", "''", "pg_catalog"])
async def test_a_role_that_does_not_search_public_gets_the_extension_there(
    postgres: TestServer, empty_url: str, path: str
) -> None:
    name = name_of(empty_url)
    postgres.execute(f"ALTER DATABASE {name} SET search_path = {path}")
    await opened(empty_url)


async def test_an_extension_that_the_role_may_not_use_is_named(postgres: TestServer, empty_url: str, role: str) -> None:
    name = name_of(empty_url)
    postgres.execute("CREATE SCHEMA hidden; CREATE EXTENSION vector SCHEMA hidden", name)
    postgres.execute(f"GRANT CREATE ON DATABASE {name} TO {role}")
    assert 'GRANT USAGE ON SCHEMA "hidden"' in await refusal(as_role(empty_url, role))
    postgres.execute(f"GRANT USAGE ON SCHEMA hidden TO {role}", name)
    await opened(as_role(empty_url, role))
    postgres.execute(f"DROP OWNED BY {role} CASCADE", name)


async def test_a_host_without_an_address_is_what_is_said_to_be_wrong() -> None:
    assert "the host in database_url has no address" in await refusal("postgresql://u:p@no-such-host.invalid/d")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_an_encoding_that_cannot_hold_all_code_is_refused(postgres: TestServer, encoding: str) -> None:
    name = f"test_{uuid.uuid4().hex}"
    how = f"ENCODING '{encoding}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgres.execute(f"CREATE DATABASE {name} {how}")
    try:
        assert f"encoding {encoding}, which cannot hold all source code" in await refusal(postgres.url_of(name))
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_role_without_privileges_is_told_what_it_needs(postgres: TestServer, empty_url: str, role: str) -> None:
    assert "Run `CREATE EXTENSION vector` in this database" in await refusal(as_role(empty_url, role))
    postgres.execute("CREATE EXTENSION vector", name_of(empty_url))
    assert "needs CREATE on the database (GRANT CREATE ON DATABASE" in await refusal(as_role(empty_url, role))
    await opened(empty_url)
    said = await refusal(as_role(empty_url, role))
    assert "permission denied for schema codebase_mcp" in said
    assert "connect as the role that owns them" in said


async def test_a_read_only_role_is_told_why(postgres: TestServer, empty_url: str, role: str) -> None:
    postgres.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    assert "Transactions of this database user are read-only" in await refusal(as_role(empty_url, role))


def test_little_shared_memory_is_not_a_full_disk() -> None:
    words = 'could not resize shared memory segment "/PostgreSQL.1" to 67145024 bytes: No space left on device'
    error = classify(raised("53100", words))
    assert type(error) is DatabaseError
    assert "short of shared memory, not of disk" in str(error)
    read_only = classify(raised("58030", 'could not open shared memory segment "/PostgreSQL.1": Read-only file system'))
    assert "--shm-size" in str(read_only)


async def test_doctor_says_the_same(settings: Settings, postgres: TestServer, role: str) -> None:
    postgres.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    url = as_role(str(settings.database_url.get_secret_value()), role)  # type: ignore[union-attr]
    service = Service(settings.model_copy(update={"database_url": SecretStr(url), "worker": "external"}))
    try:
        await service.launch()
        (check,) = [check for check in await service.doctor() if check.name == "database"]
    finally:
        await service.close()
    assert not check.is_ok
    assert "Transactions of this database user are read-only" in check.detail


# --- poolers ---


@contextlib.asynccontextmanager
async def particular_server(server: TestServer, folder: Path) -> AsyncIterator[Path]:
    """The socket directory of a server that refuses settings at the start of a connection, as poolers do."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = await reader.readexactly(struct.unpack("!i", head := await reader.readexactly(4))[0] - 4)
        names = opening[4:].split(b"\0")[::2]
        if unknown := [name for name in names if name not in (b"user", b"database", b"client_encoding", b"")]:
            fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: " + unknown[0] + b"\0\0"
            writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            writer.close()
            return
        there = await asyncio.open_unix_connection(str(Layout(server.data_dir).socket_dir / ".s.PGSQL.5432"))
        there[1].write(head + opening)
        await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))

    async with await asyncio.start_unix_server(serve, str(folder / ".s.PGSQL.5432")):
        yield folder


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
    target.close()


async def test_settings_that_a_pooler_refuses_are_set_once_the_connection_stands(
    postgres: TestServer, database_url: str, tmp_path: Path
) -> None:
    async with particular_server(postgres, tmp_path) as folder:
        url = sa.make_url(database_url).update_query_dict({"host": str(folder)}).render_as_string(hide_password=False)
        database = Database(url, application_name="tests", control_seconds=1)
        assert await database.keeps_sessions()
        async with database.transaction() as connection:
            assert await connection.scalar(sa.text("SHOW statement_timeout")) == "900ms"
            assert await connection.scalar(sa.text("SHOW application_name")) == "tests"
        await database.close()


needs_pgbouncer = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")


@contextlib.asynccontextmanager
async def pgbouncer(server: TestServer, folder: Path, mode: str) -> AsyncIterator[int]:
    """The port of a PgBouncer in front of the server."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    socket_dir = Layout(server.data_dir).socket_dir
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={socket_dir} port=5432 user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n"
    )
    options: dict[str, Any] = {"user": socket_dir.stat().st_uid} if socket_dir.stat().st_uid else {}
    with configuration.open() as text:
        process = await asyncio.create_subprocess_exec("pgbouncer", "-q", "/dev/stdin", stdin=text, **options)
    try:
        await until(lambda: _listens(port), what="PgBouncer", seconds=20)
        yield port
    finally:
        process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
async def test_a_pooler_works_by_session_and_is_refused_otherwise(
    postgres: TestServer, database_url: str, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(postgres, tmp_path, mode) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/{name_of(database_url)}"
        if mode == "session":
            await opened(url)
        else:
            with pytest.raises(SchemaMismatchError, match="pool_mode=session"):
                await opened(url)


async def test_a_server_that_is_away_is_waited_for() -> None:
    with pytest.raises(DatabaseUnavailableError, match="Check that it is running"):
        await opened("postgresql://u@127.0.0.1:1/d")
