"""Drives Alembic over a connection of ours. Imported only when there is something to migrate: Alembic loads slowly."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"

History = Literal["control", "project"]


def migration_config(history: History) -> Config:
    """Alembic's configuration of one history, without a file."""
    config = Config()
    # Read by ConfigParser, to which a percent sign is special.
    config.set_main_option("script_location", str(_MIGRATIONS / history).replace("%", "%%"))
    return config


def move_schema(connection: sa.Connection, history: History, schema: str, revision: str) -> None:
    """Upgrade or downgrade a schema to a revision, in the transaction of `connection`."""
    config = migration_config(history)
    config.attributes.update(connection=connection, schema=schema)
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def run_migrations() -> None:
    """What the env.py of both histories does."""
    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table_schema=attributes["schema"])
    with context.begin_transaction():
        context.run_migrations()
