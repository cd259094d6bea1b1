"""A table for jobs on clusters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXTS = ("name", "partition", "reason", "nodes", "output")
_TIMES = ("submitted_at", "seen_at", "asked_at")


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("cluster", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=255), nullable=False),
        sa.Column("inventory", sa.Text()),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("exit_code", sa.String(length=32), nullable=False),
        sa.Column("batch_host", sa.String(length=255), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.Float(), nullable=False) for name in _TIMES),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_jobs_submitted_at", "jobs", ["submitted_at"])
    op.create_index("ix_jobs_cluster_job", "jobs", ["cluster", "job_id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("jobs")
