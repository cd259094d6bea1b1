"""An index of failed nodes, of which a status tells the reasons without reading all nodes of its runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_FAILED = sa.text("status IN ('failed', 'error')")


def upgrade() -> None:
    """Make it."""
    op.create_index("ix_tasks_failed", "tasks", ["run_id"], sqlite_where=_FAILED, postgresql_where=_FAILED)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_tasks_failed", table_name="tasks")
