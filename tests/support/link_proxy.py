"""A proxy before PostgreSQL's socket that can hang, crawl or break, as networks do.

It runs in the test's event loop and is reached over TCP, so that real processes can be led through it. Everything may
be switched while links are open; what is switched applies to new links as well, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa

Direction = Literal["to server", "to client"]
BOTH: tuple[Direction, Direction] = ("to server", "to client")

COMMIT_SENT = b"COMMIT;\0"
"""The end of the driver's COMMIT."""
COMMIT_ANSWERED = b"COMMIT\0"
"""The end of the server's answer to it."""

_PORT = 5432
_CHUNK_BYTES = 65_536
_TICKS_PER_SECOND = 20


@dataclass(eq=False)
class Link:
    """One client's connection and the connection to the server made for it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    seen: set[bytes] = field(default_factory=set)
    tails: dict[Direction, bytes] = field(default_factory=lambda: {"to server": b"", "to client": b""})
    server_is_deaf: bool = False

    def __post_init__(self) -> None:
        self.flows.set()

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                writer.transport.abort()


@dataclass(eq=False)
class Trap:
    """Breaks the link on which `pattern` passes in `direction`, once; or halts the proxy if it `halts`.

    Delivered, the pattern still reaches its goal and only what comes after it is lost; else it is lost as well. With
    `after`, it springs only on a link on which that passed to the server since the last pattern. `spare` is how many
    passes it lets through before.
    """

    pattern: bytes
    direction: Direction
    is_delivered: bool = False
    halts: bool = False
    after: bytes | None = None
    spare: int = 0
    sprung: asyncio.Event = field(default_factory=asyncio.Event)

    def springs(self, link: Link, direction: Direction, tail: bytes, data: bytes) -> bool:
        if self.after is not None and direction == "to server" and _passes(self.after, tail, data):
            link.seen.add(self.after)
        if direction != self.direction or self.sprung.is_set() or not _passes(self.pattern, tail, data):
            return False
        if self.after is not None and self.after not in link.seen:
            return False
        link.seen.discard(self.after or b"")
        self.spare -= 1
        if self.spare >= 0:
            return False
        self.sprung.set()
        return True


@dataclass
class LinkProxy:
    """`flows` set: bytes pass; cleared: the links stay open and nothing passes, in either direction."""

    socket_path: str
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    bytes_per_second: float | None = None
    links: set[Link] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    traps: list[Trap] = field(default_factory=list)
    accepted: int = 0
    is_refusing: bool = False
    _flows_one_way: dict[Direction, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for direction in BOTH:
            self._flows_one_way[direction] = asyncio.Event()
            self._flows_one_way[direction].set()

    # --- trouble ---

    def halt(self, *directions: Direction) -> None:
        """Nothing passes any more in these directions (both, if none is named); nobody is told."""
        for direction in directions or BOTH:
            self._flows_one_way[direction].clear()

    def resume(self) -> None:
        """Everything flows again, what was held back first, at full speed."""
        self.flows.set()
        self.is_refusing, self.bytes_per_second = False, None
        for direction in BOTH:
            self._flows_one_way[direction].set()

    def forget_links(self) -> None:
        """The links open now fall silent for good, as after a long sleep; new ones work."""
        for link in self.links:
            link.flows.clear()

    def drop(self) -> None:
        """Reset every link."""
        for link in self.links:
            link.reset()

    def refuse(self) -> None:
        """Reset every link, and each new one at once."""
        self.is_refusing = True
        self.drop()

    def half_close(self, whom: Literal["client", "server"]) -> None:
        """Tell one side of every link that the other will say no more, though it would still listen."""
        for link in self.links:
            writer = link.client if whom == "client" else link.server
            if writer is not None and writer.can_write_eof():
                writer.write_eof()
            link.server_is_deaf = link.server_is_deaf or whom == "server"

    def trap(
        self,
        pattern: bytes,
        direction: Direction,
        *,
        is_delivered: bool = False,
        halts: bool = False,
        after: bytes | None = None,
        spare: int = 0,
    ) -> Trap:
        """A trap that is set at once; wait for its `sprung`."""
        trap = Trap(pattern, direction, is_delivered, halts, after, spare)
        self.traps.append(trap)
        return trap

    # --- passing bytes ---

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        link = Link(writer)
        self.links.add(link)
        try:
            await self._connect(link, reader)
        finally:
            link.reset()
            self.links.discard(link)
            self.tasks.discard(task)

    async def _connect(self, link: Link, reader: asyncio.StreamReader) -> None:
        if self.is_refusing:
            return
        await self._passage(link, *BOTH)
        try:
            server_reader, link.server = await asyncio.open_unix_connection(self.socket_path)
        except OSError:  # there is no server: the client finds the connection closed
            return
        await asyncio.gather(
            self._pump(link, reader, link.server, "to server"),
            self._pump(link, server_reader, link.client, "to client"),
        )

    async def _passage(self, link: Link, *directions: Direction) -> None:
        await self.flows.wait()
        await link.flows.wait()
        for direction in directions:
            await self._flows_one_way[direction].wait()

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(self._portion()):
                await self._passage(link, direction)
                if not await self._is_let_through(link, writer, data, direction):
                    break
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def _portion(self) -> int:
        return _CHUNK_BYTES if not self.bytes_per_second else max(1, int(self.bytes_per_second / _TICKS_PER_SECOND))

    async def _is_let_through(
        self, link: Link, writer: asyncio.StreamWriter, data: bytes, direction: Direction
    ) -> bool:
        """Passes the data on; False when the link is broken by it."""
        if direction == "to server" and link.server_is_deaf:
            return True
        tail, link.tails[direction] = link.tails[direction], (link.tails[direction] + data)[-64:]
        sprung = [trap for trap in self.traps if trap.springs(link, direction, tail, data)]
        self.traps = [trap for trap in self.traps if trap not in sprung]
        if any(trap.halts for trap in sprung):
            self.halt()
        elif any(not trap.is_delivered for trap in sprung):
            link.reset()
            return False
        elif sprung:
            link.client.transport.abort()  # the server reads to the end what was sent to it, and answers nobody
        writer.write(data)
        await writer.drain()
        return True

    async def close(self) -> None:
        """Break every link and wait until none is left."""
        self.resume()
        for link in self.links:
            link.flows.set()
        self.drop()
        await asyncio.gather(*self.tasks)


def _passes(pattern: bytes, tail: bytes, data: bytes) -> bool:
    """Whether the pattern ends within the data, even if it began before it."""
    return pattern in (tail[-(len(pattern) - 1) :] + data if len(pattern) > 1 else data)


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
