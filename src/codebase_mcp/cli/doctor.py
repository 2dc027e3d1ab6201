"""`codebase-mcp doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codebase_mcp.cli import screen
from codebase_mcp.cli.options import JsonOption
from codebase_mcp.cli.session import run_with_service

if TYPE_CHECKING:
    from codebase_mcp.answers import Check
    from codebase_mcp.service import Service


def doctor(*, json: JsonOption = False) -> int:
    """Check the installation: versions, settings, database, worker, jobs, model, disk, logs. Each failure and each
    warning (!) comes with its fix.

    Exit code 1 when a check fails.

    Example: codebase-mcp doctor
    """

    async def work(service: Service) -> int:
        checks = await service.doctor()
        if json:
            screen.say_json(*checks, is_list=True)
        else:
            for check in checks:
                _say_check(check)
        return 0 if all(check.is_ok for check in checks) else 1

    return run_with_service(work, database="launched")


def _say_check(check: Check) -> None:
    mark, style = ("✗", "red") if not check.is_ok else ("!", "yellow") if check.is_warning else ("✓", "green")
    screen.say(f"{mark} {check.name}: {check.detail}", style)
    if check.fix and mark != "✓":
        screen.say(f"  → {check.fix}")
