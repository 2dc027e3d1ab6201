"""What a worker lends to each of its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codebase_mcp.jobs.upgrade import ProgramFiles
from codebase_mcp.storage import disk

if TYPE_CHECKING:
    from codebase_mcp.indexing.embed import Embedder
    from codebase_mcp.indexing.pool import ParsingPool
    from codebase_mcp.settings import Settings
    from codebase_mcp.storage.database import Database


@dataclass(frozen=True)
class Tools:
    """`on_point` is called with the name of each place where a crash is worth trying."""

    database: Database
    embedder: Embedder
    pool: ParsingPool
    settings: Settings
    on_point: Callable[[str], None] = lambda _point: None
    program_files: ProgramFiles = field(default_factory=ProgramFiles)

    async def require_free_disk(self) -> None:
        """Raises StorageFullError before a write that could leave PostgreSQL's log without room."""
        await asyncio.to_thread(disk.require_free, self.settings, "indexing", share=disk.RESERVE_SHARE)
