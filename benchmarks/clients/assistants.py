"""The assistants: which version, how each is told of the server and of the scripted model, and how it is asked."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLAUDE_CODE = "@anthropic-ai/claude-code@2.1.332"
CODEX = "@openai/codex@0.171.0"
GEMINI_CLI = "@google/gemini-cli@0.61.0"
OPENCODE = "opencode-ai@1.18.33"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"

NAME = "codebase-mcp"
PROMPT = "Where are results ranked?"


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What the assistant is to start: a command line and its environment."""

    command: tuple[str, ...]
    environment: dict[str, str]

    @property
    def standard(self) -> dict[str, Any]:
        """The entry of `mcpServers` as most clients write it."""
        return {"command": self.command[0], "args": list(self.command[1:]), "env": self.environment}


class Assistant(ABC):
    """One assistant in a home of its own. Commands are run in the project with `environment` added."""

    name: str
    package: str
    program: str

    @abstractmethod
    def configure(self, home: Path, server: ServerCommand, model_url: str) -> None: ...

    @abstractmethod
    def environment(self, model_url: str) -> dict[str, str]: ...

    turn: tuple[str, ...]
    health: tuple[str, ...]
    """Arguments of the command that says whether the server is connected."""


class ClaudeCode(Assistant):
    name, package, program = "Claude Code", CLAUDE_CODE, "claude"
    turn = ("-p", PROMPT, "--allowedTools", f"mcp__{NAME}__*")
    health = ("mcp", "list")

    def configure(self, home: Path, server: ServerCommand, model_url: str) -> None:
        entry = {"type": "stdio"} | server.standard
        settings = {"mcpServers": {NAME: entry}, "hasCompletedOnboarding": True}
        (home / ".claude.json").write_text(json.dumps(settings))

    def environment(self, model_url: str) -> dict[str, str]:
        quiet = ("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC")
        return dict.fromkeys(quiet, "1") | {"ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": "sk-scripted"}


class Codex(Assistant):
    name, package, program = "Codex", CODEX, "codex"
    turn = ("exec", "--skip-git-repo-check", PROMPT)
    health = ("mcp", "list")

    def configure(self, home: Path, server: ServerCommand, model_url: str) -> None:
        environment = ", ".join(f"{name} = {json.dumps(value)}" for name, value in server.environment.items())
        (home / ".codex").mkdir()
        (home / ".codex" / "config.toml").write_text(
            f'model = "scripted"\nmodel_provider = "local"\n\n[model_providers.local]\nname = "local"\n'
            f'base_url = "{model_url}/v1"\nwire_api = "responses"\nenv_key = "SCRIPTED_KEY"\n\n'
            f"[mcp_servers.{NAME}]\ncommand = {json.dumps(server.command[0])}\n"
            f"args = {json.dumps(server.command[1:])}\nenv = {{ {environment} }}\n"
            'default_tools_approval_mode = "approve"\n'
        )

    def environment(self, model_url: str) -> dict[str, str]:
        return {"SCRIPTED_KEY": "x"}


class GeminiCli(Assistant):
    name, package, program = "Gemini CLI", GEMINI_CLI, "gemini"
    turn = ("-p", PROMPT, "-y")
    health = ("mcp", "list")

    def configure(self, home: Path, server: ServerCommand, model_url: str) -> None:
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
            "general": {"disableAutoUpdate": True},
            "privacy": {"usageStatisticsEnabled": False},
            "mcpServers": {NAME: server.standard},
        }
        (home / ".gemini").mkdir()
        (home / ".gemini" / "settings.json").write_text(json.dumps(settings))

    def environment(self, model_url: str) -> dict[str, str]:
        return {"GEMINI_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": model_url}


class Opencode(Assistant):
    name, package, program = "opencode", OPENCODE, "opencode"
    turn = ("run", PROMPT)
    health = ("mcp", "list")

    def configure(self, home: Path, server: ServerCommand, model_url: str) -> None:
        entry = {"type": "local", "command": list(server.command), "environment": server.environment, "enabled": True}
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{model_url}/v1", "apiKey": "x"},
            "models": {"scripted": {"name": "scripted", "tool_call": True}},
        }
        settings = {
            "autoupdate": False,
            "share": "disabled",
            "model": "local/scripted",
            "small_model": "local/scripted",
            "provider": {"local": provider},
            "mcp": {NAME: entry},
        }
        folder = home / ".config" / "opencode"
        folder.mkdir(parents=True)
        (folder / "opencode.json").write_text(json.dumps(settings))

    def environment(self, model_url: str) -> dict[str, str]:
        return {}


ASSISTANTS: tuple[Assistant, ...] = (ClaudeCode(), Codex(), GeminiCli(), Opencode())


def inspector_arguments(server: ServerCommand, method: str) -> list[str]:
    """Arguments of the inspector's command line for one request."""
    settings = [part for name, value in server.environment.items() for part in ("-e", f"{name}={value}")]
    return ["--cli", *settings, *server.command, "--method", method]
