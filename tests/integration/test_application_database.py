"""DATABASE_URL of the application that somebody works on: nothing is made there, and no index there is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from codebase_mcp.cli.session import prepare
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.service.application_database import check_application_database, require_choice
from codebase_mcp.settings import Settings
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.migrate import installed_revision, migrate_control
from tests.support.postgres import TestServer
from tests.support.settings import without_settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_settings(monkeypatch, tmp_path / "config.toml")
    monkeypatch.setenv("CODEBASE_MCP_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def application_url(postgres: TestServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a database that holds a table of an application."""
    with postgres.fresh_database("template1") as url:
        postgres.execute("CREATE TABLE customers (id int)", url.partition("?")[0].rpartition("/")[2])
        monkeypatch.setenv("DATABASE_URL", url)
        yield url


def test_a_database_without_an_index_is_ignored_and_not_asked_again(
    application_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = prepare("cli")
    assert settings.is_embedded
    (remembered,) = settings.data_dir.glob("ignored-databases")
    assert len(remembered.read_text().split()) == 1
    assert "customers" not in remembered.read_text()
    monkeypatch.setattr(Database, "transaction", lambda *_: pytest.fail("it was asked again"))
    require_choice(settings)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root@localhost/shop",
        "sqlite:///db.sqlite3",
        "postgresql://u@127.0.0.1:1/none",
        "nonsense",
        "://",
        "é\x01",
    ],
)
def test_an_address_that_cannot_be_asked_is_ignored(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert prepare("cli").is_embedded


def test_an_index_kept_there_is_asked_about_until_there_is_an_answer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="holds an index of codebase-mcp") as raised:
            prepare("serve")
        assert "CODEBASE_MCP_DATABASE_URL" in raised.value.message
        assert "CODEBASE_MCP_USE_DATABASE_URL=false" in raised.value.message
    monkeypatch.setenv("CODEBASE_MCP_USE_DATABASE_URL", "false")
    assert prepare("serve").is_embedded
    monkeypatch.setenv("CODEBASE_MCP_USE_DATABASE_URL", "true")
    assert prepare("serve").database_url == SecretStr(database_url)
    monkeypatch.delenv("CODEBASE_MCP_USE_DATABASE_URL")
    monkeypatch.setenv("CODEBASE_MCP_DATABASE_URL", database_url)
    assert prepare("serve").database_url == SecretStr(database_url)


def test_a_password_is_neither_shown_nor_remembered(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url.replace("postgres@", "postgres:hunter2@"))
    with pytest.raises(InvalidInputError) as raised:
        prepare("cli")
    assert "hunter2" not in raised.value.message


async def test_doctor_says_what_became_of_it(
    application_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = await check_application_database(Settings())
    assert check is not None
    assert (check.is_ok, check.detail.startswith("ignored, as it usually belongs")) == (True, True)
    monkeypatch.setenv("DATABASE_URL", database_url)
    check = await check_application_database(Settings())
    assert check is not None
    assert not check.is_ok
    assert "CODEBASE_MCP_USE_DATABASE_URL=true" in str(check.fix)
    monkeypatch.setenv("CODEBASE_MCP_USE_DATABASE_URL", "true")
    check = await check_application_database(Settings())
    assert check is not None
    assert check.detail == "is the database in use"
    monkeypatch.delenv("DATABASE_URL")
    assert await check_application_database(Settings(use_database_url=False)) is None


async def test_the_first_schema_beside_tables_of_others_is_announced(
    application_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(application_url, application_name="tests")
    await migrate_control(database)
    assert await installed_revision(database) is not None
    announced = capsys.readouterr().err
    assert "holds 1 other table. codebase-mcp now creates its schema codebase_mcp there" in announced
    await migrate_control(database)
    await database.close()
    assert capsys.readouterr().err == ""


async def test_in_an_empty_database_nothing_is_announced(
    postgres: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with postgres.fresh_database("template1") as url:
        database = Database(url, application_name="tests")
        await migrate_control(database)
        await database.close()
    assert capsys.readouterr().err == ""
