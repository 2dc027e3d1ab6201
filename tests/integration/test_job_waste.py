"""What a crash costs: no more than the batch under way."""

from __future__ import annotations

from codebase_mcp.domain import JobStatus
from tests.support.runs import SHOP, Bench


async def test_a_local_model_embeds_a_batch_only_when_the_one_before_it_is_committed(bench: Bench) -> None:
    points: list[str] = []
    bench.on_point = points.append
    bench.configure(batch_files=1)
    assert (await bench.run()).status is JobStatus.COMPLETED
    assert [point for point in points if point in ("embedded", "committed")] == ["embedded", "committed"] * len(SHOP)
