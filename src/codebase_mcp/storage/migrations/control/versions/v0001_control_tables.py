"""Projects, embedding models and their cache, jobs with their files and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import UserDefinedType

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "codebase_mcp"
TERMINAL = "('completed', 'failed', 'cancelled')"
ACTIVE = "('pending', 'running', 'blocked')"


class HalfVector(UserDefinedType[bytes]):
    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        return "halfvec"


def upgrade() -> None:
    create_projects()
    create_embedding_models()
    create_indexing_jobs()
    index_indexing_jobs()
    create_job_files()
    create_job_events()


def downgrade() -> None:
    for table in ("job_events", "job_files", "indexing_jobs", "embedding_cache", "embedding_models", "projects"):
        op.drop_table(table, schema=SCHEMA)


def moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=default)


def count(name: str, kind: type[sa.Integer] | type[sa.BigInteger] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default=sa.text("0"))


def create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("project_id", sa.Text, primary_key=True),
        sa.Column("schema_name", sa.Text, nullable=False, unique=True),
        moment("created_at", nullable=False),
        schema=SCHEMA,
    )


def create_embedding_models() -> None:
    op.create_table(
        "embedding_models",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.UniqueConstraint("provider", "model", "revision", name="one_row_per_embedding_model"),
        schema=SCHEMA,
    )
    op.create_table(
        "embedding_cache",
        sa.Column(
            "model_id", sa.Integer, sa.ForeignKey(f"{SCHEMA}.embedding_models.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("text_hash", pg.BYTEA, primary_key=True),
        sa.Column("vector", HalfVector, nullable=False),
        moment("created_at", nullable=False),
        schema=SCHEMA,
    )


def create_indexing_jobs() -> None:
    op.create_table(
        "indexing_jobs",
        sa.Column("id", pg.UUID(as_uuid=True), primary_key=True),
        sa.Column("repository_id", sa.BigInteger),
        sa.Column("repo_path", sa.Text, nullable=False),
        sa.Column("repo_name", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("force_reindex", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
        sa.Column("phase", sa.Text, nullable=False, server_default=sa.text("'queued'")),
        sa.Column("progress_percentage", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("progress_message", sa.Text, nullable=False, server_default=sa.text("''")),
        count("files_total"),
        count("files_scanned"),
        count("files_indexed"),
        count("files_unchanged"),
        count("files_skipped"),
        count("files_failed"),
        count("chunks_created"),
        count("bytes_total", sa.BigInteger),
        count("bytes_done", sa.BigInteger),
        count("attempt"),
        sa.Column("slot", sa.SmallInteger),
        sa.Column("worker_id", pg.UUID(as_uuid=True)),
        sa.Column("host", sa.Text),
        moment("lease_expires_at"),
        moment("retry_at"),
        count("fruitless_attempts"),
        sa.Column("error_message", sa.Text),
        sa.Column("error_type", sa.Text),
        sa.Column("error_traceback", sa.Text),
        sa.Column("metadata", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        moment("created_at", nullable=False),
        moment("started_at"),
        moment("completed_at"),
        moment("cancelled_at"),
        moment("finished_at"),
        *job_checks(),
        schema=SCHEMA,
        postgresql_with={"fillfactor": "70"},
    )


def job_checks() -> list[sa.CheckConstraint]:
    done = "files_indexed + files_unchanged + files_skipped + files_failed"
    leased = "slot IS NOT NULL AND worker_id IS NOT NULL AND lease_expires_at IS NOT NULL"
    checks = {
        "job_status_is_known": "status IN ('pending', 'running', 'blocked', 'completed', 'failed', 'cancelled')",
        "job_phase_is_known": "phase IN ('queued', 'discovering', 'indexing', 'finishing', 'done')",
        "job_slot_exists": "slot BETWEEN 1 AND 3",
        "only_a_running_job_holds_a_slot_and_a_lease": f"(status = 'running') = ({leased})",
        "only_a_blocked_job_waits_for_a_retry": "(status = 'blocked') = (retry_at IS NOT NULL)",
        "only_a_terminal_job_is_finished": f"(status IN {TERMINAL}) = (finished_at IS NOT NULL)",
        "only_a_completed_job_has_a_completion_time": "(status = 'completed') = (completed_at IS NOT NULL)",
        "only_a_cancelled_job_has_a_cancellation_time": "(status = 'cancelled') = (cancelled_at IS NOT NULL)",
        "job_progress_is_a_percentage": "progress_percentage BETWEEN 0 AND 100",
        "no_more_files_done_than_captured": f"{done} <= files_total",
    }
    return [sa.CheckConstraint(condition, name=name) for name, condition in checks.items()]


def index_indexing_jobs() -> None:
    def index(name: str, columns: list[str | sa.TextClause], where: str | None = None, *, unique: bool = False) -> None:
        condition = sa.text(where) if where else None
        op.create_index(name, "indexing_jobs", columns, unique=unique, schema=SCHEMA, postgresql_where=condition)

    newest_first = sa.text("created_at DESC")
    index("one_active_job_per_repository", ["project_id", "repo_path"], f"status IN {ACTIVE}", unique=True)
    index("one_job_per_slot", ["slot"], "status = 'running'", unique=True)
    index("active_jobs_by_age", ["created_at", "id"], f"status IN {ACTIVE}")
    index("jobs_by_age", [newest_first, "id"])
    index("jobs_by_project_and_age", ["project_id", newest_first])
    index("finished_jobs_by_age", ["finished_at"], "finished_at IS NOT NULL")


def create_job_files() -> None:
    op.create_table(
        "job_files",
        sa.Column(
            "job_id",
            pg.UUID(as_uuid=True),
            sa.ForeignKey(f"{SCHEMA}.indexing_jobs.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("ordinal", sa.Integer, primary_key=True),
        sa.Column("relative_path", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint(
            "state IN ('pending', 'indexed', 'unchanged', 'skipped', 'failed')", name="file_state_is_known"
        ),
        sa.CheckConstraint(
            "(state IN ('skipped', 'failed')) = (reason IS NOT NULL)", name="a_file_left_out_has_a_reason"
        ),
        schema=SCHEMA,
    )
    for name, condition in (
        ("files_left_to_do", "state = 'pending'"),
        ("files_left_out", "state IN ('skipped', 'failed')"),
    ):
        op.create_index(name, "job_files", ["job_id", "ordinal"], schema=SCHEMA, postgresql_where=sa.text(condition))


def create_job_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "job_id",
            pg.UUID(as_uuid=True),
            sa.ForeignKey(f"{SCHEMA}.indexing_jobs.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("event_data", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        moment("created_at", nullable=False),
        sa.CheckConstraint(
            "event_type IN ('created', 'started', 'progress', 'blocked', 'unblocked', 'released', 'resumed',"
            " 'completed', 'failed', 'cancelled')",
            name="event_type_is_known",
        ),
        schema=SCHEMA,
    )
    op.create_index("events_of_a_job", "job_events", ["job_id", "id"], schema=SCHEMA)
    op.create_index(
        "one_terminal_event_per_job",
        "job_events",
        ["job_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text(f"event_type IN {TERMINAL}"),
    )
