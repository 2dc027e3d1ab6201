"""The only way to the terminal: a console on which text cannot be a command to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment

from codebase_mcp.visible_text import escape_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType
    from rich.text import Text


class SafeConsole(Console):
    """Escapes what is printed, before it is measured where that is possible, and whatever it is part of."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escape_text(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escape_text(segment.text), segment.style)
