"""Which host the tree of a repository is on; change time and inode of files, and the files that are not indexed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_file_identity()
    create_not_indexed_files()
    add_hosts_of_repositories()


def downgrade() -> None:
    drop_hosts_of_repositories()
    op.drop_table("not_indexed_files", schema=project_schema())
    drop_file_identity()


def add_hosts_of_repositories() -> None:
    op.add_column("repositories", sa.Column("host_id", sa.Text), schema=project_schema())
    replace_key("one_repository_per_path", "one_repository_per_host_and_path", ["host_id", "path"])


def drop_hosts_of_repositories() -> None:
    """Refused by the database while two hosts have a repository at one path."""
    replace_key("one_repository_per_host_and_path", "one_repository_per_path", ["path"])
    op.drop_column("repositories", "host_id", schema=project_schema())


def replace_key(old: str, new: str, columns: list[str]) -> None:
    op.drop_constraint(old, "repositories", schema=project_schema(), type_="unique")
    op.create_unique_constraint(new, "repositories", columns, schema=project_schema())


def add_file_identity() -> None:
    for column in ("ctime_ns", "inode"):
        op.add_column("code_files", sa.Column(column, sa.BigInteger), schema=project_schema())


def drop_file_identity() -> None:
    for column in ("inode", "ctime_ns"):
        op.drop_column("code_files", column, schema=project_schema())


def create_not_indexed_files() -> None:
    op.create_table(
        "not_indexed_files",
        sa.Column("repository_id", sa.BigInteger, nullable=False),
        sa.Column("relative_path", sa.Text(collation="C"), nullable=False),
        sa.Column("content_hash", pg.BYTEA, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("ctime_ns", sa.BigInteger),
        sa.Column("inode", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rules_fingerprint", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "relative_path", name="one_row_per_file_not_indexed"),
        schema=project_schema(),
    )


def project_schema() -> str | None:
    """Its real name: the placeholder for it is translated in statements of SQLAlchemy, but not in those of Alembic."""
    return op.get_context().version_table_schema
