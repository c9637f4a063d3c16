"""Ways to get from steps and their waiting to a percentile of the whole plan.

They are only here to be compared with what the planner promises. Each takes the waiting at workers
and devices from the planner's ledger, so that what differs is how the parts are put together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from circinus_coordinator.planning.latency import percentile_factor
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.uses import Resource
from circinus_coordinator.simulation.service import ServiceTime

from benchmarks._percentile_cases import Loaded  # isort: skip

__all__ = ["MODELS", "Part", "parts"]

FloatArray = npt.NDArray[np.float64]
CELLS = 8192
COUNT = 20_000  # quantiles a service time is taken apart into


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a request spends at one step.

    Attributes:
        service: Its distribution.
        mean, variance: Of the service, as the planner has them for this percentile.
        waits: Mean and variance of each wait before it, those for links not among them. With
            batches `mean` and `variance` hold all of it.
        whole: Whether they do.
        links: Mean and variance of the wait for a link, by arrival.
        exits: On the last step, by exit.
    """

    service: ServiceTime
    mean: float
    variance: float
    waits: tuple[tuple[float, float], ...]
    whole: bool = False
    links: tuple[tuple[float, float], ...] = ()
    exits: tuple[tuple[float, float], ...] = ()

    @property
    def true_variance(self) -> float:
        """Variance of the service distribution itself, ms²."""
        if self.whole:
            return self.variance
        values = self.service.quantile((np.arange(4000) + 0.5) / 4000)
        return float(values.var())


def parts(now: Loaded, k: int) -> list[Part]:
    """The steps of a plan, with their waiting at the present loads."""
    placed = now.placed[k]
    pipeline = now.scenario.pipelines[placed.query.pipeline]
    rows = {(r.pipeline, r.operator, r.config, r.device_class, r.batch): r
            for r in now.scenario.profiles}  # fmt: skip
    regular = placed.use.scv == 0 or now.ledger.wires.regularity(placed.use.sent)

    def sending(
        all_wires: Sequence[tuple[tuple[Resource, ...], float]],
    ) -> tuple[tuple[float, float], ...]:
        return tuple(now.ledger.wires.wait(wires, regular=regular) for wires, _ in all_wires)

    found = []
    for (name, step), stop, use in zip(
        placed.plan.items(), placed.stops, placed.use.steps, strict=True
    ):
        kind = now.scenario.device[step.device].device_class
        point = (name, step.config, kind, step.batch)
        row = rows.get((pipeline.name, *point)) or rows[(None, *point)]
        line = now.ledger.line(use.key)
        mean, variance = stop.mean, stop.variance
        waits = (now.ledger.instance_wait(use.key), (line.mean, line.variance))
        if use.batch > 1:
            mean, variance = now.ledger.served(use, mean, variance)
            waits = ()
        found.append(
            Part(
                service=ServiceTime.of(row.latency_ms),
                mean=mean,
                variance=variance,
                waits=waits,
                whole=use.batch > 1,
                links=sending(stop.wires),
                exits=sending(placed.exit_wires),
            )
        )
    return found


def _along(
    placed: PlacedPlan, own: list[Part], vectors: list[FloatArray], sent: Callable[..., FloatArray]
) -> FloatArray:
    """Adds up vectors along the critical path; at joins each element's largest counts.

    The first element is the one that transfers are added to; `sent` makes a vector of the mean and
    variance of a wait for a link.
    """
    done: list[FloatArray] = []
    for stop, part, mine in zip(placed.stops, own, vectors, strict=True):
        best = np.zeros(len(mine))
        for (producer, transfer), wait in zip(stop.arrivals, part.links, strict=True):
            before = done[producer].copy() if producer >= 0 else np.zeros(len(mine))
            before[0] += transfer
            best = np.maximum(best, before + sent(*wait))
        done.append(best + mine)
    ends = []
    for (last, transfer), wait in zip(placed.exits, own[-1].exits, strict=True):
        end = done[last] + sent(*wait)
        end[0] += transfer
        ends.append(end)
    return np.asarray(np.max(ends, axis=0))


def _both(mean: float, variance: float) -> FloatArray:
    return np.array([mean, variance])


def _gamma(mean: float, variance: float, percentile: float) -> float:
    if variance <= 0 or math.isinf(mean):
        return mean
    return float(stats.gamma.ppf(percentile / 100, mean**2 / variance, scale=variance / mean))


def _lognormal(mean: float, variance: float, percentile: float) -> float:
    if variance <= 0:
        return mean
    sigma2 = math.log1p(variance / mean**2)
    z = float(stats.norm.ppf(percentile / 100))
    return mean * math.exp(z * math.sqrt(sigma2) - sigma2 / 2)


def _never(own: list[Part]) -> bool:
    """Whether some queue grows for ever."""
    return any(
        math.isinf(m)
        for part in own
        for m, _ in ((part.mean, 0.0), *part.waits, *part.links, *part.exits)
    )


def additive(placed: PlacedPlan, own: list[Part], percentile: float) -> float:
    """Percentiles of the steps with their waiting, added up."""
    values = [
        np.array([_gamma(p.mean + sum(m for m, _ in p.waits),
                         p.variance + sum(v for _, v in p.waits), percentile)])
        for p in own
    ]  # fmt: skip
    return float(_along(placed, own, values, lambda m, v: np.array([_gamma(m, v, percentile)]))[0])


