"""The product's own worker, which also keeps count of what it embeds: `python -m tests.faults.counting_worker worker`.

Each call adds a line with its number of texts to `embedded-texts` in the data directory, before the work is done, so
that the count misses nothing that a kill interrupts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from codebase_mcp.entry import main
from codebase_mcp.indexing.embed import Embedder, open_embedder
from codebase_mcp.jobs import worker
from codebase_mcp.settings import Settings

RECORD = "embedded-texts"


class CountingEmbedder:
    def __init__(self, inner: Embedder, record: Path) -> None:
        self._inner = inner
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def embed_documents(self, texts: Sequence[str]) -> Any:
        os.write(self._record, f"{len(texts)}\n".encode())
        return await self._inner.embed_documents(texts)


def open_counting(settings: Settings) -> Embedder:
    return cast(Embedder, CountingEmbedder(open_embedder(settings), settings.data_dir / RECORD))


def embedded_texts(data_dir: Path) -> int:
    """How many texts the workers of a data directory were told to embed."""
    record = data_dir / RECORD
    return sum(map(int, record.read_text().split())) if record.exists() else 0


if __name__ == "__main__":
    worker.open_embedder = open_counting
    main()
