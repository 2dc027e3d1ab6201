"""From settings to a usable database: the embedded server started if need be, the schemas migrated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from codebase_mcp.errors import DatabaseRemovedError, DatabaseStartingError
from codebase_mcp.storage import embedded
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.host_identity import HostIdentity, identify_host
from codebase_mcp.storage.migrate import migrate_control, migrate_known_projects, require_sessions

if TYPE_CHECKING:
    from codebase_mcp.settings import Settings


class OpenedDatabase:
    """Holds the database for one process. Opening may be repeated after a failure; closing ends this process's use."""

    def __init__(self, settings: Settings, application_name: str, *, control_seconds: float) -> None:
        self._settings = settings
        self._application_name = application_name
        self._control_seconds = control_seconds
        self._presence: embedded.ClientPresence | None = None
        self._database: Database | None = None
        self._identity: HostIdentity | None = None

    @property
    def identity(self) -> HostIdentity:
        """Who this host is to the database. Raises DatabaseStartingError before the first `open`."""
        if self._identity is None:
            raise DatabaseStartingError
        return self._identity

    @property
    def database(self) -> Database:
        """Raises DatabaseStartingError before the first successful `open`."""
        if self._database is None:
            raise DatabaseStartingError
        return self._database

    async def open(self) -> Database:
        """Start the embedded server when it is not answering, check the server, migrate; returns the same Database."""
        url = await asyncio.to_thread(self._address)
        # After the address: an embedded database makes its directory with the rights that it needs.
        self._identity = await asyncio.to_thread(identify_host, self._settings)
        if self._database is None:
            self._database = Database(
                url, application_name=self._application_name, control_seconds=self._control_seconds
            )
        if not self._settings.is_embedded:
            await require_sessions(self._database)
        await migrate_control(self._database)
        await migrate_known_projects(self._database)
        return self._database

    @property
    def is_embedded(self) -> bool:
        return self._settings.is_embedded

    async def revive(self) -> None:
        """Starts an embedded server that has gone; an external one is its owner's to start.

        Raises DatabaseRemovedError rather than making a new, empty database where the old one was deleted.
        """
        if not self._settings.is_embedded:
            return
        if not embedded.exists(self._settings.data_dir):
            raise DatabaseRemovedError(
                f"The database in {self._settings.data_dir} was deleted. Start codebase-mcp again for an empty one."
            )
        await asyncio.to_thread(self._address)

    async def close(self) -> None:
        """Closes the pools and, as the last process that uses it, stops the embedded server."""
        if self._database is not None:
            await self._database.close()
        if self._presence is not None:
            presence, self._presence = self._presence, None
            await asyncio.to_thread(presence.release)

    def _address(self) -> str:
        if self._settings.database_url is not None:
            return self._settings.database_url.get_secret_value()
        if self._presence is None:
            self._presence = embedded.ClientPresence(self._settings.data_dir)
        return embedded.ensure_running(self._settings.data_dir)
