"""How often what `circinus profiles show` says of a number is wrong (`profiling.sure`).

A profile is looked at now and then while its samples come, from the fifth on; it is wrong if the
truth was outside at any look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from circinus_coordinator.profiling import sure

__all__ = ["SHOWN", "Shown", "shown_wrong"]

Floats = NDArray[np.float64]

LABELLED = 300
LOOKS = (5, 10, 20, 40, 60, 100, 160, 250)
_LOGNORMAL = stats.lognorm(0.3, scale=40.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A number of a profile, with streams whose truth is known.

    Attributes:
        draw: A stream of as many samples as the last look needs, and its truth.
        say: What is said of the samples so far.
        kept: The theory promises delta; where it does not, the figure is only told.
        costly: A quarter of the streams will do.
    """

    name: str
    draw: Callable[[np.random.Generator], tuple[Floats, float]]
    say: Callable[[tuple[float, ...]], sure.Sure]
    kept: bool = True
    costly: bool = False


def _labelled(
    score: Callable[[np.random.Generator], Floats],
) -> Callable[..., tuple[Floats, float]]:
    def draw(rng: np.random.Generator) -> tuple[Floats, float]:
        scores = score(rng)
        return rng.permutation(scores), float(scores.mean())

    return draw


def _correlated(rng: np.random.Generator, phi: float) -> Floats:
    """Log-normal service times of a device whose state wanders."""
    n = LOOKS[-1]
    noise = rng.standard_normal(n) * math.sqrt(1 - phi * phi)
    z = np.empty(n)
    last = rng.standard_normal()
    for i, value in enumerate(noise):
        last = z[i] = phi * last + value
    return _LOGNORMAL.ppf(special.ndtr(z))


def _latency(phi: float, truth: float) -> Callable[..., tuple[Floats, float]]:
    return lambda rng: (_correlated(rng, phi), truth)


def _stalling(rng: np.random.Generator) -> tuple[Floats, float]:
    """One sample of 162 s somewhere; the mean that is meant is that of all others."""
    x = _correlated(rng, 0.0)
    x[rng.integers(len(x))] = 162_000.0
    return x, float(_LOGNORMAL.mean())


def _all() -> Iterator[Shown]:
    yield Shown(
        name=f"score, right or wrong, of {LABELLED}",
        draw=_labelled(lambda rng: (rng.random(LABELLED) < 0.9).astype(float)),
        say=lambda x: sure.accuracy(x, LABELLED),
    )
    yield Shown(
        name=f"score, between, of {LABELLED}",
        draw=_labelled(lambda rng: rng.beta(9, 1, LABELLED)),
        say=lambda x: sure.accuracy(x, LABELLED),
    )
    yield Shown(
        name="score, size of the data set unknown",
        draw=lambda rng: (rng.beta(9, 1, LOOKS[-1]), 0.9),
        say=sure.accuracy,
        costly=True,
    )
    for phi in (0.0, 0.5, 0.9):
        what = f", correlation {phi:g}" if phi else ""
        for part in (0.5, 0.95):
            yield Shown(
                name=f"p{100 * part:g}{what}",
                draw=_latency(phi, float(_LOGNORMAL.ppf(part))),
                say=lambda x, part=part: sure.quantile(x, part),  # type: ignore[misc]
                kept=not phi,
            )
        yield Shown(
            name=f"mean (asymptotic){what}",
            draw=_latency(phi, float(_LOGNORMAL.mean())),
            say=sure.mean,
            kept=False,
        )
    yield Shown(name="mean (asymptotic), one stall", draw=_stalling, say=sure.mean, kept=False)


SHOWN = tuple(_all())


def shown_wrong(kind: Shown, streams: int) -> int:
    """Of how many streams the truth was ever outside."""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(streams):
        x, truth = kind.draw(rng)
        wrong += any(truth not in kind.say(tuple(x[:n].tolist())).interval for n in LOOKS)
    return wrong
