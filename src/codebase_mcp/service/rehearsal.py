"""What a server does before it is asked, so that the first search does not wait for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.indexing.embed import LocalEmbedder, open_embedder

if TYPE_CHECKING:
    from codebase_mcp.service.facade import Service
    from codebase_mcp.settings import Settings

QUERY = "rehearsal of a search"
WITHIN_SECONDS = 60.0


def preload(settings: Settings) -> None:
    with contextlib.suppress(CodebaseMcpError):
        embedder = open_embedder(settings)
        if isinstance(embedder, LocalEmbedder):
            embedder.load()


async def rehearsed(service: Service, settings: Settings) -> None:
    """One search of the default project. A service of embeddings is not troubled with it."""
    with contextlib.suppress(CodebaseMcpError):
        if not open_embedder(settings).is_service:
            await service.ready(WITHIN_SECONDS)
            await service.search(QUERY)
