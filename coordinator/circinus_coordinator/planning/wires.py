"""Queues before links and uplinks, each direction by itself, first come first served.

A transfer waits for the wire between two devices and for the uplinks at its ends that cap it. A
wire's work is what is sent over it, of fixed length each. The work a Poisson stream finds there is

    V = R + sum of (load of a stream x its own wait),    R = sum of rate x length² / 2

(Brumelle, "On the relation between customer and time averages in queues", J. Appl. Prob. 8, 1971),
and a regular stream's own wait `(R - own) / (1 - load + apart x regular load)`, where `own` is what
it adds to R itself: a source like clockwork never queues behind itself, and few of them do not pile
up behind each other. With Poisson streams alone this is Pollaczek's and Khinchine's formula, and
with one clockwork stream alone nobody waits. What a request sends at one instant counts as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from circinus_coordinator.planning.latency import APART, dealt_scv, less
from circinus_coordinator.planning.uses import UPLINK, Resource

__all__ = ["Before", "Wires"]

Moments = tuple[float, float]
_Wait = tuple[float, float, float]  # mean, variance, chance of any
# Transfers/ms, load, sum of rate x length² and of rate x length³; of what is regular the load, the
# sum of rate x length², and of load x own part of R.
_Sums = tuple[float, ...]
_NOTHING: _Sums = (0.0,) * 7
Before = tuple[dict[Resource, _Sums | None], dict[tuple[Resource, float], Moments | None]]
"""What some wires carried before."""


class Wires:
    """Loads of all wires, updated plan by plan."""

    def __init__(self) -> None:
        self._sums: dict[Resource, _Sums] = {}
        self._known: dict[Resource, tuple[_Wait, _Wait]] = {}
        # Of transfers of one length over a wire, their rate, and that times their regularity.
        self._alike: dict[tuple[Resource, float], Moments] = {}

    def add(
        self,
        sent: Mapping[tuple[Resource, float], int],
        rate_rps: float,
        scv: float,
        streams: float,
    ) -> Before:
        """Add a plan's transfers; what the wires carried before, for `restore`.

        Args:
            sent: How many transfers of which length (ms) a request makes over which wire.
            rate_rps: Requests per second.
            scv: Variability of the gaps in each of its `streams`.
            streams: Independent ones; below 1, the part of one.
        """
        before: Before = {}, {}
        single = rate_rps / 1e3 / max(1.0, streams)
        for (wire, ms), count in sent.items():
            # Of a stream dealt in turn each part is more regular, but all parts leave the source
            # by the same uplink: there it is as it came.
            dealt = 1.0 if wire[0] == UPLINK else streams
            regular = max(0.0, 1 - dealt_scv(scv, dealt))
            held = self._sums.get(wire)
            before[0].setdefault(wire, held)
            alike = self._alike.get((wire, ms))
            before[1][wire, ms] = alike
            rate = rate_rps / 1e3 * count
            often, steady = alike or (0.0, 0.0)
            self._alike[wire, ms] = often + rate, steady + rate * regular
            load, second = rate * ms, rate * ms**2
            own = regular * load * single * ms**2 / 2
            more = (rate, load, second, second * ms, regular * load, regular * second, own)
            self._sums[wire] = tuple(a + b for a, b in zip(held or _NOTHING, more, strict=True))
            self._known.pop(wire, None)
        return before

    def remove(
        self,
        sent: Mapping[tuple[Resource, float], int],
        rate_rps: float,
        scv: float,
        streams: float,
    ) -> Before:
        """Take back what `add` was told, right but for rounding; what was carried before."""
        held = {wire: self._sums.get(wire) for wire, _ in sent}
        alike = {key: self._alike.get(key) for key in sent}
        more = Wires()
        more.add(sent, rate_rps, scv, streams)
        for wire, sums in held.items():
            self._known.pop(wire, None)
            left = tuple(
                less(one, gone)
                for one, gone in zip(sums or _NOTHING, more._sums[wire], strict=True)
            )
            self._sums[wire] = left if left[0] > 0 else _NOTHING
        for key, found in alike.items():
            (often, steady), (rate, regular) = found or (0.0, 0.0), more._alike[key]
            self._alike[key] = less(often, rate), less(steady, regular)
        return held, alike

    def restore(self, before: Before) -> None:
        """Take a plan's transfers back."""
        for wire, sums in before[0].items():
            self._known.pop(wire, None)
            if sums is None:
                self._sums.pop(wire, None)
            else:
                self._sums[wire] = sums
        for key, alike in before[1].items():
            if alike is None:
                self._alike.pop(key, None)
            else:
                self._alike[key] = alike

    def regularity(self, sent: Iterable[tuple[Resource, float]]) -> float:
        """How regularly what is as long as a plan's transfers comes; 1 like clockwork, 0 Poisson.

        The least of all its wires: there others may send what is as long.
        """
        found = [self._alike[key] for key in sent if key in self._alike]
        return min((steady / rate for rate, steady in found if rate > 0), default=0.0)

    def wait(self, wires: tuple[Resource, ...], *, regular: float) -> Moments:
        """Mean (ms) and variance (ms²) of a transfer's wait: that for its busiest wire.

        Args:
            wires: The wire and the uplinks that it takes, all at once.
            regular: How regularly its requests come.
        """
        return self.waiting(wires, regular=regular)[:2]

    def waiting(self, wires: tuple[Resource, ...], *, regular: float) -> tuple[float, float, float]:
        """`wait`, and the chance that there is any: that the wire is busy with others."""
        worst = (0.0, 0.0, 0.0)
        for wire in wires:
            if wire not in self._known:
                self._known[wire] = _waits(self._sums.get(wire, _NOTHING))
            worst = max(worst, _mixed(*self._known[wire], regular))
        return worst


def _mixed(irregular: _Wait, regular: _Wait, part: float) -> _Wait:
    if part <= 0 or math.isinf(irregular[0]):
        return irregular
    if part >= 1:
        return regular
    mean, chance = (one + part * (two - one) for one, two in
                    ((irregular[0], regular[0]), (irregular[2], regular[2])))  # fmt: skip
    squares = [variance + m * m for m, variance, _ in (irregular, regular)]
    square = squares[0] + part * (squares[1] - squares[0])
    return mean, max(square - mean * mean, 0.0), chance


def _waits(sums: _Sums) -> tuple[_Wait, _Wait]:
    """Wait of a Poisson stream, and of the average regular one."""
    _, load, second, third, regular, squares, own = sums
    if load <= 0 or second <= 0:
        return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    if load >= 1:
        return (math.inf, 0.0, 1.0), (math.inf, 0.0, 1.0)
    residual = second / 2
    regular = min(regular, load)
    mine = min(own / regular, residual) if regular > 0 else 0.0
    # As `latency.in_turn`; the fewer they are, the less they pile up.
    apart = min(1.0, 2 * mine / residual) ** APART
    behind = (residual - mine) / (1 - load + apart * regular)
    found = (residual + regular * behind) / (1 - load + regular)
    # Level crossing: E[V²] = sum of load x E[wait²] + rate x length² x wait + rate x length³ / 3,
    # the regular streams' E[wait²] being to E[V²] as their wait is to V.
    squares = min(squares, second)
    met = squares * behind + (second - squares) * found
    square = (met + third / 3) / (1 - load + regular * (1 - behind / found))
    theirs = square * behind / found
    return (
        (found, max(square - found**2, 0.0), load),
        (behind, max(theirs - behind**2, 0.0), load * behind / found),
    )
