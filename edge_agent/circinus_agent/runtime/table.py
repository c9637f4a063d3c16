"""The routes of a device: which there are, which take new requests, which still drain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from circinus.errors import InvalidInput
from circinus.messages import Route, RouteTelemetry
from circinus_agent.runtime.absence import FORGET_S, Absence
from circinus_agent.runtime.balance import Balance
from circinus_agent.runtime.plan import Plan
from circinus_agent.runtime.requests import Counters

__all__ = ["RouteTable"]

logger = logging.getLogger(__name__)

Key = tuple[str, str]

# On devices other than the lead nobody can know that the last request is through; without
# deadline this much silence has to do.
QUIET_S = 10.0
# Late frames of a drained route are still understood for a while.
REMEMBERED_S = 120.0


@dataclass(slots=True)
class _Entry:
    plan: Plan
    quiet_since: float
    removed_at: float | None = None


class RouteTable:
    """Routes by query and plan.

    Args:
        device: This device; it starts requests only on routes that it leads.
        keep_s: Counters of a removed route are told for this long, then dropped.
    """

    def __init__(self, device: str, *, keep_s: float = FORGET_S) -> None:
        self._device = device
        self._entries: dict[Key, _Entry] = {}
        self._balances: dict[str, Balance] = {}
        self._counters: dict[Key, Counters] = {}
        self._absence: Absence[Key] = Absence(keep_s)

    def set(self, routes: Sequence[Route], now: float) -> None:
        """Take these routes and no others."""
        given: set[Key] = set()
        for route in routes:
            try:
                plan = Plan(route)
            except InvalidInput as error:
                logger.error("route %s of %s left out: %s", route.plan, route.query, error)
                continue
            given.add(plan.key)
            old = self._entries.get(plan.key)
            quiet = now if old is None or old.plan.route.active else old.quiet_since
            self._entries[plan.key] = _Entry(plan, quiet)
        for key, entry in self._entries.items():
            if key not in given and entry.removed_at is None:
                entry.removed_at = now
                if entry.plan.route.active:
                    entry.quiet_since = now
        self._entries = {
            k: e
            for k, e in self._entries.items()
            if e.removed_at is None or now - e.removed_at < REMEMBERED_S
        }
        self._set_balances()

    def _set_balances(self) -> None:
        shares: dict[str, dict[str, float]] = {}
        for (query, name), entry in self._entries.items():
            route = entry.plan.route
            if route.lead != self._device or entry.removed_at is not None:
                continue
            weights = shares.setdefault(query, {})
            if route.active:
                weights[name] = route.share
        # Queries with no route left are forgotten: years of them would pile up.
        self._balances = {query: self._balances.get(query, Balance()) for query in shares}
        for query, weights in shares.items():
            self._balances[query].set(weights)

    # ---- asking -----------------------------------------------------------------------------

    def touch(self, key: Key, now: float) -> Plan | None:
        """The route of a frame that came in, removed or not."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.quiet_since = now
        return entry.plan

    def pick(self, query: str, *, refuse: bool) -> Plan | None:
        """The plan of the next request of `query`; None where it is not admitted."""
        balance = self._balances.get(query)
        name = balance.pick(refuse=refuse) if balance is not None else None
        return self._entries[query, name].plan if name is not None else None

    def led(self) -> dict[str, list[Plan]]:
        """Routes led here by query, active or not, without removed ones."""
        found: dict[str, list[Plan]] = {}
        for (query, _), entry in self._entries.items():
            if entry.removed_at is None and entry.plan.route.lead == self._device:
                found.setdefault(query, []).append(entry.plan)
        return found

    def lead_of(self, query: str) -> str | None:
        """The device that leads `query`, if any route says so."""
        for (name, _), entry in self._entries.items():
            if name == query and entry.removed_at is None:
                return entry.plan.route.lead
        return None

    def plans(self) -> list[Plan]:
        """All routes without removed ones."""
        return [e.plan for e in self._entries.values() if e.removed_at is None]

    def removed(self, name: str) -> list[Plan]:
        """Removed routes of this plan name."""
        return [
            e.plan
            for (_, plan), e in self._entries.items()
            if plan == name and e.removed_at is not None
        ]

    def quiet(self, plan: Plan, now: float) -> bool:
        """Whether no frame of `plan` can be on its way here any more."""
        entry = self._entries.get(plan.key)
        if entry is None or plan.route.lead == self._device:
            return True  # the lead knows its requests
        wait_s = QUIET_S if plan.route.deadline_ms is None else plan.budget_s
        return now - entry.quiet_since >= min(wait_s, QUIET_S)

    # ---- counting ---------------------------------------------------------------------------

    def counters(self, plan: Plan) -> Counters:
        """The counters of a route led here; they outlive it for a while."""
        found = self._counters.get(plan.key)
        if found is None:
            found = self._counters[plan.key] = Counters()
        return found

    def telemetry(self) -> list[RouteTelemetry]:
        """Every route that took a request here and is there, or was lately."""
        return [c.telemetry(*key) for key, c in self._counters.items()]

    def forget(self, now: float) -> bool:
        """Drop counters of routes that are gone for long; whether any are left."""
        present = {plan.key for plan in self.plans()}
        for key in self._absence.over(self._counters, present, now):
            del self._counters[key]
        return bool(self._counters)
