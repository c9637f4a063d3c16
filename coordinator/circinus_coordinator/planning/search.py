"""The best plan of one query at the present load: programme, check, branch.

The programme prices each step as if it were alone. A finished plan is put on the ledger and
judged whole. Where its own steps together overload a device or link, the search branches: any
plan that fits must take less there in at least one of the steps involved, and the branches part
those plans by the first such step. Best first by value; exact up to the limit of solves.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.query import Query, Slo
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import Found, Limits, solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Choice, Moving, Pricing, offers
from circinus_coordinator.planning.placed import PlacedPlan, arrival_scv, place, plan_of, streams
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.uses import LINK, MEMORY, UPLINK, WORKER, Resource

__all__ = ["Candidate", "bound_slots", "limits_of", "search"]

# Runs of the programme before a query is taken not to fit as it stands.
MOST_SOLVES = 24
# Waiting that two steps of one plan cause each other is seen only in the whole plan; the limit
# is tightened by what was missed, at most so often.
_TIGHTENINGS = 3

Mask = npt.NDArray[np.bool_]
Verdict = tuple[str, Resource | None, float]
"""What is wrong with a plan: kind (``resource``, ``latency``, ``other``), where, by how much."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan and its value at the prices asked with."""

    placed: PlacedPlan
    value: float


@dataclass(frozen=True, slots=True)
class _Branch:
    choices: Sequence[Choice]
    moving: Moving
    latency_ms: float
    tightened: int


def limits_of(slo: Slo) -> Limits:
    """The latency and cost SLOs; accuracy is part of the programme."""
    return Limits(
        latency_ms=np.inf if slo.latency_ms is None else slo.latency_ms,
        usd=np.inf if slo.cost_usd_per_1000 is None else slo.cost_usd_per_1000 / 1000,
    )


def bound_slots(programme: Programme, ledger: Ledger, pricing: Pricing) -> Programme:
    """The programme on the members of its groups that suit best now.

    The first slot of a group takes the cheapest, then freest member; the second, where there is
    one, the fullest that is in use (instances and rented machines are shared there).
    """
    free = {d: ledger.free(("cores", d)) for group in programme.groups for d in group}
    before = {device for device, _, _ in pricing.previous.values()}
    chosen: dict[tuple[str, ...], list[str]] = {}
    for group in dict.fromkeys(programme.groups):
        count = programme.groups.count(group)
        ranked = sorted(
            group,
            key=lambda d: (
                d in pricing.closed,
                pricing.of.get(("cores", d), 0.0),
                d not in before,
                -free[d],
            ),
        )
        used = sorted(
            (d for d in group if ledger.instances.get(d) and d not in pricing.closed),
            key=lambda d: free[d],
        )
        picked = [*(d for d in ranked if d in before)][:1] or ranked[:1]
        for device in [*used[:1], *ranked]:
            if device not in picked and len(picked) < count:
                picked.append(device)
        chosen[group] = picked
    return programme.bind([chosen[group].pop(0) for group in programme.groups])


def search(
    catalogue: Catalogue,
    query: Query,
    ledger: Ledger,
    pricing: Pricing,
    share: float,
    judge: Callable[[PlacedPlan, float], Verdict | None],
    *,
    slots: int = 1,
    solves: int = MOST_SOLVES,
) -> Candidate | None:
    """The best plan for `share` of the query's traffic that `judge` accepts.

    Args:
        catalogue: Compiled queries.
        query: Whose plan.
        ledger: Present loads.
        pricing: Present prices.
        share: Of the query's traffic, all `count` of it.
        judge: Says what is wrong with a plan on top of the present loads, if anything.
        slots: Machines of each interchangeable group to tell apart.
        solves: Runs of the programme after which to give up.
    """
    programme = bound_slots(catalogue.programme(query, slots=slots), ledger, pricing)
    choices, moving = offers(
        programme,
        ledger,
        pricing,
        rate_rps=query.rate_rps * query.count * share,
        streams=streams(query, share),
        scv=arrival_scv(query),
    )
    limits, order = limits_of(query.slo), itertools.count()
    root = _Branch(choices, moving, limits.latency_ms, 0)
    # A branch waits with its parent's value, a bound on its own, until it is worth solving.
    heap: list[tuple[float, int, Found | None, _Branch]] = [(-np.inf, next(order), None, root)]
    while heap:
        value, _, found, branch = heapq.heappop(heap)
        if found is None:
            if solves == 0:
                return None
            solves -= 1
            tight = dataclasses.replace(limits, latency_ms=branch.latency_ms)
            found = solve(programme, branch.choices, branch.moving, tight)
            if found is not None:
                heapq.heappush(heap, (found.value, next(order), found, branch))
            continue
        placed = place(catalogue, query, plan_of(programme, found))
        verdict = judge(placed, share)
        if verdict is None:
            return Candidate(placed, value)
        for child in _children(programme, found, branch, verdict):
            heapq.heappush(heap, (value, next(order), None, child))
    return None


