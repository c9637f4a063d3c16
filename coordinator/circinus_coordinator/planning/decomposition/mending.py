"""The best way to share out again what a few queries have and want, all else staying.

Whoever comes is placed one after another, which cannot see that two who have to make way leave
room for three. A small master programme can: over the queries at the margin, with what they
hold and what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.asked import Asked, rates
from circinus_coordinator.planning.decomposition.master import mix
from circinus_coordinator.planning.decomposition.pool import Pool, Units
from circinus_coordinator.planning.decomposition.standing import Standing
from circinus_coordinator.planning.decomposition.staying import MIGRATION

__all__ = ["mend"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Queries shared out among at most; the programme over so many takes some 10 ms.
_MARGIN = 200
# Among fewer there is too little to exchange.
_FEWEST = 20
# Those of one resource, at most.
_EACH = 24
# Plans of each.
_PLANS = 4
# Queries that take more of their worth are not asked.
_DEAR = 1.2
# Rates are alike that differ by less, as a part of what a query asks for.
_ALIKE = 1e-6
# Of all that runs, so much may go another way after a change.
_MOVED = 0.016


def mend(standing: Standing) -> None:
    """Share out again among those who lack something after a change, and who has or wants it.

    Among fewer where more than `_MOVED` of all that runs would go another way than before the
    change; among all again where fewer are no help.
    """
    everybody = _margin(standing)
    if not everybody:
        return
    room = max(_MOVED * standing.served_rps, standing.gone_rps())
    most, first = _MARGIN, None
    while True:
        some = everybody[:most]
        has = [rates(asked.ways) for asked in some]
        wanted = _wanted(standing, some, has)
        first = first or (some, has, wanted)
        instead = {asked.query.id: want for asked, want in zip(some, wanted, strict=True)}
        if standing.gone_rps(instead) <= room * (1 + _ALIKE):
            break
        most //= 3
        if most < _FEWEST:
            some, has, wanted = first
            break
    _share_out(standing, some, has, wanted)


def _wanted(
    standing: Standing, some: Sequence[Asked], has: Sequence[Mapping[int, float]]
) -> list[dict[int, float]]:
    """For each query the rates of its templates that are worth most together."""
    columns = [
        (k, template)
        for k, asked in enumerate(some)
        for template in dict.fromkeys([*has[k], *_possible(standing, asked)])
    ]
    wanted: list[dict[int, float]] = [{} for _ in some]
    if not columns:
        return wanted
    for (k, template), rate in zip(columns, _mixed(standing, some, has, columns), strict=True):
        wanted[k][template] = rate
    return wanted


def _share_out(
    standing: Standing,
    some: Sequence[Asked],
    has: Sequence[Mapping[int, float]],
    wanted: Sequence[Mapping[int, float]],
) -> None:
    moved = [
        (asked, want)
        for asked, now, want in zip(some, has, wanted, strict=True)
        if any(abs(rate - now.get(t, 0.0)) > _ALIKE * asked.rate for t, rate in want.items())
    ]
    for asked, want in moved:
        standing.give_up(asked, want)
    # The programme knows nothing of memory, nor of what is left in scraps: who finds no room for
    # what was meant takes what there is, those first who would lose most.
    moved.sort(key=lambda pair: (-pair[0].query.demand_rps, pair[0].query.id))
    for asked, want in moved:
        standing.raise_to(asked, want)
    for asked, _ in moved:
        if asked.left > 0:
            standing.fill_up(asked)


def _margin(standing: Standing) -> list[Asked]:
    """Those not served in full, the worthiest first, and who has or wants what they lack."""
    lacking = [asked for asked in standing.touched() if asked.left > 0 and standing.plans(asked)]
    lacking.sort(key=lambda asked: (-asked.left * asked.query.weight, asked.query.id))
    found: dict[str, None] = {}
    rows: dict[int, None] = {}
    for asked in lacking[: _MARGIN // 2]:
        found[asked.query.id] = None
        if asked.lacks is not None and asked.lacks >= 0:
            rows[asked.lacks] = None
    rows.update(dict.fromkeys(row for row in sorted(standing.freed)))
    each = min(_EACH, max(1, _MARGIN // max(1, len(rows))))
    for row in rows:
        if len(found) >= _MARGIN:
            break
        waiting = standing.waiting.top(row, each)
        found.update(dict.fromkeys(name for price, name in waiting if price < _DEAR))
        found.update(dict.fromkeys(name for _, name in standing.users.top(row, each)))
    some = (standing.asked[name] for name in found)
    return [one for one in some if standing.splits(one) and (standing.plans(one) or one.ways)]


def _possible(standing: Standing, asked: Asked) -> list[int]:
    """Plans a query may have that its own machines have the memory for."""
    return [t for t in standing.plans(asked)[:_PLANS] if standing.remembers(asked, t)]


def _mixed(
    standing: Standing,
    some: Sequence[Asked],
    has: Sequence[Mapping[int, float]],
    columns: Sequence[tuple[int, int]],
) -> list[float]:
    """Requests per second for each column, a query and a template.

    What a query has counts a bit more than the same elsewhere (`staying.MIGRATION`).
    """
    levels = standing.levels
    capacity = levels.left.copy()
    loads: list[tuple[IntArray, FloatArray]] = []
    usd = np.zeros(len(columns))
    held = np.zeros(len(columns))
    for c, (k, template) in enumerate(columns):
        joined = some[k].joined
        assert joined is not None
        rows, amounts = levels.load(joined, template)
        loads.append((rows, amounts))
        usd[c] = levels.usd(joined, template)
        if template in has[k]:
            capacity[rows] += has[k][template] * amounts
            held[c] = MIGRATION
    use = sparse.csr_matrix(
        (
            np.concatenate([amounts for _, amounts in loads]),
            np.concatenate([rows for rows, _ in loads]),
            np.cumsum([0, *(len(rows) for rows, _ in loads)]),
        ),
        shape=(len(columns), len(capacity)),
    )
    unit, template_of = np.array(columns, dtype=np.int64).T
    units = _units(some)
    mixture = mix(
        units,
        Pool(unit=unit, template=template_of, use=use, usd=usd),
        np.maximum(capacity, 0.0),
        usd=standing.usd,
        basis=True,
        fallback=standing.prices,
        bonus=held * units.weight[unit],
    )
    found: list[float] = mixture.rate.tolist()
    return found


def _units(some: Sequence[Asked]) -> Units:
    each = np.arange(len(some), dtype=np.int64)
    joined = [asked.joined for asked in some if asked.joined is not None]
    return Units(
        kind=np.array([one.kind for one in joined], dtype=np.int64),
        site=np.array([one.site for one in joined], dtype=np.int64),
        ask=np.zeros(len(some), dtype=np.int64),
        weight=np.array([asked.query.weight for asked in some]),
        rate=np.array([asked.rate for asked in some]),
        query=each,
        start=np.append(each, len(some)),
    )
