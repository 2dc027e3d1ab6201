"""The address of a database: what the driver takes of it, and what is wrong with it."""

from __future__ import annotations

import os
from typing import Final

import sqlalchemy as sa

from codebase_mcp.errors import InvalidInputError

_EXAMPLE = "postgresql://user:password@host:5432/name"

# libpq knows these, asyncpg would send them to the server as settings, which refuses them.
_LIBPQ_ONLY: Final = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "prepared_statement_cache_size",
        "require_auth",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def driver_address(url: str) -> tuple[str, list[str] | None]:
    """The address asyncpg takes, and the socket directory if it names one.

    Raises InvalidInputError, which never shows the password.
    """
    try:
        parsed = sa.make_url(url.strip())
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidInputError(f"database_url must look like {_EXAMPLE}; the one given cannot be read.") from None
    backend = parsed.drivername.split("+")[0]
    if backend not in ("postgres", "postgresql"):
        raise InvalidInputError(f"database_url must look like {_EXAMPLE}; the one given is for {backend!r}.")
    _check_port(parsed)
    _check_files(parsed)
    parsed = parsed.set(drivername="postgresql").difference_update_query(_LIBPQ_ONLY)
    host = parsed.query.get("host")
    if isinstance(host, str) and host.startswith("/"):
        return _render(parsed.difference_update_query(["host"])), [host]
    return _render(parsed), None


def _check_port(url: sa.URL) -> None:
    ports = [url.port, url.query.get("port")]
    for port in ports:
        for one in str("" if port is None else port).split(","):
            if one and not (one.isdecimal() and 0 < int(one) < 65_536):
                raise InvalidInputError(f"database_url has the port {one}; it must be between 1 and 65535.")


def _check_files(url: sa.URL) -> None:
    """Prevents: a missing certificate that looks as if the server were missing."""
    for name in _FILES:
        path = url.query.get(name)
        if isinstance(path, str) and not os.access(os.path.expanduser(path), os.R_OK):
            raise InvalidInputError(
                f"database_url has {name}={path}, a file that cannot be read. Correct the path or the permissions."
            )


def _render(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)
