"""What the coordinator promises to remember: one repository over SQLite (or PostgreSQL)."""

from circinus_coordinator.store.records import (
    AccuracyRecord,
    ArtifactRecord,
    DecisionRecord,
    DecisionState,
    DesiredRecord,
    DeviceRecord,
    EventRecord,
    Forget,
    LinkRecord,
    MetaRecord,
    PipelineRecord,
    ProfileRecord,
    QueryRecord,
    Record,
)
from circinus_coordinator.store.store import Store

__all__ = [
    "AccuracyRecord",
    "ArtifactRecord",
    "DecisionRecord",
    "DecisionState",
    "DesiredRecord",
    "DeviceRecord",
    "EventRecord",
    "Forget",
    "LinkRecord",
    "MetaRecord",
    "PipelineRecord",
    "ProfileRecord",
    "QueryRecord",
    "Record",
    "Store",
]
