"""An earlier decision read back in the terms of a market: which of its plans still stand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from circinus.decision import Decision, Plan
from circinus.pipeline import Config
from circinus_coordinator.planning.decomposition.classes import Market, QueryClass
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.totals import plans_of
from circinus_coordinator.planning.programme import Programme

__all__ = ["keep"]

IntArray = npt.NDArray[np.int64]
Options = Mapping[tuple[int, int, Config, int], int]
"""(step, slot, config, batch) -> option."""


def keep(market: Market, previous: Decision) -> list[Placed]:
    """The assignments that could be made again as they are; their plans join the known ones.

    Left out are those of queries that are gone or weigh nothing, on machines that are gone or
    out of reach now, without a profile, or that break the query's SLOs today. Room is not
    looked at.
    """
    kinds = _Kinds(market)
    position = {query.id: k for k, query in enumerate(market.catalogue.scenario.queries)}
    kept = []
    for assignment in previous.assignments:
        query = position.get(assignment.query, -1)
        if query < 0 or kinds.kind[query] < 0 or market.rate[query] * market.weight[query] <= 0:
            continue
        found = kinds.read(query, assignment.plan)
        if found is not None:
            template, devices = found
            rate = assignment.share * float(market.rate[query])
            kept.append(Placed(query, int(kinds.kind[query]), template, devices, rate))
    return kept


class _Kinds:
    """Finds the class of a query, and a plan among its templates."""

    def __init__(self, market: Market) -> None:
        self._market = market
        count = len(market.rate)
        self.kind: IntArray = np.full(count, -1, dtype=np.int64)
        self._site: IntArray = np.zeros(count, dtype=np.int64)
        self._ask: IntArray = np.zeros(count, dtype=np.int64)
        for number, kind in market.of_class():
            self.kind[kind.query] = number
            self._site[kind.query], self._ask[kind.query] = kind.site, kind.ask
        self._node = {
            device: node
            for node, members in enumerate(market.sites.members)
            for device in members
            if len(members) > 1
        }
        self._single = {
            members[0]: node
            for node, members in enumerate(market.sites.members)
            if len(members) == 1
        }
        self._options: dict[int, Options] = {}
        self._meets: dict[tuple[int, int, int], bool] = {}

    def read(self, query: int, plan: Plan) -> tuple[int, tuple[str, ...]] | None:
        """Template and device of each position; None where the plan cannot be made any more."""
        number = int(self.kind[query])
        kind = self._market.classes[number]
        placed = self._devices(kind, int(self._site[query]), plan)
        if placed is None:
            return None
        slots, devices = placed
        if number not in self._options:
            self._options[number] = _options(kind.programme)
        known = self._options[number]
        options = []
        for k, (step, slot) in enumerate(zip(kind.programme.steps, slots, strict=True)):
            what = plan[step.name]
            option = known.get((k, slot, what.config, what.batch))
            if option is None:
                return None
            options.append(option)
        template = self._template(kind, tuple(options))
        if template is None or not self._meeting(number, int(self._ask[query]), template):
            return None
        return template, devices

    def _devices(
        self, kind: QueryClass, site: int, plan: Plan
    ) -> tuple[list[int], tuple[str, ...]] | None:
        """Slot of each step, and the device that stands for each slot."""
        nodes = kind.sites[site].nodes
        slot_of = {node: k for k, node in enumerate(nodes)}
        members = self._market.sites.members
        devices = [members[node][0] for node in nodes]
        slots: list[int] = []
        taken: dict[int, str] = {}
        if plan.keys() != kind.programme.pipeline.operators.keys():
            return None
        for step in kind.programme.steps:
            device = plan[step.name].device
            slot = slot_of.get(self._single.get(device, -1), -1)
            if slot < 0:
                slot = slot_of.get(self._node.get(device, -1), -1)
            # Two machines of one pool in one plan: the relaxation does not know such plans.
            if slot < 0 or taken.setdefault(slot, device) != device:
                return None
            slots.append(slot)
            devices[slot] = device
        return slots, tuple(devices)

    def _template(self, kind: QueryClass, options: tuple[int, ...]) -> int | None:
        known = kind.templates.known(options)
        if known is None:
            found = plans_of(kind.programme, [options])[0]
            if found is None:
                return None
            kind.templates.add([found])
            known = kind.templates.number(found)
        return known

    def _meeting(self, number: int, ask: int, template: int) -> bool:
        key = (number, ask, template)
        if key not in self._meets:
            kind = self._market.classes[number]
            self._meets[key] = kind.templates.meets(kind.asks[ask], template)
        return self._meets[key]


def _options(programme: Programme) -> Options:
    return {
        (k, int(slot), row.config, row.batch): option
        for k, step in enumerate(programme.steps)
        for option, (slot, row) in enumerate(zip(step.slot, step.rows, strict=True))
    }
