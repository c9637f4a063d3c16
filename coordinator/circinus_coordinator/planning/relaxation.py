"""The least change to its objectives that would give a query a plan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from circinus.query import Query
from circinus_coordinator.planning.candidates import candidate_placements
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import Aim, Found, Limits, solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.search import limits_of

__all__ = ["NOT_CONNECTED", "NO_PROFILE", "USD", "Explanation", "Impossible", "round_up"]

NO_PROFILE = "no profile"
NOT_CONNECTED = "not connected"
USD = "USD per 1,000 requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of a query, and why.

    Attributes:
        query: Its id.
        share: Share of its traffic that is served.
        binding: The constraint in the way: ``latency``, ``accuracy``, ``cost``,
            ``no profile``, ``not connected``, or a resource (``cores of edge-1``). For a query
            served in full the SLO with the least slack, None without SLOs.
        reason: A sentence for people.
        relaxation: The cheapest change found that would admit the rest, if any.
    """

    query: str
    share: float
    binding: str | None
    reason: str
    relaxation: str | None = None


class Impossible:
    """A query that has no plan even alone on the empty fleet."""

    def __init__(self, catalogue: Catalogue, query: Query) -> None:
        self.catalogue, self.query = catalogue, query
        self.limits = limits_of(query.slo)
        self.floor = query.slo.accuracy

    def explain(self) -> Explanation:
        """Why, and what would change it."""
        return self._nowhere() or self._objectives()

    def _say(self, binding: str, reason: str, relaxation: str | None = None) -> Explanation:
        return Explanation(
            query=self.query.id, share=0.0, binding=binding, reason=reason, relaxation=relaxation
        )

    def _solve(self, limits: Limits, aim: Aim, floor: float | None) -> Found | None:
        programme = self.catalogue.programme(self.query, floor=-1.0 if floor is None else floor)
        choices, moving = offers(
            programme, Ledger(self.catalogue.scenario), Pricing(), rate_rps=0.0
        )
        return solve(programme, choices, moving, limits, aim=aim)

    def _nowhere(self) -> Explanation | None:
        """No placement at all, whatever the objectives."""
        scenario, catalogue = self.catalogue.scenario, self.catalogue
        pipeline = scenario.pipelines[self.query.pipeline]
        placements = candidate_placements(scenario, self.query)
        for name, spec in pipeline.operators.items():
            devices = [device for operator, device in placements if operator == name]
            if not devices:
                return self._say(
                    NOT_CONNECTED,
                    f"no device may run {name}: its tiers, the links and the way "
                    "outwards leave none",
                    "add a link, a device in its tiers, or allow more tiers",
                )
            classes = sorted({scenario.device[device].device_class for device in devices})
            rows = [
                row
                for kind in classes
                for row in catalogue.profiles.rows(pipeline.name, spec, kind)
            ]
            if not rows:
                return self._say(
                    NO_PROFILE,
                    f"there is no profile of {name} on {', '.join(classes)}",
                    f"needs a profile of {name} on one of these classes",
                )
            step = next(
                s for s in catalogue.programme(self.query, floor=-1.0).steps if s.name == name
            )
            if not step.rows:
                least = min(row.memory_mb for row in rows)
                return self._say(
                    f"memory of {', '.join(classes)}",
                    f"{name} fits on none of {', '.join(classes)}",
                    f"{name} needs {least:g} MB and every resource its profile uses",
                )
        if self._solve(Limits(), Aim.VALUE, None) is None:
            return self._say(
                NOT_CONNECTED,
                "no placement has a link for each of its hops",
                "add the missing link",
            )
        return None

    def _objectives(self) -> Explanation:
        slo, ways = self.query.slo, []
        if slo.latency_ms is not None and (fast := self._fastest(self.limits.usd)):
            need = fast.latency_ms(slo.percentile)
            ways.append(
                (
                    need / slo.latency_ms - 1,
                    "latency",
                    f"the fastest plan takes {need:.4g} ms, {slo.latency_ms:g} ms are allowed",
                    f"needs {round_up(need - slo.latency_ms)} ms more latency",
                )
            )
        if slo.accuracy is not None and (best := self._best_accuracy(self.limits)) is not None:
            ways.append(
                (
                    1 - best / slo.accuracy if slo.accuracy else 0.0,
                    "accuracy",
                    f"{round_down(best)} is the best accuracy, {slo.accuracy:g} is asked for",
                    f"needs an accuracy floor of at most {round_down(best)}",
                )
            )
        if slo.cost_usd_per_1000 is not None:
            cheap = self._solve(dataclasses.replace(self.limits, usd=np.inf), Aim.VALUE, self.floor)
            if cheap:
                need, limit = cheap.usd * 1000, slo.cost_usd_per_1000
                ways.append(
                    (
                        need / max(limit, 1e-9) - 1,
                        "cost",
                        f"the cheapest plan costs {need:.4g} {USD}, {limit:g} are allowed",
                        f"needs {round_up(need - limit)} more {USD}",
                    )
                )
        if ways:
            _, binding, reason, relaxation = min(ways)
            return self._say(binding, reason, relaxation)
        return self._several()

    def _fastest(self, usd: float) -> Found | None:
        return self._solve(Limits(usd=usd), Aim.LATENCY, self.floor)

    def _best_accuracy(self, limits: Limits) -> float | None:
        """Highest accuracy level with a plan within the limits; feasibility is monotone."""
        levels = self.catalogue.accuracy(self.query.pipeline).levels()
        low, high = 0, len(levels)  # the answer lies in levels[low:high]
        while low < high:
            middle = (low + high) // 2
            if self._solve(limits, Aim.VALUE, levels[middle]) is None:
                low = middle + 1
            else:
                high = middle
        return levels[low] if low < len(levels) else None

    def _several(self) -> Explanation:
        """No single objective is in the way: more than one has to give."""
        slo = self.query.slo
        best = self._best_accuracy(Limits())
        if slo.accuracy is not None and best is None:
            return self._say(
                NO_PROFILE,
                f"no accuracy of {self.query.pipeline} is measured for a config "
                "vector that can be placed",
                "measure its accuracy, or drop the accuracy floor",
            )
        floor, parts, binding = self.floor, [], "latency"
        if slo.accuracy is not None and best is not None and best < slo.accuracy:
            floor, binding = best, "accuracy"
            parts.append(f"an accuracy floor of at most {round_down(best)}")
        fast = self._solve(Limits(), Aim.LATENCY, floor)
        assert fast is not None  # the accuracy level above was found with a plan
        need = fast.latency_ms(slo.percentile)
        if slo.latency_ms is not None and need > slo.latency_ms:
            parts.append(f"{round_up(need - slo.latency_ms)} ms more latency")
        cost = slo.cost_usd_per_1000
        if cost is not None and fast.usd * 1000 > cost:
            parts.append(f"{round_up(fast.usd * 1000 - cost)} more {USD}")
        return self._say(
            binding,
            "its objectives cannot be met together, whichever one gives way",
            f"needs {' and '.join(parts)}" if parts else None,
        )


def round_down(amount: float) -> str:
    """Four significant digits, rounded down: a floor of that much must be met."""
    if amount <= 0:
        return "0"
    digit = 10.0 ** (np.floor(np.log10(amount)) - 3)
    return f"{np.floor(amount / digit + 1e-9) * digit:.4g}"


def round_up(amount: float) -> str:
    """Four significant digits, rounded up: the relaxation must suffice."""
    if amount <= 0:
        return "0"
    digit = 10.0 ** (np.floor(np.log10(amount)) - 3)
    return f"{np.ceil(amount / digit - 1e-9) * digit:.4g}"
