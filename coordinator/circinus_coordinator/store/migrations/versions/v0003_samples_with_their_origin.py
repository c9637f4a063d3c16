"""Single scores and round trips, and when, where and in what heat samples were taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEW: Mapping[str, Mapping[str, type[Any]]] = {
    "profiles": {},
    "accuracy": {"scores": sa.LargeBinary, "population": sa.BigInteger},
    "links": {"rtts_ms": sa.LargeBinary, "bandwidths_mbps": sa.LargeBinary},
}


def upgrade() -> None:
    """Rows that are there keep their means; of their samples' origin nothing is known."""
    for table, columns in _NEW.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
        op.add_column(table, sa.Column("taken", sa.JSON))
        done = sa.Column("done", sa.Boolean, nullable=False, server_default=sa.true())
        op.add_column(table, done)


def downgrade() -> None:
    """Back to means."""
    for table, columns in _NEW.items():
        for name in (*columns, "taken", "done"):
            op.drop_column(table, name)
