from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from codebase_mcp.domain import Chunk, ParsedFile, Role
from codebase_mcp.errors import EmbeddingError, EmbeddingUnavailableError
from codebase_mcp.indexing import embed_http, embed_service
from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.indexing.embed_dialects import ollama_address, openai_address
from codebase_mcp.indexing.embed_service import ServiceEmbedder, service_embedder
from codebase_mcp.settings import Settings
from tests.support.embedding_endpoint import DIGEST, DIMENSIONS, Endpoint, endpoint, vector_of
from tests.support.jobs import together

PROVIDERS = ["ollama", "openai"]
TEXTS = ["def parse(): ...", "class Cart: ...", "Ünï\u2028cödé 🛒", " "]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_http, "PAUSE_SECONDS", 0.01)


@pytest.fixture
async def served() -> AsyncIterator[Endpoint]:
    async with endpoint() as made:
        yield made


def settings(served: Endpoint, provider: str = "ollama", **more: Any) -> Settings:
    return Settings(**(served.knobs(provider) | {"embedding_timeout_seconds": 5} | more))


@pytest.fixture(params=PROVIDERS)
async def embedder(request: pytest.FixtureRequest, served: Endpoint) -> AsyncIterator[ServiceEmbedder]:
    made = service_embedder(settings(served, request.param))
    await made.prepare()
    yield made
    await made.aclose()


def unit(text: str, dimensions: int = DIMENSIONS) -> np.ndarray:
    row = np.array(vector_of(text, dimensions))
    return row / np.linalg.norm(row)


def parsed(*bodies: str) -> ParsedFile:
    chunks = tuple(Chunk(i, 1, 1, "code", None, body) for i, body in enumerate(bodies))
    headers = tuple(f"shop cart {i}" for i in range(len(bodies)))
    return ParsedFile("shop/cart.py", 1, 1, b"", "python", Role.SOURCE, chunks, headers, ())


# --- what is asked, and what becomes of a good answer ---


async def test_vectors_are_those_of_the_service_in_the_order_of_the_texts(
    embedder: ServiceEmbedder, served: Endpoint
) -> None:
    vectors = await embedder.embed_documents(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [unit(text) for text in TEXTS], atol=1e-6)
    assert (embedder.dimensions, embedder.is_service) == (DIMENSIONS, True)


async def test_answers_in_another_order_are_put_in_order(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, "openai"))
    await embedder.prepare()
    served.turn("shuffled")
    np.testing.assert_allclose(await embedder.embed_documents(TEXTS), [unit(text) for text in TEXTS], atol=1e-6)
    await embedder.aclose()


async def test_no_texts_are_no_question(embedder: ServiceEmbedder, served: Endpoint) -> None:
    before = len(served.asked)
    assert (await embedder.embed_documents([])).shape == (0, DIMENSIONS)
    assert len(served.asked) == before


async def test_requests_go_over_one_connection(embedder: ServiceEmbedder, served: Endpoint) -> None:
    for texts in (["first", "second"], ["third"]):
        assert len(await embedder.embed_documents(texts)) == len(texts)
    assert [len(call.texts) for call in served.asked[-2:]] == [2, 1]
    assert served.connections == 1


async def test_no_more_requests_at_once_than_allowed_however_many_jobs_ask(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, embedding_concurrency=2))
    await embedder.prepare()
    served.delay_seconds = 0.03
    await together(*(embedder.embed_documents([f"text {i}"]) for i in range(9)))
    assert served.most_at_once == 2
    await embedder.aclose()


async def test_documents_are_header_and_content_cut_to_what_is_allowed(embedder: ServiceEmbedder) -> None:
    first, second = embedder.document_texts([parsed("x = 1\n", "y" * 1000)])
    assert first == "search_document: shop cart 0\nx = 1\n"
    assert second == "search_document: " + ("shop cart 1\n" + "y" * 1000)[:400]


async def test_the_query_has_the_prefix_of_queries(embedder: ServiceEmbedder, served: Endpoint) -> None:
    np.testing.assert_allclose(await embedder.embed_query("a cart"), unit("search_query: a cart"), atol=1e-6)


async def test_a_model_without_prefixes_gets_none(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, "openai", embedding_model="some-model"))
    assert embedder.document_texts([parsed("x")]) == ["shop cart 0\nx"]
    await embedder.embed_query("a cart")
    assert served.asked[-1].texts == ["a cart"]
    await embedder.aclose()


