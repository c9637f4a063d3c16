"""For queries that no plan suits even alone: the plan that asks least of their objectives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from circinus.decision import Relaxation
from circinus.query import Slo
from circinus_coordinator.planning.decomposition.classes import QueryClass
from circinus_coordinator.planning.labels import TOLERANCE, Aim, Asks, Limits, solve_each
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Choice, Moving, Pricing, offers
from circinus_coordinator.planning.relaxation import round_down, round_up
from circinus_coordinator.planning.search import limits_of

__all__ = ["Nearest"]

FloatArray = npt.NDArray[np.float64]
# Lower accuracy floors of the class's other queries that are tried.
_FLOORS = 3


class Nearest:
    """Finds plans of one class, as if nothing else ran; what is found joins its templates."""

    def __init__(self, kind: QueryClass) -> None:
        self._kind = kind
        self._offered: tuple[list[Choice], Moving] | None = None

    def look(self, ask: int) -> None:
        """Learn plans that meet an ask, or nearly do."""
        kind = self._kind
        limits, starts = limits_of(kind.asks[ask]), kind.programme.automaton.starts
        for floor, wanted, aim in self._variants(ask, limits):
            if starts[floor] < 0:
                continue
            if self._offered is None:
                empty = Ledger(kind.programme.scenario)
                choices, moving = offers(kind.programme, empty, Pricing(), rate_rps=0.0)
                one = [dataclasses.replace(c, value=c.value[None]) for c in choices]  # asker
                self._offered = one, moving.stacked()
            asks = Asks(
                start=np.array([starts[floor]], dtype=np.int64),
                latency_ms=np.array([wanted.latency_ms]),
                usd=np.array([wanted.usd]),
            )
            choices, moving = self._offered
            found = solve_each(kind.programme, choices, moving, asks, aim=aim)
            kind.templates.add(found)
            if found[0] is not None and wanted == limits and floor == ask:
                return

    def _variants(self, ask: int, limits: Limits) -> Iterator[tuple[int, Limits, Aim]]:
        """As asked; with one objective given up; with all."""
        yield ask, limits, Aim.VALUE
        yield ask, Limits(usd=limits.usd), Aim.LATENCY
        yield ask, Limits(latency_ms=limits.latency_ms), Aim.VALUE
        yield ask, Limits(), Aim.LATENCY
        asks, floor = self._kind.asks, self._kind.asks[ask].accuracy
        if floor is None:
            return
        lower: dict[float, int] = {}
        for k, other in enumerate(asks):
            level = -1.0 if other.accuracy is None else other.accuracy
            if level < floor:
                lower.setdefault(level, k)
        some = sorted(lower, reverse=True)
        for level in dict.fromkeys([*some[:_FLOORS], *some[-1:]]):
            yield lower[level], limits, Aim.VALUE
            yield lower[level], Limits(), Aim.LATENCY

    def choose(self, ask: int) -> tuple[int, tuple[Relaxation, ...]] | None:
        """The known plan that asks least of these objectives, and how they would have to change."""
        templates, slo = self._kind.templates, self._kind.asks[ask]
        if not len(templates):
            return None
        size = np.zeros(len(templates))
        if slo.latency_ms is not None:
            size += _beyond(templates.latency_ms, slo.latency_ms)
        if slo.cost_usd_per_1000 is not None:
            size += _beyond(templates.usd * 1000, slo.cost_usd_per_1000)
        if slo.accuracy:
            part = np.maximum(slo.accuracy - templates.accuracy, 0.0) / slo.accuracy
            size += np.where(templates.accuracy < 0, 1.0, part)
        size[~np.isfinite(templates.latency_ms)] = np.inf
        best = int(np.argmin(size))
        if not np.isfinite(size[best]):
            return None
        return best, self._changes(slo, best)

    def _changes(self, slo: Slo, best: int) -> tuple[Relaxation, ...]:
        templates, found = self._kind.templates, []
        accuracy = float(templates.accuracy[best])
        if slo.accuracy is not None and accuracy < slo.accuracy:
            to = None if accuracy < 0 else round_down(accuracy)
            amount = None if to is None else slo.accuracy - to
            found.append(Relaxation(what="accuracy", amount=amount, to=to))
        pairs = (
            ("latency", slo.latency_ms, float(templates.latency_ms[best])),
            ("cost", slo.cost_usd_per_1000, float(templates.usd[best]) * 1000),
        )
        for what, limit, need in pairs:
            if limit is not None and need > limit * (1 + TOLERANCE):
                more = round_up(need - limit)
                found.append(Relaxation(what=what, amount=more, to=limit + more))
        return tuple(found)


def _beyond(value: FloatArray, limit: float) -> FloatArray:
    """How far above a limit, relative to it."""
    return np.asarray(np.maximum(value / max(limit, 1e-9) - 1, 0.0))
