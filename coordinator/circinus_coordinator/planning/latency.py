"""The latency estimator: the one place that says what "95 % of requests within ..." means.

Every delay on a request's way is taken as a mean and a variance. Both add up along a path
(steps are taken as independent), transfers have variance zero, and a join takes the larger
mean and the larger variance of its inputs, separately. A percentile is read off as

    percentile = mean + K * sqrt(variance)

with `K` the standardised quantile of a gamma distribution of shape 4: between the exponential
tail of a single step (K95 = 2.0) and the normal limit of many (1.645). The variance of a step
is fitted so that the step *alone* gives back the very quantile its profile was measured at, so
for one step the estimate is the measurement, and K only weighs how several steps add up. K is
never negative, hence the estimate grows with mean and with variance: this is what lets the
label-setting programme prune on the two and still be exact.

Waiting is that of an M/G/c queue with Sakasegawa's closed form for the probability of waiting
("An approximation formula Lq = a*b^r/(1-b)", Ann. Inst. Stat. Math. 29, 1977), the
Allen-Cunneen correction for arrivals and service that are not exponential (Allen, Probability,
Statistics and Queueing Theory, 2nd ed. 1990, ch. 5), that of Kraemer and Langenbach-Belz where
arrivals are more regular than Poisson, and a second moment that is exact for M/G/1 and for M/M/c.
Before a device's resources, which workers hold in whole units while they run, the chance to wait is
that of finding too much held by the other workers, each taken as busy independently of the others;
and a worker that waits for its device is occupied meanwhile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.profile import LatencyStats

__all__ = [
    "APART",
    "SUMS",
    "Station",
    "Wait",
    "dealt_scv",
    "gaps_scv",
    "in_turn",
    "lengthened",
    "lengthened_one",
    "less",
    "percentile_factor",
    "percentile_ms",
    "service_moments",
    "service_variance",
    "variability",
    "wait",
    "wait_one",
    "wait_with_chance",
]

FloatArray = npt.NDArray[np.float64]

# Shape of the gamma whose quantiles weigh the deviation: the sum of four exponential steps.
_SHAPE = 4
# A profile knows p50, p95 and p99; a percentile above this is fitted to p99, below it to p95.
_NEARER_TO_P99 = 97.0
# Fewer busy servers than this keep nobody waiting; their square would underflow.
_IDLE = 1e-150
# From here on a queue grows for ever: loads are sums, and rounding must not make them a wait.
_FULL = 1 - 1e-9
# Exponent for how far few streams like clockwork keep apart; fitted to nD/D/1.
APART = 0.75
# Of what waits are shortened by, the exponent that makes them rarer; by comparison with simulation.
_RARER = 0.4
# What is left of a sum after all is taken back, relative to what was taken last.
_ROUNDING = 1e-9
_NONE: FloatArray = np.zeros(())


@functools.lru_cache(maxsize=256)
def percentile_factor(percentile: float) -> float:
    """How many standard deviations the percentile lies above the mean; at least 0.

    Args:
        percentile: Between 0 and 100.
    """
    target = percentile / 100.0
    low, high = 0.0, 1e3
    for _ in range(200):  # bisection down to the last bit
        middle = (low + high) / 2
        if _erlang_cdf(middle) < target:
            low = middle
        else:
            high = middle
    return max(0.0, (low - _SHAPE) / math.sqrt(_SHAPE))


def _erlang_cdf(x: float) -> float:
    return 1.0 - math.exp(-x) * math.fsum(x**k / math.factorial(k) for k in range(_SHAPE))


def percentile_ms(mean_ms: float, variance_ms2: float, percentile: float) -> float:
    """The estimate at `percentile`, milliseconds; exactly the mean where nothing varies."""
    return mean_ms + percentile_factor(percentile) * math.sqrt(variance_ms2)


def service_variance(stats: LatencyStats, percentile: float) -> float:
    """Variance (ms²) with which a single step gives back its measured quantile.

    Fitted to p95 or p99, whichever lies nearer to `percentile` and was measured; to the median
    (mean - median = variance / (3 mean) for a gamma) where nothing else was. A quantile below
    the mean, as a few very late outliers make it, gives variance zero: the mean is promised.
    """
    known = [(q, value) for q, value in ((95.0, stats.p95), (99.0, stats.p99)) if value is not None]
    if known:
        wanted = 99.0 if percentile > _NEARER_TO_P99 else 95.0
        q, value = min(known, key=lambda pair: abs(pair[0] - wanted))
        return (max(0.0, value - stats.mean) / percentile_factor(q)) ** 2
    if stats.p50 is not None:
        return 3.0 * stats.mean * max(0.0, stats.mean - stats.p50)
    return 0.0


@dataclass(slots=True)
class Station:
    """What arrives at a queue: sums over its streams of jobs, each additive.

    Attributes:
        rate: Jobs per millisecond.
        busy: Servers kept busy (rate x service time).
        second: rate x E[S²], ms.
        third: rate x E[S³], ms².
        scv: rate x squared coefficient of variation of the gaps (1 Poisson, 0 clockwork).
        squares: Sum of squared rates of the single streams.
        clock: The part of it of those like clockwork, which count as Poisson in `scv`.
        waited: rate x what its requests have waited for each other before (`spacing`).
    """

    rate: float = 0.0
    busy: float = 0.0
    second: float = 0.0
    third: float = 0.0
    scv: float = 0.0
    squares: float = 0.0
    clock: float = 0.0
    waited: float = 0.0

    def add(
        self,
        rate: float,
        service_ms: float,
        variance: float,
        scv: float,
        streams: float,
        waited_ms: float = 0.0,
    ) -> None:
        """Add `streams` equal streams of together `rate` jobs per millisecond.

        Below 1, `streams` is the part of one stream that is dealt here.
        """
        second, third = _moments(service_ms, variance)
        square = rate * rate / max(1.0, streams)
        self.rate += rate
        self.busy += rate * service_ms
        self.second += rate * second
        self.third += rate * third
        self.scv += rate * gaps_scv(scv, streams)
        self.squares += square
        self.clock += square if scv == 0 else 0.0
        self.waited += rate * waited_ms

    def remove(
        self,
        rate: float,
        service_ms: float,
        variance: float,
        scv: float,
        streams: float,
        waited_ms: float = 0.0,
    ) -> None:
        """Take back what `add` was told."""
        gone = Station()
        gone.add(rate, service_ms, variance, scv, streams, waited_ms)
        for name in SUMS:
            setattr(self, name, less(getattr(self, name), getattr(gone, name)))

    def copy(self) -> Station:
        """An independent copy."""
        return Station(
            self.rate,
            self.busy,
            self.second,
            self.third,
            self.scv,
            self.squares,
            self.clock,
            self.waited,
        )


SUMS = ("rate", "busy", "second", "third", "scv", "squares", "clock", "waited")
"""The attributes of a station."""


def gaps_scv(scv: float, streams: float) -> float:
    """What `Station.scv` counts of a stream: as `dealt_scv`, and like clockwork as Poisson."""
    return dealt_scv(scv, streams) if scv > 0 else 1.0


def in_turn(same: FloatArray, rho: FloatArray) -> FloatArray:
    """Mean wait of streams like clockwork over that of Poisson ones, for constant service.

    What n equal streams make is the queue nD/D/1 (Roberts, Mocci and Virtamo, "Broadband network
    teletraffic", Springer 1996, section 15.2). Two never pile up, many nearly do as Poisson ones;
    the exponent between is fitted to the exact mean, of which this is within 4 %.

    Args:
        same: Chance that two requests are of the same stream.
        rho: Utilisation.
    """
    apart = np.minimum(1.0, 2 * same) ** APART
    return np.asarray(np.maximum(1 - same, 0.0) * (1 - rho) / (1 - rho * (1 - apart)))


def variability(station: Station, rho: float) -> float:
    """Of all arrivals at a station as one stream: 1 as Poisson ones, 0 like clockwork."""
    if station.rate <= 0 or (station.clock <= 0 and station.scv == station.rate):
        return 1.0
    merged = _superposed_one(station, rho)
    return max(0.0, merged + _in_turn_one(station.clock / station.rate**2, rho) - 1)


def less(held: float, gone: float) -> float:
    """What is left of a sum; nothing where only rounding is."""
    left = held - gone
    return left if left > gone * _ROUNDING else 0.0


def dealt_scv(scv: float, share: float) -> float:
    """Variability of the gaps between the requests that one of several plans is dealt.

    Requests are dealt in turn (smooth weighted round robin), so a gap is the sum of n or n + 1
    gaps of the whole stream, 1 / share on average. Of independent gaps the variances add up
    (Wald: `share * scv`); that the number is not always the same adds the rest. Grows with
    `share`, and is `scv` at 1 and beyond.
    """
    if share >= 1:
        return scv
    part = math.modf(1 / share)[0] if share > 0 else 0.0
    return share * scv + share * share * part * (1 - part)


def service_moments(mean: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Second and third raw moment of a gamma of this mean and variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scv = np.where(mean > 0, variance / np.maximum(mean, 1e-300) ** 2, 0.0)
    scv = np.minimum(scv, 1e6)  # a mean of ~0 with a variance: keep the powers finite
    return mean**2 * (1 + scv), mean**3 * (1 + scv) * (1 + 2 * scv)


@functools.lru_cache(maxsize=4096)
def _moments(mean: float, variance: float) -> tuple[float, float]:
    second, third = service_moments(np.array(mean), np.array(variance))
    return float(second), float(third)


@dataclass(frozen=True, slots=True)
class Wait:
    """Mean (ms) and variance (ms²) of a wait; arrays where the question was in arrays."""

    mean: FloatArray
    variance: FloatArray


def wait(  # noqa: PLR0913 - a station's sums, and the servers
    *,
    rate: FloatArray,
    busy: FloatArray,
    second: FloatArray,
    third: FloatArray,
    scv: FloatArray,
    squares: FloatArray,
    servers: FloatArray,
    utilisation: FloatArray,
    batch: FloatArray,
    clock: FloatArray = _NONE,
    waited: FloatArray = _NONE,
    chance: FloatArray | None = None,
) -> Wait:
    """Waiting at stations in equilibrium; infinite where utilisation reaches 1, but for rounding.

    All arguments broadcast. `rate` to `squares` as in `Station`; `servers` may be fractional
    (cores over cores per job). With `batch` > 1, a job is a batch: a request finds the server
    busy with batches that need not be full, so the chance to wait is that of single requests.
    `chance` is the probability of waiting where it is known from elsewhere.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        safe = np.minimum(utilisation, 1 - 1e-12)
        probability = safe ** (np.sqrt(2 * (servers + 1)) - 1)
        constant = probability * (busy / rate) / (2 * servers * (1 - safe))
        single = np.minimum(1.0, safe * batch) ** np.maximum(servers, 1.0)
        probability = np.where(batch > 1, np.maximum(probability, single), probability)
        service_scv = np.maximum(second * rate / busy**2 - 1, 0.0)
        merged = _superposed(rate, scv, squares, safe) if chance is None else np.ones(())
        apart = waited / rate / np.maximum(constant, 1e-300)
        met = _met(safe, squares / rate**2, clock / rate**2, apart, merged, service_scv)
        # Whoever waits less waits both more rarely and, if at all, shorter.
        short = (met + service_scv * _regular(met, service_scv, safe)) / (1 + service_scv)
        probability = probability * short**_RARER
        spread = short ** (1 - _RARER)
        if chance is not None:
            probability, spread = chance, np.ones_like(spread)
        left, far = second / (2 * busy), third / (3 * busy)
        if chance is not None:
            left, far = np.minimum(left, busy / rate), np.minimum(far, 2 * (busy / rate) ** 2)
        tau = spread * left / (servers * (1 - safe))
        mean = probability * tau
        rest = spread**2 * far / ((1 - safe) * servers**2)
        square = probability * (2 * safe * tau**2 + rest)
        idle = (busy <= 0) | (utilisation <= 0)
        full = utilisation >= _FULL
        mean = np.where(idle, 0.0, np.where(full, np.inf, mean))
        variance = np.where(idle | full, 0.0, np.maximum(square - mean**2, 0.0))
    return Wait(mean, variance)


def wait_one(
    station: Station,
    *,
    servers: float,
    utilisation: float,
    batch: float = 1,
    chance: float | None = None,
) -> tuple[float, float]:
    """Mean and variance of `wait` at a single station, many times as fast on floats."""
    mean, variance, _ = wait_with_chance(
        station, servers=servers, utilisation=utilisation, batch=batch, chance=chance
    )
    return mean, variance


def wait_with_chance(
    station: Station,
    *,
    servers: float,
    utilisation: float,
    batch: float = 1,
    chance: float | None = None,
) -> tuple[float, float, float]:
    """`wait_one`, and the chance to wait at all."""
    rate, busy, second = station.rate, station.busy, station.second
    if busy <= _IDLE or utilisation <= 0:
        return 0.0, 0.0, 0.0
    if utilisation >= _FULL:
        return math.inf, 0.0, 1.0
    safe = min(utilisation, 1 - 1e-12)
    left, far = second / (2 * busy), station.third / (3 * busy)
    if chance is None:
        chance = safe ** (math.sqrt(2 * (servers + 1)) - 1)
        if batch > 1:
            chance = max(chance, min(1.0, safe * batch) ** max(servers, 1.0))
        service_scv = max(second * rate / busy**2 - 1, 0.0)
        short = _shortened(station, servers, safe, service_scv)
        chance *= short**_RARER
        spread = short ** (1 - _RARER)
    else:
        # The first to end of what is held decides, so short jobs more than the rare long one.
        spread, typical = 1.0, busy / rate
        left, far = min(left, typical), min(far, 2 * (typical * typical))
    tau = spread * left / (servers * (1 - safe))
    mean = chance * tau
    rest = spread**2 * far / ((1 - safe) * (servers * servers))
    return mean, max(chance * (2 * safe * tau**2 + rest) - mean * mean, 0.0), chance


def lengthened(sums: Mapping[str, FloatArray], delay: Wait) -> dict[str, FloatArray]:
    """A station's sums where each job first waits for its device, its worker being taken.

    The third moment of a delay is that of one which is exponential, if there is any. Infinite
    delays count as none: whoever adds them up gets infinity anyway.
    """
    mean = np.where(np.isfinite(delay.mean), delay.mean, 0.0)
    square = np.where(mean > 0, delay.variance + mean**2, 0.0)
    cube = 1.5 * square**2 / np.maximum(mean, 1e-300)
    rate, busy, second = sums["rate"], sums["busy"], sums["second"]
    return {
        **sums,
        "busy": busy + rate * mean,
        "second": second + 2 * busy * mean + rate * square,
        "third": sums["third"] + 3 * second * mean + 3 * busy * square + rate * cube,
    }


def lengthened_one(station: Station, delay: tuple[float, float]) -> Station:
    """`lengthened` for a single station and the mean and variance of a delay, on floats."""
    mean, variance = delay
    if not 0 < mean < math.inf:
        return station
    rate, busy, second = station.rate, station.busy, station.second
    square = variance + mean * mean
    cube = 1.5 * (square * square) / max(mean, 1e-300)
    return Station(
        rate,
        busy + rate * mean,
        second + 2 * busy * mean + rate * square,
        station.third + 3 * second * mean + 3 * busy * square + rate * cube,
        station.scv,
        station.squares,
        station.clock,
        station.waited,
    )


def _shortened(station: Station, servers: float, rho: float, service_scv: float) -> float:
    """What of a Poisson stream's wait is left: `_met` and what follows, on floats."""
    rate = station.rate
    single, clock = station.squares / rate**2, station.clock / rate**2
    if clock <= 0 and station.waited <= 0 and station.scv == rate:
        return 1.0
    probability = math.pow(rho, math.sqrt(2 * (servers + 1)) - 1)
    constant = probability * (station.busy / rate) / (2 * servers * (1 - rho))
    apart = station.waited / rate / max(constant, 1e-300)
    regular = _superposed_one(station, rho)
    if regular < 1:
        regular *= _regular_one(regular, service_scv, rho)
    least = min(max(1 - single, 0.0) * (1 - rho), regular)
    met = max(regular + _in_turn_one(clock, rho) - 1 - apart, least)
    return (met + service_scv * _regular_one(met, service_scv, rho)) / (1 + service_scv)


def _superposed_one(station: Station, rho: float) -> float:
    """`_superposed` on floats."""
    rate = station.rate
    streams = rate**2 / max(station.squares, 1e-300)
    weight = 1 / (1 + 4 * (1 - rho) ** 2 * max(streams - 1, 0.0))
    return weight * (station.scv / rate) + 1 - weight


def _in_turn_one(same: float, rho: float) -> float:
    """`in_turn` on floats."""
    apart = math.pow(min(1.0, 2 * same), APART)
    return max(1 - same, 0.0) * (1 - rho) / (1 - rho * (1 - apart))


def _regular_one(arrival_scv: float, service_scv: float, rho: float) -> float:
    """`_regular` on floats."""
    scv = max(arrival_scv + service_scv, 1e-12)
    lacking = max(1 - arrival_scv, 0.0)
    return math.exp(-2 * (1 - rho) * lacking**2 / (3 * max(rho, 1e-12) * scv))


def _met(
    rho: FloatArray,
    single: FloatArray,
    clock: FloatArray,
    apart: FloatArray,
    merged: FloatArray,
    service_scv: FloatArray,
) -> FloatArray:
    """What is left of the wait of a Poisson stream for constant service.

    n streams like clockwork are the queue nD/D/1: `in_turn`. What a stream has waited before, it
    does not wait again.

    Args:
        rho: Utilisation.
        single: Chance that two requests are of the same stream.
        clock: That they are of the same one, which is like clockwork.
        apart: Part of the wait that lies behind them.
        merged: Variability of the gaps, those like clockwork aside.
    """
    regular = merged * np.where(merged < 1, _regular(merged, service_scv, rho), 1.0)
    least = np.minimum(np.maximum(1 - single, 0.0) * (1 - rho), regular)
    return np.asarray(np.maximum(regular + in_turn(clock, rho) - 1 - apart, least))


def _regular(arrival_scv: FloatArray, service_scv: FloatArray, rho: FloatArray) -> FloatArray:
    """What waiting shrinks to where arrivals are more regular than Poisson; grows with each.

    Kraemer and Langenbach-Belz, "Approximate formulae for the delay in the queueing system
    GI/G/1", 8th International Teletraffic Congress, 1976; as in Whitt 1983, eq. 44.
    """
    lacking = np.maximum(1.0 - arrival_scv, 0.0)
    scv = np.maximum(arrival_scv + service_scv, 1e-12)
    return np.asarray(np.exp(-2 * (1 - rho) * lacking**2 / (3 * np.maximum(rho, 1e-12) * scv)))


def _superposed(
    rate: FloatArray, scv: FloatArray, squares: FloatArray, utilisation: FloatArray
) -> FloatArray:
    """Variability of merged streams; many clockwork ones together look Poisson.

    Whitt, "The Queueing Network Analyzer", Bell System Technical Journal 62(9), 1983, eq. 24-27.
    """
    streams = rate**2 / np.maximum(squares, 1e-300)
    weight = 1 / (1 + 4 * (1 - utilisation) ** 2 * np.maximum(streams - 1, 0.0))
    return np.asarray(weight * (scv / rate) + 1 - weight)
