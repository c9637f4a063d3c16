"""From shares of known plans to plans on the machines that stay open."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from circinus.decision import Plan, Step
from circinus_coordinator.planning.decomposition.classes import Market, QueryClass
from circinus_coordinator.planning.decomposition.master import Mixture
from circinus_coordinator.planning.decomposition.pieces import pieces
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.renting.choice import Columns
from circinus_coordinator.planning.selection import Selection, largest, linear_limit, splittable

__all__ = ["open_devices", "settle", "top_up"]

FloatArray = npt.NDArray[np.float64]
# Machines of a group tried for one piece before it is left out.
_TRIES = 24
# Parts of what is left of a piece that a machine is tried with.
_PARTS = (1.0, 0.5, 0.2, 0.05)
_LEAST = 1e-9
# Equal parts of a piece, at most.
_MOST_PARTS = 24
# A share this small may be missing by rounding alone.
_ROUNDING = 1e-5
# A machine that has room for less than this share of a query is full.
_SMALL = 1e-4


def open_devices(
    columns: Columns, share: FloatArray, opened: FloatArray, used: Mapping[str, float]
) -> frozenset[str]:
    """The machines that are rented: so many of each group, those a plan starts at first.

    Args:
        columns: Known plans.
        share: `(columns,)` of them.
        opened: `(groups,)` whole numbers.
        used: Devices in use at present, with how much; of equals these are taken.
    """
    demand = columns.demand
    members = demand.market.sites.members
    needed: set[str] = set()
    for column in np.flatnonzero(share > _LEAST).tolist():
        unit, plan = int(columns.pool.unit[column]), int(columns.pool.template[column])
        number = int(demand.units.kind[unit])
        nodes = demand.market.classes[number].sites[int(demand.units.site[unit])].nodes
        for slot in set(demand.ways[number].slots[plan].tolist()):
            if demand.bill.of_node[nodes[slot]] >= 0 and len(members[nodes[slot]]) == 1:
                needed.add(members[nodes[slot]][0])
    found: set[str] = set()
    for group, count in zip(demand.bill.members, np.round(opened).astype(int), strict=True):
        ranked = sorted(group, key=lambda d: (d not in needed, -used.get(d, 0.0)))
        found.update(ranked[: int(count)])
    return frozenset(found)


def settle(
    market: Market,
    solution: Solution,
    columns: Columns,
    share: FloatArray,
    closed: Collection[str],
    *,
    spread: bool = False,
) -> Selection:
    """Put a mixture on real machines, as far as it fits; nothing else is served.

    Args:
        market: Classes.
        solution: Of the relaxation, for its units.
        columns: Known plans.
        share: `(columns,)` of each unit's traffic.
        closed: Devices nothing may be placed on.
        spread: Deal each plan out evenly to all open machines of a group, so that none runs out
            of one thing while it has another left; else fill one machine after another.
    """
    pool, units = columns.pool, solution.units
    rate = share * units.rate[pool.unit]
    mixed = Solution(
        units, pool, Mixture(rate, solution.prices, 0.0), solution.prices, np.inf, solution.usd, {}
    )
    settling = _Settling(market, closed)
    wanted = list(pieces(market, mixed))
    # Whole queries first, large ones before small ones: what is left then suits the others.
    wanted.sort(key=lambda p: (bool(market.splittable[p[0]]), -p[3]))
    for query, unit, template, rps in wanted:
        piece = (query, int(units.kind[unit]), int(units.site[unit]), template)
        if spread and market.splittable[query]:
            rps -= settling.deal(*piece, rps)
        settling.put(*piece, rps)
    top_up(settling.chosen)
    return settling.chosen


def top_up(chosen: Selection) -> None:
    """What rounding has left of a query goes where most of it goes, if there is room."""
    for held in sorted(chosen.admitted, key=lambda a: -a.share):
        query = held.placed.query
        rest = 1.0 - chosen.share_of(query.id)
        small = 0 < rest < _ROUNDING and splittable(chosen.catalogue, query)
        if small and chosen.judge(held.placed, rest) is None:
            chosen.admit(held.placed, rest)


class _Settling:
    def __init__(self, market: Market, closed: Collection[str]) -> None:
        self.market, self.closed = market, closed
        catalogue = market.catalogue
        self.chosen = Selection(catalogue, Ledger(catalogue.scenario))

    def put(self, query: int, number: int, site: int, template: int, rps: float) -> None:
        """Place a piece on one machine after another."""
        kind = self.market.classes[number]
        asked = self.market.catalogue.scenario.queries[query]
        unit = 0.0 if splittable(self.market.catalogue, asked) else 1.0 / asked.count
        rest = min(rps / float(self.market.rate[query]), 1.0 - self.chosen.share_of(asked.id))
        full: set[str] = set()
        for _ in range(_TRIES):
            if rest < max(unit * (1 - 1e-6), _LEAST):
                return
            devices = self._devices(
                kind, site, template, rest * float(self.market.rate[query]), full
            )
            if devices is None:
                return
            plan = _plan(kind, template, devices)
            placed = place(self.market.catalogue, asked, plan)
            taken = self._take(placed, rest, unit)
            rest -= taken
            full.update(self._exhausted(placed, taken))

    def _exhausted(self, placed: PlacedPlan, taken: float) -> set[str]:
        """Machines of the plan that have no room for more of it; all where it was refused."""
        ledger, rate = self.chosen.ledger, placed.query.rate_rps * placed.query.count
        if taken <= 0:
            return {step.device for step in placed.use.steps}
        return {
            resource[1]
            for resource, amount in placed.use.linear.items()
            if len(resource) == 2 and ledger.free(resource) < amount * rate * _SMALL
        }

    def deal(self, query: int, number: int, site: int, template: int, rps: float) -> float:
        """Place a piece in equal parts on all open machines; what found room."""
        kind, members = self.market.classes[number], self.market.sites.members
        asked = self.market.catalogue.scenario.queries[query]
        nodes = kind.sites[site].nodes
        slots = self._use(kind, template)
        some = {at: [d for d in members[nodes[at]] if d not in self.closed] for at in slots}
        sizes = [len(machines) for machines in some.values()]
        parts = math.lcm(*sizes)
        if not 1 < parts <= _MOST_PARTS:
            return 0.0
        whole = rps / float(self.market.rate[query])
        done = 0.0
        for part in range(parts):
            devices = [members[node][0] for node in nodes]
            for at, machines in some.items():
                devices[at] = machines[part % len(machines)]
            if len({devices[at] for at in some}) == len(some):
                placed = place(self.market.catalogue, asked, _plan(kind, template, tuple(devices)))
                rest = min(whole / parts, 1.0 - self.chosen.share_of(asked.id))
                done += self._take(placed, rest, 0.0)
        return done * float(self.market.rate[query])

    def _take(self, placed: PlacedPlan, rest: float, unit: float) -> float:
        most = min(rest, linear_limit(self.chosen, placed))
        for part in _PARTS:
            share = most * part
            if unit:
                share = math.floor(share / unit + 1e-6) * unit
            if share < _LEAST:
                break
            if self.chosen.judge(placed, share) is None:
                if part < 1.0:
                    share = largest(self.chosen, placed, share, most, unit)
                self.chosen.admit(placed, share)
                return float(share)
        return 0.0

    def _devices(
        self, kind: QueryClass, site: int, template: int, rps: float, full: Collection[str]
    ) -> tuple[str, ...] | None:
        """A machine for each position: the fullest that has room for all, else the freest."""
        members, ledger = self.market.sites.members, self.chosen.ledger
        nodes = kind.sites[site].nodes
        devices = [members[node][0] for node in nodes]
        use = self._use(kind, template)
        taken = {devices[at] for at in use if len(members[nodes[at]]) == 1}
        if taken & set(self.closed):
            return None
        for at, wanted in use.items():
            some = members[nodes[at]]
            if len(some) == 1:
                continue
            room = {
                d: min(
                    (ledger.free((name, d)) / seconds for name, seconds in wanted.items()),
                    default=np.inf,
                )
                for d in some
                if d not in self.closed and d not in taken and d not in full
            }
            if not room:
                return None
            enough = [d for d in room if room[d] >= rps * (1 - 1e-9)]
            devices[at] = (
                min(enough, key=room.__getitem__) if enough else max(room, key=room.__getitem__)
            )
            taken.add(devices[at])
        return tuple(devices)

    def _use(self, kind: QueryClass, template: int) -> dict[int, dict[str, float]]:
        """For each position that runs something: seconds of each resource per request."""
        found: dict[int, dict[str, float]] = {}
        options = kind.templates.found[template].options
        for step, option in zip(kind.programme.steps, options, strict=True):
            at = found.setdefault(int(step.slot[option]), {})
            for r, name in enumerate(kind.programme.resources):
                # What the relaxation counts besides is judged with the whole selection.
                if name in self.market.catalogue.resources and step.compute[option, r] > 0:
                    at[name] = at.get(name, 0.0) + float(step.compute[option, r])
        return found


def _plan(kind: QueryClass, template: int, devices: tuple[str, ...]) -> Plan:
    options = kind.templates.found[template].options
    steps = {
        step.name: Step(
            device=devices[step.slot[option]],
            config=step.rows[option].config,
            batch=step.rows[option].batch,
        )
        for step, option in zip(kind.programme.steps, options, strict=True)
    }
    return {name: steps[name] for name in kind.programme.pipeline.operators}
