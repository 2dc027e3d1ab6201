"""What tells a file that was rewritten with its size and modification time restored: change time and inode."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "codebase_mcp"


def upgrade() -> None:
    add_file_identity()


def downgrade() -> None:
    drop_file_identity()


def add_file_identity() -> None:
    for column in ("ctime_ns", "inode"):
        op.add_column("job_files", sa.Column(column, sa.BigInteger), schema=SCHEMA)


def drop_file_identity() -> None:
    for column in ("inode", "ctime_ns"):
        op.drop_column("job_files", column, schema=SCHEMA)
