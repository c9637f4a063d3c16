"""Circinus: plan and serve compound AI pipelines across device, edge and cloud.

This package is what agents and the coordinator share, and the public API: the operator SDK and
the model of scenarios and decisions.
"""

from __future__ import annotations

from circinus.errors import CircinusError, InvalidInput, NoData, Transient
from circinus.operator import Context, Knob, Operator, Output

__all__ = [
    "CircinusError",
    "Context",
    "InvalidInput",
    "Knob",
    "NoData",
    "Operator",
    "Output",
    "Transient",
]

__version__ = "0.1.0"
