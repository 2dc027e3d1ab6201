"""The tables: one control schema, and one schema per project. Constraints are named after what they forbid.

Project tables are declared in the placeholder schema `project`; `schema_translate_map` puts the real name in,
so that no statement depends on a search path.
"""

from __future__ import annotations

import hashlib
import re

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import UserDefinedType

from codebase_mcp.domain import INDEX_ID_LIMIT, MAX_RUNNING_JOBS

CONTROL_SCHEMA = "codebase_mcp"
PROJECT_SCHEMA = "project"

control = sa.MetaData(schema=CONTROL_SCHEMA)
project = sa.MetaData(schema=PROJECT_SCHEMA)


class HalfVector(UserDefinedType[bytes]):
    """pgvector's half-precision vector; without a dimension, so that models of several sizes can live side by side."""

    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        return "halfvec"


def schema_name(project_id: str) -> str:
    """The schema of a project, which tools return as `database_name`."""
    readable = re.sub(r"[^a-z0-9_]", "_", project_id.lower())[:30]
    return f"cb_proj_{readable}_{hashlib.sha256(project_id.encode()).hexdigest()[:8]}"


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=default)


def _amount(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False, server_default=sa.text("0"))


def _count(name: str, kind: type[sa.Integer] | type[sa.BigInteger] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default=sa.text("0"))


# --- control schema ---

projects = sa.Table(
    "projects",
    control,
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("schema_name", sa.Text, nullable=False, unique=True),
    _moment("created_at", nullable=False),
)

embedding_models = sa.Table(
    "embedding_models",
    control,
    sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("dimensions", sa.Integer, nullable=False),
    sa.UniqueConstraint("provider", "model", "revision", name="one_row_per_embedding_model"),
)

