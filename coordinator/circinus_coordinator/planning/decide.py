"""From a selection to a decision: final estimates, replicas, cost, and who was turned away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from circinus.decision import Assignment, Decision, Plan, Rejection, ResourcePrice
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import above
from circinus_coordinator.planning.evaluate import Evaluation, evaluate
from circinus_coordinator.planning.explain import refused_of, rejections
from circinus_coordinator.planning.latecomers import joined, latecomers
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.scene import Scene

__all__ = ["Clock", "Standing", "decision_of", "standing", "with_latecomers"]

Clock = Callable[[], float]
# How often somebody turns out to fit only when the refusal is explained, at most.
_SPARE = 9
_NOT_REHEARSED = "the model says there is room, but no plan with it held in a rehearsal"
Standing = tuple[list[tuple[PlacedPlan, float]], Evaluation]


def standing(catalogue: Catalogue, plans: Sequence[tuple[PlacedPlan, float]]) -> Standing:
    """The assignments that keep their promises at the final loads, and those loads.

    Admission checked each newcomer against all others, so hardly ever anything is dropped
    here: it takes rounding, or streams that merge differently than one by one.
    """
    assigned = list(plans)
    while True:
        judged = evaluate(catalogue, assigned)
        full = {resource for resource, _ in judged.overloads}
        wrong = [
            fault is not None or bool(full & placed.touches)
            for (placed, _), fault in zip(assigned, judged.broken, strict=True)
        ]
        if not any(wrong):
            return assigned, judged
        # The least valuable of those involved goes; the others are then judged again.
        worst = min(
            (k for k, w in enumerate(wrong) if w),
            key=lambda k: assigned[k][0].query.demand_rps * assigned[k][1],
        )
        del assigned[worst]


def with_latecomers(
    catalogue: Catalogue, plans: Sequence[tuple[PlacedPlan, float]]
) -> Sequence[tuple[PlacedPlan, float]]:
    """With those who fit after all, as far as all stand together."""
    stands = standing(catalogue, plans)
    refused = refused_of(catalogue.scenario, _shares(stands))
    late = latecomers(catalogue, stands[0], refused)
    return _judged(catalogue, stands, late.assigned)[0][0]


def decision_of(
    catalogue: Catalogue,
    stands: Standing,
    *,
    planner: str,
    seed: int,
    bound_rps: float,
    clock: Clock,
    seconds: Mapping[str, float],
    prices: tuple[ResourcePrice, ...] = (),
    settled: bool = False,
) -> Decision:
    """Write the decision down.

    Args:
        catalogue: Compiled queries.
        stands: Who is served.
        planner: Name of the planner.
        seed: What it ran with.
        bound_rps: What no plans exceed.
        clock: For reporting.
        seconds: By phase, so far.
        prices: What resources are worth.
        settled: Nobody else is taken in, though there seems to be room.
    """
    started = clock()
    if settled:
        scene = Scene(catalogue, stands[1].ledger, stands[0])
        rejected, spare = rejections(scene, _shares(stands), {})
        seeming = {placed.query.id for placed, _ in spare}
        rejected = [
            dataclasses.replace(r, reason=_NOT_REHEARSED) if r.query in seeming else r
            for r in rejected
        ]
    else:
        stands, rejected = _completed(catalogue, stands)
    judged = stands[1]
    assignments = _assignments(catalogue, stands)
    timing = {**seconds, "explain": clock() - started}
    return Decision(
        planner=planner,
        seed=seed,
        goodput_rps=judged.goodput_rps,
        bound_rps=above(bound_rps, judged.goodput_rps),
        certified=True,
        deployment=judged.deployment,
        open_devices=tuple(judged.ledger.devices()),
        seconds=timing,
        assignments=tuple(assignments),
        rejected=tuple(rejected),
        prices=prices,
    )


def _completed(catalogue: Catalogue, stands: Standing) -> tuple[Standing, list[Rejection]]:
    """With whoever turns out to fit after all; and why the others do not."""
    for _ in range(_SPARE):
        refused = refused_of(catalogue.scenario, _shares(stands))
        late = latecomers(catalogue, stands[0], refused)
        stands, stood = _judged(catalogue, stands, late.assigned)
        scene = Scene(catalogue, stands[1].ledger, stands[0])
        rejected, spare = rejections(scene, _shares(stands), late.within if stood else {})
        if not spare:
            break
        new = max(spare, key=lambda found: found[0].query.demand_rps * found[1])
        stands, stood = _judged(catalogue, stands, joined(stands[0], [new]))
        if not stood:
            break
    return stands, rejected


def _judged(
    catalogue: Catalogue, stands: Standing, assigned: Sequence[tuple[PlacedPlan, float]]
) -> tuple[Standing, bool]:
    """With these in place of what stands, if they stand all together; and whether they do."""
    if assigned == stands[0]:
        return stands, True
    better = evaluate(catalogue, assigned)
    if better.overloads or any(better.broken):
        return stands, False
    return (list(assigned), better), True


def _shares(stands: Standing) -> dict[str, float]:
    """Share of each query's traffic that is served."""
    found: dict[str, float] = {}
    for placed, share in stands[0]:
        found[placed.query.id] = found.get(placed.query.id, 0.0) + share
    return found


def _assignments(catalogue: Catalogue, stands: Standing) -> list[Assignment]:
    """In the order of the scenario's queries, largest share first."""
    assigned, judged = stands
    order = {query.id: k for k, query in enumerate(catalogue.scenario.queries)}
    plans: dict[int, Plan] = {}  # what identical queries were dealt is one object
    found = []
    for (placed, share), estimate in zip(assigned, judged.estimates, strict=True):
        if id(placed.plan) not in plans:
            plans[id(placed.plan)] = _with_replicas(placed, judged.ledger)
        plan = plans[id(placed.plan)]
        found.append(
            Assignment(query=placed.query.id, share=min(1.0, share), plan=plan, estimate=estimate)
        )
    return sorted(found, key=lambda a: (order[a.query], -a.share))


def _with_replicas(placed: PlacedPlan, ledger: Ledger) -> Plan:
    keys = {name: use.key for name, use in zip(placed.plan, placed.use.steps, strict=True)}
    return {
        name: dataclasses.replace(step, replicas=ledger.replicas_of(keys[name]))
        for name, step in placed.plan.items()
    }
