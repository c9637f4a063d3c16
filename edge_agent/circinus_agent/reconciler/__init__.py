"""From desired to running: a pure state machine, its events, instructions and log."""

from __future__ import annotations

from circinus_agent.reconciler.core import Reconciler
from circinus_agent.reconciler.log import EventLog, replay
from circinus_agent.reconciler.model import Model

__all__ = ["EventLog", "Model", "Reconciler", "replay"]
