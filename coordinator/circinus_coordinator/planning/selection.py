"""Greedy selection: which queries run, with which plans and shares.

Queries come in the order of their value for what they use of scarce resources. Each gets the
best plan that fits on top of what is already admitted, at prices that reflect what others want;
a splittable query is spread over several plans where one does not take all of its traffic. A
plan is admitted only if everybody it shares a device with keeps their SLOs. Several rounds at
changing prices; the best one counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from circinus.decision import Plan
from circinus.errors import NoData
from circinus.query import Query
from circinus_coordinator.planning.candidates import permitted
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import add
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing
from circinus_coordinator.planning.placed import PlacedPlan, meets, place, streams
from circinus_coordinator.planning.search import MOST_SOLVES, Verdict, search
from circinus_coordinator.planning.uses import Resource, planned

__all__ = [
    "LEAST_SHARE",
    "Admitted",
    "Selection",
    "admit",
    "largest",
    "linear_limit",
    "readmit",
    "rounded",
    "select",
    "splittable",
]

# Plans one query is spread over at most: each carries a share worth having.
_MOST_PLANS = 6
# A share below this is not worth a plan of its own.
LEAST_SHARE = 0.01
# Parts of the remaining traffic a plan is sought for, one after the other, and how hard. Once
# one is found its share is raised as far as it goes, so what can be split need not try hard.
_PARTS = ((1.0, 8), (0.3, 3), (LEAST_SHARE, 3))
_WHOLE = ((1.0, MOST_SOLVES), (0.5, MOST_SOLVES), (0.2, MOST_SOLVES), (LEAST_SHARE, MOST_SOLVES))
_BISECTIONS = 12


@dataclass(frozen=True, slots=True)
class Admitted:
    """A plan with the share of the query's traffic it carries."""

    placed: PlacedPlan
    share: float


@dataclass(slots=True)
class Selection:
    """What is admitted, and the loads of all of it."""

    catalogue: Catalogue
    ledger: Ledger
    admitted: list[Admitted] = field(default_factory=list)
    at: dict[str | Resource, list[PlacedPlan]] = field(default_factory=dict)  # by device and wire

    def admit(self, placed: PlacedPlan, share: float) -> None:
        """Take the plan in; a plan the query has already gets the share on top."""
        add(self.ledger, placed, share)
        for k, held in enumerate(self.admitted):
            if held.placed.query.id == placed.query.id and held.placed.plan == placed.plan:
                self.admitted[k] = Admitted(held.placed, held.share + share)
                return
        self.admitted.append(Admitted(placed, share))
        for device in dict.fromkeys(step.device for step in placed.use.steps):
            self.at.setdefault(device, []).append(placed)
        for wire in placed.use.wires:
            self.at.setdefault(wire, []).append(placed)

    def share_of(self, query: str) -> float:
        """Share of the query's traffic that is admitted."""
        return math.fsum(a.share for a in self.admitted if a.placed.query.id == query)

    def judge(self, placed: PlacedPlan, share: float) -> Verdict | None:
        """What would be wrong with this plan on top of what is admitted, None if nothing."""
        query, ledger = placed.query, self.ledger
        undo = ledger.add(placed.use, query.rate_rps * query.count * share, streams(query, share))
        try:
            overloads = ledger.violations(ledger.resources(placed.use))
            if overloads:
                return ("resource", *overloads[0])
            estimate = placed.estimate(ledger)
            fault = meets(query, estimate)
            if fault == "latency" and query.slo.latency_ms is not None:
                return ("latency", None, estimate.latency_ms - query.slo.latency_ms)
            if fault is not None:
                return ("other", None, 0.0)
            return self._hurt(placed)
        finally:
            undo()

    def _hurt(self, placed: PlacedPlan) -> Verdict | None:
        """A device or link on which somebody admitted would lose an SLO to the newcomer."""
        if not self.ledger.scenario.queueing:
            return None
        for step in placed.use.steps:
            for other in self.at.get(step.device, ()):
                if meets(other.query, other.estimate(self.ledger)):
                    return ("resource", ("cores", step.device), 1.0)
        for wire in placed.use.wires:
            for other in self.at.get(wire, ()):
                if meets(other.query, other.estimate(self.ledger)):
                    return ("resource", planned(wire), 1.0)
        return None


def splittable(catalogue: Catalogue, query: Query) -> bool:
    """True where any share may go any way; stateful operators are never split."""
    operators = catalogue.scenario.pipelines[query.pipeline].operators.values()
    return query.splittable and not any(spec.stateful for spec in operators)


