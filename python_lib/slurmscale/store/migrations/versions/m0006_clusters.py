"""What is known of a cluster: how to log in, whose it is, its host keys, and what it told last."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("login", sa.JSON(), nullable=False, server_default="{}"),
    sa.Column("cluster_type", sa.String(length=16), nullable=False, server_default="managed"),
    sa.Column("config", sa.JSON(), nullable=False, server_default="{}"),
    sa.Column("host_keys", sa.JSON(), nullable=False, server_default="[]"),
    sa.Column("health", sa.String(length=16), nullable=False, server_default=""),
    sa.Column("seen_at", sa.Float(), nullable=True),
    sa.Column("info", sa.JSON(), nullable=True),
)


def upgrade() -> None:
    """Add the columns."""
    for column in _COLUMNS:
        op.add_column("clusters", column)


def downgrade() -> None:
    """Drop them."""
    for column in _COLUMNS:
        op.drop_column("clusters", column.name)
