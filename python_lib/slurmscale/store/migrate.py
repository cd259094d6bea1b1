"""Brings the database to the tables that this version of the library needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from slurmscale.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SCRIPTS = Path(__file__).parent / "migrations"
HEAD = "0001"
"""Revision that this version works with."""


def upgrade(connection: Connection) -> None:
    """Apply the migrations that are missing.

    Args:
        connection: A connection inside a transaction that locks out other writers.

    Raises:
        StoreError: The database was made by a newer version.
    """
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if current != HEAD:
        _migrate(connection, current)


def _migrate(connection: Connection, current: str | None) -> None:
    # imported here, because nearly every start finds the tables as they should be
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"The database has revision {current}, which this version does not know: it was made by a newer one."
            " Upgrade slurmscale, or set SLURMSCALE_DATABASE_URL to another database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
