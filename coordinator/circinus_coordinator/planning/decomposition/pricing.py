"""What plans cost at given prices: of the known ones, and exactly, over all there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import QueryClass
from circinus_coordinator.planning.decomposition.guesses import tolls
from circinus_coordinator.planning.decomposition.templates import Figures
from circinus_coordinator.planning.labels import Asks, Found, solve_each
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.search import limits_of
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["cheapest_known", "exact", "learn", "offered"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_MEGABIT_PER_BYTE = 8e-6
# Plans better by less, relative, are as good.
_ALIKE = 1e-9


def cheapest_known(
    kind: QueryClass, prices: FloatArray, usd: float, sites: IntArray, asks: IntArray
) -> tuple[IntArray, FloatArray]:
    """The known plan of least value for each (site, ask), and that value; inf without plans."""
    return _cheapest(kind, kind.templates.figures, prices, usd, sites, asks)


def learn(kind: QueryClass, prices: FloatArray, usd: float, sites: IntArray, asks: IntArray) -> int:
    """Take over plans of like classes that beat all known ones for some (site, ask).

    Returns:
        How many.
    """
    kind.templates.look_around()
    known = cheapest_known(kind, prices, usd, sites, asks)[1]
    best, value = _cheapest(kind, kind.templates.shelf, prices, usd, sites, asks)
    better = value < np.where(np.isfinite(known), known * (1 - _ALIKE), np.inf)
    return kind.templates.take(np.unique(best[better]).tolist())


def _cheapest(
    kind: QueryClass,
    figures: Figures,
    prices: FloatArray,
    usd: float,
    sites: IntArray,
    asks: IntArray,
) -> tuple[IntArray, FloatArray]:
    if not len(figures.usd):
        return np.zeros(len(sites), dtype=np.int64), np.full(len(sites), np.inf)
    table = prices[kind.rows[sites]] @ figures.use.T + usd * figures.usd[None, :]
    table[~figures.meeting(kind.asks)[asks]] = np.inf
    best = np.argmin(table, axis=1)
    return best.astype(np.int64), table[np.arange(len(sites)), best]


def exact(
    kind: QueryClass,
    prices: FloatArray,
    usd: float,
    sites: IntArray,
    asks: IntArray,
    cutoff: FloatArray,
    extra: Sequence[FloatArray] | None = None,
    tables: Sequence[Transitions] | None = None,
) -> list[Found | None]:
    """The best of all plans for each (site, ask), None where none is worth less than its cutoff.

    Args:
        kind: Whose plans.
        prices: `(rows,)` value of a core-second or megabit of each resource.
        usd: Value of a US dollar.
        sites: `(m,)` positions in `kind.sites`.
        asks: `(m,)` positions in `kind.asks`.
        cutoff: `(m,)`; infinite for none.
        extra: For each step `(m, options)` to be added to what its options are worth.
        tables: In place of the class's, which know nothing of `extra`.
    """
    choices, moving, wanted = offered(kind, prices, usd, sites, asks, cutoff, extra)
    return solve_each(kind.programme, choices, moving, wanted, tables=tables or kind.tables)


def offered(
    kind: QueryClass,
    prices: FloatArray,
    usd: float,
    sites: IntArray,
    asks: IntArray,
    cutoff: FloatArray,
    extra: Sequence[FloatArray] | None = None,
) -> tuple[list[Choice], Moving, Asks]:
    """What the programme is asked in `exact`, whose arguments these are."""
    programme, layout = kind.programme, kind.layout
    # A last price of nothing stands for whatever a site lacks (feature -1).
    full = np.concatenate([prices, [0.0]])
    of = full[np.stack([kind.sites[s].rows for s in sites])]
    choices = []
    for k, step in enumerate(programme.steps):
        value = np.repeat(usd * step.usd[None, :], len(sites), axis=0)
        for r in range(step.compute.shape[1]):
            value += step.compute[:, r] * of[:, layout.compute[step.slot, r]]
        if extra is not None:
            value = np.maximum(value + extra[k], 0.0)
        allowed = np.ones(len(step.slot), dtype=np.bool_)
        choices.append(
            Choice(
                allowed=allowed, mean=step.mean, variance=step.variance, usd=step.usd, value=value
            )
        )
    limits = [limits_of(slo) for slo in kind.asks]
    wanted = Asks(
        start=np.array(programme.automaton.starts, dtype=np.int64)[asks],
        latency_ms=np.array([limit.latency_ms for limit in limits])[asks],
        usd=np.array([limit.usd for limit in limits])[asks],
        cutoff=cutoff,
        tolls=_guessed(kind, prices, usd, sites, asks, cutoff) if extra is None else None,
    )
    return choices, _moving(kind, of, usd), wanted


def _guessed(
    kind: QueryClass,
    prices: FloatArray,
    usd: float,
    sites: IntArray,
    asks: IntArray,
    cutoff: FloatArray,
) -> tuple[FloatArray, FloatArray] | None:
    if not len(kind.templates):
        return None
    value = prices[kind.rows[sites]] @ kind.templates.use.T + usd * kind.templates.usd
    return tolls(kind, value, asks, cutoff)


def _moving(kind: QueryClass, of: FloatArray, usd: float) -> Moving:
    programme, layout = kind.programme, kind.layout
    nothing = np.zeros((len(of), 1))
    of = np.concatenate([of, nothing], axis=1)
    uplink = of[:, layout.uplink]
    hop = of[:, layout.link] + uplink[:, :, None] + uplink[:, None, :]
    nodes = len(layout.uplink)
    hop[:, np.arange(nodes), np.arange(nodes)] = 0.0
    hop *= _MEGABIT_PER_BYTE
    device = {name: k for k, name in enumerate(programme.devices)}
    source = programme.query.source
    entry = {
        k: hop[:, device[source[programme.order[k]]]] + usd * hops.usd_per_byte
        for k, (hops, _) in programme.entry.items()
    }
    home = device[source[programme.pipeline.sources[0]]]
    exits = hop[:, home]
    if programme.exits is not None:
        exits = exits + usd * programme.exits.usd_per_byte
    return Moving(hop=hop + usd * programme.hops.usd_per_byte, entry=entry, exit=exits)
