"""Corrections of the model from what a rehearsal showed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from circinus.decision import Decision, Rehearsed
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.corrections import (
    LARGEST,
    NONE,
    Correction,
    Corrections,
    Shown,
    Way,
    way,
)
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place

__all__ = ["learn", "learnt_from"]

Assigned = Sequence[tuple[PlacedPlan, float]]

# Machines that nobody was seen on for long enough are not corrected by more than this, either way:
# it is the others' waits, not their own.
_OTHERS = 2.5
_HALVINGS = 14
# A latency met within this part is met.
_CLOSE = 1e-3
# What goes beyond the longest waits is added as it is up to so many times the limit or the
# model's latency: beyond that a queue grows for ever, and is no delay to add.
_DELAY = 2.0


def learn(catalogue: Catalogue, assigned: Assigned, shown: Sequence[Shown | None]) -> Corrections:
    """What the waits have to be multiplied by for each plan to take what it was shown to.

    Args:
        catalogue: Compiled queries; its own corrections do not count.
        assigned: Plans and shares that were rehearsed, all of them.
        shown: Of each what was seen.
    """
    plain = catalogue.corrected(NONE)
    placed = [(place(plain, one.query, one.plan), share) for one, share in assigned]
    ledger = evaluate(plain, placed).ledger
    plans: dict[Way, Correction] = {}
    logs: dict[str, list[tuple[float, float]]] = {}  # of each device: weight, logarithm
    for (one, _), seen in zip(placed, shown, strict=True):
        if seen is None or not seen.steady:
            continue
        limit = one.query.slo.latency_ms
        ms = seen.latency_ms if limit is None else seen.within(limit)
        factor, more = _fitted(one, ledger, ms)
        devices = {step.device for step in one.use.steps}
        plans[way(one.query, one.plan)] = Correction(
            waits=dict.fromkeys(devices, factor), wires=factor, more_ms=more
        )
        for device, waited in _waited(one, ledger).items():
            logs.setdefault(device, []).append((waited, math.log(max(factor, 1 / LARGEST))))
    means = {
        device: math.fsum(w * x for w, x in some) / total
        for device, some in logs.items()
        if (total := math.fsum(w for w, _ in some)) > 0
    }
    most = math.log(_OTHERS)
    return Corrections(
        plans=plans,
        devices={d: math.exp(min(most, max(-most, mean))) for d, mean in means.items()},
    )


def learnt_from(catalogue: Catalogue, decision: Decision) -> Corrections:
    """The corrections behind the latencies of a decision that were rehearsed; none without any.

    Assignments of queries that are no more are left out.
    """
    if not any(a.estimate.rehearsed for a in decision.assignments):
        return NONE
    queries = {query.id: query for query in catalogue.scenario.queries}
    known = [a for a in decision.assignments if a.query in queries]
    assigned = [(place(catalogue, queries[a.query], a.plan), a.share) for a in known]
    return learn(
        catalogue, assigned, [_shown(a.estimate.latency_ms, a.estimate.rehearsed) for a in known]
    )


def _shown(latency_ms: float, seen: Rehearsed | None) -> Shown | None:
    if seen is None:
        return None
    return Shown(
        latency_ms=latency_ms,
        low_ms=seen.low_ms,
        high_ms=seen.high_ms,
        requests=seen.requests,
        steady=True,
    )


def _fitted(placed: PlacedPlan, ledger: Ledger, wanted_ms: float) -> tuple[float, float]:
    """A factor of all waits, and ms besides, with which the plan takes so long at these loads."""

    def at(factor: float) -> float:
        waits = dict.fromkeys((step.device for step in placed.use.steps), factor)
        correction = Correction(waits=waits, wires=factor)
        return dataclasses.replace(placed, correction=correction).latency_ms(ledger)

    model = at(1.0)
    if not math.isfinite(model) or abs(model - wanted_ms) <= _CLOSE * wanted_ms:
        return 1.0, 0.0
    low, high = (0.0, 1.0) if wanted_ms < model else (1.0, LARGEST)
    longest = at(LARGEST) if high == LARGEST else model
    if longest < wanted_ms:
        limit = placed.query.slo.latency_ms or 0.0
        more = wanted_ms - longest
        return LARGEST, more if wanted_ms <= _DELAY * max(limit, model) else 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if at(middle) < wanted_ms:
            low = middle
        else:
            high = middle
    return low, 0.0


def _waited(placed: PlacedPlan, ledger: Ledger) -> dict[str, float]:
    """Mean ms that the model has the plan's requests wait on each device."""
    found: dict[str, float] = {}
    alone = placed.delays(None)[0]
    for delays, least, step in zip(placed.delays(ledger)[0], alone, placed.use.steps, strict=True):
        more = delays.service[0] - least.service[0] + math.fsum(wait[0] for wait in delays.waits)
        if 0 < more < math.inf:
            found[step.device] = found.get(step.device, 0.0) + more
    return found
