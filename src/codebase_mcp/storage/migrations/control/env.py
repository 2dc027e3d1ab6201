"""Run by Alembic: migrates the control schema over the connection it was given."""

from codebase_mcp.storage.alembic_run import run_migrations

run_migrations()
