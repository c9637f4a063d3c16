"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("session", sa.BigInteger, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("capabilities", sa.LargeBinary),
    )
    op.create_table(
        "pipelines",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "queries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "profiles",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("implementation", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("device_class", sa.Text, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        # Arrays of doubles, little endian: 8 bytes a sample.
        sa.Column("latency_ms", sa.LargeBinary, nullable=False),
        sa.Column("compute_s", sa.LargeBinary, nullable=False),
        sa.Column("output_bytes", sa.LargeBinary, nullable=False),
        sa.Column("price_usd", sa.LargeBinary, nullable=False),
        sa.Column("memory_mb", sa.Double, nullable=False),
        sa.Column("emulated", sa.Boolean, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("boot_id", sa.Text, nullable=False),
    )
    op.create_table(
        "accuracy",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("mean", sa.Double),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("emulated", sa.Boolean, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("boot_id", sa.Text, nullable=False),
    )
    op.create_table(
        "links",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("a", sa.Text, nullable=False),
        sa.Column("b", sa.Text, nullable=False),
        sa.Column("rtt_ms", sa.Double),
        sa.Column("bandwidth_mbps", sa.Double),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("emulated", sa.Boolean, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("boot_id", sa.Text, nullable=False),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scenario", sa.LargeBinary, nullable=False),
        sa.Column("decision", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("cause", sa.Text),
    )
    op.create_table(
        "desired",
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time_s", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_index("ix_profiles_pipeline", "profiles", ["pipeline"])
    op.create_index("ix_accuracy_pipeline", "accuracy", ["pipeline"])
    op.create_index("ix_decisions_state", "decisions", ["state"])


def downgrade() -> None:
    """Drop all tables."""
    for table in (
        "events",
        "artifacts",
        "desired",
        "decisions",
        "links",
        "accuracy",
        "profiles",
        "queries",
        "pipelines",
        "devices",
        "meta",
    ):
        op.drop_table(table)
