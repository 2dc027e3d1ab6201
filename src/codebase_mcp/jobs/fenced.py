"""Index upkeep that moves no file to another state: each step is a transaction of its own behind the fence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp.domain import JobPhase
from codebase_mcp.jobs import store
from codebase_mcp.storage import projects, segments

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.jobs.store import Claim
    from codebase_mcp.jobs.tools import Tools
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.index_store import Target


@dataclass(frozen=True, slots=True)
class FencedSteps:
    """Steps for one job in one phase; short, because the job's row is locked while one runs."""

    tools: Tools
    claim: Claim
    target: Target
    phase: JobPhase

    @property
    def database(self) -> Database:
        return self.tools.database

    @asynccontextmanager
    async def step(self, message: str) -> AsyncIterator[AsyncConnection]:
        await self.tools.require_free_disk()
        async with self.database.transaction("writers", self.target.schema) as connection:
            await store.fence(connection, self.claim, self.phase, message)
            # An undone step is simply done again, so it need not wait for the disk.
            await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            yield connection

    async def merge_segments(self, *, fan_in: int) -> bool:
        """Merges the lowest level that has `fan_in` segments; False when none has."""
        async with self.database.transaction("writers", self.target.schema) as connection:
            merge = await segments.plan_merge(connection, self.target.schema, self.target.repository_id, fan_in=fan_in)
        if merge is None:
            return False
        for after, up_to in merge.steps():
            async with self.step("merging the text index") as connection:
                if after is None:
                    await segments.open_target(connection, merge)
                await segments.merge_step(connection, merge, after, up_to)
                if up_to is None:
                    await segments.close_sources(connection, merge)
        return True

    async def clean_segments(self) -> None:
        """Rewrites all postings into one segment, without the ids of what was deleted."""
        schema, repository_id = self.target.schema, self.target.repository_id
        async with self.database.transaction("writers", schema) as connection:
            merge = await segments.plan_cleaning(connection, schema, repository_id)
            live = await segments.live_ids(connection, repository_id)
        if merge is None:
            return
        for after, up_to in merge.steps():
            async with self.step("rewriting the text index") as connection:
                if after is None:
                    await segments.open_target(connection, merge)
                await segments.cleaning_step(connection, merge, after, up_to, live)
                if up_to is None:
                    await segments.close_sources(connection, merge)
                    await projects.forget_deleted_chunks(connection, repository_id)
