"""How often confidence sequences are wrong, and how wide they are.

Run: ``python -m benchmarks.sequences`` (``--streams N``). Every stream is watched from its first
sample to its last and counts as wrong if the truth was outside at any moment: the worst time to
stop there could be. Beside the families stands what is often done: a 95 % interval for a fixed
number of samples, looked at after each (normal approximation; for quantiles the binomial one).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks._arguments import at_least
from benchmarks._shown import LOOKS, SHOWN, shown_wrong
from circinus_coordinator.profiling.sequences import (
    FAMILIES,
    block_means,
    independent_length,
    mean_interval,
    quantile_interval,
    thinned,
    unbounded_mean_interval,
)

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

BRIEF = ["--streams", "200"]
DELTA = 0.05
SAMPLES = 1000
WIDTHS_AT = (30, 100, 300, 1000)
WIDTH_STREAMS = 20
# A family is blamed where chance alone would show as much in one run of the table in a thousand.
_CERTAIN = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Streams whose truth is known.

    Attributes:
        part: The quantile asked for; None for the mean.
        independent: Samples do not depend on one another, as the theory wants.
    """

    name: str
    draw: Draw
    truth: float
    part: float | None = None
    independent: bool = True


def _bernoulli(p: float) -> Draw:
    return lambda rng, n: (rng.random(n) < p).astype(float)


def _beta(a: float, b: float) -> Draw:
    return lambda rng, n: rng.beta(a, b, n)


def _partly(rng: np.random.Generator, n: int) -> Floats:
    """F1-like scores: some 0, many 1, the rest between."""
    kind = rng.random(n)
    return np.where(kind < 0.1, 0.0, np.where(kind < 0.7, 1.0, rng.uniform(0.4, 1.0, n)))


def _autoregressive(phi: float, quantile: Callable[[Floats], Floats]) -> Draw:
    """A normal process with correlation phi from sample to sample, mapped to any distribution."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        noise = rng.standard_normal(n) * math.sqrt(1 - phi * phi)
        noise[0] = rng.standard_normal()
        z = np.empty(n)
        last = 0.0
        for i, value in enumerate(noise):
            last = z[i] = phi * last * (i > 0) + value
        return quantile(special.ndtr(z))

    return draw


LOGNORMAL = stats.lognorm(0.5, scale=20.0)
PARETO = stats.pareto(1.2, scale=10.0)  # infinite variance

MEANS = (
    Kind(name="right or wrong, 0.9", draw=_bernoulli(0.9), truth=0.9),
    Kind(name="right or wrong, 0.99", draw=_bernoulli(0.99), truth=0.99),
    Kind(name="right or wrong, 0.5", draw=_bernoulli(0.5), truth=0.5),
    Kind(name="scores, little spread", draw=_beta(45, 5), truth=0.9),
    Kind(name="scores, some 0, many 1", draw=_partly, truth=0.6 + 0.3 * 0.7),
)
QUANTILES = tuple(
    Kind(name=f"{name}, p{100 * part:g}", draw=draw, truth=truth(part), part=part)
    for part in (0.5, 0.95)
    for name, draw, truth in (
        ("lognormal", lambda rng, n: rng.lognormal(math.log(20), 0.5, n), LOGNORMAL.ppf),
        ("Pareto 1.2", lambda rng, n: 10 * (1 + rng.pareto(1.2, n)), PARETO.ppf),
        # Rounded to a clock's tick: the truth is a tie of many samples.
        ("ticks", lambda rng, n: np.ceil(rng.exponential(10, n)), stats.expon(scale=10).ppf),
    )
)
DEPENDENT = tuple(
    Kind(
        name=f"{what}, correlation {phi:g}",
        draw=_autoregressive(phi, quantile),
        truth=truth,
        part=part,
        independent=False,
    )
    for phi in (0.5, 0.9)
    for what, quantile, truth, part in (
        ("right or wrong, 0.9", lambda u: (u < 0.9).astype(float), 0.9, None),
        ("lognormal, p95", LOGNORMAL.ppf, float(LOGNORMAL.ppf(0.95)), 0.95),
    )
)


def outside(kind: Kind, x: Floats, family: str) -> bool:
    """Whether the truth was ever outside, by the family's own evidence against it."""
    bets = FAMILIES[family]
    needed = math.log(2 / DELTA)
    if kind.part is None:
        above = bets.above(x, kind.truth, DELTA / 2)
        below = bets.above(1 - x, 1 - kind.truth, DELTA / 2)
    else:
        truth = math.ceil(kind.truth) if "ticks" in kind.name else kind.truth
        above = bets.above((x < truth).astype(float), kind.part, DELTA / 2)
        below = bets.above((x > truth).astype(float), 1 - kind.part, DELTA / 2)
    return bool(max(above.max(), below.max()) >= needed)


def peeking_outside(kind: Kind, x: Floats) -> bool:
    """The same of an interval for a fixed number of samples, looked at after each from the 10th."""
    n = np.arange(1, len(x) + 1)
    if kind.part is None:
        means = np.cumsum(x) / n
        spread = np.sqrt(np.maximum(np.cumsum(x * x) / n - means**2, 1e-12))
        wrong = np.abs(means - kind.truth) > stats.norm.ppf(1 - DELTA / 2) * spread / np.sqrt(n)
        return bool(wrong[9:].any())
    below = np.cumsum(x <= kind.truth)
    low = stats.binom.cdf(below, n, kind.part)
    high = stats.binom.sf(below - 1, n, kind.part)
    return bool((np.minimum(low, high)[9:] < DELTA / 2).any())


