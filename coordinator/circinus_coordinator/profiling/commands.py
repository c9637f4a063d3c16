"""Probes as the commands that ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from circinus.messages import (
    AccuracyTarget,
    OperatorTarget,
    Peer,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
    ProbeStep,
)
from circinus_coordinator.profiling.keys import AccuracyKey, OperatorKey, upstream
from circinus_coordinator.profiling.needs import Work
from circinus_coordinator.profiling.orders import ProbeDevice
from circinus_coordinator.profiling.settings import ProfilingSettings

__all__ = ["accuracy_command", "link_command", "operator_command"]


def _steps(work: Work, operators: Iterable[str]) -> list[ProbeStep]:
    """The operators with their reference config: each knob's first value, the best."""
    found = []
    for name in operators:
        spec = work.pipeline.operators[name]
        found.append(
            ProbeStep(
                name=name,
                run=spec.implementation,
                needs=list(spec.needs),
                config={knob: values[0] for knob, values in spec.knobs.items()},
            )
        )
    return found


def operator_command(
    request_id: str,
    device: ProbeDevice,
    work: Work,
    keys: Sequence[OperatorKey],
    settings: ProfilingSettings,
    few: int = 0,
) -> ProbeOperators:
    """Measure these targets of one pipeline.

    Args:
        few: So many samples of each are all that is wanted; 0 for as many as it takes.
    """
    least = settings.first_samples if settings.seek else settings.min_samples
    return ProbeOperators(
        request_id=request_id,
        boot_id=device.boot_id,
        session=device.session,
        steps=_steps(work, upstream(work.pipeline, {key.operator for key in keys})),
        targets=[
            OperatorTarget(operator=key.operator, config=dict(key.config), batch=key.batch)
            for key in keys
        ],
        dataset=work.dataset,
        artifacts=list(work.artifacts),
        min_samples=few or least,
        max_samples=few or settings.max_samples,
        budget_s=settings.target_budget_s * len(keys),
    )


def accuracy_command(
    request_id: str,
    device: ProbeDevice,
    work: Work,
    keys: Sequence[AccuracyKey],
    settings: ProfilingSettings,
    spans: Sequence[tuple[int, int]],
) -> ProbeAccuracy:
    """Score these config vectors of one pipeline.

    Args:
        spans: Of each, the place of the first input that is still to be scored, and how many are.
    """
    task = work.pipeline.accuracy
    assert task is not None  # or there would be no accuracy keys
    return ProbeAccuracy(
        request_id=request_id,
        boot_id=device.boot_id,
        session=device.session,
        steps=_steps(work, work.pipeline.operators),
        targets=[
            AccuracyTarget(
                config={name: dict(config) for name, config in key.config}, first=first, count=count
            )
            for key, (first, count) in zip(keys, spans, strict=True)
        ],
        dataset=task.dataset,
        metric=task.metric,
        artifacts=list(work.artifacts),
        max_samples=settings.accuracy_samples,
        budget_s=settings.accuracy_budget_s * len(keys),
    )


def link_command(request_id: str, device: ProbeDevice, peer: Peer) -> ProbeLink:
    """Measure the link to a peer."""
    return ProbeLink(
        request_id=request_id, boot_id=device.boot_id, session=device.session, peer=peer
    )
