"""When a job last got on and how fast it is, and an event for the file list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "codebase_mcp"
EVENTS = "'progress', 'blocked', 'unblocked', 'released', 'resumed', 'completed', 'failed', 'cancelled'"


def upgrade() -> None:
    for column in ("progressed_at", "measured_at"):
        op.add_column("indexing_jobs", sa.Column(column, sa.TIMESTAMP(timezone=True)), schema=SCHEMA)
    for column in ("recent_seconds", "recent_bytes", "recent_files"):
        amount = sa.Column(column, sa.Double, nullable=False, server_default=sa.text("0"))
        op.add_column("indexing_jobs", amount, schema=SCHEMA)
    op.create_index(
        "jobs_ended_before_they_began",
        "indexing_jobs",
        ["project_id", "repo_path", "created_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("repository_id IS NULL AND status IN ('failed', 'cancelled')"),
    )
    replace_known_events(f"'created', 'started', 'captured', {EVENTS}")


def downgrade() -> None:
    op.execute(f"DELETE FROM {SCHEMA}.job_events WHERE event_type = 'captured'")
    replace_known_events(f"'created', 'started', {EVENTS}")
    op.drop_index("jobs_ended_before_they_began", "indexing_jobs", schema=SCHEMA)
    for column in ("recent_files", "recent_bytes", "recent_seconds", "measured_at", "progressed_at"):
        op.drop_column("indexing_jobs", column, schema=SCHEMA)


def replace_known_events(events: str) -> None:
    op.drop_constraint("event_type_is_known", "job_events", schema=SCHEMA, type_="check")
    op.create_check_constraint("event_type_is_known", "job_events", f"event_type IN ({events})", schema=SCHEMA)