async def test_the_identity_names_model_digest_and_all_that_vectors_depend_on(served: Endpoint) -> None:
    revisions = []
    for more in ({}, {"embedding_max_characters": 500}):
        embedder = service_embedder(settings(served, **more))
        assert embedder.identity.revision == ""
        with pytest.raises(EmbeddingUnavailableError):
            _ = embedder.dimensions
        await embedder.prepare()
        revisions.append(embedder.identity.revision)
        await embedder.aclose()
    assert revisions[0].startswith(DIGEST[:12])
    assert revisions[0] != revisions[1]


async def test_another_digest_is_another_model(embedder: ServiceEmbedder, served: Endpoint) -> None:
    before = embedder.identity
    served.digest = "f" * 64
    served.dimensions = 8
    await embedder.prepare()
    assert embedder.identity != before
    assert embedder.dimensions == 8


async def test_a_query_asks_now_and_then_whether_the_model_is_still_the_same(
    served: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = service_embedder(settings(served))
    await embedder.embed_query("one")
    served.digest = "f" * 64
    await embedder.embed_query("two")
    assert embedder.identity.revision.startswith(DIGEST[:12])
    monkeypatch.setattr(embedder, "_known_until", float("-inf"))
    await embedder.embed_query("three")
    assert embedder.identity.revision.startswith("f" * 12)
    await embedder.aclose()


async def test_a_query_finds_its_way_after_the_length_of_vectors_changed(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, "openai"))
    await embedder.embed_query("one")
    served.dimensions = 8
    with pytest.raises(EmbeddingError, match="8 numbers where 16 were expected"):
        await embedder.embed_query("two")
    assert len(await embedder.embed_query("three")) == 8
    await embedder.aclose()


async def test_the_wanted_length_is_asked_for_and_insisted_on(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, "openai", embedding_dimensions=DIMENSIONS))
    await embedder.prepare()
    assert served.asked[-1].dimensions == DIMENSIONS
    await embedder.aclose()
    other = service_embedder(settings(served, "openai", embedding_dimensions=8))
    with pytest.raises(EmbeddingError, match="16 numbers though 8 were asked for; unset"):
        await other.prepare()
    await other.aclose()


async def test_a_model_that_ollama_does_not_have_says_how_to_get_it(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, embedding_model="mxbai-embed-large"))
    with pytest.raises(EmbeddingError, match="Run `ollama pull mxbai-embed-large`") as raised:
        await embedder.prepare()
    assert not raised.value.is_transient
    await embedder.aclose()


def test_no_service_is_opened_for_the_local_model() -> None:
    assert not open_embedder(Settings()).is_service


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://h:11434", "http://h:11434"),
        ("http://h:11434/", "http://h:11434"),
        ("http://h:11434/api", "http://h:11434"),
        ("http://h:11434/v1/", "http://h:11434"),
        ("https://h/ollama/api/", "https://h/ollama"),
    ],
)
def test_an_address_of_ollama_may_name_its_api(given: str, asked: str) -> None:
    assert ollama_address(given) == asked


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h:8000/v1/embeddings", "http://h:8000/v1"),
        ("https://h/v1beta/openai", "https://h/v1beta/openai"),
        ("https://h/inference", "https://h/inference/v1"),
    ],
)
def test_an_address_of_openai_may_or_may_not_name_the_version(given: str, asked: str) -> None:
    assert openai_address(given) == asked


# --- a service that is away ---


async def test_a_closed_port_is_told_at_once_and_the_service_is_used_again_when_it_is_back(
    embedder: ServiceEmbedder, served: Endpoint
) -> None:
    await served.refuse()
    with pytest.raises(EmbeddingUnavailableError) as raised:
        await embedder.embed_documents(["a"])
    address = served.url + ("/v1" if embedder.identity.provider == "openai" else "")
    assert raised.value.while_waiting == f"waiting for the embedding service at {address} (connection refused)"
    assert raised.value.code == "EMBEDDING_ERROR"
    await served.open()
    assert len(await embedder.embed_documents(["a"])) == 1


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("500", "it failed: HTTP 500"),
        ("503", "it failed: HTTP 503"),
        ("429", "it asks for fewer requests: HTTP 429"),
        ("reset", "connection reset"),
    ],
)
async def test_trouble_that_may_pass_is_no_failure(
    embedder: ServiceEmbedder, served: Endpoint, mood: str, reason: str
) -> None:
    served.turn(mood)
    with pytest.raises(EmbeddingUnavailableError) as raised:
        await embedder.embed_documents(["a"])
    assert raised.value.reason == reason
    served.turn("well")
    assert len(await embedder.embed_documents(["a"])) == 1