def select(
    catalogue: Catalogue,
    order: Sequence[Query],
    pricing: Pricing,
    previous: Mapping[str, Sequence[tuple[float, Plan]]],
    *,
    keep: bool = False,
) -> Selection:
    """Admit queries in this order.

    Args:
        catalogue: Compiled queries.
        order: Queries, first come first served.
        pricing: Present prices.
        previous: For each query the shares and plans it had.
        keep: Take previous plans over first, wherever they still fit.
    """
    chosen = Selection(catalogue, Ledger(catalogue.scenario))
    if keep:
        for query in order:
            for share, plan in previous.get(query.id, ()):
                readmit(chosen, query, share, plan)
    for query in order:
        plans = previous.get(query.id, ())
        held = previous_steps(plans[0][1]) if plans else {}
        admit(chosen, query, dataclasses.replace(pricing, previous=held))
    return chosen


def previous_steps(plan: Plan) -> dict[str, tuple[str, object, int]]:
    """A plan as `Pricing.previous` takes it."""
    return {name: (step.device, step.config, step.batch) for name, step in plan.items()}


def readmit(chosen: Selection, query: Query, share: float, plan: Plan) -> None:
    """Take a plan over that the query had, if it still fits."""
    catalogue = chosen.catalogue
    share = min(share, 1.0 - chosen.share_of(query.id))
    if not splittable(catalogue, query):
        share = math.floor(share * query.count + 1e-6) / query.count
    devices = {name: step.device for name, step in plan.items()}
    if share <= 0 or not permitted(catalogue.scenario, query, devices):
        return
    try:
        placed = place(catalogue, query, plan)
    except NoData:
        return
    if chosen.judge(placed, share) is None:
        chosen.admit(placed, share)


def admit(chosen: Selection, query: Query, pricing: Pricing) -> None:
    """Admit as much of the query as fits."""
    whole = not splittable(chosen.catalogue, query)
    unit = 1.0 / query.count if whole else 0.0
    # Each try takes a share in, or is the last one.
    for _ in range(query.count if whole else _MOST_PLANS):
        rest = 1.0 - chosen.share_of(query.id)
        if rest < max(unit * (1 - 1e-6), 1e-9):
            return
        if not _admit_part(chosen, query, pricing, rest, unit):
            return


def _admit_part(
    chosen: Selection, query: Query, pricing: Pricing, rest: float, unit: float
) -> bool:
    """Find one plan for as much of `rest` as it takes; False where there is none."""
    operators = len(chosen.catalogue.scenario.pipelines[query.pipeline].operators)
    sizes = [min(n, chosen.catalogue.most_slots) for n in (1, 2, operators)]
    tried: set[float] = set()
    for part, solves in _WHOLE if unit else _PARTS:
        share = rounded(rest * part, unit)
        if share in tried or share <= 0:
            continue
        tried.add(share)
        for slots in dict.fromkeys(sizes):
            found = search(
                chosen.catalogue,
                query,
                chosen.ledger,
                pricing,
                share,
                chosen.judge,
                slots=slots,
                solves=solves,
            )
            if found is None:
                continue
            chosen.admit(found.placed, largest(chosen, found.placed, share, rest, unit))
            return True
    return False


def rounded(share: float, unit: float) -> float:
    """`share` in whole units, at least one; as it is without units."""
    return share if unit == 0 else max(1, math.floor(share / unit + 1e-6)) * unit


def linear_limit(chosen: Selection, placed: PlacedPlan) -> float:
    """The share at which the first per-second resource is used up."""
    rate = placed.query.rate_rps * placed.query.count
    ledger = chosen.ledger
    return min(
        (
            ledger.free(r) / (amount * rate)
            for r, amount in placed.use.linear.items()
            if amount * rate > 0
        ),
        default=math.inf,
    )


def largest(chosen: Selection, placed: PlacedPlan, fits: float, rest: float, unit: float) -> float:
    """The largest share up to `rest` that the plan still takes, given that `fits` does."""
    low, high = fits, min(rest, linear_limit(chosen, placed))
    rate = placed.query.rate_rps * placed.query.count
    if unit == 0 and high > low and chosen.judge(placed, high) is None:
        return high
    for _ in range(_BISECTIONS):
        if high - low <= max(unit * 0.5, 1e-4):
            break
        middle = rounded((low + high) / 2, unit)
        if middle <= low * (1 + 1e-9):
            break
        if chosen.judge(placed, middle) is None:
            low = middle
        else:
            high = middle - unit
    for share in () if unit else chosen.ledger.fillings(placed.use, rate, low):
        # Where another replica finds no memory, halving stops just short of the last one's fill.
        if low < share <= high and chosen.judge(placed, share) is None:
            low = share
    return low
