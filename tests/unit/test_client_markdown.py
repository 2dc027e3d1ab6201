"""The marked block in instruction files, and the skill."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.clients.errors import ClientConfigError
from codebase_mcp.clients.markdown import BEGIN, END, MarkedBlock, SkillFile, usage_notes

BLOCK = MarkedBlock(usage_notes())


@given(st.lists(st.sampled_from(["# Rules", "ä", " ", "\n", "\r\n", "\r", "\n\n"])).map("".join))
def test_removing_the_block_restores_every_byte(text: str) -> None:
    installed, undo = BLOCK.install(text)
    assert installed.startswith(text)
    assert installed.count(BEGIN) == installed.count(END) == 1
    assert BLOCK.install(installed)[0] == installed
    assert BLOCK.uninstall(installed, undo) == text


def test_the_block_is_replaced_where_it_stands() -> None:
    installed, _ = MarkedBlock("old\nnotes").install("# Rules\n")
    moved = installed + "\nMore rules.\n"
    updated, _ = BLOCK.install(moved)
    assert updated == moved.replace("old\nnotes", usage_notes().strip())
    assert BLOCK.uninstall(updated, {}) == "# Rules\n\nMore rules.\n"


@pytest.mark.parametrize("text", [BEGIN, END, END + BEGIN, BEGIN + END + BEGIN + END])
def test_damaged_markers_are_refused(text: str) -> None:
    with pytest.raises(ClientConfigError, match="must each stand there once"):
        BLOCK.install(text)


def test_the_notes_name_the_tools_and_fit_into_a_few_hundred_tokens() -> None:
    notes = usage_notes()
    for tool in ("search_code", "find_symbol", "find_related", "start_indexing_background"):
        assert f"`{tool}`" in notes
    assert len(notes) < 1_000


def test_the_skill_has_a_name_and_a_description_and_shares_the_notes() -> None:
    text, _ = SkillFile(usage_notes()).install("")
    assert text.startswith("---\nname: codebase-mcp\ndescription: >-\n")
    assert usage_notes().strip() in text


def test_a_skill_of_others_is_left_alone() -> None:
    skill = SkillFile(usage_notes())
    with pytest.raises(ClientConfigError, match="is not ours"):
        skill.install("---\nname: codebase-mcp\n---\n")
    assert skill.uninstall("---\nname: codebase-mcp\n---\n", {}) == "---\nname: codebase-mcp\n---\n"