def _children(
    programme: Programme, found: Found, branch: _Branch, verdict: Verdict
) -> list[_Branch]:
    kind, resource, excess = verdict
    if kind == "latency":
        if branch.tightened >= _TIGHTENINGS:
            return []
        # Sharing a machine with oneself is what the programme did not see: either it is
        # avoided, or there has to be room for it.
        tighter = dataclasses.replace(
            branch, latency_ms=branch.latency_ms - excess, tightened=branch.tightened + 1
        )
        return [tighter, *_apart(programme, found, branch)]
    if resource is None:
        return []
    if resource[0] in (LINK, UPLINK):
        return _otherwise(branch, _sending(programme, found, resource))
    return _otherwise(branch, _using(programme, found, resource))


def _otherwise(branch: _Branch, taken: dict[int, Mask]) -> list[_Branch]:
    """Branches that together leave out just the plans whose steps are all in `taken`.

    The k-th leaves step k's options out and keeps those of the steps before it, so that no plan
    is in two of them: overlapping branches would find the same plans over and over.
    """
    children = []
    for k, mask in taken.items():
        children.append(_restrict(branch, k, ~mask))
        branch = _restrict(branch, k, mask)
    return children


def _apart(programme: Programme, found: Found, branch: _Branch) -> list[_Branch]:
    """One branch per step that shares its slot with another step of the plan."""
    slots = [int(s.slot[o]) for s, o in zip(programme.steps, found.options, strict=True)]
    return [
        _restrict(branch, k, programme.steps[k].slot != slot)
        for k, slot in enumerate(slots)
        if slots.count(slot) > 1
    ]


def _using(programme: Programme, found: Found, resource: Resource) -> dict[int, Mask]:
    """Per step on the device: its options there that take at least what was taken."""
    name, device = resource[0], resource[1]
    taken = {}
    for k, (step, option) in enumerate(zip(programme.steps, found.options, strict=True)):
        if programme.devices[step.slot[option]] != device:
            continue
        if name == MEMORY:
            use = step.memory
        elif name == WORKER:
            use = step.mean / step.batch
        else:
            use = step.compute[:, programme.resources.index(name)]
        if use[option] > 0:
            taken[k] = (step.slot == step.slot[option]) & (use >= use[option])
    return taken


def _restrict(branch: _Branch, k: int, mask: Mask) -> _Branch:
    choices = list(branch.choices)
    choices[k] = dataclasses.replace(choices[k], allowed=choices[k].allowed & mask)
    return dataclasses.replace(branch, choices=choices)


def _sending(programme: Programme, found: Found, resource: Resource) -> dict[int, Mask]:
    """Per end of a hop over the link: its options there that move at least what was moved."""
    steps, devices, source = programme.steps, programme.devices, programme.query.source
    home = source[programme.pipeline.sources[0]]
    slot = [int(s.slot[o]) for s, o in zip(steps, found.options, strict=True)]
    here = [devices[at] for at in slot]
    size = [float(s.size[o]) for s, o in zip(steps, found.options, strict=True)]
    hops: list[tuple[str, str, int | None, int | None, float]] = []
    for k, step in enumerate(steps):
        if k in programme.entry:
            hops.append((source[step.name], here[k], None, k, programme.entry[k][1]))
        hops += [(here[need], here[k], need, k, size[need]) for need in step.needs]
        if programme.exits is not None and programme.last_use[k] == k:
            hops.append((here[k], home, k, None, size[k]))
    taken: dict[int, Mask] = {}
    for a, b, producer, consumer, moved in hops:
        ends = {a, b} if resource[0] == UPLINK else {tuple(sorted((a, b)))}
        wanted = resource[1] if resource[0] == UPLINK else tuple(resource[1:])
        if a == b or wanted not in ends or moved <= 0:
            continue
        for end in (producer, consumer):
            if end is not None:
                there = steps[end].slot == slot[end]
                taken[end] = taken.get(end, there) & there
        if producer is not None:
            taken[producer] = taken[producer] & (steps[producer].size >= moved)
    return taken
