"""Inventories as data, so that any machine can work with a cluster."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("clusters", sa.Column("hosts", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("clusters", "hosts")
