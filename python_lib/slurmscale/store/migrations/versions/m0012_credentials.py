"""A table for logins of clusters that are kept, sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "credentials",
        sa.Column("cluster", sa.String(length=255), nullable=False),
        sa.Column("user", sa.String(length=64)),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cluster"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("credentials")
