"""The settings of the embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil


def configuration(socket_dir: Path, port: int, overrides: Mapping[str, str]) -> str:
    """The text of postgresql.conf."""
    settings = _server_settings(socket_dir, port) | dict(overrides)
    lines = [name + " = " + _quoted(value, "'") + "\n" for name, value in sorted(settings.items())]
    return "# Written by codebase-mcp at every start; ALTER SYSTEM overrides it.\n" + "".join(lines)


def _quoted(value: str, mark: str) -> str:
    return mark + value.replace(mark, mark * 2) + mark


def _server_settings(socket_dir: Path, port: int) -> dict[str, str]:
    megabytes = psutil.virtual_memory().total // 2**20
    return {
        "listen_addresses": "",
        "port": str(port),
        "unix_socket_directories": _quoted(str(socket_dir), '"'),  # a list, were there commas in it
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": f"{max(32, min(256, megabytes // 16))}MB",
        "effective_cache_size": f"{max(128, megabytes // 2)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": f"{max(64, min(256, megabytes // 16))}MB",
        "autovacuum_work_mem": "64MB",
        # Files in the data directory: /dev/shm holds 64 MB in a container, and a logout may clear the rest.
        "dynamic_shared_memory_type": "mmap",
        # Loaded once at the start, so that replacing the package under a running server does no harm.
        "shared_preload_libraries": "vector",
        "jit": "off",
        "random_page_cost": "1.1",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "1GB",
        "checkpoint_timeout": "15min",
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
        "log_autovacuum_min_duration": "-1",
        "log_line_prefix": "%m [%p] %a ",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
