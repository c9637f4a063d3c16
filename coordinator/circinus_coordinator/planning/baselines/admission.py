"""Taking queries in one after the other, with what is left at their turn.

The same ledger and judge as for every planner: a plan is admitted only if it overloads nothing,
keeps its own SLOs at the loads it brings, and breaks nobody's it shares a machine with.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from circinus.decision import Plan
from circinus.query import Query
from circinus_coordinator.planning.baselines.courses import Course, Probe
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import add
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.loads import SLACK, Ledger
from circinus_coordinator.planning.placed import PlacedPlan, meets, place, streams
from circinus_coordinator.planning.selection import splittable

__all__ = ["Admission"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# As for the planner itself (`selection`): plans one query is spread over, the least share worth a
# plan of its own.
_MOST_PLANS = 6
_LEAST_SHARE = 0.01
# Parts of the traffic a plan is sought for, one after the other.
_PARTS = (1.0, 0.5, 0.2, 0.05)
# While searching, the part of what the machines can compute that is tried where all is too much.
_PROBED = 0.3
# What is full counts as so much free, as a part.
_LEAST_FREE = 1e-6
# Plans judged per query before it is taken not to fit, and halvings of a share that does not.
_MOST_JUDGED = 24
_HALVINGS = 3
# An estimate of all entries at once is this far above the judge's in one case of twenty.
_ROUGH = 1.1
# Queries a machine is kept from because its tightest tenant has no slack left, one after the
# other, before it is offered to nobody any more.
_MOST_REFUSALS = 64
# Neighbours asked whether a newcomer hurts them, those with least slack first. What slips
# through is found by the final evaluation of all (`report.judged`).
_NEIGHBOURS = 6


class Admission:
    """The loads of everything admitted, and the plans.

    Args:
        catalogue: Compiled queries.
        headroom: Where requests wait, part of the latency SLO within which a plan is estimated
            before it is judged: those admitted with no slack keep everybody else away.
    """

    def __init__(self, catalogue: Catalogue, headroom: float = 1.0) -> None:
        self.catalogue, self._headroom = catalogue, headroom
        self.ledger = Ledger(catalogue.scenario)
        self.admitted: list[tuple[PlacedPlan, float]] = []
        self.evaluations = 0
        self._devices = [device.id for device in catalogue.scenario.devices]
        self._position = {device: k for k, device in enumerate(self._devices)}
        self._free = np.array(
            [
                [self.ledger.capacity((resource, device)) for resource in catalogue.resources]
                for device in self._devices
            ],
            dtype=np.float64,
        ).reshape(len(self._devices), len(catalogue.resources))
        # Per device: (slack in ms when last asked, number), plans by number.
        self._slack: dict[str, list[tuple[float, int]]] = {}
        self._plans: list[PlacedPlan] = []
        # Machines where a neighbour would be hurt, while one query is served, and how often.
        self._shut_now: list[int] = []
        self._refusals = np.zeros(len(self._devices), dtype=np.int64)

    def serve(self, course: Course) -> float:
        """Admit as much of the query as fits; the share admitted."""
        share = self._serve(course)
        for at in self._shut_now:
            if self._refusals[at] < _MOST_REFUSALS:
                self._refresh(at)
        self._shut_now.clear()
        return share

    def _refresh(self, at: int) -> None:
        self._free[at] = [
            self.ledger.free((resource, self._devices[at])) for resource in self.catalogue.resources
        ]

    def _serve(self, course: Course) -> float:
        unit = 0.0 if splittable(self.catalogue, course.query) else 1.0 / course.query.count
        rest, plans, judged, tried = 1.0, 0, 0, 0.0
        most = course.query.count if unit else _MOST_PLANS
        for part in _PARTS:
            wanted = max(unit, _rounded(min(rest, part), unit))
            if wanted == tried:
                continue
            tried = wanted
            for index in self._open(course, wanted, unit or _LEAST_SHARE).tolist():
                for devices, cap in self._bindings(course, index, min(rest, wanted)):
                    share = _rounded(min(rest, wanted, cap), unit)
                    if share < (unit or min(rest, _LEAST_SHARE)) * (1 - 1e-6):
                        continue
                    placed = self._place(course, index, devices)
                    share, tries = self._largest(placed, share, unit)
                    judged += tries
                    if share > 0:
                        self.admit(placed, share)
                        rest, plans = rest - share, plans + 1
                    done = rest < max(unit * (1 - 1e-6), 1e-9)
                    if done or plans >= most or judged >= _MOST_JUDGED * (1 + plans):
                        return 1.0 - rest
        return 1.0 - rest

    def _largest(self, placed: PlacedPlan, share: float, unit: float) -> tuple[float, int]:
        """A share of at most `share` that is accepted, 0 without one, and the plans judged."""
        least = unit or min(share, _LEAST_SHARE)
        for tries in range(_HALVINGS + 1):
            if share < least * (1 - 1e-6) or share <= 0:
                return 0.0, tries
            shut = len(self._shut_now)
            if self.accepts(placed, share):
                return share, tries + 1
            if len(self._shut_now) > shut:
                return 0.0, tries + 1
            share = _rounded(share / 2, unit)
        return 0.0, _HALVINGS + 1

    def accepts(self, placed: PlacedPlan, share: float) -> bool:
        """True if the plan fits on top of what is admitted and hurts nobody."""
        query, ledger = placed.query, self.ledger
        self.evaluations += 1
        rate = query.rate_rps * query.count * share
        undo = ledger.add(placed.use, rate, streams(query, share))
        try:
            if ledger.violations(ledger.resources(placed.use)):
                return False
            if meets(query, placed.estimate(ledger)) is not None:
                return False
            device = self._hurts(placed)
        finally:
            undo()
        if device is not None:
            self._shut(device)
        return device is None

    def _shut(self, device: str) -> None:
        """Offer the machine no more to this query, and after many refusals to nobody."""
        at = self._position[device]
        self._refusals[at] += 1
        self._shut_now.append(at)
        self._free[at] = 0.0

    def probe(self, course: Course, index: int) -> Probe:
        """Try an entry on the freest machines of its slots, with as much traffic as they take."""
        query = course.query
        unit = 0.0 if splittable(self.catalogue, query) else 1.0 / query.count
        devices, cap = next(self._bindings(course, index, 1.0, freest=True))
        placed = self._place(course, index, devices)
        most, least = min(1.0, cap), unit or _LEAST_SHARE
        found = self._tried(placed, max(_rounded(most, unit), least))
        if not (unit or found.fits):
            found = self._tried(placed, max(most * _PROBED, least))
        return found

    def _tried(self, placed: PlacedPlan, share: float) -> Probe:
        query, ledger = placed.query, self.ledger
        taken = math.fsum(
            amount / max(ledger.free(resource), ledger.capacity(resource) * _LEAST_FREE)
            for resource, amount in placed.use.linear.items()
            if amount > 0 and 0 < ledger.capacity(resource) < math.inf
        )
        undo = ledger.add(placed.use, query.rate_rps * query.count * share, streams(query, share))
        try:
            overloads = ledger.violations(ledger.resources(placed.use))
            estimate = placed.estimate(ledger)
        finally:
            undo()
        slack = _slack(query, estimate.latency_ms / self._headroom)
        return Probe(
            fits=not overloads and slack >= -TOLERANCE and meets(query, estimate) is None,
            latency_ms=estimate.latency_ms,
            overload=min(overloads[0][1] - 1, 1e3) if overloads else 0.0,
            share=share,
            taken=taken,
        )

    def admit(self, placed: PlacedPlan, share: float) -> None:
        """Take the plan in."""
        add(self.ledger, placed, share)
        self.admitted.append((placed, share))
        number = len(self._plans)
        slack = _slack(placed.query, placed.latency_ms(self.ledger))
        self._plans.append(placed)
        for device in dict.fromkeys(step.device for step in placed.use.steps):
            bisect.insort(self._slack.setdefault(device, []), (slack, number))
            self._refusals[self._position[device]] = 0
            self._refresh(self._position[device])

    def _hurts(self, placed: PlacedPlan) -> str | None:
        """A device where a neighbour with little slack would lose its SLO."""
        if not self.ledger.scenario.queueing:
            return None
        for device in dict.fromkeys(step.device for step in placed.use.steps):
            known = self._slack.get(device, [])
            asked = known[:_NEIGHBOURS]
            now = []
            for _, number in asked:
                other = self._plans[number]
                estimate = other.estimate(self.ledger)
                if meets(other.query, estimate):
                    return device
                now.append((_slack(other.query, estimate.latency_ms), number))
            del known[: len(asked)]
            for pair in now:
                bisect.insort(known, pair)
        return None

    def _open(self, course: Course, wanted: float, least: float) -> IntArray:
        """Entries worth judging for a share `wanted`, in the menu's order.

        Each slot has a machine that takes `least` of the query by itself, and with `wanted` on the
        freest machines nothing comes too late.
        """
        query, members = course.query, course.view.members
        rate = query.rate_rps * query.count * least
        most = np.stack([self._free[group].max(axis=0, initial=0.0) for group in members])
        fits = (course.needs * rate <= (most * (1 + SLACK))[None, :, :]).all(axis=(1, 2))
        if course.ways is not None and query.slo.latency_ms is not None and fits.any():
            freest = [self._devices[m[np.argmax(self._free[m].sum(axis=1))]] for m in members]
            latency = course.ways.latency_ms(query, self.ledger, freest, wanted)
            fits &= latency <= query.slo.latency_ms * self._headroom * _ROUGH
        return np.flatnonzero(fits).astype(np.int64)

    def _bindings(
        self, course: Course, index: int, rest: float, *, freest: bool = False
    ) -> Iterator[tuple[dict[int, str], float]]:
        """Machines for the slots: the fullest that take all of it, and the freest (or only these).

        JellyBean's greedy worker assignment takes, of the workers that manage the whole rate by
        themselves, the cheapest; machines of a slot cost the same, and the fullest leaves most
        room to those who come later.
        """
        query = course.query
        slots = list(dict.fromkeys(course.entries.slots[index].tolist()))
        full: dict[int, str] | None = None if freest else {}
        free: dict[int, str] = {}
        cap = math.inf
        for slot in slots:
            members, need = course.view.members[slot], course.needs[index, slot]
            rate = need * query.rate_rps * query.count
            left = self._free[members]
            ratio = np.min(
                np.divide(left, rate, out=np.full(left.shape, np.inf), where=rate > 0), axis=1
            )
            fitting = np.flatnonzero(ratio * (1 + SLACK) >= rest)
            if full is not None and len(fitting):
                # Unused machines are all equally free, so the first in use comes before them.
                tightest = fitting[np.argmin(left[fitting].sum(axis=1))]
                full[slot] = self._devices[members[tightest]]
            else:
                full = None
            most = int(np.argmax(np.where(np.isinf(ratio), left.sum(axis=1), ratio)))
            free[slot] = self._devices[members[most]]
            cap = min(cap, float(ratio[most]))
        ways = [(free, cap)] if full is None or full == free else [(full, math.inf), (free, cap)]
        # Where requests wait, a full machine is a slow one.
        yield from reversed(ways) if self.ledger.scenario.queueing else ways

    def _place(self, course: Course, index: int, devices: Mapping[int, str]) -> PlacedPlan:
        names: Sequence[str] = [devices.get(slot, "") for slot in range(len(course.view.kind))]
        plan: Plan = course.entries.plan(index, course.table, course.view, names)
        return place(self.catalogue, course.query, plan)


def _slack(query: Query, latency_ms: float) -> float:
    """Milliseconds left of the SLO; infinite without one."""
    return math.inf if query.slo.latency_ms is None else query.slo.latency_ms - latency_ms


def _rounded(share: float, unit: float) -> float:
    """`share` in whole units, rounded down; as it is without units."""
    return share if unit == 0 else math.floor(share / unit + 1e-6) * unit
