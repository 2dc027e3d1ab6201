"""Repositories, files, chunks, vectors, symbols and postings of one project."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import UserDefinedType

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A placeholder: the connection translates it into the schema of the project.
SCHEMA = "project"

TABLES = (
    "repositories",
    "code_files",
    "code_chunks",
    "embeddings",
    "symbols",
    "lexical_segments",
    "lexical_postings",
)
INDEX_ID_LIMIT = 2**32 - 1


class HalfVector(UserDefinedType[bytes]):
    cache_ok = True

    def get_col_spec(self, **_kw: object) -> str:
        return "halfvec"


def upgrade() -> None:
    for name, limit in (("chunk_ids", INDEX_ID_LIMIT), ("file_ids", INDEX_ID_LIMIT), ("segment_ids", None)):
        sequence = sa.Sequence(name, schema=SCHEMA, data_type=sa.BigInteger, maxvalue=limit)
        op.execute(sa.schema.CreateSequence(sequence))
    create_repositories()
    create_code_files()
    create_code_chunks()
    create_embeddings()
    create_symbols()
    create_lexical_postings()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table, schema=SCHEMA)
    for name in ("segment_ids", "file_ids", "chunk_ids"):
        op.execute(sa.schema.DropSequence(sa.Sequence(name, schema=SCHEMA)))


def required(name: str, kind: type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=False)


def key(name: str, kind: type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]) -> sa.Column[object]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def count(name: str, kind: type[sa.Integer] | type[sa.BigInteger] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default=sa.text("0"))


def create_repositories() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        required("path", sa.Text),
        required("name", sa.Text),
        sa.Column("indexed_commit", sa.Text),
        sa.Column("last_indexed_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("is_complete", sa.Boolean, nullable=False, server_default=sa.text("false")),
        count("file_count"),
        count("chunk_count"),
        count("deleted_chunk_count"),
        count("version", sa.BigInteger),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.UniqueConstraint("path", name="one_repository_per_path"),
        schema=SCHEMA,
    )


def create_code_files() -> None:
    op.create_table(
        "code_files",
        key("id", sa.BigInteger),
        sa.Column("repository_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.repositories.id"), nullable=False),
        required("relative_path", sa.Text(collation="C")),
        required("content_hash", pg.BYTEA),
        required("size_bytes", sa.BigInteger),
        required("mtime_ns", sa.BigInteger),
        required("language", sa.Text),
        required("role", sa.Text),
        required("first_chunk_id", sa.BigInteger),
        required("chunk_count", sa.Integer),
        count("definition_count"),
        count("reference_count"),
        sa.Column("index_fingerprint", sa.Text, nullable=False),
        required("indexed_by_job", pg.UUID(as_uuid=True)),
        sa.UniqueConstraint("repository_id", "relative_path", name="one_row_per_file"),
        schema=SCHEMA,
    )


def create_code_chunks() -> None:
    op.create_table(
        "code_chunks",
        key("id", sa.BigInteger),
        required("repository_id", sa.BigInteger),
        required("file_id", sa.BigInteger),
        required("ordinal", sa.Integer),
        required("start_line", sa.Integer),
        required("end_line", sa.Integer),
        required("kind", sa.Text),
        sa.Column("symbol", sa.Text),
        required("content", sa.Text),
        schema=SCHEMA,
    )
    op.create_index("chunks_of_a_file", "code_chunks", ["file_id", "ordinal"], unique=True, schema=SCHEMA)


def create_embeddings() -> None:
    op.create_table(
        "embeddings",
        key("chunk_id", sa.BigInteger),
        key("model_id", sa.Integer),
        required("file_id", sa.BigInteger),
        required("repository_id", sa.BigInteger),
        required("vector", HalfVector),
        schema=SCHEMA,
    )
    op.create_index("vectors_of_a_file", "embeddings", ["file_id"], schema=SCHEMA)


def create_symbols() -> None:
    op.create_table(
        "symbols",
        required("repository_id", sa.BigInteger),
        required("file_id", sa.BigInteger),
        required("name", sa.Text),
        required("folded_name", sa.Text(collation="C")),
        required("kind", sa.Text),
        required("start_line", sa.Integer),
        required("end_line", sa.Integer),
        required("depth", sa.SmallInteger),
        sa.Column("parent", sa.Text),
        required("is_declaration", sa.Boolean),
        schema=SCHEMA,
    )
    op.create_index("symbols_by_name", "symbols", ["folded_name", "repository_id"], schema=SCHEMA)
    op.create_index("symbols_of_a_file", "symbols", ["file_id"], schema=SCHEMA)


def create_lexical_postings() -> None:
    op.create_table(
        "lexical_segments",
        key("repository_id", sa.BigInteger),
        key("segment", sa.BigInteger),
        required("level", sa.SmallInteger),
        schema=SCHEMA,
    )
    op.create_table(
        "lexical_postings",
        key("repository_id", sa.BigInteger),
        key("space", sa.Text(collation="C")),
        key("term", sa.Text(collation="C")),
        key("segment", sa.BigInteger),
        required("df", sa.Integer),
        required("ids", pg.BYTEA),
        required("impacts", pg.BYTEA),
        sa.CheckConstraint(
            "octet_length(ids) = 4 * df AND octet_length(impacts) = df", name="postings_arrays_match_their_count"
        ),
        schema=SCHEMA,
    )
