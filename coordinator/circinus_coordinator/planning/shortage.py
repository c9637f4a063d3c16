"""What it would take to serve a query by a given plan, beside all that is served."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus.decision import Relaxation
from circinus.fleet import CORES
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.enlarging import Enlarging
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.relaxation import round_down, round_up
from circinus_coordinator.planning.scene import Scene
from circinus_coordinator.planning.uses import LINK, MEMORY, UPLINK, WORKER, Resource

__all__ = ["Remedy", "amount_of", "more_of", "more_than", "remedy"]

# Enlargements of the machines on which somebody waits too long; each is half as much again, at
# least, so that in the end nobody waits at all.
_GROWTHS = 14
_GROWTH = 1.5
# Changes of accuracy are measured against what may go wrong, at least this.
_LEAST_WRONG = 0.05
# A worker that is never idle keeps requests waiting for ever, even where it may be.
_BUSY = 0.8
_ORDER = ("accuracy", "latency", "cost")


@dataclass(frozen=True, slots=True)
class Remedy:
    """Changes that together admit a plan.

    Attributes:
        placed: The plan.
        changes: What has to change.
        size: Sum over the changes of how much each is, relative to what there is.
        short: Resources that have no room, scarcest first.
        late: Whom waiting makes late: the plan (``own``), ``others``, nobody (``""``); or
            ``worker`` where a single worker has too much to do.
    """

    placed: PlacedPlan
    changes: tuple[Relaxation, ...]
    size: float
    short: tuple[Resource, ...] = ()
    late: str = ""


def amount_of(scenario: Scenario, resource: Resource) -> float:
    """What there is of a resource, before `max_utilisation`."""
    kind, device = resource[0], resource[1]
    if kind == LINK:
        link = scenario.network.between(device, resource[2])
        return link.bandwidth_mbps if link else 0.0
    if kind == UPLINK:
        uplink = scenario.device[device].uplink_mbps
        return math.inf if uplink is None else uplink
    if kind == MEMORY:
        return scenario.class_of(device).memory_mb
    return scenario.class_of(device).resources.get(kind, 0.0)


def more_of(scenario: Scenario, resource: Resource, planned: float) -> Relaxation:
    """The change that makes room for a planned load of `planned`, more than there is room for."""
    return more_than(amount_of(scenario, resource), scenario, resource, planned)


def more_than(have: float, scenario: Scenario, resource: Resource, planned: float) -> Relaxation:
    """As `more_of`, where it is known how much there is."""
    kind = resource[0]
    need = planned if kind in (MEMORY, UPLINK) else planned / scenario.max_utilisation
    more = round_up(need - have)
    if kind not in (MEMORY, UPLINK, LINK, CORES):
        more = math.ceil(more)  # accelerators come whole
    return Relaxation(what=kind, amount=more, to=have + more, devices=tuple(resource[1:]))


def remedy(
    scene: Scene, query: Query, placed: PlacedPlan, share: float, *, most: float = math.inf
) -> Remedy | None:
    """The changes that let this plan serve `share` of the query, None where none is known.

    All of `scene` goes on as it is. Tried are: objectives of the query, and more of the machines
    and links that the plan uses.

    Args:
        scene: What is served.
        query: Whose plan.
        placed: The plan.
        share: Of the query's traffic.
        most: A remedy of this size is of no use, nor a larger one.
    """
    wanted = _objectives(query, placed)
    there = Enlarging(scene, placed, share)
    try:
        over = there.overloads()
        if any(resource[0] == WORKER for resource, _ in over):
            return _quicker(scene, placed, over, wanted)
        more = {resource: more_of(scene.scenario, resource, load) for resource, load in over}
        if scene.scenario.queueing:
            found = _in_time(scene, query, there, wanted, more, most)
        else:
            found = _Timed(more, placed.latency_ms())
    finally:
        there.leave()
    if found is None:
        return None
    changes = [*_promises(query, wanted, found.ms), *found.more.values()]
    return Remedy(
        placed=placed,
        changes=tuple(changes),
        size=_together(scene.scenario, query, changes),
        short=tuple(resource for resource, _ in over),
        late=found.late,
    )


def _promises(query: Query, wanted: Sequence[Relaxation], ms: float) -> list[Relaxation]:
    return sorted([*wanted, *_later(query, ms)], key=lambda c: _ORDER.index(c.what))


def _objectives(query: Query, placed: PlacedPlan) -> list[Relaxation]:
    slo, found = query.slo, []
    if slo.accuracy is not None and (placed.accuracy is None or placed.accuracy < slo.accuracy):
        to = None if placed.accuracy is None else round_down(placed.accuracy)
        amount = None if to is None else slo.accuracy - to
        found.append(Relaxation(what="accuracy", amount=amount, to=to))
    limit, usd = slo.cost_usd_per_1000, placed.usd * 1000
    if limit is not None and usd > limit * (1 + TOLERANCE):
        amount = round_up(usd - limit)
        found.append(Relaxation(what="cost", amount=amount, to=limit + amount))
    return found


def _later(query: Query, ms: float) -> list[Relaxation]:
    limit = query.slo.latency_ms
    if limit is None or ms <= limit * (1 + TOLERANCE):
        return []
    amount = round_up(ms - limit)
    return [Relaxation(what="latency", amount=amount, to=limit + amount)]


def _together(scenario: Scenario, query: Query, changes: Sequence[Relaxation]) -> float:
    """Of all changes; whoever asks for several objectives would rather give up one of them."""
    promises = sum(c.what in _ORDER for c in changes)
    return sum(_size(scenario, query, c) for c in changes) + max(0, promises - 1)


def _size(scenario: Scenario, query: Query, change: Relaxation) -> float:
    """How much a change is, relative to what there is."""
    slo = query.slo
    if change.what == "speed":
        return (change.to or 1.0) - 1
    if change.what == "accuracy":
        # By how much more may go wrong: from 0.98 to 0.96 is twice as much.
        wrong = max(1 - (slo.accuracy or 0.0), _LEAST_WRONG)
        return 1.0 if change.amount is None else change.amount / wrong
    if change.what == "latency":
        return (change.amount or 0.0) / (slo.latency_ms or 1.0)
    if change.what == "cost":
        return (change.amount or 0.0) / max(slo.cost_usd_per_1000 or 0.0, 1e-9)
    have = amount_of(scenario, (change.what, *change.devices))
    return (change.amount or 0.0) / max(have, 1e-9)


def _quicker(
    scene: Scene,
    placed: PlacedPlan,
    over: Sequence[tuple[Resource, float]],
    wanted: Sequence[Relaxation],
) -> Remedy:
    """Single workers with too much to do: they cannot be replicated, so they must run faster.

    Only part of the remedy: what else the plan needs is asked again when they do.
    """
    found, most = [], scene.scenario.max_utilisation
    if scene.scenario.queueing:
        most = min(most, _BUSY)
    for name, step in zip(placed.plan, placed.use.steps, strict=True):
        for resource, load in over:
            if resource == step.worker:
                factor = round_up(load / most)
                found.append(
                    Relaxation(what="speed", to=factor, devices=(step.device,), operator=name)
                )
    size = sum((c.to or 1.0) - 1 for c in found)
    size += sum(_size(scene.scenario, placed.query, c) for c in wanted)
    return Remedy(placed, tuple(found), size, short=tuple(r for r, _ in over), late="worker")


@dataclass(frozen=True, slots=True)
class _Timed:
    """Enlarged machines, the plan's latency with them, and who was late without."""

    more: Mapping[Resource, Relaxation]
    ms: float
    late: str = ""


