"""Which distributions are installed: the parts of this program, and a namesake that takes its files away."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from codebase_mcp.answers import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DISTRIBUTION = "codebase-mcp-server"
_NAMESAKE = "codebase-mcp"
"""Published by others, and the name of this one before its first release: same command, same import name."""


def installed_version(name: str, search_path: Sequence[str] | None = None) -> str | None:
    """None when no distribution of that name is installed. `search_path` is `sys.path` by default."""
    found = distributions(name=name, path=list(sys.path if search_path is None else search_path))
    return next((one.version for one in found), None)


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    return {name: installed_version(name) or "not installed" for name in names}


def check_distribution(search_path: Sequence[str] | None = None) -> Check:
    """Fails when a distribution named `codebase-mcp` is installed in the same environment."""
    own = installed_version(DISTRIBUTION, search_path)
    detail = f"{DISTRIBUTION} {own}" if own else f"{DISTRIBUTION} is not installed; running from its source"
    namesake = installed_version(_NAMESAKE, search_path)
    if namesake is None:
        return Check(name="package", is_ok=True, detail=f"{detail}, in {sys.prefix}")
    return Check(
        name="package",
        is_ok=False,
        detail=f"{detail}, shares {sys.prefix} with the distribution {_NAMESAKE} {namesake}: another package with the "
        "same command and import name, or this one before it was renamed",
        fix=f"In that environment: pip uninstall {_NAMESAKE}, then pip install --force-reinstall --no-deps "
        f"{DISTRIBUTION} (the first removes files that both share).",
    )
