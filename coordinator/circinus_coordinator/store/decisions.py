"""How decisions follow one another in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from circinus_coordinator.store import schema
from circinus_coordinator.store.records import DecisionState

__all__ = ["put_decision"]

# What a plan was made for is kept for the last decisions only.
KEPT_DECISIONS = 50
# A document that names a decision is no longer than this; others are not looked at.
_ID_LENGTH = 64


def put_decision(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    """Write a decision; a pending one overtakes whichever was pending before."""
    table = schema.decisions
    pending = row["state"] == DecisionState.PENDING.value
    changes = {**row, "place": _next_place(connection)} if pending else dict(row)
    if pending:
        overtaken = (table.c.state == DecisionState.PENDING.value) & (table.c.id != row["id"])
        connection.execute(
            sa.update(table).where(overtaken).values(state=DecisionState.SUPERSEDED.value)
        )
    update = sa.update(table).where(table.c.id == row["id"]).values(**changes)
    if connection.execute(update).rowcount == 0:
        changes.setdefault("place", _next_place(connection))
        connection.execute(sa.insert(table).values(**changes))
        _prune(connection, row["id"])


def _next_place(connection: sa.Connection) -> int:
    last = connection.execute(sa.select(sa.func.max(schema.decisions.c.place))).scalar()
    return int(last or 0) + 1


def _prune(connection: sa.Connection, newest: str) -> None:
    """Forget the oldest that are over, except those that a document still names."""
    table, meta = schema.decisions, schema.meta
    short = sa.select(meta.c.value).where(sa.func.length(meta.c.value) <= _ID_LENGTH)
    named = {bytes(value) for value in connection.execute(short).scalars()}
    over = [DecisionState.SUPERSEDED.value, DecisionState.FAILED.value]
    old = (
        sa.select(table.c.id)
        .where(table.c.state.in_(over))
        .where(table.c.id != newest)
        .order_by(sa.func.coalesce(table.c.place, 0), table.c.id)
    )
    ids = [name for name in connection.execute(old).scalars() if name.encode() not in named]
    if len(ids) > KEPT_DECISIONS:
        connection.execute(sa.delete(table).where(table.c.id.in_(ids[:-KEPT_DECISIONS])))
