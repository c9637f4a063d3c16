"""The tables. Every table has one text key and plain columns; documents are blobs."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("boot_id", sa.Text, nullable=False),
    sa.Column("session", sa.BigInteger, nullable=False),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("capabilities", sa.LargeBinary),
)
pipelines = sa.Table(
    "pipelines",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
queries = sa.Table(
    "queries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False, index=True),
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
    sa.Column("taken", sa.JSON),
    sa.Column("done", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("emulated", sa.Boolean, nullable=False),
    sa.Column("cause", sa.Text),
    sa.Column("boot_id", sa.Text, nullable=False),
)
accuracy = sa.Table(
    "accuracy",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False, index=True),
    sa.Column("signature", sa.Text, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("mean", sa.Double),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("scores", sa.LargeBinary),
    sa.Column("population", sa.BigInteger),
    sa.Column("taken", sa.JSON),
    sa.Column("done", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("emulated", sa.Boolean, nullable=False),
    sa.Column("cause", sa.Text),
    sa.Column("boot_id", sa.Text, nullable=False),
)
links = sa.Table(
    "links",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("a", sa.Text, nullable=False),
    sa.Column("b", sa.Text, nullable=False),
    sa.Column("rtt_ms", sa.Double),
    sa.Column("bandwidth_mbps", sa.Double),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("rtts_ms", sa.LargeBinary),
    sa.Column("bandwidths_mbps", sa.LargeBinary),
    sa.Column("taken", sa.JSON),
    sa.Column("done", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("emulated", sa.Boolean, nullable=False),
    sa.Column("cause", sa.Text),
    sa.Column("boot_id", sa.Text, nullable=False),
)
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("scenario", sa.LargeBinary, nullable=False),
    sa.Column("decision", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("cause", sa.Text),
    sa.Column("place", sa.BigInteger),
)
desired = sa.Table(
    "desired",
    metadata,
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
)
events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time_s", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)
