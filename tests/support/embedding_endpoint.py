"""A scripted embedding service: speaks Ollama and OpenAI, records what it is asked, and misbehaves on command."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

MODEL = "nomic-embed-text"
DIGEST = "0123456789abcdef" * 4
DIMENSIONS = 16


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Depends on the text alone, so that indexes can be compared."""
    digest = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    return [int.from_bytes(digest[2 * i : 2 * i + 2], "big") / 32768 - 1 for i in range(dimensions)]


@dataclass(frozen=True)
class Reply:
    """An HTTP answer as it goes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def head(self, length: int | None = None) -> bytes:
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body) if length is None else length),
        }
        lines = [
            f"HTTP/1.1 {self.status} Scripted",
            *(f"{name}: {value}" for name, value in (headers | self.headers).items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass
class Asked:
    """One request for vectors."""

    texts: list[str]
    dimensions: int | None
    authorization: str | None
    path: str


@dataclass
class Endpoint:
    """`mood` says how requests for vectors are answered from now on; `moods_left` for how many of them, None for ever.

    Moods: well, 500, 401, 404, 429, redirect, hang, reset, short list, wrong dimension, nan, html, 100 MB, shuffled.
    """

    port: int = 0
    mood: str = "well"
    moods_left: int | None = None
    then: str = "well"
    """The mood after those."""
    retry_after: str | None = None
    api_key: str | None = None
    model: str = MODEL
    digest: str = DIGEST
    dimensions: int = DIMENSIONS
    delay_seconds: float = 0.0
    scripted: object = None
    """Answered as it is to every request for vectors, when there is something."""
    scripted_error: str | None = None
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    connections: int = 0
    spares_probes: bool = False
    """Whether a mood leaves alone the requests that find out about the model."""
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when who asked ended the connection of a request that hangs."""
    _at_once: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def texts(self) -> Counter[str]:
        """Texts that were embedded, without those that find out about the model and those of queries."""
        return Counter(
            text
            for call in self.asked
            for text in call.texts
            if text != "dimensions" and not text.startswith("search_query")
        )

    def knobs(self, provider: str = "ollama", **more: Any) -> dict[str, Any]:
        """Settings that lead here."""
        return {
            "embedding_provider": provider, "embedding_url": self.url, "embedding_model": MODEL,
            "embedding_max_characters": 400,
        } | more  # fmt: skip

    def turn(self, mood: str, *, times: int | None = None) -> None:
        self.mood, self.moods_left = mood, times

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Closes the port and every connection; `open` takes the same port again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    # --- one connection ---

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            return await _send(writer, self._models())
        request = json.loads(body)
        texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
        self.asked.append(Asked(texts, request.get("dimensions"), headers.get("authorization"), path))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.delay_seconds)
            mood = "well" if self.spares_probes and texts == ["dimensions"] else self._mood_now()
            if mood == "hang":
                return await self._hang(reader)
            return await self._act(mood, writer, texts, path, headers)
        finally:
            self._at_once -= 1

    async def _hang(self, reader: asyncio.StreamReader) -> bool:
        self.let_go.clear()
        self.hung.set()
        await reader.read()
        self.let_go.set()
        return False

    def _mood_now(self) -> str:
        mood = self.mood
        if self.moods_left is not None:
            self.moods_left -= 1
            if self.moods_left <= 0:
                self.turn(self.then)
        return mood

    async def _act(
        self, mood: str, writer: asyncio.StreamWriter, texts: list[str], path: str, headers: dict[str, str]
    ) -> bool:
        match mood:
            case "reset":
                _reset(writer)
                return False
            case "100 MB":
                return await _flood(writer)
        if self.api_key is not None and headers.get("authorization") != f"Bearer {self.api_key}":
            told = headers.get("authorization", "nothing")
            return await _send(writer, _json({"error": {"message": f"Incorrect API key provided: {told}"}}, 401))
        return await _send(writer, self._reply(mood, texts, path))

    def _reply(self, mood: str, texts: list[str], path: str) -> Reply:
        if self.scripted is not None:
            return _json(self.scripted)
        extra = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        match mood:
            case "500" | "503" | "429" | "401" | "404" | "400":
                return _json({"error": self.scripted_error or f"scripted {mood}"}, int(mood), extra)
            case "redirect":
                return Reply(307, b"", {"Location": "http://elsewhere.example/api/embed"})
            case "html":
                return Reply(200, b"<!doctype html><html><body>Welcome!</body></html>", {"Content-Type": "text/html"})
        rows: list[Any] = [vector_of(text, self.dimensions) for text in texts]
        match mood:
            case "short list":
                rows = rows[:-1]
            case "wrong dimension":
                rows = [row[:-1] for row in rows]
            case "nan":
                rows[0][0] = float("nan")
        return _json(_embeddings(rows, path, is_shuffled=mood == "shuffled"))

    def _models(self) -> Reply:
        match self.mood:
            case "500" | "503" | "429":
                return self._reply(self.mood, [], "")
        return _json({"models": [{"name": f"{self.model}:latest", "digest": self.digest}]})


def _embeddings(rows: list[Any], path: str, *, is_shuffled: bool) -> dict[str, Any]:
    if path.endswith("/api/embed"):
        return {"model": MODEL, "embeddings": rows}
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return {"object": "list", "data": data[::-1] if is_shuffled else data, "model": MODEL}


def _json(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(answer).encode(), headers or {})


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    writer.write(reply.head() + reply.body)
    await writer.drain()
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """An RST in place of an answer."""
    link = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def _flood(writer: asyncio.StreamWriter) -> bool:
    """An endless answer, as far as the other side cares to read it."""
    writer.write(Reply().head(100_000_000) + b'{"embeddings": [[')
    for _ in range(100):
        writer.write(b"1.0," * 250_000)
        await writer.drain()
    return False


@contextlib.asynccontextmanager
async def endpoint(**more: Any) -> AsyncIterator[Endpoint]:
    served = Endpoint(**more)
    await served.open()
    try:
        yield served
    finally:
        await served.refuse()
