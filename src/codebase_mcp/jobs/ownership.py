"""Finds out, once for each, which host the repositories and jobs of the older revision belong to.

That revision knew no hosts. Of what it left, a host takes what a worker of its name completed last; else what it has at
the same path with the same content; else it is nobody's: searched by all, indexed by none, until somebody adopts it. A
database in this data directory has no other users, so there half of the content, or no word of another host, will do.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from codebase_mcp.errors import DatabaseError
from codebase_mcp.indexing.read import UnreadableFile, read_bytes
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import hosts, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codebase_mcp.domain import Host
    from codebase_mcp.storage.database import Database
    from codebase_mcp.storage.host_identity import HostIdentity
    from codebase_mcp.storage.hosts import Unowned

log = get_logger(__name__)

SAMPLED_FILES = 60
MATCHING_FILES = 20
"""So many files with the indexed content prove that a tree is the one that was indexed; of a smaller one, all."""
SETTLE_SECONDS = 10.0
"""For all repositories together; what is not decided by then is decided at the next opening."""


async def settle(database: Database, identity: HostIdentity, *, is_embedded: bool) -> None:
    """Makes this host known and takes what is its own. Trouble is logged: the next process to open tries again."""
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            async with database.transaction() as connection:
                await hosts.sign(connection, identity.host)
            await _take_former(database, identity)
            await _take_unowned(database, identity.host, is_embedded=is_embedded)
    except (DatabaseError, TimeoutError) as error:
        log.warning("repositories of the older revision not looked at", error=str(error))


async def _take_former(database: Database, identity: HostIdentity) -> None:
    for former in identity.former_ids:
        async with database.transaction() as connection:
            moved = await hosts.move_everything(connection, former, identity.host.id)
        if moved:
            log.info("taken over from an older identity of this host", former_id=former, rows=moved)


async def _take_unowned(database: Database, host: Host, *, is_embedded: bool) -> None:
    async with database.transaction() as connection:
        found = await hosts.unowned(connection)
    for one in found:
        if await _is_own(database, one, host, is_embedded=is_embedded):
            await _take(database, one, host)


async def take_for_start(database: Database, host: Host, project_id: str, path: str) -> None:
    """Takes what nobody owns at the path that this host is about to index, if it is about the same tree.

    Whatever host it was, its index holds what is here; a tree with other content gets a repository of its own.
    """
    async with database.transaction() as connection:
        found = [one for one in await hosts.unowned(connection) if (one.project_id, one.path) == (project_id, path)]
    for one in found:
        if one.repository_id is None or await _has_same_content(database, one, is_lenient=False):
            await _take(database, one, host)


async def _is_own(database: Database, one: Unowned, host: Host, *, is_embedded: bool) -> bool:
    if one.last_host is not None and one.last_host == host.name:
        return True
    if one.last_host is None:
        if is_embedded:
            return True
        if one.repository_id is None:
            return one.is_active and await asyncio.to_thread(os.path.isdir, one.path)
    elif not is_embedded or one.repository_id is None:
        return False
    return await _has_same_content(database, one, is_lenient=is_embedded)


async def _has_same_content(database: Database, one: Unowned, *, is_lenient: bool) -> bool:
    assert one.repository_id is not None
    matching, sampled = await compare_sample(database, one.project_id, one.path, one.repository_id)
    wanted = min(MATCHING_FILES, (sampled + 1) // 2 if is_lenient else sampled)
    return sampled > 0 and matching >= wanted


async def compare_sample(database: Database, project_id: str, path: str, repository_id: int) -> tuple[int, int]:
    """How many of some indexed files are the same on this host, and how many were compared."""
    schema = tables.schema_name(project_id)
    async with database.transaction() as connection:
        sample = await hosts.sampled_hashes(connection, schema, repository_id, SAMPLED_FILES)
    return await asyncio.to_thread(_count_matching, Path(path), sample), len(sample)


def _count_matching(root: Path, sample: Mapping[str, bytes]) -> int:
    return sum(_is_same(root, relative_path, content_hash) for relative_path, content_hash in sample.items())


def _is_same(root: Path, relative_path: str, content_hash: bytes) -> bool:
    try:
        # As much as any setting allows to be indexed; what is larger was never indexed.
        content = read_bytes(root, relative_path, max_file_bytes=100_000_000).content
    except UnreadableFile:
        return False
    return hashlib.sha256(content).digest() == content_hash


async def _take(database: Database, one: Unowned, host: Host) -> None:
    async with database.transaction() as connection:
        has_index = one.repository_id is not None
        is_taken = await hosts.move_path(connection, one.project_id, one.path, None, host.id, has_index=has_index)
    if is_taken:
        log.info("repository of the older revision taken", project_id=one.project_id, repo_path=one.path)
