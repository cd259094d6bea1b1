"""What alembic runs: migrate over the connection that the store hands in."""

from __future__ import annotations

from alembic import context

from slurmscale.store.tables import metadata

# the partial indexes of SQLite can only be changed by writing the table anew
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
