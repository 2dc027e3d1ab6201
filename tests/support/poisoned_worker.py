"""A worker that dies of what a file named poison.py gives it to embed, and takes its time over everything else.

`python -m tests.support.poisoned_worker`: so the jobs beside the poisoned one commit nothing before it dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codebase_mcp.indexing.embed import open_embedder
from codebase_mcp.jobs import worker
from codebase_mcp.logs import configure_logging
from codebase_mcp.settings import Settings

PAUSE_SECONDS = 0.4


class PoisonedEmbedder:
    """The real one for everything else."""

    def __init__(self, settings: Settings) -> None:
        self._real = open_embedder(settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any("poison" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(PAUSE_SECONDS)
        return await self._real.embed_documents(texts)


if __name__ == "__main__":
    worker.open_embedder = PoisonedEmbedder  # type: ignore[assignment]
    settings = Settings()
    configure_logging(settings, "worker")
    sys.exit(worker.work_until_told(settings, is_spawned=False))
