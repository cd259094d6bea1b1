"""Revisions, so that readers resume anywhere, and what a run needs to be taken up by another process."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_RUNS: tuple[sa.Column[Any], ...] = (
    sa.Column("revision", sa.BigInteger(), nullable=False, server_default="1"),
    sa.Column("queued", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("attempt", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("worker", sa.String(length=255), nullable=True),
    sa.Column("requested_by", sa.String(length=255), nullable=True),
    sa.Column("request", sa.JSON(), nullable=False, server_default="{}"),
    sa.Column("explanation", sa.Text(), nullable=True),
)


def upgrade() -> None:
    """Add the columns; what is recorded already counts as the first revision."""
    for column in _RUNS:
        op.add_column("runs", column)
    op.add_column("tasks", sa.Column("revision", sa.BigInteger(), nullable=False, server_default="1"))
    op.create_index("ix_tasks_run_revision", "tasks", ["run_id", "revision"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_tasks_run_revision", table_name="tasks")
    op.drop_column("tasks", "revision")
    for column in _RUNS:
        op.drop_column("runs", column.name)
