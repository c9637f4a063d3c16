"""Probes: measuring operators, pipelines' accuracy and links, on behalf of the coordinator."""

from __future__ import annotations

from circinus_agent.probes.environment import ProbeEnvironment, Worker
from circinus_agent.probes.manager import ProbeManager

__all__ = ["ProbeEnvironment", "ProbeManager", "Worker"]
