"""Text to vectors: what an embedding model offers, how its answers are checked, and the model that ships with us."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from codebase_mcp.errors import EmbeddingError
from codebase_mcp.indexing.static_table import StaticTable
from codebase_mcp.indexing.terms import split_identifier, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from codebase_mcp.domain import ParsedFile
    from codebase_mcp.settings import Settings

MODEL_DIRECTORY = Path(__file__).parent / "model"
MODEL_NAME = "codebase-mcp-headers-256"
TEXTS_AT_ONCE = 1024
"""Bounds the memory: each token of a text takes 1 kB while it is summed."""


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """Vectors can be compared only when all three are equal; `revision` changes whenever the model's vectors do."""

    provider: str
    model: str
    revision: str


class Embedder(Protocol):
    """Turns texts into vectors of one model: `prepare`, then `document_texts`, whose answer goes to `embed_documents`.

    Vectors are float32 and of unit length, so that their dot product is their cosine. A text without a single
    known token has no direction: its vector is all zeros, which is near to nothing and has no cosine (pgvector's
    `<=>` answers NaN), so searching with a zero query vector must be left out and zero rows must be ignored.
    All that ask the model raise EmbeddingError when it answers something unusable, and EmbeddingUnavailableError when
    it does not answer.
    """

    @property
    def is_service(self) -> bool:
        """Whether the model is behind a network: slow, at times away, and worth a cache."""
        ...

    @property
    def identity(self) -> EmbedderIdentity:
        """Of a service: as last heard of; without a revision before the first `prepare`."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def cosine_scale(self) -> float:
        """What the ranking multiplies cosines by: below 1 where right answers stand out more than of most models."""
        ...

    async def prepare(self, *, seconds: float | None = None) -> None:
        """Asks which model answers now; identity and dimensions are then its own. Takes at most `seconds`, if given."""
        ...

    def document_texts(self, files: Sequence[ParsedFile]) -> list[str]:
        """What is embedded of each chunk of the files, in order."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (len(texts), dimensions) of such texts, whose header's identifiers are already split into words."""
        ...

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """Vector (dimensions,) of a query as the user wrote it."""
        ...

    async def aclose(self) -> None:
        """Gives back what the embedder holds; asking again opens it anew."""
        ...


class LocalEmbedder:
    """The static table in `directory`: one vector per token, a text is the mean of its tokens.

    Nothing is loaded before the first text; identity and dimensions come from the small config file.
    """

    is_service = False
    cosine_scale = 0.65

    def __init__(self, directory: Path = MODEL_DIRECTORY) -> None:
        self.identity, self.dimensions = _read_config(directory)
        self._directory = directory
        self._table: StaticTable | None = None
        self._loading = threading.Lock()

    async def prepare(self, *, seconds: float | None = None) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def document_texts(self, files: Sequence[ParsedFile]) -> list[str]:
        return [header for file in files for header in file.headers]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return await asyncio.to_thread(self._embed, texts)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        split = " ".join(part for word in words(text) for part in split_identifier(word))
        vector: NDArray[np.float32] = (await asyncio.to_thread(self._embed, [split]))[0]
        return vector

    def load(self) -> None:
        """Blocking. What the first text would wait for; EmbeddingError when the files cannot be used."""
        self._loaded()

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        table = self._loaded()
        turns = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        nothing = np.zeros((0, self.dimensions), dtype=np.float32)
        return np.concatenate([nothing, *(checked_vectors(table.sums(t), len(t), self.dimensions) for t in turns)])

    def _loaded(self) -> StaticTable:
        with self._loading:
            if self._table is None:
                self._table = _load_table(self._directory)
            return self._table


def _read_config(directory: Path) -> tuple[EmbedderIdentity, int]:
    try:
        config = json.loads((directory / "config.json").read_bytes())
        return EmbedderIdentity("local", MODEL_NAME, config["revision"]), int(config["hidden_dim"])
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(directory, error) from error


def _load_table(directory: Path) -> StaticTable:
    from safetensors import SafetensorError

    try:
        return StaticTable.load(directory)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _unreadable(directory, error) from error


def _unreadable(directory: Path, error: Exception) -> EmbeddingError:
    return EmbeddingError(
        f"The embedding model in {directory} cannot be read ({type(error).__name__}: {error}). Reinstall codebase-mcp."
    )


def checked_vectors(vectors: ArrayLike, count: int, dimensions: int) -> NDArray[np.float32]:
    """What a model answered for `count` texts, as float32 rows of unit length; zero rows stay zero.

    Raises EmbeddingError when it is not `count` rows of `dimensions` finite numbers.
    """
    try:
        exact = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(
            f"The embedding model answered something that is not rows of numbers ({error}). "
            "Check that the configured model is an embedding model."
        ) from error
    if exact.shape != (count, dimensions):
        raise EmbeddingError(
            f"The embedding model answered an array of shape {exact.shape} for {count} texts; "
            f"({count}, {dimensions}) was expected. Check that the configured model is the one of this index."
        )
    unusable = np.flatnonzero(~np.isfinite(exact).all(axis=1))
    if unusable.size:
        raise EmbeddingError(
            f"The embedding model answered numbers that are not finite for {unusable.size} of {count} texts, "
            f"the first at position {unusable[0]}. Try again; if it stays, configure another model."
        )
    return _scaled_to_unit_length(exact)


def _scaled_to_unit_length(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    # Dividing by the largest number first keeps the squares of huge and tiny rows in range.
    rows = rows / _one_for_zero(np.abs(rows).max(axis=1, keepdims=True, initial=0.0))
    return (rows / _one_for_zero(np.linalg.norm(rows, axis=1, keepdims=True))).astype(np.float32)


def _one_for_zero(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(lengths == 0.0, 1.0, lengths)


@cache
def local_embedder() -> LocalEmbedder:
    """The shipped model, one per process."""
    return LocalEmbedder()


def open_embedder(settings: Settings) -> Embedder:
    """The embedding model that `settings` ask for; close it in the end. Nothing is asked of a service yet."""
    if settings.embedding_provider == "local":
        return local_embedder()
    from codebase_mcp.indexing.embed_service import service_embedder

    return service_embedder(settings)
