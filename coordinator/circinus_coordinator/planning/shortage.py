"""What it would take to serve a query by a given plan, beside all that is served."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circinus.decision import Relaxation
from circinus.fleet import CORES
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import add, evaluate
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place, streams
from circinus_coordinator.planning.relaxation import round_down, round_up
from circinus_coordinator.planning.uses import (
    LINK,
    MEMORY,
    UPLINK,
    WORKER,
    Resource,
    planned,
)
from circinus_coordinator.planning.watch import Watch
from circinus_coordinator.planning.whatif import applied, grown

__all__ = ["Remedy", "Scene", "amount_of", "more_of", "more_than", "remedy"]

# Enlargements of the machines on which somebody waits too long; each is half as much again, at
# least, so that in the end nobody waits at all.
_GROWTHS = 14
_GROWTH = 1.5
# Changes of accuracy are measured against what may go wrong, at least this.
_LEAST_WRONG = 0.05
# A worker that is never idle keeps requests waiting for ever, even where it may be.
_BUSY = 0.8
# Of the waits on a request's way, those of this part of the longest.
_MATTERS = 0.1
_ORDER = ("accuracy", "latency", "cost")


@dataclass(slots=True)
class Scene:
    """A decision at work: who is served, and the loads of all of it."""

    catalogue: Catalogue
    ledger: Ledger
    assigned: Sequence[tuple[PlacedPlan, float]]
    at: dict[str | Resource, list[Watch]] = field(init=False)  # by device and wire

    def __post_init__(self) -> None:
        self.at = {}
        for placed, _ in self.assigned:
            watch = Watch(placed)
            for device in dict.fromkeys(step.device for step in placed.use.steps):
                self.at.setdefault(device, []).append(watch)
            for wire in placed.use.wires:
                self.at.setdefault(wire, []).append(watch)

    @property
    def scenario(self) -> Scenario:
        """Where it works."""
        return self.catalogue.scenario

    def changed(self, query: str, changes: Iterable[Relaxation]) -> Scene:
        """All that is served, in the scenario with some changes to its fleet."""
        catalogue = Catalogue(applied(self.scenario, query, changes), self.catalogue)
        assigned = [(place(catalogue, p.query, p.plan), share) for p, share in self.assigned]
        return Scene(catalogue, evaluate(catalogue, assigned).ledger, assigned)


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


def remedy(scene: Scene, query: Query, placed: PlacedPlan, share: float) -> Remedy | None:
    """The changes that let this plan serve `share` of the query, None where none is known.

    All of `scene` goes on as it is. Tried are: objectives of the query, and more of the machines
    and links that the plan uses.
    """
    wanted = _objectives(query, placed)
    over = _overloads(scene, query, placed, share)
    if any(resource[0] == WORKER for resource, _ in over):
        return _quicker(scene, placed, over, wanted)
    more = {resource: more_of(scene.scenario, resource, load) for resource, load in over}
    short = tuple(resource for resource, _ in over)
    if scene.scenario.queueing:
        found = _in_time(scene, query, placed, share, more)
    else:
        found = _Timed(more, placed.latency_ms())
    if found is None:
        return None
    objectives = sorted([*wanted, *_later(query, found.ms)], key=lambda c: _ORDER.index(c.what))
    changes = [*objectives, *found.more.values()]
    return Remedy(
        placed=placed,
        changes=tuple(changes),
        size=_together(scene.scenario, query, changes),
        short=short,
        late=found.late,
    )


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


def _overloads(
    scene: Scene, query: Query, placed: PlacedPlan, share: float
) -> list[tuple[Resource, float]]:
    """Resources without room for the plan, scarcest first, and their loads with it."""
    ledger = scene.ledger
    undo = ledger.add(placed.use, query.rate_rps * query.count * share, streams(query, share))
    try:
        over = ledger.violations(ledger.resources(placed.use))
        return [(resource, ledger.load(resource)) for resource, _ in over]
    finally:
        undo()


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


@dataclass(slots=True)
class _Timed:
    """Enlarged machines, the plan's latency with them, and who was late without."""

    more: dict[Resource, Relaxation] = field(default_factory=dict)
    ms: float = 0.0
    late: str = ""


