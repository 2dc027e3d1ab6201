"""Where the model and the cache of its vectors meet: the vectors of a batch, and the model's number in the database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.errors import CodebaseMcpError, EmbeddingError, EmbeddingUnavailableError
from codebase_mcp.indexing.pipeline import index_fingerprint
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import embedding_cache, projects

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import Job, PreparedBatch
    from codebase_mcp.indexing.embed import Embedder
    from codebase_mcp.jobs.tools import Tools
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.index_store import Target

log = get_logger(__name__)

FORGOTTEN_AT_ONCE = 5_000


async def registered_model(connection: AsyncConnection, embedder: Embedder, *, may_change: bool) -> int:
    """The number of the embedder's model.

    Raises EmbeddingError when a service answers another length of vectors than before under the same name: most likely
    a wrong model, which would make all that is indexed unreachable. `may_change` says that it is meant.
    """
    identity = embedder.identity
    if embedder.is_service and not may_change:
        stored = await projects.dimensions_of_model(connection, identity.provider, identity.model)
        if stored and embedder.dimensions not in stored:
            raise EmbeddingError(
                f"The model {identity.model!r} of the embedding service answers vectors of {embedder.dimensions} "
                f"numbers, but the stored ones have {' or '.join(map(str, stored))}. If the new model is meant, index "
                "again with force_reindex=true; if not, correct CODEBASE_MCP_EMBEDDING_MODEL, "
                "CODEBASE_MCP_EMBEDDING_DIMENSIONS or CODEBASE_MCP_EMBEDDING_URL."
            )
    return await projects.ensure_model(connection, identity, embedder.dimensions)


async def vectors_of(tools: Tools, target: Target, job: Job, batch: PreparedBatch) -> NDArray[np.float32]:
    """One vector per chunk of the batch, all of the model that `target` names.

    Who forces a job doubts what is stored: vectors from before it are asked for again.
    """
    embedder = tools.embedder
    texts = embedder.document_texts(batch.files)
    if not embedder.is_service:
        return await embedder.embed_documents(texts)
    return await _Memory(tools, target, since=job.created_at if job.force_reindex else None).vectors(texts)


class _Memory:
    """Asks the service only for texts whose vectors are not known. A cache that fails is done without."""

    def __init__(self, tools: Tools, target: Target, *, since: datetime | None) -> None:
        self._tools = tools
        self._since = since
        self._target = target
        self._dimensions = tools.embedder.dimensions

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        hashes = await asyncio.to_thread(_hashes, texts)
        by_hash = dict(zip(hashes, texts, strict=True))
        known = await self._remembered(list(by_hash))
        missing = [text_hash for text_hash in by_hash if text_hash not in known]
        size = self._tools.settings.embedding_batch_texts
        for start in range(0, len(missing), size):
            # Kept after each request: whatever happens next, the service is not asked for these again.
            part = missing[start : start + size]
            vectors = await self._tools.embedder.embed_documents([by_hash[text_hash] for text_hash in part])
            self._refuse_another_model()
            fresh = dict(zip(part, vectors, strict=True))
            await self._remember(fresh)
            known.update(fresh)
        nothing = np.zeros((0, self._dimensions), dtype=np.float32)
        return np.concatenate([nothing, *[known[text_hash][np.newaxis] for text_hash in hashes]])

    def _refuse_another_model(self) -> None:
        """Another job may have just learned that the model was replaced; this one begins anew with the new one."""
        if index_fingerprint(self._tools.embedder.identity) != self._target.index_fingerprint:
            url = self._tools.settings.embedding_url or ""
            raise EmbeddingUnavailableError(url, "its model was replaced while this job ran")

    async def _remembered(self, hashes: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        try:
            async with self._tools.database.transaction("writers") as connection:
                return await embedding_cache.remembered(
                    connection, self._target.model_id, hashes, self._dimensions, since=self._since
                )
        except CodebaseMcpError as error:
            log.warning("cache of vectors not read", error=str(error))
            return {}

    async def _remember(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        try:
            async with self._tools.database.transaction("writers") as connection:
                await embedding_cache.remember(connection, self._target.model_id, vectors)
        except CodebaseMcpError as error:
            log.warning("cache of vectors not written", error=str(error))


def _hashes(texts: Sequence[str]) -> list[bytes]:
    return [hashlib.sha256(text.encode()).digest() for text in texts]


async def prune_cache(database: Database, *, kept: int = embedding_cache.KEPT_VECTORS) -> None:
    """Keeps the cache bounded; any process may do so at any time."""
    try:
        async with database.transaction("writers") as connection:
            newest = await embedding_cache.newest_in_excess(connection, kept=kept)
        while newest is not None:
            async with database.transaction("writers") as connection:
                forgotten = await embedding_cache.forget(connection, up_to=newest, most=FORGOTTEN_AT_ONCE)
            if forgotten < FORGOTTEN_AT_ONCE:
                return
    except CodebaseMcpError as error:
        log.warning("cache of vectors not pruned", error=str(error))
