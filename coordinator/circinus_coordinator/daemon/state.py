"""What the core starts from: what an earlier run left in the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from circinus.decision import Decision, decode_decision
from circinus.pipeline import Pipeline
from circinus.query import Query
from circinus.scenario import Scenario, decode_scenario
from circinus_coordinator.daemon import records
from circinus_coordinator.daemon.deviations import FACTORS
from circinus_coordinator.fleet import DeviceState, Snapshot
from circinus_coordinator.profiling import Key, Summary
from circinus_coordinator.store import DecisionState, Store

__all__ = ["IN_FORCE", "PLANNED", "Planned", "Restored", "restore"]

PLANNED = "planned"
IN_FORCE = "in-force"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A decision with exactly the scenario it was made for, as bytes and decoded."""

    id: str
    scenario_bytes: bytes
    decision_bytes: bytes
    scenario: Scenario
    decision: Decision

    @classmethod
    def of(cls, scenario_bytes: bytes, decision_bytes: bytes) -> Planned:
        """Decode both; the scenario's bytes identify the decision, which follows from them."""
        return cls(
            id=hashlib.sha256(scenario_bytes).hexdigest()[:16],
            scenario_bytes=scenario_bytes,
            decision_bytes=decision_bytes,
            scenario=decode_scenario(scenario_bytes, name="stored.json"),
            decision=decode_decision(decision_bytes),
        )


@dataclass(slots=True, kw_only=True)
class Restored:
    """What an earlier run left in the store."""

    devices: list[DeviceState] = field(default_factory=list)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    queries: dict[str, Query] = field(default_factory=dict)
    measurements: dict[Key, Summary] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)
    planned: Planned | None = None
    in_force: Planned | None = None
    failed: str | None = None
    artifacts: dict[str, int] = field(default_factory=dict)
    factors: bytes | None = None


def restore(store: Store) -> Restored:
    """Read everything; blocks."""
    pipelines, queries = records.read_submission(store)
    planned, failed = _decision(store, PLANNED)
    in_force, _ = _decision(store, IN_FORCE)
    return Restored(
        devices=records.read_devices(store),
        pipelines=pipelines,
        queries=queries,
        measurements=records.read_measurements(store),
        snapshot=records.read_snapshot(store),
        planned=planned,
        in_force=in_force,
        failed=failed,
        artifacts={row.sha256: row.size_bytes for row in store.artifact_rows()},
        factors=store.meta(FACTORS),
    )


def _decision(store: Store, name: str) -> tuple[Planned | None, str | None]:
    """The decision of this role, and why it failed if it did."""
    found = store.meta(name)
    row = store.decision(found.decode()) if found else None
    if row is None:
        return None, None
    failed = (row.cause or "failed") if row.state is DecisionState.FAILED else None
    return Planned.of(row.scenario, row.decision), failed
