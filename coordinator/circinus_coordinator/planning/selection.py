"""Greedy selection: which queries run, with which plans and shares.

Queries come in the order of their value for what they use of scarce resources. Each gets the
best plan that fits on top of what is already admitted, at prices that reflect what others want;
a splittable query is spread over several plans where one does not take all of its traffic. A
plan is admitted only if everybody it shares a device with keeps their SLOs. Several rounds at
changing prices; the best one counts.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from circinus.decision import Plan
from circinus.errors import NoData
from circinus.fleet import CORES
from circinus.query import Query
from circinus_coordinator.planning.candidates import permitted
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing
from circinus_coordinator.planning.placed import PlacedPlan, place, stream
from circinus_coordinator.planning.search import MOST_SOLVES, Verdict, search
from circinus_coordinator.planning.tenants import Admitted, Tenant, Tenants
from circinus_coordinator.planning.uses import InstanceKey, Resource, planned
from circinus_coordinator.planning.watch import Watch

__all__ = [
    "FINE",
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
# How exactly a share is raised, and the halvings this takes.
FINE, _BISECTIONS = 1e-4, 12


class Selection:
    """What is admitted, and the loads of all of it.

    Args:
        catalogue: Compiled queries.
        ledger: An empty one.

    Attributes:
        headroom: Part of its latency SLO that a newcomer is judged by, see `Watch`.
    """

    def __init__(self, catalogue: Catalogue, ledger: Ledger) -> None:
        self.catalogue = catalogue
        self.ledger = ledger
        self.tenants = Tenants()
        self.headroom = 1.0
        self._free: dict[str, float] = {}  # cores, as far as looked at
        self._undos: list[Callable[[], None]] | None = None
        self._touchy: Tenant | None = None  # who was late last

    @classmethod
    def of(cls, catalogue: Catalogue, assigned: Iterable[tuple[PlacedPlan, float]]) -> Selection:
        """What is known to go together, taken in unjudged."""
        chosen = cls(catalogue, Ledger(catalogue.scenario))
        for placed, share in assigned:
            chosen.admit(placed, share)
        return chosen

    @property
    def admitted(self) -> list[Admitted]:
        """Everybody, in the order they came."""
        return [Admitted(tenant.placed, tenant.share) for tenant in self.tenants]

    @property
    def assigned(self) -> list[tuple[PlacedPlan, float]]:
        """The plans and shares of everybody, in the order they came."""
        return [(tenant.placed, tenant.share) for tenant in self.tenants]

    def admit(self, placed: PlacedPlan, share: float) -> Tenant:
        """Take the plan in; a plan the query has already gets the share on top."""
        held = self.tenants.like(placed)
        if held is not None:
            share += held.share
            self.withdraw(held)
        tenant = Tenant(placed, share)
        undo = self.ledger.add(placed.use, *stream(placed, share))
        self.tenants.add(tenant)
        self._changed(placed)
        if self._undos is not None:
            self._undos += [undo, lambda: self.tenants.drop(tenant)]
        return tenant

    def withdraw(self, tenant: Tenant) -> None:
        """Take a plan out again."""
        undo = self.ledger.remove(tenant.placed.use, *stream(tenant.placed, tenant.share))
        self.tenants.drop(tenant)
        self._changed(tenant.placed)
        if self._undos is not None:
            self._undos += [undo, lambda: self.tenants.add(tenant)]

    def begin(self) -> None:
        """From here on everything can be taken back."""
        self._undos = []

    def keep(self) -> None:
        """What was done since `begin` stays."""
        self._undos = None

    def take_back(self) -> None:
        """All is as it was at `begin`, to the last bit."""
        for undo in reversed(self._undos or ()):
            undo()
        self._undos = None
        self._free.clear()

    def _changed(self, placed: PlacedPlan) -> None:
        for step in placed.use.steps:
            self._free.pop(step.device, None)

    def share_of(self, query: str) -> float:
        """Share of the query's traffic that is admitted."""
        return self.tenants.share_of(query)

    def free_cores(self, devices: Sequence[str], but: Collection[str]) -> dict[str, float]:
        """Cores left on each of `devices`, without those in `but`."""
        found = {}
        for device in devices:
            if device not in but:
                free = self._free.get(device)
                if free is None:
                    free = self._free[device] = self.ledger.free((CORES, device))
                found[device] = free
        return found

    def judge(self, placed: PlacedPlan, share: float, *, exactly: bool = False) -> Verdict | None:
        """What would be wrong with this plan on top of what is admitted, None if nothing.

        Args:
            placed: The plan.
            share: Of its query's traffic.
            exactly: Also by how much it would be late.
        """
        ledger, held = self.ledger, self.tenants.like(placed)
        undos = []
        if held is not None:  # its stream grows; two would be dealt otherwise than one
            share += held.share
            undos.append(ledger.remove(placed.use, *stream(placed, held.share)))
        undos.append(ledger.add(placed.use, *stream(placed, share)))
        try:
            overloads = ledger.violations(ledger.resources(placed.use))
            if overloads:
                return ("resource", *overloads[0])
            return self._broken(placed, exactly=exactly) or self._hurt(placed)
        finally:
            for undo in reversed(undos):
                undo()

    def _broken(self, placed: PlacedPlan, *, exactly: bool) -> Verdict | None:
        """An SLO that a plan on the ledger breaks."""
        limit, watch = placed.query.slo.latency_ms, Watch(placed, self.headroom)
        if watch.late(self.ledger):
            if limit is None:
                return ("other", None, 0.0)
            ms = placed.latency_ms(self.ledger) if exactly else math.inf
            return ("latency", None, ms - limit)
        return None if watch.fault is None else ("other", None, 0.0)

    def hopeless(self, placed: PlacedPlan) -> bool:
        """True where the plan is too late at the present loads, even without its own."""
        return self.ledger.scenario.queueing and Watch(placed, self.headroom).late_to_enter(
            self.ledger
        )

    def _hurt(self, placed: PlacedPlan) -> Verdict | None:
        """A device or link on which somebody admitted would lose an SLO to the newcomer."""
        if not self.ledger.scenario.queueing:
            return None
        near = self.near(placed)
        # Who was late for one share or plan mostly is so for the next.
        first = [tenant for tenant in (self._touchy,) if tenant in near]
        for tenant in dict.fromkeys([*first, *near]):
            if tenant.watch.late(self.ledger):
                self._touchy = tenant
                return ("resource", near[tenant], 1.0)
        return None

    def near(self, placed: PlacedPlan) -> dict[Tenant, Resource]:
        """Everybody who may wait longer for a plan on the ledger, and where; itself if it is."""
        keys: dict[str, list[InstanceKey]] = {}
        for step in placed.use.steps:
            keys.setdefault(step.device, []).append(step.key)
        found: dict[Tenant, Resource] = {}
        for device, mine in keys.items():
            for key in self.ledger.affected(device, mine):
                for tenant in self.tenants.using(key):
                    found.setdefault(tenant, (CORES, device))
        for wire in placed.use.wires:
            for tenant in self.tenants.sending(wire):
                found.setdefault(tenant, planned(wire))
        return found


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
                functools.partial(chosen.judge, exactly=True),
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


def largest(
    chosen: Selection,
    placed: PlacedPlan,
    fits: float,
    rest: float,
    unit: float,
    *,
    precision: float = FINE,
) -> float:
    """The largest share up to `rest` that the plan still takes, given that `fits` does.

    Args:
        chosen: What it has to go with.
        placed: The plan.
        fits: A share it takes.
        rest: Of the traffic.
        unit: Shares are multiples of this; 0 for any share.
        precision: What a share may stay below the largest, relative to it.
    """
    low, high = fits, min(rest, linear_limit(chosen, placed))
    rate = placed.query.rate_rps * placed.query.count
    if unit == 0 and high > low and chosen.judge(placed, high) is None:
        return high
    for _ in range(_BISECTIONS):
        if high - low <= max(unit * 0.5, FINE, precision * high):
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
