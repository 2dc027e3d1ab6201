from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from codebase_mcp.errors import EmbeddingError
from codebase_mcp.indexing.embed import MODEL_DIRECTORY, LocalEmbedder, checked_vectors, local_embedder, open_embedder
from codebase_mcp.indexing.static_table import StaticTable
from codebase_mcp.indexing.terms import header
from codebase_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

HEADERS = {
    "cookies": header("django/http/cookie.py", ["parse_cookie", "SimpleCookie"]),
    "passwords": header("django/contrib/auth/hashers.py", ["make_password", "check_password", "PBKDF2PasswordHasher"]),
    "migrations": header("django/db/migrations/executor.py", ["MigrationExecutor", "apply_migration", "unapply"]),
    "mail": header("django/core/mail/message.py", ["EmailMessage", "attach", "send"]),
    "routes": header("django/urls/resolvers.py", ["URLResolver", "RoutePattern", "reverse"]),
    "uploads": header("django/core/files/uploadhandler.py", ["MemoryFileUploadHandler", "receive_data_chunk"]),
    "caches": header("django/core/cache/backends/redis.py", ["RedisCache", "get", "set", "incr"]),
    "dates": header("django/utils/dateparse.py", ["parse_date", "parse_time", "parse_duration"]),
}


async def cosines(query: str) -> dict[str, float]:
    documents = await local_embedder().embed_documents(list(HEADERS.values()))
    return dict(zip(HEADERS, (documents @ await local_embedder().embed_query(query)).tolist(), strict=True))


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("parse http cookies", "cookies"),
        ("how is a password hashed", "passwords"),
        ("rolling back a schema migration", "migrations"),
        ("sendEmailWithAttachment", "mail"),
        ("url_pattern_routing", "routes"),
        ("large file upload in memory", "uploads"),
        ("key value store with expiry, like memcached", "caches"),
    ],
)
async def test_a_query_is_clearly_nearest_to_the_header_that_answers_it(query: str, best: str) -> None:
    found = await cosines(query)
    runner_up = max(cosine for name, cosine in found.items() if name != best)
    assert found[best] > runner_up + 0.05


@pytest.mark.parametrize(
    ("paraphrase", "answer"),
    [
        ("calendar day from a string", "dates"),
        ("read a date from a string", "dates"),
        ("undo a database change", "migrations"),
        ("deliver a letter with attachment", "mail"),
        ("which view answers an address", "routes"),
        ("secret of a user is verified", "passwords"),
        ("bytes sent by the browser are stored", "uploads"),
        ("keep results so they need not be computed again", "caches"),
        ("session token remembered by the browser", "cookies"),
    ],
)
async def test_a_paraphrase_in_other_words_finds_its_header_among_the_first_two(paraphrase: str, answer: str) -> None:
    found = await cosines(paraphrase)
    assert answer in sorted(found, key=found.__getitem__, reverse=True)[:2]


@pytest.mark.parametrize(
    ("word", "related", "unrelated"),
    [("error", "exception", "cookie"), ("photo", "picture", "thread"), ("delete", "remove", "window")],
)
async def test_words_of_like_meaning_are_nearer_than_others(word: str, related: str, unrelated: str) -> None:
    of_word, of_related, of_unrelated = await local_embedder().embed_documents([word, related, unrelated])
    assert of_word @ of_related > of_word @ of_unrelated + 0.2


@pytest.mark.parametrize("spelling", ["parseHTTPCookie", "parse_http_cookie", "PARSE-HTTP-COOKIE", "ParseHttpCookie()"])
async def test_every_spelling_of_an_identifier_gives_the_same_query(spelling: str) -> None:
    plain = await local_embedder().embed_query("parse http cookie")
    assert np.array_equal(await local_embedder().embed_query(spelling), plain)


async def test_a_header_is_embedded_alike_as_query_and_as_document() -> None:
    for text in HEADERS.values():
        (document,) = await local_embedder().embed_documents([text])
        assert np.array_equal(document, await local_embedder().embed_query(text))


async def test_a_vector_does_not_depend_on_what_else_is_in_the_batch() -> None:
    texts = [*HEADERS.values(), "", "parse"] * 150
    together = await local_embedder().embed_documents(texts)
    alone = [(await local_embedder().embed_documents([text]))[0] for text in texts[:10]]
    assert np.array_equal(together, np.tile(np.stack(alone), (150, 1)))


@pytest.mark.parametrize("text", ["", "  \n", "()[]{}", "🦀", "\ud800"])
async def test_a_query_without_a_known_token_gives_a_zero_vector(text: str) -> None:
    assert not (await local_embedder().embed_query(text)).any()


async def test_a_document_without_a_known_token_keeps_its_place_as_zeros() -> None:
    vectors = await local_embedder().embed_documents(["parse", "🦀", "cookie"])
    assert np.linalg.norm(vectors, axis=1).round(5).tolist() == [1.0, 0.0, 1.0]


async def test_no_documents_give_no_rows() -> None:
    assert (await local_embedder().embed_documents([])).shape == (0, local_embedder().dimensions)


async def test_words_far_into_a_long_text_still_count() -> None:
    short, long = await local_embedder().embed_documents(["cookie " * 2_000, "cookie " * 2_000 + "migration " * 2_000])
    assert short @ long < 0.99


