"""An environment that says nothing about settings but where their file is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def without_settings(monkeypatch: pytest.MonkeyPatch, config: Path) -> Path:
    """Every setting has its default, until somebody writes `config` or sets a variable."""
    for name in [name for name in os.environ if name.startswith("CODEBASE_MCP_")]:
        monkeypatch.delenv(name)
    for name in ("DATABASE_URL", "OPENAI_API_KEY", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CODEBASE_MCP_CONFIG", str(config))
    return config
