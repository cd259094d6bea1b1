"""Ids for the credentials that are kept, so that a cluster may have more than its own login."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_KEPT = ("cluster", "user", "kind", "sealed", "fingerprint", "updated_at")


def upgrade() -> None:
    """Make the table anew, as SQLite changes no primary key, with what it held."""
    rows = _rows("")
    op.drop_table("credentials")
    made = op.create_table(
        "credentials",
        sa.Column("id", sa.String(length=32), nullable=False),
        *_columns(),
        sa.Column("for_cluster", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_credentials_for_cluster", "credentials", ["cluster"], unique=True,
        sqlite_where=sa.text("for_cluster"), postgresql_where=sa.text("for_cluster"),
    )  # fmt: skip
    op.bulk_insert(made, [{**row, "id": secrets.token_hex(8), "for_cluster": True} for row in rows])


def downgrade() -> None:
    """Make the table as it was, with the logins of clusters."""
    rows = _rows(" WHERE for_cluster")
    op.drop_table("credentials")
    made = op.create_table("credentials", *_columns(), sa.PrimaryKeyConstraint("cluster"))
    op.bulk_insert(made, rows)


def _rows(condition: str) -> list[dict[str, object]]:
    names = ", ".join(f'"{name}"' for name in _KEPT)
    found = op.get_bind().execute(sa.text(f"SELECT {names} FROM credentials{condition}"))  # noqa: S608 - our own
    return [dict(row) for row in found.mappings()]


def _columns() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("cluster", sa.String(length=255), nullable=False),
        sa.Column("user", sa.String(length=64)),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], ondelete="CASCADE"),
    ]
