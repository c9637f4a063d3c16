"""The cheapest remedy for a query turned away, and the words for what is in its way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from circinus.advice import percent
from circinus.decision import Relaxation
from circinus.query import Query
from circinus_coordinator.planning.lacking import NO_PROFILE, NOT_CONNECTED, lacking
from circinus_coordinator.planning.placed import PlacedPlan, meets
from circinus_coordinator.planning.proposals import proposals
from circinus_coordinator.planning.relaxation import USD, Explanation, worded
from circinus_coordinator.planning.scene import Scene
from circinus_coordinator.planning.shortage import Remedy, remedy
from circinus_coordinator.planning.uses import MEMORY, WORKER, Resource, describe

__all__ = ["SOME_RPS", "Refusals", "worth_something"]

_OBJECTIVES = ("latency", "accuracy", "cost")
# Of a plan whose steps cannot be made to keep out of others' way by larger machines.
_FASTER = 2.0
# Changes that only show what else is lacking, one after another, at most.
_DEPTH = 8
_WORTH = ("weight", "rate")
SOME_RPS = 0.01
"""A rate for what has none."""


class Refusals:
    """Explains the refusals of one decision; what several queries lack alike is found once.

    Args:
        scene: Who is served.
        within: Of queries, what `within_objectives` found at the loads of the scene.
    """

    def __init__(
        self, scene: Scene, within: Mapping[str, Sequence[PlacedPlan | None]] | None = None
    ) -> None:
        self._scene, self._within = scene, within or {}
        self._lacking: dict[object, tuple[Relaxation, ...] | None] = {}
        self._scenes: dict[object, Scene] = {}

    def explain(
        self,
        query: Query,
        share: float,
        *,
        thorough: bool,
    ) -> tuple[Explanation, PlacedPlan | None]:
        """Why a query is served to `share` only, and the plan it would have after the changes."""
        changes, best, alone = self._search(query, 1 - share, thorough)
        reason = _reason(self._scene, query, changes, best, alone)
        if share > 0:
            reason = f"{percent(1 - share)} of its traffic is not served: {reason}"
        told = Explanation(
            query=query.id,
            share=share,
            binding=_binding(changes, best),
            reason=reason,
            relaxation=worded(changes) if best is not None else None,
            relaxations=tuple(changes) if best is not None else (),
        )
        return told, best.placed if best is not None else None

    def _search(
        self, query: Query, share: float, thorough: bool
    ) -> tuple[list[Relaxation], Remedy | None, bool]:
        """The changes, the remedy that made up their last part, and if it has a plan alone."""
        scene = self._scene
        changes, short, alone = worth_something(query), list[Resource](), False
        wanted = asked = dataclasses.replace(
            query, weight=query.weight or 1.0, rate_rps=query.rate_rps or SOME_RPS
        )
        for _ in range(_DEPTH):
            first = scene is self._scene
            within = self._within.get(query.id) if first else None
            plans = list(proposals(scene, asked, share, thorough=thorough, within=within))
            if first:
                alone = any(meets(asked, p.estimate()) is None for p in plans)
            best = _least(scene, asked, plans, share)
            if best is not None:
                changes = _merged(changes, best.changes)
                short = [*short, *(r for r in best.short if r not in short)]
                if best.late != "worker":
                    return changes, dataclasses.replace(best, short=tuple(short)), alone
            elif plans:
                changes = _merged(changes, _faster(plans[0]))
            else:
                more = self._lack(scene, asked)
                if more is None:
                    break
                changes = _merged(changes, more)
            scene, asked = self._changed(query, changes), wanted
        return changes, None, alone

    def _lack(self, scene: Scene, query: Query) -> tuple[Relaxation, ...] | None:
        key = (query.pipeline, tuple(query.source.items()), query.slo, query.rate_rps, query.count)
        if scene is not self._scene:
            return lacking(scene.scenario, query)
        if key not in self._lacking:
            self._lacking[key] = lacking(scene.scenario, query)
        return self._lacking[key]

    def _changed(self, query: Query, changes: Sequence[Relaxation]) -> Scene:
        """All that is served, in the scenario with the changes so far."""
        fleet = [c for c in changes if c.what not in (*_OBJECTIVES, *_WORTH)]
        key = (query.pipeline, tuple(fleet))
        if key not in self._scenes:
            self._scenes[key] = self._scene.changed(query.id, fleet)
        return self._scenes[key]


def _least(scene: Scene, query: Query, plans: Sequence[PlacedPlan], share: float) -> Remedy | None:
    """The smallest remedy by any of these plans, the first of equals."""
    best: Remedy | None = None
    for placed in plans:
        most = math.inf if best is None else best.size
        found = remedy(scene, query, placed, share, most=most)
        if found is not None and found.size < most:
            best = found
    return best


def worth_something(query: Query) -> list[Relaxation]:
    """What a query lacks that adds nothing to goodput: it need not be served, room or not."""
    found = []
    if query.weight == 0:
        found.append(Relaxation(what="weight", amount=1.0, to=1.0))
    if query.rate_rps == 0:
        found.append(Relaxation(what="rate", amount=SOME_RPS, to=SOME_RPS))
    return found


def _merged(before: Iterable[Relaxation], more: Iterable[Relaxation]) -> list[Relaxation]:
    """Changes on top of changes."""
    found = {(c.what, c.devices, c.operator): c for c in before}
    for c in more:
        key = (c.what, c.devices, c.operator)
        old = found.get(key)
        if old is None:
            found[key] = c
        elif c.what == "speed":
            found[key] = dataclasses.replace(c, to=(old.to or 1.0) * (c.to or 1.0))
        else:
            amount = None if c.amount is None or old.amount is None else old.amount + c.amount
            found[key] = dataclasses.replace(c, amount=amount, rtt_ms=c.rtt_ms or old.rtt_ms)
    return list(found.values())


def _faster(placed: PlacedPlan) -> list[Relaxation]:
    """Every step of the plan faster: nobody then waits as long for it."""
    return [
        Relaxation(what="speed", to=_FASTER, devices=(step.device,), operator=name)
        for name, step in placed.plan.items()
    ]


def _binding(changes: Sequence[Relaxation], best: Remedy | None) -> str:
    if not changes:
        return "search" if best is not None else NO_PROFILE
    first = next((c for c in changes if c.what not in _WORTH), changes[0])
    if first.what == "accuracy":
        return "accuracy" if first.to is not None else NO_PROFILE
    if first.what in (*_OBJECTIVES, *_WORTH):
        return first.what
    if first.what == "profile":
        return NO_PROFILE
    if first.what in ("placement", "backward") or (first.what == "link" and first.amount is None):
        return NOT_CONNECTED
    if best is not None and best.short:
        return describe(best.short[0])
    if first.what == "speed":
        return f"{first.operator} on {first.devices[0]}"
    return describe((first.what, *first.devices))


def _reason(
    scene: Scene, query: Query, changes: Sequence[Relaxation], best: Remedy | None, alone: bool
) -> str:
    if best is None and not changes:
        return "there is no plan for it, and nothing known would give it one"
    if not changes:
        return "there is room for it, which the search has missed: plan again, with more time"
    parts = [f"its {c.what} is 0, so serving it is worth nothing" for c in changes
             if c.what in _WORTH]  # fmt: skip
    parts += _missing(scene, changes)
    objectives = [c for c in changes if c.what in _OBJECTIVES]
    if best is not None and best.late == "own" and [c.what for c in objectives] == ["latency"]:
        parts += [] if alone else [_slow(query, best.placed)]
    elif objectives:
        parts.append(_unmet(query, objectives, alone=alone))
    parts += [
        f"all requests meet at {describe(resource)}, and it is too slow"
        for resource in (best.short if best is not None else ())
        if resource[0] == WORKER
    ]
    if best is not None and best.short:
        names = ", ".join(describe(r) for r in best.short if r[0] != WORKER)
        parts += [f"there is too little left: {names}"] if names else []
    if best is not None and best.late == "own":
        parts.append("at the planned load it would wait too long")
    if best is not None and best.late == "others":
        parts.append("the waiting it causes would break the latency of queries already served")
    return "; ".join(dict.fromkeys(filter(None, parts))) or "the machines are too small for it"


def _missing(scene: Scene, changes: Sequence[Relaxation]) -> list[str]:
    """In words, what the scenario lacks altogether."""
    found = []
    for c in changes:
        if c.what == "profile":
            found.append(f"there is no profile of {c.operator} on any machine it may run on")
        elif c.what == "link" and c.amount is None:
            found.append(f"nothing connects {c.devices[0]} with {c.devices[1]}")
        elif c.what == "placement":
            found.append(f"no machine may run {c.operator}: its tiers leave none")
        elif c.what == "backward":
            found.append("data may only go outwards, and no placement keeps to that")
        elif c.what == MEMORY and all(c.devices[0] not in d for d in scene.at):
            found.append(f"{c.devices[0]} has too little memory")
    return found


def _unmet(query: Query, changes: Sequence[Relaxation], *, alone: bool) -> str:
    """In words, which objectives are in the way.

    Args:
        query: Whose.
        changes: To its objectives.
        alone: By itself it has a plan; what is missing is one with room.
    """
    slo = query.slo
    if len(changes) > 1 and not alone:
        return "more than one of its objectives is in the way"
    c = changes[0]
    first = "with room" if alone else ""
    if c.what == "latency":
        return (
            f"{_noun('the fastest plan', first)} takes {(c.to or 0.0):.4g} ms, "
            f"{slo.latency_ms:g} ms are allowed"
        )
    if c.what == "cost":
        return (
            f"{_noun('the cheapest plan', first)} costs {(c.to or 0.0):.4g} {USD}, "
            f"{slo.cost_usd_per_1000:g} are allowed"
        )
    if c.to is None:
        return f"no accuracy of {query.pipeline} is measured for a config vector that can be placed"
    return f"{c.to:.4g} is {_noun('the best accuracy', first)}, {slo.accuracy:g} is asked for"


def _slow(query: Query, placed: PlacedPlan) -> str:
    """In words, that a plan would be late anyhow; what waiting adds is told elsewhere."""
    ms, limit = placed.latency_ms(), query.slo.latency_ms or 0.0
    return f"alone it takes {ms:.4g} ms, {limit:g} ms are allowed" if ms > limit else ""


def _noun(what: str, more: str) -> str:
    return f"{what} {more}".strip()
