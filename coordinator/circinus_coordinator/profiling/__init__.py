"""The profiler: what is to be measured, where, and when it is enough."""

from circinus_coordinator.profiling.calibration import compared, telling
from circinus_coordinator.profiling.drift import DriftSettings
from circinus_coordinator.profiling.factors import (
    Change,
    Factor,
    Factors,
    Seen,
    own_class,
    scaled,
)
from circinus_coordinator.profiling.ground import Terrain
from circinus_coordinator.profiling.keys import (
    AccuracyKey,
    Key,
    LinkKey,
    OperatorKey,
    accuracy_signature,
    config_vectors,
    neutralised,
    operator_signature,
)
from circinus_coordinator.profiling.needs import Needs, Work, dataset_of, needs, offers, versions
from circinus_coordinator.profiling.orders import (
    DeviceProgress,
    Instruction,
    Keep,
    ProbeDevice,
    Send,
)
from circinus_coordinator.profiling.schedule import Profiler
from circinus_coordinator.profiling.settings import ProfilingSettings
from circinus_coordinator.profiling.summary import (
    Summary,
    Take,
    operator_profile,
    relative_half_width,
)

__all__ = [
    "AccuracyKey",
    "Change",
    "DeviceProgress",
    "DriftSettings",
    "Factor",
    "Factors",
    "Instruction",
    "Keep",
    "Key",
    "LinkKey",
    "Needs",
    "OperatorKey",
    "ProbeDevice",
    "Profiler",
    "ProfilingSettings",
    "Seen",
    "Send",
    "Summary",
    "Take",
    "Terrain",
    "Work",
    "accuracy_signature",
    "compared",
    "config_vectors",
    "dataset_of",
    "needs",
    "neutralised",
    "offers",
    "operator_profile",
    "operator_signature",
    "own_class",
    "relative_half_width",
    "scaled",
    "telling",
    "versions",
]
