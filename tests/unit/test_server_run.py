"""When a server on stdio is suspended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from codebase_mcp.server import run


class Idle:
    """A service, a frontend and its lines, which write down what is asked of them."""

    def __init__(self, needed: list[bool], idle: list[float], pauses: list[bool]) -> None:
        self._needed, self._idle, self._pauses = iter(needed), iter(idle), iter(pauses)
        self.heard: list[str] = []

    @property
    def idle_seconds(self) -> float:
        return next(self._idle)

    async def is_needed(self) -> bool:
        return self._hear("needed", self._needed)

    def pause(self) -> bool:
        return self._hear("pause", self._pauses)

    def finish(self) -> None:
        self.heard.append("finish")

    def _hear(self, what: str, answers: Iterator[bool]) -> bool:
        answer = next(answers)
        self.heard.append(f"{what} {answer}")
        return answer


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        (Idle([False], [9, 9, 10], [True]), ["needed False", "pause True", "finish"]),
        (Idle([True, False], [10, 10], [True]), ["needed True", "needed False", "pause True", "finish"]),
        (
            Idle([False] * 2, [10, 10], [False, True]),
            ["needed False", "pause False", "needed False", "pause True", "finish"],
        ),
    ],
    ids=["not before its time", "not with jobs to look after", "not while something arrives"],
)
async def test_a_server_is_suspended_only_when_nobody_needs_it(
    idle: Any, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "IDLE_CHECK_SECONDS", 0.0)
    assert await asyncio.wait_for(run._pause_when_idle(idle, idle, idle, 10), 10)
    assert idle.heard == expected
