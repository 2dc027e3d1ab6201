"""JSON over HTTP with an embedding service: few requests at a time, bounded in time and size, failures in plain words.

A service that is away (no connection, no answer in time, 408, 429, 5xx) is EmbeddingUnavailableError, which waiting may
cure. Anything else that is no usable answer is EmbeddingError, after the same question was answered so three times.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from codebase_mcp.errors import EmbeddingError, EmbeddingUnavailableError

if TYPE_CHECKING:
    import httpx2

Answer = TypeVar("Answer")
Further = TypeVar("Further")

WRONG_ANSWERS = 3
"""A wrong answer may be an accident; so many in a row are not."""
LOST_CONNECTIONS = 2
"""A kept connection may have been closed by the service meanwhile, which the next one cures."""
PAUSE_SECONDS = 0.2
CONNECT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 3600.0
"""A service that asks for more patience is asked again all the same."""
QUOTED_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """One request. `read` turns the parsed answer into what was asked for; runs in a thread.

    It raises EmbeddingError with the rest of a sentence that begins with the service, without a final stop.
    """

    method: str
    path: str
    body: dict[str, Any] | None
    most_bytes: int
    read: Callable[[Any], Answer]

    def then(self, more: Callable[[Answer], Further]) -> Question[Further]:
        """The same question, whose answer is read further."""
        return Question(self.method, self.path, self.body, self.most_bytes, lambda answer: more(self.read(answer)))


class ServiceLink:
    """Connections to one service, shared by all jobs of a process. Opened by the first request, until `close`."""

    def __init__(self, base_url: str, *, api_key: str | None, concurrency: int, timeout_seconds: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._turns = asyncio.Semaphore(concurrency)
        self._client: httpx2.AsyncClient | None = None

    async def ask(self, question: Question[Answer], *, wrong_answers: int = WRONG_ANSWERS) -> Answer:
        """The answer; asked again when a connection was lost, and when answers are wrong, before that is an error."""
        wrong = lost = 0
        while True:
            try:
                async with self._turns:
                    return await self._ask_once(question)
            except _LostConnectionError as error:
                lost += 1
                if lost >= LOST_CONNECTIONS:
                    raise self._away(error.reason) from error
            except EmbeddingUnavailableError:
                raise
            except EmbeddingError as error:
                wrong += 1
                if wrong >= wrong_answers:
                    raise _in_a_row(error, wrong) from error
            await asyncio.sleep(PAUSE_SECONDS)

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _ask_once(self, question: Question[Answer]) -> Answer:
        content = await self._exchange(question)
        return await asyncio.to_thread(self._read, question, content)

    async def _exchange(self, question: Question[Answer]) -> bytes:
        import httpx2

        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._stream(question)
        except TimeoutError as error:
            raise self._away(f"no answer within {self._timeout_seconds:g} s") from error
        except httpx2.ConnectError as error:
            raise self._away(_reason(error)) from error
        except httpx2.RequestError as error:
            raise _LostConnectionError(_reason(error)) from error
        except OSError as error:  # certificates that the environment names and that are not there
            raise self._away(_reason(error)) from error
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise self._wrong(f"has no valid address ({error})", "Correct CODEBASE_MCP_EMBEDDING_URL") from error

    async def _stream(self, question: Question[Answer]) -> bytes:
        url = self.base_url + question.path
        content = bytearray()
        async with self._opened().stream(question.method, url, json=question.body) as response:
            # Raw, because a small compressed answer could unpack into a huge one.
            async for part in response.aiter_raw():
                content += part
                if len(content) > question.most_bytes:
                    raise self._wrong(
                        f"answered more than {question.most_bytes / 1e6:.1f} MB, which is no answer to this question",
                        "Check that CODEBASE_MCP_EMBEDDING_URL is the address of an embedding service",
                    )
            self._refuse_failure(response, bytes(content))
        return bytes(content)

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2

            headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "codebase-mcp"}
            if self._api_key is not None:
                headers["Authorization"] = f"Bearer {self._api_key}"
            self._client = httpx2.AsyncClient(
                headers=headers,
                follow_redirects=False,
                limits=httpx2.Limits(keepalive_expiry=30),
                timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
                # Proxies and certificates of the environment are for what is not on this machine.
                trust_env=not _is_this_machine(self.base_url),
            )
        return self._client

    def _read(self, question: Question[Answer], content: bytes) -> Answer:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise self._wrong(
                f"answered something that is not JSON ({self._quoted(content)})",
                "Check that CODEBASE_MCP_EMBEDDING_URL is the address of an embedding service",
            ) from None
        try:
            return question.read(answer)
        except EmbeddingError as error:
            raise self._wrong(error.message) from error

    # --- failures ---

    def _refuse_failure(self, response: httpx2.Response, content: bytes) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status in (408, 429) or status >= 500:
            said = {408: "it timed out", 429: "it asks for fewer requests"}.get(status, "it failed")
            raise self._away(
                f"{said}: HTTP {status}", retry_after_seconds=_retry_after(response.headers.get("retry-after"))
            )
        if response.is_redirect or 300 <= status < 400:
            target = self._quoted(response.headers.get("location", "nowhere").encode())
            raise self._wrong(
                f"redirects to {target}", "Set CODEBASE_MCP_EMBEDDING_URL to the final address; redirects are refused"
            )
        raise self._wrong(*self._refusal(status, content))

    def _refusal(self, status: int, content: bytes) -> tuple[str, str]:
        if status in (401, 403):
            # Not quoted: services repeat parts of the key in their answer.
            what = "does not accept the key" if self._api_key else "needs a key"
            return f"{what} (HTTP {status})", "Set CODEBASE_MCP_EMBEDDING_API_KEY"
        said = self._quoted(content)
        if status in (404, 405):
            advice = (
                "Check CODEBASE_MCP_EMBEDDING_URL, CODEBASE_MCP_EMBEDDING_MODEL and CODEBASE_MCP_EMBEDDING_PROVIDER"
            )
            return f"does not know this address or model (HTTP {status}: {said})", advice
        advice = (
            "Check CODEBASE_MCP_EMBEDDING_MODEL and CODEBASE_MCP_EMBEDDING_DIMENSIONS; if texts are too long or too "
            "many, lower CODEBASE_MCP_EMBEDDING_MAX_CHARACTERS or CODEBASE_MCP_EMBEDDING_BATCH_TEXTS"
        )
        return f"refused the request (HTTP {status}: {said})", advice

    def _wrong(self, what: str, advice: str = "") -> EmbeddingError:
        return EmbeddingError(f"The embedding service at {self.base_url} {what}." + (f" {advice}." if advice else ""))

    def _away(self, reason: str, *, retry_after_seconds: float = 0.0) -> EmbeddingUnavailableError:
        return EmbeddingUnavailableError(self.base_url, reason, retry_after_seconds=retry_after_seconds)

    def _quoted(self, content: bytes) -> str:
        text = " ".join(content[: 4 * QUOTED_CHARACTERS].decode("utf-8", "replace").split())
        if self._api_key is not None:
            text = text.replace(self._api_key, "***")
        text = re.sub(r"(?<=://)[^/@\s\"]*@", "***@", text)
        text = "".join(character for character in text if character.isprintable())
        return f"{text[:QUOTED_CHARACTERS]}…" if len(text) > QUOTED_CHARACTERS else text or "an empty answer"


class _LostConnectionError(EmbeddingError):
    """The connection broke after it had been made."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def _in_a_row(error: EmbeddingError, times: int) -> EmbeddingError:
    return EmbeddingError(f"{error.message} It was asked {times} times." if times > 1 else error.message)


def _retry_after(value: str | None) -> float:
    """Seconds from now; 0 when there is no such header, or none that can be read."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS) if math.isfinite(seconds) else 0.0


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _reason(error: Exception) -> str:
    """The cause at the bottom of a library's error, in plain words."""
    for cause in _causes(error):
        match cause:
            case ConnectionRefusedError():
                return "connection refused"
            case ConnectionResetError() | BrokenPipeError():
                return "connection reset"
            case socket.gaierror():
                return "its host name is not known"
            case ssl.SSLError():
                return f"TLS: {cause.reason or type(cause).__name__}"
            case TimeoutError():
                return "no answer to the connection"
    told = str(error).strip()
    return told.splitlines()[0].rstrip(".").lower() if told else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    following = error.__cause__ or error.__context__
    if following is not None:
        yield from _causes(following)
