"""Vectors from an embedding service: which model answers, what is sent to it, and what comes back, checked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.errors import EmbeddingError, EmbeddingUnavailableError
from codebase_mcp.indexing.embed import EmbedderIdentity, checked_vectors
from codebase_mcp.indexing.embed_dialects import Dialect, Ollama, OpenAI, ollama_address, openai_address
from codebase_mcp.indexing.embed_http import WRONG_ANSWERS, ServiceLink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codebase_mcp.domain import ParsedFile
    from codebase_mcp.indexing.embed_dialects import Rows
    from codebase_mcp.settings import Settings

QUERY_SECONDS = 2.0
"""Somebody waits for the answer of a search, which is of use without its vector, too."""
KNOWN_SECONDS = 60.0
"""So long a query trusts that the service still has the same model."""
PROBE = "dimensions"
MOST_DIMENSIONS = 4_000
"""What the database can index."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a model wants to read before a text of either kind."""

    document: str = ""
    query: str = ""


_PREFIXES = {"nomic-embed-text": Prefixes("search_document: ", "search_query: ")}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What the service last said of its model."""

    revision: str
    dimensions: int


class ServiceEmbedder:
    """The model of a service. Embeds header and content of a chunk, cut to `max_characters`; one request a call.

    One per process: it holds the connections and the limit of requests at a time.
    """

    is_service = True
    cosine_scale = 1.0

    def __init__(self, dialect: Dialect, link: ServiceLink, *, max_characters: int) -> None:
        self._dialect = dialect
        self._link = link
        self._max_characters = max_characters
        self._prefixes = _prefixes_of(dialect.model)
        self._known: KnownModel | None = None
        self._known_until = float("-inf")
        self._must_measure = True

    @property
    def address(self) -> str:
        return self._link.base_url

    @property
    def identity(self) -> EmbedderIdentity:
        """The revision says all that the vectors depend on: the model's version, their length, and what is sent."""
        known = self._known
        revision = f"{known.revision}/{known.dimensions}/body{self._max_characters}".lstrip("/") if known else ""
        return EmbedderIdentity(self._dialect.provider, self._dialect.model, revision)

    @property
    def dimensions(self) -> int:
        if self._known is None:
            raise EmbeddingUnavailableError(self.address, "it has not been asked for its model yet")
        return self._known.dimensions

    async def prepare(self, *, seconds: float | None = None) -> None:
        self._must_measure = True
        async with self._at_most(seconds):
            await self._learn(WRONG_ANSWERS)

    def document_texts(self, files: Sequence[ParsedFile]) -> list[str]:
        prefix, most = self._prefixes.document, self._max_characters
        return [
            prefix + f"{header}\n{chunk.content}"[:most]
            for file in files
            for header, chunk in zip(file.headers, file.chunks, strict=True)
        ]

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return await self._vectors(texts, WRONG_ANSWERS)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        try:
            async with self._at_most(QUERY_SECONDS):
                if time.monotonic() >= self._known_until:
                    await self._learn(1)
                rows = await self._vectors([self._prefixes.query + text[: self._max_characters]], 1)
        except EmbeddingError as error:
            self._must_measure = self._must_measure or not error.is_transient
            self._known_until = float("-inf")
            raise
        vector: NDArray[np.float32] = rows[0]
        return vector

    async def aclose(self) -> None:
        await self._link.close()

    @contextlib.asynccontextmanager
    async def _at_most(self, seconds: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise EmbeddingUnavailableError(self.address, f"no answer within {seconds:g} s") from error

    async def _learn(self, wrong_answers: int) -> None:
        revision = await self._dialect.revision(self._link, wrong_answers=wrong_answers)
        if self._must_measure or self._known is None or self._known.revision != revision:
            question = self._dialect.vectors([PROBE]).then(self._measured)
            self._known = KnownModel(revision, await self._link.ask(question, wrong_answers=wrong_answers))
            self._must_measure = False
        self._known_until = time.monotonic() + KNOWN_SECONDS

    def _measured(self, rows: Rows) -> int:
        (row,) = rows
        length = len(row) if isinstance(row, list) else 0
        _exact_vectors(rows, 1, length)
        wanted = self._dialect.dimensions
        if wanted is not None and length != wanted:
            raise EmbeddingError(
                f"answers vectors of {length} numbers though {wanted} were asked for; unset "
                "CODEBASE_MCP_EMBEDDING_DIMENSIONS or choose a model that can shorten its vectors"
            )
        if not 0 < length <= MOST_DIMENSIONS:
            raise EmbeddingError(
                f"answers vectors of {length} numbers; 1 to {MOST_DIMENSIONS:,} can be stored, so choose another model"
            )
        return length

    async def _vectors(self, texts: Sequence[str], wrong_answers: int) -> NDArray[np.float32]:
        dimensions = self.dimensions
        question = self._dialect.vectors(texts).then(lambda rows: _exact_vectors(rows, len(texts), dimensions))
        return await self._link.ask(question, wrong_answers=wrong_answers)


def _exact_vectors(rows: Rows, count: int, dimensions: int) -> NDArray[np.float32]:
    """Rows of unit length; raises EmbeddingError when there are not `count` of `dimensions` finite numbers."""
    lengths = sorted({len(row) if isinstance(row, list) else -1 for row in rows} - {dimensions})
    if lengths and lengths[0] < 0:
        raise EmbeddingError("answered something that is not rows of numbers; is the model an embedding model?")
    if lengths:
        raise EmbeddingError(
            f"answered vectors of {lengths[0]} numbers where {dimensions} were expected; if another model is meant, "
            "index again with force_reindex"
        )
    try:
        finite = np.isfinite(np.asarray(rows, dtype=np.float64).reshape(count, dimensions)).all(axis=1)
    except (TypeError, ValueError):
        raise EmbeddingError("answered vectors with something in them that is no number") from None
    if not finite.all():
        raise EmbeddingError(
            f"answered numbers that are not finite for {count - int(finite.sum())} of {count} texts; "
            "if it stays so, choose another model"
        )
    return checked_vectors(rows, count, dimensions)


def _prefixes_of(model: str) -> Prefixes:
    name = model.rpartition("/")[2]
    return next((prefixes for known, prefixes in _PREFIXES.items() if name.startswith(known)), Prefixes())


def service_embedder(settings: Settings) -> ServiceEmbedder:
    """The service that `settings` describe; it is not asked anything yet."""
    url, model, dimensions = settings.embedding_url, settings.embedding_model, settings.embedding_dimensions
    assert url is not None, "settings without it are refused"
    assert model is not None, "settings without it are refused"
    is_ollama = settings.embedding_provider == "ollama"
    key = settings.embedding_api_key
    link = ServiceLink(
        ollama_address(url) if is_ollama else openai_address(url),
        api_key=None if key is None else key.get_secret_value(),
        concurrency=settings.embedding_concurrency,
        timeout_seconds=settings.embedding_timeout_seconds,
    )
    return ServiceEmbedder(
        Ollama(model, dimensions) if is_ollama else OpenAI(model, dimensions),
        link,
        max_characters=settings.embedding_max_characters,
    )
