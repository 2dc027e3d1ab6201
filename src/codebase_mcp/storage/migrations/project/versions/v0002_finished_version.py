"""Which version of a repository's index was finished: its references counted, its segments merged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    finished = sa.Column("finished_version", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("repositories", finished, schema=project_schema(), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("repositories", "finished_version", schema=project_schema())


def project_schema() -> str | None:
    """Its real name: the placeholder for it is translated in statements of SQLAlchemy, but not in those of Alembic."""
    return op.get_context().version_table_schema
