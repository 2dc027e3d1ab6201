"""A proxy before PostgreSQL's socket that can be told to hang or to break, as networks do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import sqlalchemy as sa

_PORT = 5432


@dataclass
class LinkProxy:
    """`flows` set: bytes pass; cleared: the links stay open and nothing passes, in either direction."""

    socket_path: str
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    accepted: int = 0

    def drop(self) -> None:
        """Reset every link."""
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        self.writers.add(writer)
        await self.flows.wait()
        server_reader, server_writer = await asyncio.open_unix_connection(self.socket_path)
        self.writers.add(server_writer)
        await asyncio.gather(self._pump(reader, server_writer), self._pump(server_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def close(self) -> None:
        """Break every link and wait until none is left."""
        self.flows.set()
        self.drop()
        await asyncio.gather(*self.tasks)


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[LinkProxy, str]]:
    """A proxy on a local TCP port and the address that leads through it."""
    parsed = sa.make_url(url)
    proxy = LinkProxy(f"{parsed.query['host']}/.s.PGSQL.{_PORT}")
    proxy.flows.set()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, f"postgresql://{parsed.username}@127.0.0.1:{port}/{parsed.database}?sslmode=disable"
    finally:
        server.close()
        await proxy.close()
