"""How the two kinds of embedding services are asked: Ollama's own protocol and the one of OpenAI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from codebase_mcp.errors import EmbeddingError
from codebase_mcp.indexing.embed_http import Question

if TYPE_CHECKING:
    from codebase_mcp.indexing.embed_http import ServiceLink

LIST_BYTES = 8_000_000
"""Longest list of models."""
ANSWER_BYTES = 1_000_000
ANSWER_BYTES_PER_TEXT = 128_000
"""4,000 numbers with 20 digits and some more."""
DIGEST_CHARACTERS = 12

Rows = list[Any]


class Dialect(Protocol):
    """One protocol, with the model to ask for; `dimensions` as asked for, or None for the model's own."""

    @property
    def provider(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def dimensions(self) -> int | None: ...

    async def revision(self, link: ServiceLink, *, wrong_answers: int) -> str:
        """What the service says of the model's version; raises EmbeddingError when it does not have the model."""
        ...

    def vectors(self, texts: Sequence[str]) -> Question[Rows]:
        """Asks for one row of numbers per text; what is in the rows is the caller's to check."""
        ...


@dataclass(frozen=True, slots=True)
class Ollama:
    """`/api/embed`, and `/api/tags` for the model's digest."""

    model: str
    dimensions: int | None
    provider: str = "ollama"

    async def revision(self, link: ServiceLink, *, wrong_answers: int) -> str:
        models = await link.ask(Question("GET", "/api/tags", None, LIST_BYTES, _digests), wrong_answers=wrong_answers)
        digest = models.get(self.model) or models.get(f"{self.model}:latest")
        if digest is None:
            raise EmbeddingError(
                f"The Ollama at {link.base_url} does not have the model {self.model!r}. Run `ollama pull {self.model}` "
                "or set CODEBASE_MCP_EMBEDDING_MODEL to one that `ollama list` shows."
            )
        return digest[:DIGEST_CHARACTERS]

    def vectors(self, texts: Sequence[str]) -> Question[Rows]:
        body: dict[str, Any] = {"model": self.model, "input": list(texts), "truncate": True}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        return Question(
            "POST", "/api/embed", body, _most_bytes(texts), lambda answer: _counted(_field(answer, "embeddings"), texts)
        )


@dataclass(frozen=True, slots=True)
class OpenAI:
    """`/embeddings` below an address with a version; the protocol does not tell versions of a model apart."""

    model: str
    dimensions: int | None
    provider: str = "openai"

    async def revision(self, link: ServiceLink, *, wrong_answers: int) -> str:
        return ""

    def vectors(self, texts: Sequence[str]) -> Question[Rows]:
        body: dict[str, Any] = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        return Question(
            "POST", "/embeddings", body, _most_bytes(texts), lambda answer: _in_order(_field(answer, "data"), texts)
        )


def ollama_address(url: str) -> str:
    """The root of the service, also from an address that names its API."""
    return re.sub(r"/(api|v1)?/*$", "", url.rstrip("/") + "/")


def openai_address(url: str) -> str:
    """The address below which /embeddings is; /v1 is added where the address names no version."""
    base = url.rstrip("/").removesuffix("/embeddings")
    return base if re.search(r"/v\d\w*(/|$)", base) else f"{base}/v1"


def _most_bytes(texts: Sequence[str]) -> int:
    return ANSWER_BYTES + ANSWER_BYTES_PER_TEXT * len(texts)


def _digests(answer: Any) -> dict[str, str]:
    models = _field(answer, "models")
    try:
        return {str(model["name"]): str(model["digest"]) for model in models}
    except (TypeError, KeyError):
        raise EmbeddingError("answered a list of models without names and digests") from None


def _field(answer: Any, name: str) -> list[Any]:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, list):
        raise EmbeddingError(
            f"answered JSON without a list {name!r}. Check CODEBASE_MCP_EMBEDDING_PROVIDER and that the model is an "
            "embedding model"
        )
    return value


def _counted(rows: list[Any], texts: Sequence[str]) -> Rows:
    if len(rows) != len(texts):
        raise EmbeddingError(f"answered {len(rows)} vectors for {len(texts)} texts")
    return rows


def _in_order(items: list[Any], texts: Sequence[str]) -> Rows:
    """Answers may come in any order; each says which text it belongs to."""
    _counted(items, texts)
    try:
        by_index = {int(item.get("index", position)): item["embedding"] for position, item in enumerate(items)}
    except (TypeError, KeyError, ValueError, AttributeError):
        raise EmbeddingError("answered a list without embeddings") from None
    if by_index.keys() != set(range(len(texts))):
        raise EmbeddingError("answered embeddings whose numbers are not those of the texts")
    return [by_index[position] for position in range(len(texts))]
