"""The coordinator's daemon: the shell around planning, profiling, fleet and store."""

from circinus_coordinator.daemon.coordinator import Coordinator
from circinus_coordinator.daemon.profile_views import (
    AccuracyRow,
    IntervalView,
    LinkRow,
    OperatorRow,
    ProfileFilter,
    ProfilesView,
)
from circinus_coordinator.daemon.settings import BrokerSettings, Settings
from circinus_coordinator.daemon.views import (
    ArtifactInfo,
    AssignmentView,
    Change,
    DeviceView,
    Measured,
    Measurement,
    PlanView,
    ProbeProgress,
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
    "IntervalView",
    "LinkRow",
    "Measured",
    "Measurement",
    "OperatorRow",
    "PlanView",
    "ProbeProgress",
    "ProfileFilter",
    "ProfilesView",
    "Progress",
    "Promised",
    "QueryState",
    "QueryView",
    "Settings",
    "StepView",
]
