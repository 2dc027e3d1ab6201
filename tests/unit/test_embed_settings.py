from __future__ import annotations

import os

import pytest

from codebase_mcp.cli.session import load_settings
from codebase_mcp.errors import InvalidInputError
from codebase_mcp.logs import _secrets_of
from codebase_mcp.settings import Settings

OPENAI = {"embedding_provider": "openai", "embedding_url": "http://127.0.0.1:8000/v1", "embedding_model": "m"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CODEBASE_MCP_EMBEDDING") or name == "OPENAI_API_KEY"]:
        monkeypatch.delenv(name)


def complaint(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(f"CODEBASE_MCP_EMBEDDING_{name.upper()}", value)
    with pytest.raises(InvalidInputError) as raised:
        load_settings()
    return raised.value.message


@pytest.mark.parametrize(
    "url",
    ["nonsense", "localhost:11434", "ftp://h/x", "http://", "http://h:99999", "http://[::1", "http://h/a b", "//h"],
)
def test_what_is_no_web_address_is_refused_with_the_value_and_an_example(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    told = complaint(monkeypatch, url=url, provider="ollama")
    assert told.startswith(f'CODEBASE_MCP_EMBEDDING_URL = "{url}" must be an address such as http://')


def test_credentials_in_the_address_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    told = complaint(monkeypatch, url="https://me:topsecret@h/v1", provider="ollama")
    assert "must not contain a user or password" in told
    assert "topsecret" not in told
    assert '"https://***@h/v1"' in told


def test_a_key_in_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must end with its path" in complaint(monkeypatch, url="https://h/v1?api-key=x", provider="ollama")


@pytest.mark.parametrize("key", ["sk-top\nsecret", "sk-töp", "sk top"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    told = complaint(monkeypatch, api_key=key)
    assert told.startswith("CODEBASE_MCP_EMBEDDING_API_KEY = (not shown) must be printable ASCII")
    assert "sk" not in told


def test_openai_without_an_address_or_model_is_refused_because_none_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = complaint(monkeypatch, provider="openai")
    assert "CODEBASE_MCP_EMBEDDING_URL = null must be set" in told
    assert "CODEBASE_MCP_EMBEDDING_MODEL = null must be set" in told


def test_a_blank_model_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    told = complaint(monkeypatch, provider="openai", url="http://127.0.0.1:8000/v1", model=" ")
    assert "CODEBASE_MCP_EMBEDDING_MODEL" in told


def test_ollama_is_looked_for_where_it_listens_by_default() -> None:
    settings = Settings(embedding_provider="ollama")
    assert (settings.embedding_url, settings.embedding_model) == ("http://127.0.0.1:11434", "nomic-embed-text")


def test_the_usual_variable_of_openai_is_a_key_for_that_provider_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual\n")
    assert Settings().embedding_api_key is None
    assert Settings(embedding_provider="ollama").embedding_api_key is None
    key = Settings(**OPENAI).embedding_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-usual"
    monkeypatch.setenv("CODEBASE_MCP_EMBEDDING_API_KEY", "sk-own")
    key = Settings(**OPENAI).embedding_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-own"


def test_another_process_gets_the_same_settings_key_included(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(**OPENAI, embedding_api_key="sk-own", embedding_dimensions=256)
    local = Settings(embedding_max_characters=500)
    monkeypatch.setenv("CODEBASE_MCP_EMBEDDING_MAX_CHARACTERS", "777")
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    for name, value in local.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == local


def test_the_key_shows_up_nowhere() -> None:
    settings = Settings(**OPENAI, embedding_api_key="sk-topsecret")
    assert "topsecret" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert _secrets_of(settings) == ["sk-topsecret"]
