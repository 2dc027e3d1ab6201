"""Hostile files and a real worker: the job completes, they are text, and worker and pool stay within their memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from benchmarks.memory import PROPORTIONAL, MemoryWatch, family

from codebase_mcp.storage.tables import schema_name
from tests.faults.checks import completed
from tests.support.processes import Site

pytestmark = pytest.mark.faults

MOST_MEGABYTES = 1_000
SLOW = "f<a<b<(c)\n" * 30_000
LARGE = "".join(f"a{i} ?\n  b{i} :\n" for i in range(40_000))


async def test_files_too_hard_to_parse_are_text_and_memory_stays_bounded(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "hostile"
    root.mkdir()
    (root / "slow.lua").write_text(SLOW)
    for number in range(2):
        (root / f"large{number}.c").write_text(LARGE)
        (root / f"good{number}.py").write_text(f"def found_{number}():\n    return {number}\n")
    async with site.service() as service:
        job_id = (await service.start_indexing(str(root))).job_id
        worker = psutil.Process(site.worker().pid)
        with MemoryWatch({"worker": lambda: family(worker)}) as watch:
            job = await completed(site, job_id, patience_seconds=300)
    assert job.files_indexed == 5
    assert "5 indexed (3 as plain text: too complex to parse)" in job.progress_message
    assert watch.as_json()["worker"][f"{PROPORTIONAL}_mb"] <= MOST_MEGABYTES
    symbols = await site.rows(f"SELECT name FROM {schema_name(job.project_id)}.symbols ORDER BY name")
    assert [row["name"] for row in symbols] == ["found_0", "found_1"]
