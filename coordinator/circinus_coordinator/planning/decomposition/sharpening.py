"""A sharper bound, and prices, where queries stay whole.

In the relaxation a query may be served in part, and by several plans at once. Where it may not,
its source cannot fill its own cores and uplink to the brim: a few queries share a small machine.
So each source gets a programme of its own, whole queries within its own capacity, and only what
is shared keeps a price (Lagrangian decomposition; the master programme over the sources' choices
is Dantzig and Wolfe's, "Decomposition principle for linear programs", 1960):

    y . b of what is shared + sum over sources of their best choice at y
                            + sum over all other demand of rate * max(0, weight - least value)

For any y >= 0 nothing is worth more, provided that each source chooses among all plans that might
suit it (`fronts`), and that its best choice is bounded from above (`tree`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import highspy
import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.agreement import Agreement
from circinus_coordinator.planning.decomposition.bound import price_all
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.fronts import features_of, front
from circinus_coordinator.planning.decomposition.groves import Groves
from circinus_coordinator.planning.decomposition.pricing import cheapest_known
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.taking import Taking
from circinus_coordinator.planning.decomposition.tree import search
from circinus_coordinator.planning.label_search import TooManyError

__all__ = ["sharpen"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_ROUNDING = 1e-12
# Rounds of prices, fewer of many sources, and how far each goes towards the master programme's.
_ROUNDS, _SOURCES_TIMES_ROUNDS = 8, 3_200
_STEP = 0.6
# Branches per source while prices are sought; to prove the bound, fewer of many sources.
_SEEKING = 8
_PROVING, _SOURCES_TIMES_BRANCHES = 100, 20_000
# Passes in which each source has a turn, fewer of many sources.
_PASSES, _SOURCES_TIMES_PASSES = 6, 1_600
# Part of the bound that all sources together leave alone.
_GAP = 2e-4


def sharpen(
    market: Market,
    solution: Solution,
    *,
    seed: int = 0,
    rounds: int | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Agreement | None:
    """Lower the solution's bound, and say what sources could do with their whole queries.

    Returns:
        What they agreed on. Pools are not overloaded, but no machines are told apart, nor memory
        looked at. None where nothing is whole, or sources are too many.

    Args:
        market: Classes; plans found join their templates.
        solution: Of the relaxation.
        seed: Of the order in which sources take turns.
        rounds: Of prices; None for as many as suit the size.
        clock: For reporting.
    """
    began = clock()
    whole = ~market.splittable[solution.units.query]
    if not whole.any() or not np.isfinite(solution.bound_rps):
        return None
    known = _Sharpening(market, solution)
    if rounds is None:
        rounds = min(_ROUNDS, _SOURCES_TIMES_ROUNDS // max(1, known.sources))
    known.seek(solution.prices, rounds)
    known.complete(known.prices)
    bound = known.proved()
    solution.bound_rps = min(solution.bound_rps, bound)
    agreed = known.agreed(seed)
    solution.seconds["sharpen"] = clock() - began
    return agreed


class _Sharpening:
    """The groves of a market, and the prices of what they share."""

    def __init__(self, market: Market, solution: Solution) -> None:
        self._market, self._solution = market, solution
        self._groves = Groves(market, solution)
        self._hard: set[int] = set()
        self._gap = _GAP * solution.bound_rps / max(1, len(self._groves.nodes))
        self.prices = solution.prices.copy()
        self._least = math.inf
        # What each grove would choose at the prices, whatever the others do.
        self._choices: dict[int, IntArray] = {}

    @property
    def sources(self) -> int:
        """How many there are."""
        return len(self._groves.nodes)

    def complete(self, prices: FloatArray) -> None:
        """Find all plans that a source may want at these prices, whatever those of sources."""
        market, units, groves = self._market, self._solution.units, self._groves
        hard: set[int] = set()
        for number, kind in market.of_class():
            mine = np.flatnonzero((units.kind == number) & ~groves.loose)
            of = kind.rows[units.site[mine]]
            own = np.isin(kind.used, features_of(kind.layout))
            # Sites that pay the same for everything else share their plans.
            alike = np.unique(np.where(own, 0.0, prices[of]), axis=0, return_inverse=True)[1]
            for group in range(int(alike.max(initial=-1)) + 1):
                some = mine[alike.reshape(-1) == group]
                asks, ask = np.unique(units.ask[some], return_inverse=True)
                most = np.zeros(len(asks))
                np.maximum.at(most, ask, units.weight[some])
                site = int(units.site[some[0]])
                free = prices.copy()
                free[kind.rows[site][own]] = 0.0
                try:
                    for plans in front(kind, free, site, asks, most):
                        kind.templates.add(plans)
                except TooManyError:
                    hard.update(some.tolist())
        if hard:
            self._hard |= hard
            self._groves = Groves(market, self._solution, without=self._hard)
        else:
            groves.fill()

    def seek(self, prices: FloatArray, rounds: int) -> None:
        """Find good prices of what is shared."""
        groves, capacity = self._groves, self._market.capacity
        master = _Master(groves, capacity)
        now = best = prices * groves.shared
        self._least = math.inf
        for _ in range(rounds):
            gain = groves.worth - groves.use @ now
            total = float(now @ capacity)
            for node in groves.nodes:
                outcome = search(groves.of(node, gain), nodes=_SEEKING, gap=self._gap)
                total += outcome.bound
                part = groves.part(node)
                chosen = np.flatnonzero(outcome.taken) + part.start
                master.add(node, float(groves.worth[chosen].sum()), groves.use[chosen].sum(axis=0))
            value, worth, use = self._loose(now)
            total += value
            master.add(-1, worth, use)
            if total < self._least:
                self._least, best = total, now
            now = best + _STEP * (master.prices(best) - best)
        self.prices = best

    def _loose(self, prices: FloatArray) -> tuple[float, float, FloatArray]:
        """What the other units leave at the prices, by known plans; their worth, what they use."""
        market, units = self._market, self._solution.units
        value, worth = 0.0, 0.0
        use = np.zeros(len(market.capacity))
        loose = np.flatnonzero(self._groves.loose)
        for number, kind in market.of_class():
            mine = loose[units.kind[loose] == number]
            if not len(mine) or not len(kind.templates):
                continue
            best, least = cheapest_known(kind, prices, 0.0, units.site[mine], units.ask[mine])
            left = units.weight[mine] - least
            paying = np.flatnonzero(left > 0)
            rate = units.rate[mine[paying]]
            value += float(rate @ left[paying])
            worth += float(rate @ units.weight[mine[paying]])
            np.add.at(
                use,
                kind.rows[units.site[mine[paying]]],
                rate[:, None] * kind.templates.use[best[paying]],
            )
        return value, worth, use

    def proved(self) -> float:
        """The bound at the prices, over all plans; `complete` at the same prices comes first."""
        market, units, groves = self._market, self._solution.units, self._groves
        prices = self.prices * groves.shared
        gain = groves.worth - groves.use @ prices
        total = [*(prices * market.capacity).tolist()]
        branches = min(_PROVING, max(1, _SOURCES_TIMES_BRANCHES // max(1, self.sources)))
        for node in groves.nodes:
            outcome = search(groves.of(node, gain), nodes=branches, gap=self._gap, cuts=1)
            total.append(outcome.bound)
            self._choices[node] = np.flatnonzero(outcome.taken) + groves.part(node).start
        loose = np.flatnonzero(groves.loose).astype(np.int64)
        if len(loose):
            some = units.take(loose)
            least = price_all(market, some, prices, 0.0).value * (1 - _ROUNDING)
            total += (some.rate * np.maximum(some.weight - least, 0.0)).tolist()
        return math.nextafter(math.fsum(total) * (1 + _ROUNDING), math.inf)

    def agreed(self, seed: int) -> Agreement | None:
        """What the sources take, turn by turn, of what all other demand leaves."""
        groves, solution = self._groves, self._solution
        passes = min(_PASSES, _SOURCES_TIMES_PASSES // max(1, self.sources))
        if not passes:
            return None
        pool, rate = solution.pool, solution.mixture.rate
        others = pool.use.T @ np.where(groves.loose[pool.unit], rate, 0.0)
        capacity = np.maximum(self._market.capacity - others, 0.0)
        chosen = Taking(groves, self.prices, capacity, self._choices).agree(passes, seed)
        pieces = [
            (query, unit, template, float(self._market.rate[query]))
            for query, unit, template in zip(
                groves.query[chosen].tolist(),
                groves.unit[chosen].tolist(),
                groves.template[chosen].tolist(),
                strict=True,
            )
        ]
        return Agreement(pieces=pieces, decided=~groves.loose)


class _Master:
    """Mixes whole choices of the sources within what is shared."""

    def __init__(self, groves: Groves, capacity: FloatArray) -> None:
        self._capacity = capacity
        self._shared = groves.shared
        self._node: list[int] = []
        self._worth: list[float] = []
        self._use: list[sparse.csr_matrix] = []

    def add(self, node: int, worth: float, use: FloatArray) -> None:
        """What a source might do."""
        self._node.append(node)
        self._worth.append(worth)
        self._use.append(sparse.csr_matrix(np.asarray(use).reshape(1, -1)))

    def prices(self, otherwise: FloatArray) -> FloatArray:
        """`(rows,)` of the mixture worth most; `otherwise` where nothing was asked of a row."""
        use = sparse.csr_matrix(sparse.vstack(self._use))
        asked = np.flatnonzero(np.asarray(use.sum(axis=0)).reshape(-1) > 0)
        asked = asked[self._shared[asked] & (self._capacity[asked] > 0)]
        nodes, number = np.unique(self._node, return_inverse=True)
        rows, columns = len(asked), len(self._node)
        amounts = use[:, asked] @ sparse.diags(1 / self._capacity[asked])
        one = sparse.csr_matrix((np.ones(columns), (np.arange(columns), number)))
        matrix = sparse.csr_matrix(sparse.hstack([amounts, one]))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, rows + len(nodes)
        lp.col_cost_ = -np.array(self._worth)
        lp.col_lower_, lp.col_upper_ = np.zeros(columns), np.ones(columns)
        lp.row_lower_ = np.full(rows + len(nodes), -highspy.kHighsInf)
        lp.row_upper_ = np.ones(rows + len(nodes))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = matrix.indptr.astype(np.int32)
        lp.a_matrix_.index_ = matrix.indices.astype(np.int32)
        lp.a_matrix_.value_ = matrix.data
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("threads", 1)
        solver.passModel(lp)
        solver.run()
        dual = -np.array(solver.getSolution().row_dual)[:rows]
        found = otherwise.copy()
        if len(dual) == rows and np.isfinite(dual).all():
            found[asked] = np.maximum(dual, 0.0) / self._capacity[asked]
        return found
