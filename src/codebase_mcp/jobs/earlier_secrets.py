"""What earlier versions indexed and this one would not: found once, and removed by the job that finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codebase_mcp.indexing.secret_files import KEY_SIGNS, must_look_inside, text_without_secrets
from codebase_mcp.indexing.skip_rules import SECRET
from codebase_mcp.jobs.statements import row
from codebase_mcp.logs import get_logger
from codebase_mcp.storage import secret_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from codebase_mcp.domain import DiscoveredFile, Job
    from codebase_mcp.storage.index_store import KnownFile, Target

log = get_logger(__name__)

SECRET_RULES_VERSION = "1"
"""Raised when files that are indexed might be refused by new rules; a completed job has it in its metadata."""


async def indexed_secrets(
    connection: AsyncConnection, job: Job, target: Target, known: Mapping[str, KnownFile]
) -> frozenset[str]:
    """Paths of indexed files that have to be read again. Looks at the index only if no job of these rules has."""
    arguments = {
        "project_id": job.project_id,
        "repository_id": target.repository_id,
        "rules": SECRET_RULES_VERSION,
    }
    if not known or await row(connection, "job_with_secret_rules", arguments):
        return frozenset()
    path_of = {file.id: path for path, file in known.items()}
    suspects = set(await secret_rows.files_with_words(connection, target.repository_id, KEY_SIGNS))
    suspects |= {file.id for path, file in known.items() if must_look_inside(path)}
    found = set()
    for file_id in suspects & path_of.keys():
        text = await secret_rows.text_of_file(connection, file_id)
        if text_without_secrets(path_of[file_id], text) != text:
            found.add(path_of[file_id])
    return frozenset(found)


async def forget_vectors_of_secrets(
    connection: AsyncConnection,
    target: Target,
    known: Mapping[str, KnownFile],
    listed: Iterable[DiscoveredFile],
    read_again: frozenset[str],
) -> None:
    """Of what the job is about to remove. The rest of it goes when the job commits."""
    by_name = {file.relative_path for file in listed if file.skip_reason == SECRET}
    doomed = [file.id for path, file in known.items() if path in read_again or path in by_name]
    if doomed:
        log.warning("indexed files may hold secrets; they are removed", files=len(doomed))
        await secret_rows.forget_vectors(connection, target.schema, doomed)