def remedied(kind: Kind, x: Floats, family: str) -> bool:
    """Whether the truth is outside once dependence is seen to, at some times to look."""
    for n in (50, 100, 200, 400, 700, len(x)):
        seen = x[:n]
        length = independent_length(seen)
        if kind.part is None:
            interval = mean_interval(
                block_means(seen, length), delta=DELTA, family=FAMILIES[family]
            )
        else:
            interval = quantile_interval(
                thinned(seen, length), kind.part, delta=DELTA, family=FAMILIES[family]
            )
        if kind.truth not in interval:
            return True
    return False


def _share(wrong: int, of: int) -> str:
    exact = stats.binomtest(wrong, of).proportion_ci(0.95, "exact")
    return f"{100 * wrong / of:5.1f} [{100 * exact.low:4.1f}, {100 * exact.high:4.1f}]"


def _coverage(kinds: Sequence[Kind], streams: int, families: Sequence[str]) -> bool:
    """Print how often each family is wrong; False where that is certainly more than delta."""
    kept = True
    print(f"{'':34}" + "".join(f"{name:>21}" for name in (*families, "fixed n, peeked")))
    for kind in kinds:
        rng = np.random.default_rng(7)
        wrong = dict.fromkeys((*families, "peeked"), 0)
        for _ in range(streams):
            x = kind.draw(rng, SAMPLES)
            for family in families:
                wrong[family] += outside(kind, x, family)
            wrong["peeked"] += peeking_outside(kind, x)
        print(f"{kind.name:34}" + "".join(f"{_share(w, streams):>21}" for w in wrong.values()))
        for family in families:
            test = stats.binomtest(wrong[family], streams, DELTA, alternative="greater")
            kept &= test.pvalue > _CERTAIN / len(kinds) / len(families)
    return kept


def _shown(streams: int) -> bool:
    """Print how often profiles are said wrongly; False where one promised otherwise."""
    print(f"\nwhat `circinus profiles show` says, looked at after {', '.join(map(str, LOOKS))}")
    kept = True
    for kind in SHOWN:
        n = max(streams // 4, 1) if kind.costly else streams
        wrong = shown_wrong(kind, n)
        note = "" if kind.kept else "  (nothing is promised)"
        print(f"{kind.name:34}{_share(wrong, n):>21}{note}")
        if kind.kept:
            test = stats.binomtest(wrong, n, DELTA, alternative="greater")
            kept &= test.pvalue > _CERTAIN / len(SHOWN)
    return kept


def _widths(kinds: Sequence[Kind], families: Sequence[str]) -> None:
    print(f"{'':34}{'samples':>8}" + "".join(f"{name:>21}" for name in families))
    for kind in kinds:
        rng = np.random.default_rng(8)
        streams = [kind.draw(rng, SAMPLES) for _ in range(WIDTH_STREAMS)]
        for n in WIDTHS_AT:
            found = []
            for family in families:
                bets = FAMILIES[family]
                intervals = [
                    mean_interval(x[:n], delta=DELTA, family=bets)
                    if kind.part is None
                    else quantile_interval(x[:n], kind.part, delta=DELTA, family=bets)
                    for x in streams
                ]
                found.append(float(np.median([i.width for i in intervals])))
            print(f"{kind.name:34}{n:>8}" + "".join(f"{width:>21.4g}" for width in found))


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables; 1 where a family is wrong too often for its delta."""
    parser = argparse.ArgumentParser(prog="circinus bench sequences", description=__doc__)
    parser.add_argument(
        "--streams", type=at_least(1), default=2000, metavar="N", help="per row [2000]"
    )
    streams = parser.parse_args(arguments).streams
    families = tuple(FAMILIES)
    print(f"wrong at any of {SAMPLES} samples, % of {streams} streams [95 % interval]; target: {5}")
    kept = _coverage([*MEANS, *QUANTILES], streams, families)
    print("\nsamples that resemble their neighbours: what the families say if nothing is done")
    _coverage(DEPENDENT, streams // 4, families)
    print("\n... and with blocks as long as the dependence, looked at 6 times")
    for kind in DEPENDENT:
        rng = np.random.default_rng(9)
        wrong = sum(
            remedied(kind, kind.draw(rng, SAMPLES), "betting" if kind.part is None else "mixture")
            for _ in range(streams // 4)
        )
        print(f"{kind.name:34}{_share(wrong, streams // 4):>21}")
    print("\nmean of unbounded samples, asymptotic: wrong at any of 20 times to look")
    for name, draw, truth in (
        ("lognormal", QUANTILES[0].draw, float(LOGNORMAL.mean())),
        ("Pareto 1.2 (no variance)", QUANTILES[1].draw, float(PARETO.mean())),
    ):
        rng = np.random.default_rng(10)
        wrong = 0
        for _ in range(streams):
            x = draw(rng, SAMPLES)
            looks = np.geomspace(10, SAMPLES, 20).astype(int)
            wrong += any(truth not in unbounded_mean_interval(x[:n], delta=DELTA) for n in looks)
        print(f"{name:34}{_share(wrong, streams):>21}")
    kept &= _shown(streams)
    print(f"\nmedian width of {WIDTH_STREAMS} streams")
    _widths([*MEANS, *QUANTILES], families)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