async def test_one_lost_connection_is_not_even_noticed(embedder: ServiceEmbedder, served: Endpoint) -> None:
    served.turn("reset", times=1)
    assert len(await embedder.embed_documents(["a"])) == 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (None, 0, 0),
        ("7", 7, 7),
        ("1.5", 1.5, 1.5),
        ("-3", 0, 0),
        ("soon", 0, 0),
        ("nan", 0, 0),
        ("99999999", embed_http.LONGEST_WAIT_SECONDS, embed_http.LONGEST_WAIT_SECONDS),
        # Far ahead, because the date is made when the tests are collected.
        pytest.param(
            format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True),
            embed_http.LONGEST_WAIT_SECONDS,
            embed_http.LONGEST_WAIT_SECONDS,
            id="a date",
        ),
        pytest.param(format_datetime(datetime.now(UTC) - timedelta(seconds=100), usegmt=True), 0, 0, id="a past date"),
    ],
)
async def test_the_pause_that_a_service_asks_for_is_passed_on(
    embedder: ServiceEmbedder, served: Endpoint, value: str | None, least: float, most: float
) -> None:
    served.retry_after = value
    served.turn("429")
    with pytest.raises(EmbeddingUnavailableError) as raised:
        await embedder.embed_documents(["a"])
    assert least <= raised.value.retry_after_seconds <= most


