"""Brings the database to the tables that this version of the library needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from slurmscale.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Apply the migrations that are missing.

    Args:
        connection: A connection inside a transaction that locks out other writers.

    Raises:
        StoreError: The database was made by a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"The database has revision {current}, which this version does not know: it was made by a newer one."
            " Upgrade slurmscale, or set SLURMSCALE_DATABASE_URL to another database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
