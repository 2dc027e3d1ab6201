"""What a server offers its clients: which tools, and in which form searches are answered."""

from __future__ import annotations

from typing import Literal, NamedTuple

ToolProfile = Literal["all", "search", "jobs"]
AnswerForm = Literal["text", "structured"]


class Offer(NamedTuple):
    tools: ToolProfile = "all"
    answers: AnswerForm = "text"


DEFAULT_OFFER = Offer()
