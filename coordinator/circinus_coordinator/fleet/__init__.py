"""The fleet: who is there, how documents reach them, and what they do."""

from circinus_coordinator.fleet.links import MeasuredLink, dialler, link_rows, probe_pairs
from circinus_coordinator.fleet.monitor import Measured, Monitor, Served
from circinus_coordinator.fleet.registry import DeviceChange, DeviceState, Registry
from circinus_coordinator.fleet.rollout import (
    Failed,
    Instruction,
    Moved,
    Publish,
    Rollout,
    Settled,
    Snapshot,
    Stage,
)
from circinus_coordinator.fleet.routes import (
    Dial,
    PlannedRoute,
    compile_routes,
    compose,
    devices_of,
    plan_id,
)

__all__ = [
    "DeviceChange",
    "DeviceState",
    "Dial",
    "Failed",
    "Instruction",
    "Measured",
    "MeasuredLink",
    "Monitor",
    "Moved",
    "PlannedRoute",
    "Publish",
    "Registry",
    "Rollout",
    "Served",
    "Settled",
    "Snapshot",
    "Stage",
    "compile_routes",
    "compose",
    "devices_of",
    "dialler",
    "link_rows",
    "plan_id",
    "probe_pairs",
]