async def test_a_service_that_hangs_is_given_up_in_time(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = service_embedder(settings(served))
    await embedder.prepare()
    monkeypatch.setattr(embedder._link, "_timeout_seconds", 0.2)
    served.turn("hang")
    with pytest.raises(EmbeddingUnavailableError, match=r"no answer within 0\.2 s"):
        await embedder.embed_documents(["a"])
    await embedder.aclose()


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_search_does_not_wait_for_a_service_that_hangs(
    served: Endpoint, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    embedder = service_embedder(settings(served))
    if is_known:
        await embedder.prepare()
        await embedder.embed_query("one")
    monkeypatch.setattr(embed_service, "QUERY_SECONDS", 0.2)
    served.turn("hang")
    with pytest.raises(EmbeddingUnavailableError, match=r"no answer within 0\.2 s"):
        await embedder.embed_query("two")
    await embedder.aclose()


async def test_a_request_that_hangs_ends_with_its_task(embedder: ServiceEmbedder, served: Endpoint) -> None:
    served.turn("hang")
    task = asyncio.create_task(embedder.embed_documents(["a"]))
    await served.hung.wait()
    started = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert time.monotonic() - started < 5
    served.turn("well")
    assert len(await embedder.embed_documents(["a"])) == 1


async def test_a_host_without_a_name_is_told_as_such() -> None:
    embedder = service_embedder(
        Settings(embedding_provider="openai", embedding_url="http://no-such-host.invalid", embedding_model="m")
    )
    with pytest.raises(EmbeddingUnavailableError, match="host name is not known"):
        await embedder.prepare()
    await embedder.aclose()


async def test_an_answer_that_is_not_tls_is_told_as_such() -> None:
    async def speak_plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Speak plainly\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        embedder = service_embedder(Settings(embedding_provider="openai", embedding_url=address, embedding_model="m"))
        with pytest.raises(EmbeddingUnavailableError, match=r"\(TLS: |connection"):
            await embedder.prepare()
        await embedder.aclose()


async def test_an_address_that_no_client_can_ask_is_an_error() -> None:
    embedder = service_embedder(
        Settings(embedding_provider="openai", embedding_url="http://a" + "b" * 70 + ".example", embedding_model="m")
    )
    with pytest.raises(EmbeddingError):
        await embedder.prepare()
    await embedder.aclose()


# --- wrong answers ---


@pytest.mark.parametrize(
    ("mood", "complaint"),
    [
        ("short list", "answered 1 vectors for 2 texts"),
        ("wrong dimension", "answered vectors of 15 numbers where 16 were expected.* force_reindex"),
        ("nan", "not finite for 1 of 2 texts"),
        ("html", "not JSON .*Welcome!.*CODEBASE_MCP_EMBEDDING_URL"),
        ("100 MB", "answered more than 1.3 MB"),
        ("401", r"needs a key \(HTTP 401\).*CODEBASE_MCP_EMBEDDING_API_KEY"),
        ("404", "does not know this address or model .*CODEBASE_MCP_EMBEDDING_MODEL"),
        ("400", "refused the request .HTTP 400: .*scripted 400.*MAX_CHARACTERS"),
        ("redirect", "redirects to http://elsewhere.example/api/embed. Set CODEBASE_MCP_EMBEDDING_URL"),
    ],
)
async def test_a_wrong_answer_is_an_error_when_it_comes_three_times_running(
    embedder: ServiceEmbedder, served: Endpoint, mood: str, complaint: str
) -> None:
    before = len(served.asked)
    served.turn(mood)
    with pytest.raises(EmbeddingError, match=complaint) as raised:
        await embedder.embed_documents(["a", "b"])
    assert not raised.value.is_transient
    assert served.url in raised.value.message
    assert "It was asked 3 times." in raised.value.message
    assert len(served.asked) - before == 3


@pytest.mark.parametrize("mood", ["short list", "wrong dimension", "nan", "html", "100 MB", "404"])
async def test_two_wrong_answers_running_are_forgiven(embedder: ServiceEmbedder, served: Endpoint, mood: str) -> None:
    served.turn(mood, times=2)
    np.testing.assert_allclose(await embedder.embed_documents(["a"]), [unit("a")], atol=1e-6)


async def test_a_search_asks_only_once(embedder: ServiceEmbedder, served: Endpoint) -> None:
    await embedder.embed_query("one")
    before = len(served.asked)
    served.turn("html")
    with pytest.raises(EmbeddingError, match="not JSON"):
        await embedder.embed_query("two")
    assert len(served.asked) - before == 1


async def test_an_endless_answer_is_not_read_to_its_end(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = service_embedder(settings(served))
    await embedder.prepare()
    served.turn("100 MB")
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match="more than"):
        await embedder.embed_documents(["a"])
    assert time.monotonic() - started < 5
    await embedder.aclose()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({}, "without a list"),
        ([], "without a list"),
        ({"data": [{"index": 0}]}, "without embeddings"),
        ({"data": ["x"]}, "without embeddings"),
        ({"data": [{"index": 7, "embedding": [1.0]}]}, "not those of the texts"),
        ({"data": [{"index": 0, "embedding": "AAAA"}]}, "not rows of numbers"),
        ({"data": [{"index": 0, "embedding": [None]}]}, "not finite"),
        ({"data": [{"index": 0, "embedding": ["x"]}]}, "no number"),
        ({"data": [{"index": 0, "embedding": []}]}, "vectors of 0 numbers"),
        ({"data": [{"index": 0, "embedding": [1.0] * 5000}]}, "vectors of 5000 numbers; 1 to 4,000"),
    ],
)
async def test_an_answer_of_another_shape_is_named(served: Endpoint, answer: Any, complaint: str) -> None:
    embedder = service_embedder(settings(served, "openai"))
    served.scripted = answer
    with pytest.raises(EmbeddingError, match=complaint):
        await embedder.prepare()
    await embedder.aclose()


# --- the key ---


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_key_is_sent_and_never_told(served: Endpoint, provider: str) -> None:
    served.api_key = "sk-right"
    embedder = service_embedder(settings(served, provider, embedding_api_key="sk-right"))
    await embedder.prepare()
    assert served.asked[-1].authorization == "Bearer sk-right"
    served.api_key = "sk-other"
    with pytest.raises(EmbeddingError, match="does not accept the key") as raised:
        await embedder.embed_documents(["a"])
    assert "sk-right" not in str(raised.value) + repr(vars(embedder)) + repr(embedder)
    await embedder.aclose()


async def test_without_a_key_no_header_is_sent(embedder: ServiceEmbedder, served: Endpoint) -> None:
    assert served.asked[-1].authorization is None


async def test_a_key_that_the_service_repeats_is_hidden(served: Endpoint) -> None:
    embedder = service_embedder(settings(served, "openai", embedding_api_key="sk-secret"))
    await embedder.prepare()
    served.scripted_error = "your token Bearer sk-secret cannot do this"
    served.turn("400")
    with pytest.raises(EmbeddingError, match=r"your token Bearer \*\*\* cannot"):
        await embedder.embed_documents(["a"])
    await embedder.aclose()


async def test_what_is_on_this_machine_is_not_asked_through_a_proxy(
    served: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unused.getsockname()[1]}")
        embedder = service_embedder(settings(served))
        await embedder.prepare()
        await embedder.aclose()
