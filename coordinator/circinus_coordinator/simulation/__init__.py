"""Discrete-event simulation of a decision: the judge of every planner. Pure; knows no clock."""

from circinus_coordinator.simulation.arrivals import Split, at_rates
from circinus_coordinator.simulation.faults import Fault
from circinus_coordinator.simulation.report import (
    InstanceReport,
    Latency,
    Outcomes,
    QueryReport,
    Report,
)
from circinus_coordinator.simulation.service import ServiceKey, ServiceTime
from circinus_coordinator.simulation.simulate import simulate

__all__ = [
    "Fault",
    "InstanceReport",
    "Latency",
    "Outcomes",
    "QueryReport",
    "Report",
    "ServiceKey",
    "ServiceTime",
    "Split",
    "at_rates",
    "simulate",
]
