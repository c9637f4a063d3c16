"""Probes: measuring operators, pipelines' accuracy and links, on behalf of the coordinator."""

from __future__ import annotations

from circinus_agent.probes.conditions import Conditions, machine_core_s
from circinus_agent.probes.environment import ProbeEnvironment, Worker
from circinus_agent.probes.manager import ProbeManager

__all__ = ["Conditions", "ProbeEnvironment", "ProbeManager", "Worker", "machine_core_s"]
