"""Which host a job belongs to, so that no program of an older revision can claim it; change time and inode of files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "codebase_mcp"
ACTIVE = "status IN ('pending', 'running', 'blocked')"
RUNNING = "status = 'running'"
EVENTS = (
    "'created', 'started', 'captured', 'progress', 'blocked', 'unblocked', 'released', 'resumed', 'completed',"
    " 'failed', 'cancelled'"
)


def upgrade() -> None:
    add_file_identity()
    create_hosts()
    add_hosts_of_jobs()


def downgrade() -> None:
    drop_hosts_of_jobs()
    op.drop_table("hosts", schema=SCHEMA)
    drop_file_identity()


def create_hosts() -> None:
    op.create_table(
        "hosts",
        sa.Column("host_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        schema=SCHEMA,
    )


def add_hosts_of_jobs() -> None:
    op.add_column("indexing_jobs", sa.Column("host_id", sa.Text), schema=SCHEMA)
    claimed = sa.Column("claimed_attempt", sa.Integer, nullable=False, server_default=sa.text("0"))
    op.add_column("indexing_jobs", claimed, schema=SCHEMA)
    # A worker of the older revision may finish what it has; it cannot claim anything, because it sets no such number.
    op.execute(f"UPDATE {SCHEMA}.indexing_jobs SET claimed_attempt = attempt WHERE {RUNNING}")
    op.create_check_constraint(
        "only_a_worker_that_knows_hosts_claims_a_job",
        "indexing_jobs",
        "status <> 'running' OR claimed_attempt = attempt",
        schema=SCHEMA,
    )
    replace_index("one_active_job_per_repository", ["project_id", "host_id", "repo_path"], ACTIVE)
    replace_index("one_job_per_slot", ["host_id", "slot"], RUNNING)
    replace_known_events(f"{EVENTS}, 'adopted'")


def drop_hosts_of_jobs() -> None:
    op.execute(f"DELETE FROM {SCHEMA}.job_events WHERE event_type = 'adopted'")
    replace_known_events(EVENTS)
    replace_index("one_job_per_slot", ["slot"], RUNNING)
    replace_index("one_active_job_per_repository", ["project_id", "repo_path"], ACTIVE)
    op.drop_constraint("only_a_worker_that_knows_hosts_claims_a_job", "indexing_jobs", schema=SCHEMA, type_="check")
    for column in ("claimed_attempt", "host_id"):
        op.drop_column("indexing_jobs", column, schema=SCHEMA)


def replace_index(name: str, columns: list[str], condition: str) -> None:
    op.drop_index(name, "indexing_jobs", schema=SCHEMA)
    op.create_index(name, "indexing_jobs", columns, unique=True, schema=SCHEMA, postgresql_where=sa.text(condition))


def replace_known_events(events: str) -> None:
    op.drop_constraint("event_type_is_known", "job_events", schema=SCHEMA, type_="check")
    op.create_check_constraint("event_type_is_known", "job_events", f"event_type IN ({events})", schema=SCHEMA)


def add_file_identity() -> None:
    for column in ("ctime_ns", "inode"):
        op.add_column("job_files", sa.Column(column, sa.BigInteger), schema=SCHEMA)


def drop_file_identity() -> None:
    for column in ("inode", "ctime_ns"):
        op.drop_column("job_files", column, schema=SCHEMA)
