"""The coordinator's daemon: the shell around planning, profiling, fleet and store."""

from circinus_coordinator.daemon.coordinator import Coordinator
from circinus_coordinator.daemon.settings import BrokerSettings, Settings
from circinus_coordinator.daemon.views import (
    AccuracyRow,
    ArtifactInfo,
    AssignmentView,
    Change,
    DeviceView,
    LinkRow,
    Measured,
    Measurement,
    OperatorRow,
    PlanView,
    ProbeProgress,
    ProfilesView,
    Progress,
    Promised,
    QueryState,
    QueryView,
    StepView,
)

__all__ = [
    "AccuracyRow",
    "ArtifactInfo",
    "AssignmentView",
    "BrokerSettings",
    "Change",
    "Coordinator",
    "DeviceView",
    "LinkRow",
    "Measured",
    "Measurement",
    "OperatorRow",
    "PlanView",
    "ProbeProgress",
    "ProfilesView",
    "Progress",
    "Promised",
    "QueryState",
    "QueryView",
    "Settings",
    "StepView",
]
