"""A project with repositories that are written as a job writes them, and a service that searches it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from codebase_mcp.errors import EmbeddingError
from codebase_mcp.indexing.embed import EmbedderIdentity
from codebase_mcp.search.catalogue import Catalogue
from codebase_mcp.search.models import SearchAnswer, SearchRequest
from codebase_mcp.search.service import SearchService
from codebase_mcp.storage import index_store, projects, tables
from codebase_mcp.storage.database import Database
from codebase_mcp.storage.index_store import Target
from codebase_mcp.storage.migrate import migrate_project
from tests.support.index import prepared, reserve
from tests.support.jobs import HOST

PROJECT = "search-tests"
SCHEMA = tables.schema_name(PROJECT)
DIMENSIONS = 64

COOKIE = "class CookieJar:\n    def add(self, cookie):\n        return cookie\n"
SHOP = {
    "shop/cookie.py": COOKIE,
    "shop/router.py": "def route(path):\n    return path\n",
    "shop/session.go": "package shop\n\nfunc OpenSession() {}\n",
    "tests/test_cookie.py": "def test_cookie_jar():\n    cookie = CookieJar()\n    assert cookie\n",
    "README.md": "# Shop\n\nA shop with a cookie jar.\n",
}


class WordEmbedder:
    """Texts are near when they share words; `synonyms` are words that count as others."""

    identity = EmbedderIdentity("fake", "words", "1")
    dimensions = DIMENSIONS
    cosine_scale = 1.0
    is_service = False

    def __init__(self, synonyms: Mapping[str, str] | None = None) -> None:
        self.synonyms = dict(synonyms or {})
        self.failure: EmbeddingError | None = None

    async def prepare(self, *, seconds: float | None = None) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(-1, DIMENSIONS)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        if self.failure:
            raise self.failure
        return self._vector(text)

    def _vector(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(DIMENSIONS, np.float32)
        for word in text.lower().split():
            digest = hashlib.sha512(self.synonyms.get(word, word).encode(errors="replace")).digest()
            total += np.frombuffer(digest, np.uint8).astype(np.float32) - 127.5
        return total / (np.linalg.norm(total) or 1.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shelf:
    """A project with repositories, and a service that searches it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.embedder = WordEmbedder()
        self.clock = Clock()
        self.service = SearchService(database, self.embedder, catalogue=Catalogue(self.clock))

    async def repository(self, path: str = "/src/shop") -> Target:
        await migrate_project(self.database, SCHEMA)
        async with self.database.transaction("writers", SCHEMA) as connection:
            repository = await projects.ensure_repository(connection, HOST.id, path, path.rpartition("/")[2])
            model = await projects.ensure_model(connection, self.embedder.identity, DIMENSIONS)
        return Target(SCHEMA, repository.id, model, "fingerprint", uuid4())

    async def write(self, target: Target, texts: Mapping[str, str]) -> None:
        batch = await asyncio.to_thread(prepared, self.folder, texts)
        vectors = await self.embedder.embed_documents([header for file in batch.files for header in file.headers])
        ids = await reserve(self.database, target, batch)
        async with self.database.transaction("writers", target.schema) as connection:
            await connection.execute(sa.select(1))
            await index_store.replace_files(connection, target, batch, ids, vectors)

    async def finish(self, target: Target, commit: str | None = None) -> None:
        async with self.database.transaction("writers", target.schema) as connection:
            await projects.mark_complete(connection, target.repository_id, commit)

    async def start_job(self, path: str = "/src/shop", progress: int = 40) -> None:
        """A job that was just started: active, and nobody needs to run it."""
        jobs = tables.indexing_jobs
        async with self.database.transaction() as connection:
            await connection.execute(
                sa.insert(jobs).values(
                    id=uuid4(), host_id=HOST.id, repo_path=path, repo_name=path.rpartition("/")[2], project_id=PROJECT,
                    progress_percentage=progress,
                )
            )  # fmt: skip

    async def search(self, query: str, **fields: Any) -> SearchAnswer:
        return await self.service.search(SearchRequest(query=query, project_id=PROJECT, host=HOST, **fields))

    async def paths(self, query: str, **fields: Any) -> list[str]:
        answer = await self.search(query, **fields)
        return [hit.file_path.removeprefix("/src/shop/") for hit in answer.results]