def _in_time(
    scene: Scene,
    query: Query,
    there: Enlarging,
    wanted: Sequence[Relaxation],
    more: Mapping[Resource, Relaxation],
    most: float,
) -> _Timed | None:
    """Machines enlarged until nobody loses an objective to the newcomer's load.

    Its own latency may also be given more time, if that is less of a change.
    """
    limit = math.inf if query.slo.latency_ms is None else query.slo.latency_ms
    best: _Timed | None = None
    late = ""
    for _ in range(_GROWTHS):
        # What is to be changed only grows, but for the plan's own latency.
        if _together(scene.scenario, query, [*wanted, *more.values()]) >= most:
            break
        there.grow(more)
        ms, hurt, narrow = there.step(limit)
        in_time = ms <= limit * (1 + TOLERANCE)
        late = late or ("others" if hurt else "" if in_time else "own")
        if math.isfinite(ms) and not hurt:
            found = _Timed(more, ms, late)
            changes = [*_promises(query, wanted, ms), *more.values()]
            size = _together(scene.scenario, query, changes)
            if size < most:
                best, most = found, size
            if in_time:
                break
        if not narrow:
            break
        bigger = {r: _enlarged(scene.scenario, r, more.get(r)) for r in narrow}
        more = {**more, **bigger}
    return best


def _enlarged(scenario: Scenario, resource: Resource, before: Relaxation | None) -> Relaxation:
    have = amount_of(scenario, resource)
    now = before.to if before and before.to is not None else have
    to = round_up(now * _GROWTH)
    if resource[0] not in (LINK, UPLINK):  # machines have whole cores
        to = max(float(math.floor(now)) + 1, float(math.ceil(to)))
    return Relaxation(what=resource[0], amount=to - have, to=to, devices=tuple(resource[1:]))
