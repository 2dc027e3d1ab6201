"""DATABASE_URL, which versions up to 0.2 took for their own: ignored now, but not before its index was asked about."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from codebase_mcp.answers import Check
from codebase_mcp.configuration import masked
from codebase_mcp.errors import CodebaseMcpError, InvalidInputError
from codebase_mcp.logs import get_logger
from codebase_mcp.settings import APPLICATION_VARIABLE, application_database_url, variable_of
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.migrate import installed_revision

if TYPE_CHECKING:
    from pathlib import Path

    from codebase_mcp.settings import Settings

log = get_logger(__name__)

ANSWER_SECONDS = 1.0
"""A database that does not answer in this time is taken for one without an index of ours."""
_TRUST = variable_of("use_database_url")
_WAYS_OUT = (
    f"To go on with that index, set CODEBASE_MCP_DATABASE_URL to this address (or {_TRUST}=true). To leave it alone and"
    f" use the embedded database, set {_TRUST}=false. `codebase-mcp config set` does the same for every shell and"
    " client (database_url, use_database_url)."
)


def require_choice(settings: Settings) -> None:
    """Blocking. Raises InvalidInputError when DATABASE_URL alone names a database that holds an index of ours.

    Who had it there is asked until they choose: an empty embedded database in its place would look like a lost index.
    A database that is seen to hold none is remembered and not asked again.
    """
    url = application_database_url()
    if not _is_undecided(settings) or _is_known_stranger(settings, url):
        return
    holds_index = asyncio.run(_holds_index(url))
    if holds_index:
        raise InvalidInputError(_refusal(url))
    if holds_index is not None:
        _remember_stranger(settings, url)
    log.info("DATABASE_URL is ignored", reason="it belongs to an application")


async def check_application_database(settings: Settings) -> Check | None:
    """What `doctor` says about DATABASE_URL; None when it is not set."""
    url = application_database_url()
    if not url:
        return None
    name = APPLICATION_VARIABLE
    if not settings.is_embedded:
        is_used = settings.database_url is not None and settings.database_url.get_secret_value() == url
        return Check(
            name=name, is_ok=True, detail="is the database in use" if is_used else "ignored: database_url is set"
        )
    if _is_undecided(settings) and await _holds_index(url):
        return Check(name=name, is_ok=False, detail=_refusal(url), fix=_WAYS_OUT)
    detail = f"ignored, as it usually belongs to another application; {_TRUST}=true would select {masked(url)}"
    return Check(name=name, is_ok=True, detail=detail)


def _is_undecided(settings: Settings) -> bool:
    is_decided = not settings.is_embedded or "use_database_url" in settings.model_fields_set
    return bool(application_database_url()) and not is_decided


def _refusal(url: str) -> str:
    return (
        f"{APPLICATION_VARIABLE} no longer selects the database, and the one that it names ({masked(url)}) holds an"
        f" index of codebase-mcp. {_WAYS_OUT}"
    )


async def _holds_index(url: str) -> bool | None:
    """None when that cannot be known: the database is away, or not one of PostgreSQL."""
    try:
        database = Database(url, application_name="codebase-mcp", control_seconds=ANSWER_SECONDS)
        async with contextlib.aclosing(database), asyncio.timeout(ANSWER_SECONDS):
            return await installed_revision(database) is not None
    except (CodebaseMcpError, TimeoutError) as error:
        log.info("DATABASE_URL was not examined", error=f"{type(error).__name__}: {error}")
        return None


# --- databases that are known to hold no index ---


def _is_known_stranger(settings: Settings, url: str) -> bool:
    try:
        return _fingerprint(url) in _strangers_file(settings).read_text("ascii").split()
    except (OSError, ValueError):
        return False


def _remember_stranger(settings: Settings, url: str) -> None:
    path = _strangers_file(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{_fingerprint(url)}\n")
    except OSError as error:
        log.info("not remembered, and examined again next time", path=str(path), error=str(error))


def _strangers_file(settings: Settings) -> Path:
    return settings.data_dir / "ignored-databases"


def _fingerprint(url: str) -> str:
    """Without the password, which a fast hash does not protect."""
    try:
        named = sa.make_url(url).set(password=None).render_as_string()
    except (sa.exc.ArgumentError, ValueError):
        named = ""
    return hashlib.sha256(named.encode()).hexdigest()