@given(st.text(max_size=300))
def test_any_query_gives_a_unit_or_zero_vector(text: str) -> None:
    vector = asyncio.run(local_embedder().embed_query(text))
    assert vector.shape == (256,)
    assert vector.dtype == np.float32
    assert round(float(np.linalg.norm(vector)), 4) in (0.0, 1.0)


async def test_the_event_loop_runs_on_while_texts_are_embedded() -> None:
    embedder = LocalEmbedder()
    with embedder._loading:
        waiting = asyncio.create_task(embedder.embed_query("parse"))
        _, pending = await asyncio.wait({waiting}, timeout=0.05)
    assert pending == {waiting}
    assert (await waiting).any()


async def test_the_table_is_read_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    load, loads = StaticTable.load, []

    def counted(directory: Path) -> StaticTable:
        loads.append(directory)
        return load(directory)

    monkeypatch.setattr(StaticTable, "load", counted)
    embedder = LocalEmbedder()
    first, *others = await asyncio.gather(*(embedder.embed_query("parse") for _ in range(5)))
    assert all(np.array_equal(first, other) for other in others)
    assert len(loads) == 1


async def test_documents_are_embedded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sums, sizes = StaticTable.sums, []

    def noted(table: StaticTable, texts: Sequence[str]) -> NDArray[np.float32]:
        sizes.append(len(texts))
        return sums(table, texts)

    monkeypatch.setattr(StaticTable, "sums", noted)
    assert len(await local_embedder().embed_documents(["parse"] * 2_500)) == 2_500
    assert sizes == [1024, 1024, 452]


def in_a_fresh_process(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_model_loads_silently_without_network_or_cache(tmp_path: Path) -> None:
    code = """
import asyncio, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"network used: {event} {arguments}")
sys.addaudithook(refuse)
from codebase_mcp.indexing.embed import local_embedder
assert asyncio.run(local_embedder().embed_documents(["parse cookie"] * 3000)).any()
"""
    result = in_a_fresh_process(code, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*")) == []


def test_naming_the_model_does_not_load_it(tmp_path: Path) -> None:
    code = """
import sys
from codebase_mcp.indexing.embed import local_embedder
print(local_embedder().identity.provider, {"tokenizers", "safetensors"} & set(sys.modules))
"""
    assert in_a_fresh_process(code, tmp_path).stdout == "local set()\n"


def test_the_shipped_revision_is_the_hash_of_the_shipped_files() -> None:
    content = b"".join((MODEL_DIRECTORY / name).read_bytes() for name in ("model.safetensors", "tokenizer.json"))
    assert local_embedder().identity.revision == hashlib.sha256(content).hexdigest()[:12]


def test_the_model_card_names_the_shipped_revision_and_hashes() -> None:
    card = (MODEL_DIRECTORY / "README.md").read_text()
    assert local_embedder().identity.revision in card
    for name in ("model.safetensors", "tokenizer.json"):
        assert hashlib.sha256((MODEL_DIRECTORY / name).read_bytes()).hexdigest() in card


def test_the_shipped_model_stays_below_9_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL_DIRECTORY.iterdir()) < 9_000_000


def test_one_embedder_serves_the_whole_process() -> None:
    assert open_embedder(Settings()) is open_embedder(Settings()) is local_embedder()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
async def test_a_damaged_model_is_named_with_what_to_do(tmp_path: Path, name: str, damage: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(MODEL_DIRECTORY, directory)
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    if damage == "missing":
        (directory / name).unlink()
    with pytest.raises(EmbeddingError, match="Reinstall codebase-mcp") as raised:
        await LocalEmbedder(directory).embed_query("parse")
    assert str(directory) in raised.value.message


def test_a_config_without_a_revision_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_dim": 256}))
    with pytest.raises(EmbeddingError, match="KeyError: 'revision'"):
        LocalEmbedder(tmp_path)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([[1.0, 2.0]], r"shape \(1, 2\) for 2 texts; \(2, 2\) was expected"),
        ([[1.0], [2.0]], r"shape \(2, 1\)"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ([], r"shape \(0,\)"),
        ([[1.0, 2.0], [3.0]], "not rows of numbers"),
        ([["a", "b"], ["c", "d"]], "not rows of numbers"),
        ([{}, {}], "not rows of numbers"),
        ([[1.0, 2.0], [3.0, float("nan")]], "1 of 2 texts, the first at position 1"),
        ([[float("inf"), 2.0], [3.0, float("nan")]], "2 of 2 texts, the first at position 0"),
        ([[1.0, None], [3.0, 4.0]], "not finite"),
    ],
)
def test_an_unusable_answer_is_refused_with_its_fault(answer: object, complaint: str) -> None:
    with pytest.raises(EmbeddingError, match=complaint):
        checked_vectors(answer, 2, 2)  # type: ignore[arg-type]


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st_numpy.arrays(np.float64, st.tuples(st.integers(0, 4), st.just(3)), elements=numbers))
def test_checked_rows_have_unit_length_and_their_old_direction(answer: NDArray[np.float64]) -> None:
    rows = checked_vectors(answer, len(answer), 3)
    assert rows.dtype == np.float32
    assert rows.shape == answer.shape
    for row, original in zip(rows, answer, strict=True):
        assert np.linalg.norm(row) == pytest.approx(1.0 if original.any() else 0.0, abs=1e-5)
        assert row.argmax() == original.argmax() or row.max() == pytest.approx(row[original.argmax()])
