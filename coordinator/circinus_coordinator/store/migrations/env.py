"""Run by Alembic; the connection comes from `circinus_coordinator.store`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
