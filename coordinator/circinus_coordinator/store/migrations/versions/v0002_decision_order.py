"""Decisions know in which order they were made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those that are there count as older than all to come."""
    op.add_column("decisions", sa.Column("place", sa.BigInteger))


def downgrade() -> None:
    """Forget the order."""
    op.drop_column("decisions", "place")
