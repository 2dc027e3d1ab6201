"""Deletes what ended long ago. Every worker and every server does it, at its start and each day after."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from codebase_mcp.errors import CodebaseMcpError
from codebase_mcp.jobs import embedding, store
from codebase_mcp.logs import get_logger

if TYPE_CHECKING:
    from codebase_mcp.storage.database import Database

log = get_logger(__name__)

PRUNE_SECONDS = 86_400.0
RETRY_SECONDS = 600.0


class Retention:
    """When one process deletes old jobs next. Several may do so at once: each takes rows that no other has."""

    def __init__(self, retention_days: int) -> None:
        self._retention_days = retention_days
        self._due_at = float("-inf")

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at

    async def prune(self, database: Database) -> None:
        """Logs trouble instead of raising it: what is not deleted now goes later, and nothing waits for it."""
        self._due_at = time.monotonic() + RETRY_SECONDS
        try:
            deleted = await store.prune(database, self._retention_days)
        except CodebaseMcpError as error:
            log.warning("old jobs not deleted", error=str(error))
            return
        self._due_at = time.monotonic() + PRUNE_SECONDS
        if deleted:
            log.info("old jobs deleted", jobs=deleted)
        await embedding.prune_cache(database)