embedding_cache = sa.Table(
    "embedding_cache",
    control,
    sa.Column("model_id", sa.Integer, sa.ForeignKey("embedding_models.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("text_hash", pg.BYTEA, primary_key=True),
    sa.Column("vector", HalfVector, nullable=False),
    _moment("created_at", nullable=False),
)

hosts = sa.Table(
    "hosts",
    control,
    sa.Column("host_id", sa.Text, primary_key=True),
    # For people: the system's host name, which may change or be that of several hosts.
    sa.Column("name", sa.Text, nullable=False),
    # Kept up while the host has active jobs.
    _moment("seen_at", nullable=False),
)

_TERMINAL = "('completed', 'failed', 'cancelled')"
_ACTIVE = "('pending', 'running', 'blocked')"

indexing_jobs = sa.Table(
    "indexing_jobs",
    control,
    sa.Column("id", pg.UUID(as_uuid=True), primary_key=True),
    sa.Column("repository_id", sa.BigInteger),
    sa.Column("repo_path", sa.Text, nullable=False),
    sa.Column("repo_name", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    # The host whose tree repo_path is on; null for a job of the older revision that no host has claimed as its own.
    sa.Column("host_id", sa.Text),
    sa.Column("force_reindex", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
    sa.Column("phase", sa.Text, nullable=False, server_default=sa.text("'queued'")),
    sa.Column("progress_percentage", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("progress_message", sa.Text, nullable=False, server_default=sa.text("''")),
    _count("files_total"),
    _count("files_scanned"),
    _count("files_indexed"),
    _count("files_unchanged"),
    _count("files_skipped"),
    _count("files_failed"),
    _count("chunks_created"),
    _count("bytes_total", sa.BigInteger),
    _count("bytes_done", sa.BigInteger),
    _count("attempt"),
    # The same as attempt while the job runs. Programs of the older revision do not write it, so they cannot claim.
    _count("claimed_attempt"),
    sa.Column("slot", sa.SmallInteger),
    sa.Column("worker_id", pg.UUID(as_uuid=True)),
    sa.Column("host", sa.Text),
    _moment("lease_expires_at"),
    _moment("retry_at"),
    _count("fruitless_attempts"),
    sa.Column("error_message", sa.Text),
    sa.Column("error_type", sa.Text),
    sa.Column("error_traceback", sa.Text),
    sa.Column("metadata", pg.JSONB, key="job_metadata", nullable=False, server_default=sa.text("'{}'::jsonb")),
    _moment("created_at", nullable=False),
    _moment("started_at"),
    _moment("completed_at"),
    _moment("cancelled_at"),
    _moment("finished_at"),
    # The last sign that the job got on: a claim, a listed file, a commit, a step of its end.
    _moment("progressed_at"),
    # Since when the next batch counts for the pace below, and what was done in how long, older work weighing less.
    _moment("measured_at"),
    _amount("recent_seconds"),
    _amount("recent_bytes"),
    _amount("recent_files"),
    sa.CheckConstraint(
        "status IN ('pending', 'running', 'blocked', 'completed', 'failed', 'cancelled')", name="job_status_is_known"
    ),
    sa.CheckConstraint(
        "phase IN ('queued', 'discovering', 'indexing', 'finishing', 'done')", name="job_phase_is_known"
    ),
    sa.CheckConstraint(f"slot BETWEEN 1 AND {MAX_RUNNING_JOBS}", name="job_slot_exists"),
    sa.CheckConstraint(
        "(status = 'running') = (slot IS NOT NULL AND worker_id IS NOT NULL AND lease_expires_at IS NOT NULL)",
        name="only_a_running_job_holds_a_slot_and_a_lease",
    ),
    sa.CheckConstraint(
        "status <> 'running' OR claimed_attempt = attempt", name="only_a_worker_that_knows_hosts_claims_a_job"
    ),
    sa.CheckConstraint("(status = 'blocked') = (retry_at IS NOT NULL)", name="only_a_blocked_job_waits_for_a_retry"),
    sa.CheckConstraint(f"(status IN {_TERMINAL}) = (finished_at IS NOT NULL)", name="only_a_terminal_job_is_finished"),
    sa.CheckConstraint(
        "(status = 'completed') = (completed_at IS NOT NULL)", name="only_a_completed_job_has_a_completion_time"
    ),
    sa.CheckConstraint(
        "(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="only_a_cancelled_job_has_a_cancellation_time"
    ),
    sa.CheckConstraint("progress_percentage BETWEEN 0 AND 100", name="job_progress_is_a_percentage"),
    sa.CheckConstraint(
        "files_indexed + files_unchanged + files_skipped + files_failed <= files_total",
        name="no_more_files_done_than_captured",
    ),
    postgresql_with={"fillfactor": "70"},
)

sa.Index(
    "one_active_job_per_repository",
    indexing_jobs.c.project_id,
    indexing_jobs.c.host_id,
    indexing_jobs.c.repo_path,
    unique=True,
    postgresql_where=sa.text(f"status IN {_ACTIVE}"),
)
sa.Index(
    "one_job_per_slot",
    indexing_jobs.c.host_id,
    indexing_jobs.c.slot,
    unique=True,
    postgresql_where=sa.text("status = 'running'"),
)
sa.Index(
    "active_jobs_by_age",
    indexing_jobs.c.created_at,
    indexing_jobs.c.id,
    postgresql_where=sa.text(f"status IN {_ACTIVE}"),
)
sa.Index("jobs_by_age", indexing_jobs.c.created_at.desc(), indexing_jobs.c.id)
sa.Index("jobs_by_project_and_age", indexing_jobs.c.project_id, indexing_jobs.c.created_at.desc())
sa.Index(
    "jobs_ended_before_they_began",
    indexing_jobs.c.project_id,
    indexing_jobs.c.repo_path,
    indexing_jobs.c.created_at,
    postgresql_where=sa.text("repository_id IS NULL AND status IN ('failed', 'cancelled')"),
)
sa.Index("finished_jobs_by_age", indexing_jobs.c.finished_at, postgresql_where=sa.text("finished_at IS NOT NULL"))

job_files = sa.Table(
    "job_files",
    control,
    sa.Column("job_id", pg.UUID(as_uuid=True), sa.ForeignKey("indexing_jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True),
    sa.Column("relative_path", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    # Unknown in rows of versions that did not ask for them.
    sa.Column("ctime_ns", sa.BigInteger),
    sa.Column("inode", sa.BigInteger),
    sa.CheckConstraint("state IN ('pending', 'indexed', 'unchanged', 'skipped', 'failed')", name="file_state_is_known"),
    sa.CheckConstraint("(state IN ('skipped', 'failed')) = (reason IS NOT NULL)", name="a_file_left_out_has_a_reason"),
)
sa.Index("files_left_to_do", job_files.c.job_id, job_files.c.ordinal, postgresql_where=sa.text("state = 'pending'"))
sa.Index(
    "files_left_out",
    job_files.c.job_id,
    job_files.c.ordinal,
    postgresql_where=sa.text("state IN ('skipped', 'failed')"),
)

job_events = sa.Table(
    "job_events",
    control,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("job_id", pg.UUID(as_uuid=True), sa.ForeignKey("indexing_jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("event_data", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    _moment("created_at", nullable=False),
    sa.CheckConstraint(
        "event_type IN ('created', 'started', 'captured', 'progress', 'blocked', 'unblocked', 'released', 'resumed',"
        " 'completed', 'failed', 'cancelled', 'adopted')",
        name="event_type_is_known",
    ),
)
sa.Index("events_of_a_job", job_events.c.job_id, job_events.c.id)
sa.Index(
    "one_terminal_event_per_job",
    job_events.c.job_id,
    unique=True,
    postgresql_where=sa.text(f"event_type IN {_TERMINAL}"),
)

# --- project schema ---

chunk_ids = sa.Sequence(
    "chunk_ids", metadata=project, schema=PROJECT_SCHEMA, data_type=sa.BigInteger, maxvalue=INDEX_ID_LIMIT
)
file_ids = sa.Sequence(
    "file_ids", metadata=project, schema=PROJECT_SCHEMA, data_type=sa.BigInteger, maxvalue=INDEX_ID_LIMIT
)
segment_ids = sa.Sequence("segment_ids", metadata=project, schema=PROJECT_SCHEMA, data_type=sa.BigInteger)

repositories = sa.Table(
    "repositories",
    project,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    # The host whose tree it is; null for one of the older revision that no host has claimed as its own.
    sa.Column("host_id", sa.Text),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("indexed_commit", sa.Text),
    _moment("last_indexed_at"),
    sa.Column("is_complete", sa.Boolean, nullable=False, server_default=sa.text("false")),
    _count("file_count"),
    _count("chunk_count"),
    _count("deleted_chunk_count"),
    # Raised by every committed batch: what a server holds in memory is good for exactly one version.
    _count("version", sa.BigInteger),
    # The version that the last completed job left. Another one means that references and segments need upkeep.
    _count("finished_version", sa.BigInteger),
    _moment("created_at", nullable=False),
    sa.UniqueConstraint("host_id", "path", name="one_repository_per_host_and_path"),
)

code_files = sa.Table(
    "code_files",
    project,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("repository_id", sa.BigInteger, sa.ForeignKey("project.repositories.id"), nullable=False),
    sa.Column("relative_path", sa.Text(collation="C"), nullable=False),
    sa.Column("content_hash", pg.BYTEA, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    # A file's chunks have consecutive ids, so these two say which file a chunk id belongs to.
    sa.Column("first_chunk_id", sa.BigInteger, nullable=False),
    sa.Column("chunk_count", sa.Integer, nullable=False),
    _count("definition_count"),
    _count("reference_count"),
    # Chunker, grammars, tokeniser and model that made this row's index; another fingerprint makes the file stale.
    sa.Column("index_fingerprint", sa.Text, nullable=False),
    sa.Column("indexed_by_job", pg.UUID(as_uuid=True), nullable=False),
    # A file rewritten with its size and mtime restored differs in these. NULL in rows of versions without them.
    sa.Column("ctime_ns", sa.BigInteger),
    sa.Column("inode", sa.BigInteger),
    sa.UniqueConstraint("repository_id", "relative_path", name="one_row_per_file"),
)

# Files that were read and left out because of their content, so that they need not be read again.
not_indexed_files = sa.Table(
    "not_indexed_files",
    project,
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("relative_path", sa.Text(collation="C"), nullable=False),
    sa.Column("content_hash", pg.BYTEA, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("ctime_ns", sa.BigInteger),
    sa.Column("inode", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    # The index fingerprint and the version of the rules of reading; another one has the file read again.
    sa.Column("rules_fingerprint", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("repository_id", "relative_path", name="one_row_per_file_not_indexed"),
)

code_chunks = sa.Table(
    "code_chunks",
    project,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("start_line", sa.Integer, nullable=False),
    sa.Column("end_line", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
)
sa.Index("chunks_of_a_file", code_chunks.c.file_id, code_chunks.c.ordinal, unique=True)

embeddings = sa.Table(
    "embeddings",
    project,
    sa.Column("chunk_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("vector", HalfVector, nullable=False),
)
sa.Index("vectors_of_a_file", embeddings.c.file_id)

symbols = sa.Table(
    "symbols",
    project,
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("file_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    # Lower case without underscores: ErrorHandler, error_handler and errorHandler are one name.
    sa.Column("folded_name", sa.Text(collation="C"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("start_line", sa.Integer, nullable=False),
    sa.Column("end_line", sa.Integer, nullable=False),
    sa.Column("depth", sa.SmallInteger, nullable=False),
    sa.Column("parent", sa.Text),
    sa.Column("is_declaration", sa.Boolean, nullable=False),
)
sa.Index("symbols_by_name", symbols.c.folded_name, symbols.c.repository_id)
sa.Index("symbols_of_a_file", symbols.c.file_id)

lexical_segments = sa.Table(
    "lexical_segments",
    project,
    sa.Column("repository_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("level", sa.SmallInteger, nullable=False),
)

lexical_postings = sa.Table(
    "lexical_postings",
    project,
    sa.Column("repository_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("space", sa.Text(collation="C"), primary_key=True),
    sa.Column("term", sa.Text(collation="C"), primary_key=True),
    sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("df", sa.Integer, nullable=False),
    # Parallel arrays: little-endian uint32 ids, uint8 impacts. Concatenating rows of a term stays valid.
    sa.Column("ids", pg.BYTEA, nullable=False),
    sa.Column("impacts", pg.BYTEA, nullable=False),
    sa.CheckConstraint(
        "octet_length(ids) = 4 * df AND octet_length(impacts) = df", name="postings_arrays_match_their_count"
    ),
)
