"""What the reconciler says of itself."""

from __future__ import annotations

from circinus.messages import InstanceReport, Reported
from circinus_agent.reconciler.model import FAILED, READY, Model, Slot, same_document

__all__ = ["report"]


def report(model: Model) -> Reported:
    """How far the device is with the newest document it accepted."""
    target = model.target
    phase, error = _phase(model)
    return Reported(
        device=model.device,
        boot_id=model.boot_id,
        version=target.version if target else 0,
        hash=target.hash if target else "",
        phase=phase,
        instances={key: _instance(slot) for key, slot in sorted(model.slots.items())},
        error=error,
        refused=model.refused,
    )


def _instance(slot: Slot) -> InstanceReport:
    if slot.state == READY and slot.report is not None:
        return slot.report  # it may be restarting a replica
    return InstanceReport(
        state=slot.state,
        ready=slot.spec.replicas if slot.state == READY else 0,
        restarts=slot.report.restarts if slot.report else 0,
        cause=slot.cause,
    )


def _phase(model: Model) -> tuple[str, str | None]:
    """Phase and cause: of the target, and once that is served, of its upkeep."""
    if model.target is None:
        return "idle", None
    if model.trouble is not None:
        return "failed", model.trouble
    if not same_document(model.target, model.base):
        waiting = [f.cause for f in model.fetches.values() if f.state == FAILED and f.cause]
        return "applying", waiting[0] if waiting else None
    slots = [model.slots.get(spec.key) for spec in model.served.instances]
    for slot in slots:
        if slot is not None and slot.state == FAILED:
            return "failed", f"{slot.spec.key}: {slot.cause}"
    if all(slot is not None and slot.state == READY for slot in slots):
        return "converged", None
    return "applying", None