def _in_time(
    scene: Scene,
    query: Query,
    placed: PlacedPlan,
    share: float,
    more: dict[Resource, Relaxation],
) -> _Timed | None:
    """Machines enlarged until nobody loses an objective to the newcomer's load.

    Its own latency may also be given more time, if that is less of a change.
    """
    found = _Timed(dict(more))
    rate, limit = query.rate_rps * query.count * share, query.slo.latency_ms or math.inf
    allowed: _Timed | None = None
    for _ in range(_GROWTHS):
        there, plan, ledger = _larger(scene, query, placed, found.more)
        undo = ledger.add(plan.use, rate, streams(query, share))
        try:
            ms, hurt = plan.latency_ms(ledger), _hurt(there, plan, ledger)
            narrow = _narrow(
                plan, ledger, hurt, everywhere=not ms <= limit * (1 + TOLERANCE) or math.isinf(ms)
            )
        finally:
            undo()
        late = found.late or ("others" if hurt else "own" if ms > limit * (1 + TOLERANCE) else "")
        found = dataclasses.replace(found, ms=ms, late=late)
        if math.isfinite(ms) and not hurt:
            if ms <= limit * (1 + TOLERANCE):
                return _smaller(scene, query, found, allowed)
            allowed = _smaller(scene, query, found, allowed)
        if not narrow:
            break
        for resource in narrow:
            found.more[resource] = _enlarged(scene.scenario, resource, found.more.get(resource))
        found = dataclasses.replace(found, more=dict(found.more))
    return allowed


def _larger(
    scene: Scene, query: Query, placed: PlacedPlan, more: Mapping[Resource, Relaxation]
) -> tuple[Scene, PlacedPlan, Ledger]:
    """The scene, the plan and the loads with more of some resources.

    Transfers take less time over a wider link, so all who use it are looked up again.
    """
    fleet = grown(scene.scenario, more.values())
    wider = {resource for resource in more if resource[0] in (LINK, UPLINK)}
    if not wider:
        return scene, placed, scene.ledger.on(fleet)

    def again(one: PlacedPlan) -> PlacedPlan:
        if all(planned(wire) not in wider for wire in one.use.wires):
            return one
        return place(scene.catalogue, one.query, one.plan, network=fleet)

    ledger = Ledger(fleet)
    assigned = [(again(other), share) for other, share in scene.assigned]
    for other, share in assigned:
        add(ledger, other, share)
    mine = place(scene.catalogue, query, placed.plan, network=fleet)
    return Scene(scene.catalogue, ledger, assigned), mine, ledger


def _smaller(scene: Scene, query: Query, one: _Timed, two: _Timed | None) -> _Timed:
    def size(timed: _Timed) -> float:
        changes = [*timed.more.values(), *_later(query, timed.ms)]
        return sum(_size(scene.scenario, query, c) for c in changes)

    kept = dataclasses.replace(one, more=dict(one.more))
    return kept if two is None or size(kept) < size(two) else two


def _hurt(scene: Scene, placed: PlacedPlan, ledger: Ledger) -> list[PlacedPlan]:
    """Who on the plan's machines and links would be late."""
    places: list[str | Resource] = [step.device for step in placed.use.steps]
    places += placed.use.wires
    others = {id(other): other for at in places for other in scene.at.get(at, ())}
    return [other.placed for other in others.values() if other.late(ledger)]


def _narrow(
    placed: PlacedPlan, ledger: Ledger, hurt: Iterable[PlacedPlan], *, everywhere: bool
) -> list[Resource]:
    """Resources of the plan that somebody in question waits for most."""
    devices, wires = {step.device for step in placed.use.steps}, placed.use.wires
    found: dict[Resource, float] = {}
    for plan in [*hurt, *([placed] if everywhere else [])]:
        for step in plan.use.steps:
            if step.device not in devices:
                continue
            for name, seconds in step.compute_s.items():
                wait = ledger.device_wait((name, step.device), step.key)[0] if seconds > 0 else 0.0
                found[name, step.device] = max(wait, found.get((name, step.device), 0.0))
        for wire in plan.use.wires.keys() & wires.keys():
            wait = ledger.wires.wait((wire,), regular=plan.use.scv == 0)[0]
            found[planned(wire)] = max(wait, found.get(planned(wire), 0.0))
    most = max(found.values(), default=0.0)
    return sorted(r for r, wait in found.items() if wait > 0 and wait >= most * _MATTERS)


def _enlarged(scenario: Scenario, resource: Resource, before: Relaxation | None) -> Relaxation:
    have = amount_of(scenario, resource)
    now = before.to if before and before.to is not None else have
    to = round_up(now * _GROWTH)
    if resource[0] not in (LINK, UPLINK):  # machines have whole cores
        to = max(float(math.floor(now)) + 1, float(math.ceil(to)))
    return Relaxation(what=resource[0], amount=to - have, to=to, devices=tuple(resource[1:]))
