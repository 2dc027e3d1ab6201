"""What the tools take of every request of a client that sends them all."""

from __future__ import annotations

import pytest
from benchmarks.tokens import count_tool_tokens

from tests.contract.conftest import Connect
from tests.support.fake_service import FakeService

pytest.importorskip("bpe_openai", reason="there is no wheel of bpe-openai for this platform: tokens are not counted")

MOST_TOKENS = {"all": 2_200, "search": 1_000, "jobs": 1_300}


@pytest.mark.parametrize("profile", MOST_TOKENS)
async def test_the_tools_take_few_tokens(connect: Connect, profile: str) -> None:
    async with connect(FakeService(), tools=profile) as caller:
        tools = await caller.client.list_tools()
    tokens = count_tool_tokens(tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools)
    assert sum(tokens.values()) <= MOST_TOKENS[profile], tokens
