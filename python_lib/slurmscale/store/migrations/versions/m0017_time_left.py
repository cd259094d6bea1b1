"""How much time is left of each run, for all processes to tell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for table in ("runs", "run_shards"):
        op.add_column(table, sa.Column("remaining", sa.Integer()))


def downgrade() -> None:
    """Take them away."""
    for table in ("run_shards", "runs"):
        op.drop_column(table, "remaining")
