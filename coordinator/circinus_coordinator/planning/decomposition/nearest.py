"""For queries that no plan suits even alone: the known plan that asks least of their objectives.

`circinus explain` looks among all plans for one query; here there may be many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from circinus.decision import Relaxation
from circinus.query import Slo
from circinus_coordinator.planning.decomposition.classes import QueryClass
from circinus_coordinator.planning.decomposition.pricing import exact
from circinus_coordinator.planning.labels import TOLERANCE, Aim, Asks, Found, solve_each
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.relaxation import USD, round_down, round_up

__all__ = ["Nearest", "beyond"]

FloatArray = npt.NDArray[np.float64]


class Nearest:
    """The plans known of one class, seen by queries that none of them suits."""

    def __init__(self, kind: QueryClass) -> None:
        self._kind = kind

    def look(self, asks: Iterable[int], rows: int) -> bool:
        """Whether any plans were found, as if nothing else ran, that meet asks or are quick.

        They join the templates.

        Args:
            asks: No known plan meets them.
            rows: Of the market's prices.
        """
        kind = self._kind
        new = np.array(sorted(set(asks)), dtype=np.int64)
        if not len(new):
            return False
        here, far = np.zeros_like(new), np.full(len(new), np.inf)
        more = kind.templates.add(exact(kind, np.zeros(rows), 1.0, here, new, far))
        if not len(kind.templates):
            more = kind.templates.add([self._quickest()])
        return more > 0

    def _quickest(self) -> Found | None:
        """Of a class in which nobody's objectives can be met: a plan to start from."""
        programme = self._kind.programme
        starts = [start for start in programme.automaton.starts if start >= 0]
        if not starts:
            return None
        choices, moving = offers(programme, Ledger(programme.scenario), Pricing(), rate_rps=0.0)
        one = [dataclasses.replace(c, value=c.value[None]) for c in choices]  # asker
        asks = Asks(
            start=np.array(starts[:1], dtype=np.int64),
            latency_ms=np.array([np.inf]),
            usd=np.array([np.inf]),
        )
        return solve_each(programme, one, moving.stacked(), asks, aim=Aim.LATENCY)[0]

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


def beyond(slo: Slo, changes: Iterable[Relaxation]) -> str:
    """In words, what is in the way of a query that no plan suits."""
    found = []
    for c in changes:
        if c.what == "latency":
            found.append(f"takes {c.to:.4g} ms, {slo.latency_ms:g} ms are allowed")
        elif c.what == "cost":
            found.append(f"costs {c.to:.4g} {USD}, {slo.cost_usd_per_1000:g} are allowed")
        elif c.to is None:
            found.append("has no measured accuracy")
        else:
            found.append(f"has an accuracy of {c.to:.4g}, {slo.accuracy:g} is asked for")
    return f"no plan meets its objectives; the nearest of those known {' and '.join(found)}"
