"""From a group of files to what the index keeps of them."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from codebase_mcp.domain import FileOutcome, FileState, PostingSpace, Role
from codebase_mcp.indexing import pipeline
from codebase_mcp.indexing.embed import EmbedderIdentity
from codebase_mcp.indexing.file_stat import recorded_stat
from codebase_mcp.indexing.pipeline import BatchRequest, index_fingerprint, prepare_batch
from tests.support.repositories import settle

CART = "class Cart:\n    def total(self):\n        return 0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "cart.py").write_text(CART)
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "empty.py").write_text("")
    return tmp_path


def request(root: Path, *paths: str, known: dict[str, bytes] | None = None) -> BatchRequest:
    return BatchRequest(root, paths, known or {}, 1_000)


def test_a_file_becomes_chunks_headers_definitions_and_postings(root: Path) -> None:
    batch = prepare_batch(request(root, "shop/cart.py"))
    (file,) = batch.files
    assert (file.language, file.role, file.size_bytes) == ("python", Role.SOURCE, len(CART))
    assert file.content_hash == hashlib.sha256(CART.encode()).digest()
    assert file.mtime_ns == (root / "shop" / "cart.py").stat().st_mtime_ns
    assert "".join(chunk.content for chunk in file.chunks) == CART
    assert len(file.headers) == len(file.chunks) == 1
    assert "cart" in file.headers[0].lower()
    assert {definition.name for definition in file.definitions} == {"Cart", "total"}
    assert "cart" in batch.postings[PostingSpace.STEM].terms
    assert "shop" in batch.postings[PostingSpace.DIRECTORY].terms
    assert batch.outcomes == ()


def test_what_cannot_be_indexed_is_skipped_with_its_reason(root: Path) -> None:
    (root / "large.py").write_text("x" * 1_001)
    batch = prepare_batch(request(root, "logo.png", "gone.py", "large.py", "shop/cart.py"))
    assert [file.relative_path for file in batch.files] == ["shop/cart.py"]
    reasons = {outcome.relative_path: outcome.reason for outcome in batch.outcomes}
    assert {outcome.state for outcome in batch.outcomes} == {FileState.SKIPPED}
    assert reasons["logo.png"] == "binary"
    assert reasons["gone.py"] == "deleted while indexing"
    assert "too large" in str(reasons["large.py"])


def test_known_content_is_not_indexed_again(root: Path) -> None:
    settle(root)
    known = {"shop/cart.py": hashlib.sha256(CART.encode()).digest(), "empty.py": b"other"}
    batch = prepare_batch(request(root, "shop/cart.py", "empty.py", known=known))
    stat = recorded_stat((root / "shop" / "cart.py").stat(), now_ns=0)
    assert batch.outcomes == (
        FileOutcome("shop/cart.py", FileState.UNCHANGED, None, *stat, content_hash=known["shop/cart.py"]),
    )
    assert [(file.relative_path, file.chunks) for file in batch.files] == [("empty.py", ())]


@pytest.mark.parametrize("error", [ValueError("odd"), RecursionError("deep"), RuntimeError("x")])
def test_a_parser_that_fails_costs_one_file(root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(pipeline, "chunk_file", broken)
    batch = prepare_batch(request(root, "shop/cart.py"))
    assert batch.files == ()
    (outcome,) = batch.outcomes
    assert outcome.state is FileState.SKIPPED
    assert f"the parser failed: {type(error).__name__}" in str(outcome.reason)
    assert outcome.content_hash is not None


def test_a_mistake_of_our_own_is_not_taken_for_a_bad_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "chunk_file", lambda *_, **__: None)
    with pytest.raises(AttributeError):
        prepare_batch(request(root, "shop/cart.py"))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_halves_cover_a_request_in_order(root: Path, count: int) -> None:
    whole = request(root, *(f"{n}.py" for n in range(count)), known={"1.py": b"h"})
    first, second = whole.halves()
    assert first.relative_paths + second.relative_paths == whole.relative_paths
    assert first.relative_paths
    assert second.relative_paths
    assert replace(first, relative_paths=()) == replace(second, relative_paths=()) == replace(whole, relative_paths=())


def test_requests_and_answers_travel_between_processes(root: Path) -> None:
    asked = request(root, "shop/cart.py", "logo.png")
    assert pickle.loads(pickle.dumps(asked)) == asked
    batch = pickle.loads(pickle.dumps(prepare_batch(asked)))
    assert batch.files == prepare_batch(asked).files


def test_every_part_of_the_fingerprint_makes_files_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = EmbedderIdentity("local", "m", "1")
    others = [replace(identity, **{name: "other"}) for name in ("provider", "model", "revision")]
    fingerprints = {index_fingerprint(one) for one in (identity, *others)}
    for name in ("CHUNKER_VERSION", "TOKENISER_VERSION", "GRAMMARS_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, name, "other")
            fingerprints.add(index_fingerprint(identity))
    assert len(fingerprints) == 7


def test_a_worker_whose_packages_are_being_replaced_still_has_a_fingerprint(tmp_path: Path) -> None:
    script = (
        "import sys; from codebase_mcp.indexing.embed import EmbedderIdentity;"
        "from codebase_mcp.indexing.pipeline import index_fingerprint;"
        f"sys.path[:] = [{str(tmp_path)!r}];"
        "print(index_fingerprint(EmbedderIdentity('local', 'm', '1')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == index_fingerprint(EmbedderIdentity("local", "m", "1"))