def added(placed: PlacedPlan, own: list[Part], percentile: float) -> float:
    """What the search adds up: `planning.latency`."""
    mean, variance = _along(
        placed,
        own,
        [np.array([p.mean + sum(m for m, _ in p.waits), p.variance + sum(v for _, v in p.waits)])
         for p in own],
        _both,
    )  # fmt: skip
    return float(mean + percentile_factor(percentile) * math.sqrt(variance))


def _moments(placed: PlacedPlan, own: list[Part]) -> tuple[float, float, float]:
    """Mean and variance of what varies, and what does not (transfers)."""
    whole = _along(
        placed,
        own,
        [np.array([p.mean + sum(m for m, _ in p.waits),
                   p.true_variance + sum(v for _, v in p.waits)]) for p in own],
        _both,
    )  # fmt: skip
    fixed = float(_along(placed, own, [np.zeros(1) for _ in own], lambda *_: np.zeros(1))[0])
    return float(whole[0]) - fixed, float(whole[1]), fixed


def gamma(placed: PlacedPlan, own: list[Part], percentile: float) -> float:
    """A gamma of the sum's mean and variance."""
    if _never(own):
        return math.inf
    mean, variance, fixed = _moments(placed, own)
    return fixed + _gamma(mean, variance, percentile)


def lognormal(placed: PlacedPlan, own: list[Part], percentile: float) -> float:
    """A lognormal of the sum's mean and variance."""
    if _never(own):
        return math.inf
    mean, variance, fixed = _moments(placed, own)
    return fixed + _lognormal(mean, variance, percentile)


def convolution(placed: PlacedPlan, own: list[Part], percentile: float) -> float:
    """Distributions convolved by FFT; at joins the distribution functions are multiplied."""
    if _never(own):
        return math.inf
    top = 4 * added(placed, own, 99.9) + 1e-9
    cell = top / CELLS
    done: list[FloatArray] = []
    for stop, mine in zip(placed.stops, own, strict=True):
        inputs = [
            _convolved(
                _later(done[producer] if producer >= 0 else _atom(), transfer / cell),
                _wait(*wait, cell),
            )
            for (producer, transfer), wait in zip(stop.arrivals, mine.links, strict=True)
        ]
        mass = _latest(inputs)
        for other in (_service(mine, cell), *(_wait(m, v, cell) for m, v in mine.waits)):
            mass = _convolved(mass, other)
        done.append(mass)
    ends = [
        _convolved(_later(done[last], transfer / cell), _wait(*wait, cell))
        for (last, transfer), wait in zip(placed.exits, own[-1].exits, strict=True)
    ]
    whole = np.cumsum(_latest(ends))
    return float(np.interp(percentile / 100, whole, np.arange(CELLS) * cell))


def _atom() -> FloatArray:
    mass = np.zeros(CELLS)
    mass[0] = 1.0
    return mass


def _later(mass: FloatArray, cells: float) -> FloatArray:
    whole = int(cells)
    part = cells - whole
    if whole + 1 >= CELLS:
        return np.eye(1, CELLS, CELLS - 1)[0]
    moved = np.zeros(CELLS)
    moved[whole:] = (1 - part) * mass[: CELLS - whole]
    moved[whole + 1 :] += part * mass[: CELLS - whole - 1]
    return moved


def _latest(inputs: list[FloatArray]) -> FloatArray:
    if len(inputs) == 1:
        return inputs[0]
    product = np.prod([np.cumsum(mass) for mass in inputs], axis=0)
    return np.diff(product, prepend=0.0)


def _service(part: Part, cell: float) -> FloatArray:
    """Of batches the gamma of mean and variance."""
    p = (np.arange(COUNT) + 0.5) / COUNT
    if not part.whole or part.variance <= 0:
        values = part.service.quantile(p) if not part.whole else np.full(COUNT, part.mean)
        return _histogram(values, cell)
    shape = part.mean**2 / part.variance
    return _histogram(stats.gamma.ppf(p, shape, scale=part.mean / shape), cell)


def _histogram(values: FloatArray, cell: float) -> FloatArray:
    count, values = len(values), values / cell
    low = np.minimum(values.astype(np.int64), CELLS - 2)
    part = np.minimum(values - low, 1.0)
    mass = np.bincount(low, weights=(1 - part) / count, minlength=CELLS)
    mass += np.bincount(low + 1, weights=part / count, minlength=CELLS)
    return np.asarray(mass[:CELLS])


def _wait(mean: float, variance: float, cell: float) -> FloatArray:
    """None at all, or an exponential one: the mixture of this mean and variance."""
    if mean < 1e-9:  # its square would underflow
        return _atom()
    # With chance p an exponential of mean t: p t = mean, 2 p t² - mean² = variance.
    tau = (variance + mean**2) / (2 * mean)
    chance = min(1.0, mean / tau)
    edges = chance * np.exp(-np.arange(CELLS + 1) * cell / (mean / chance))
    mass = edges[:-1] - edges[1:]
    mass[0] += 1 - chance
    return np.asarray(mass)


def _convolved(a: FloatArray, b: FloatArray) -> FloatArray:
    size = 2 * CELLS
    both = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size), size)[:CELLS]
    return np.asarray(np.maximum(both, 0.0))


MODELS: dict[str, Callable[[PlacedPlan, list[Part], float], float]] = {
    "additive": additive,
    "gamma": gamma,
    "lognormal": lognormal,
    "convolution": convolution,
    "as searched": added,
}
"""From a plan, its parts and a percentile to milliseconds."""
