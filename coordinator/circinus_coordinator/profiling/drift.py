"""Whether a device still serves an operator as its profile says, watched for as long as it serves.

A change-point test that may be looked at after every message, for ever: an *e-detector* of
Shiryaev-Roberts kind (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for
sequential change detection", New England Journal of Statistics in Data Science 2, 2024, sections
2 and 4). At each message a bet is opened that from here on service is slower than `tolerance`
times the profile; the sum of all their wealths grows by 1 per message in the mean while that is
not so, and passes 1/a after no fewer than 1/a messages in the mean, whatever the distribution.

What is bet on is the *rank* of a service time among the profile's samples divided by `tolerance`,
from 0 to 1 and at most 1/2 in the mean: one enormous sample counts no more than one slow one.
Service times have no waiting in them, so that a queue is no drift.

A profile of 20 samples is a coarse yardstick where times differ from input to input. Once the
device has served as it says for a while, what it served takes the profile's place: by as many
samples as it is worth, neighbours counted as below. What was within tolerance of the profile then
can be beyond it by `tolerance` once more.

Batches that run shortly after one another resemble one another. As many as fall into
`dependence_s` count as one, by the geometric mean of their factors, which is a fair bet however
they depend on one another (Hölder's inequality). What lasts longer, a neighbour's load for half a
minute, is a change, and is reported as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circinus import _checks as check
from circinus.errors import InvalidInput
from circinus.histogram import Histogram

__all__ = ["DriftSettings", "Shift", "Watch", "ratio", "typical_ms"]

Floats = NDArray[np.float64]

_DAY_S = 86_400.0
# Agents that serve tell of it this often; one message is one step of the detector.
_STEP_S = 2.0
# Parts of all that can be bet, from a slow rise to a plain jump; all are made at once.
_STAKES = np.array([0.2, 0.5, 0.95])
# The profile's own ranks are of few samples: so many standard deviations they may be off.
_MARGIN = 1.64
# ... and are by so much at least: what resembles its neighbours for minutes lets ranks wander.
_LEAST_MARGIN = 0.05
# Of each tail this part is left out of a typical service time.
_TRIMMED = 0.2
# A profile counts as confirmed as long as no bet has grown beyond this.
_NO_SIGN = math.log(10.0)
# Independent batches served as expected that make a better yardstick than a profile's 60 samples.
_YARDSTICK = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSettings:
    """When a device serves otherwise than its profile says, and what follows. Times in seconds.

    Attributes:
        tolerance: From so many times slower, or faster, on a device is no more like its class.
        least_ms: Smaller differences are the operating system's, not the operator's.
        false_alarm_days: Mean time between false alarms about one operator on one device, at least.
        lasts_s: What lasts shorter is no drift: a neighbour's moment is not worth another plan.
        dependence_s: Batches that run within so long of one another count as one.
        hold_s: A device's factor is changed again after so long at the earliest, then twice...
        hold_cap_s: ...and at last this; as long without a change starts anew.
        again_s: A device that is apart from its class and serves nothing is probed again after so
            long, then twice...
        again_cap_s: ...and at last this.
        calibrated: Configs that are measured of a device whose class is known already; 0 for none.
        calibration_samples: Samples of each.
    """

    tolerance: float = 1.5
    least_ms: float = 3.0
    false_alarm_days: float = 30.0
    lasts_s: float = 10.0
    dependence_s: float = 0.25
    hold_s: float = 10.0
    hold_cap_s: float = 1800.0
    again_s: float = 60.0
    again_cap_s: float = 3600.0
    calibrated: int = 3
    calibration_samples: int = 5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance > 1):
            raise InvalidInput(f"must be above 1, not {self.tolerance!r}", key="tolerance")
        for name in (
            "false_alarm_days", "lasts_s", "dependence_s", "hold_s", "hold_cap_s", "again_s",
            "again_cap_s",
        ):  # fmt: skip
            check.positive(getattr(self, name), name)
        check.not_negative(self.least_ms, "least_ms")
        if self.calibrated < 0:
            raise InvalidInput("must be at least 0", key="calibrated")
        if self.calibration_samples < 2:
            raise InvalidInput("must be at least 2", key="calibration_samples")

    def beyond(self, factor: float) -> bool:
        """A factor no more like the class."""
        return not 1 / self.tolerance <= factor <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A change that was noticed.

    Attributes:
        ratio: Typical service time since, over that expected.
        seconds: It began so long before the message it was noticed by.
        batches: Served since it began.
    """

    ratio: float
    seconds: float
    batches: int


class Watch:
    """One operator's service on one device against the samples of its profile.

    Args:
        expected_ms: Service times of whole batches, as the profile in force has them; one or more.
    """

    def __init__(self, expected_ms: Sequence[float], settings: DriftSettings) -> None:
        self._expected = np.asarray(expected_ms, dtype=np.float64)
        self._settings = settings
        self._past: Histogram | None = Histogram()
        self._past_worth = 0.0
        self._measure(self._expected, np.ones(len(self._expected)), len(self._expected))
        self.worth = 0.0
        """Independent batches served as expected, up to the last message."""

    def _measure(self, ms: Floats, counts: Floats, worth: float) -> None:
        """From now on hold service against these times, ascending or not."""
        order = np.argsort(ms)
        self._yardstick = ms[order]
        self._below = np.concatenate([[0.0], np.cumsum(counts[order]) / counts.sum()])
        self._slower, self._faster = _Detector(worth), _Detector(worth)

    def observe(self, served: Histogram, seconds: float) -> Shift | None:
        """Take in what was served since the message before.

        Args:
            served: Service times of batches of the profile's size.
            seconds: Time since that message.

        Returns:
            What was noticed, again with every message for as long as it lasts.
        """
        ms, counts = _arrays(served)
        if not counts.sum():
            return None
        worth = min(float(counts.sum()), max(seconds / self._settings.dependence_s, 1.0))
        weights = counts * (worth / counts.sum())
        by, least = self._settings.tolerance, self._settings.least_ms
        self._slower.bet(self._rank(np.minimum(ms / by, ms - least)), weights, served, seconds)
        self._faster.bet(1 - self._rank(np.maximum(ms * by, ms + least)), weights, served, seconds)
        strongest = max(self._slower, self._faster, key=lambda side: side.evidence)
        if strongest.evidence < _NO_SIGN:
            self.worth += worth
            self._remember(served, worth)
        else:
            self.worth = 0.0
        # Two sides, so half of the false alarms for each.
        if strongest.evidence < math.log(2 * self._settings.false_alarm_days * _DAY_S / _STEP_S):
            return None
        if strongest.seconds < self._settings.lasts_s:
            return None
        return Shift(
            ratio=ratio(strongest.since, self._expected),
            seconds=strongest.seconds,
            batches=strongest.since.total,
        )

    def _remember(self, served: Histogram, worth: float) -> None:
        if self._past is None:
            return
        self._past.merge(served)
        self._past_worth += worth
        if self._past_worth >= max(_YARDSTICK, len(self._expected)):
            self._measure(*_arrays(self._past), self._past_worth)
            self._past = None

    def _rank(self, ms: Floats) -> Floats:
        """Part of the times on the yardstick that are below, and half of those equal."""
        low = self._below[np.searchsorted(self._yardstick, ms, side="left")]
        high = self._below[np.searchsorted(self._yardstick, ms, side="right")]
        ranks: Floats = (low + high) / 2
        return ranks


class _Detector:
    """Evidence that the mean of ranks has risen above a half.

    Args:
        samples: That the ranks are of, as many as they are worth.
    """

    def __init__(self, samples: float) -> None:
        # The mean of ranks among n samples has a standard deviation of sqrt(1 / 12n) by the
        # samples' chance alone (Mann and Whitney 1947).
        margin = max(_MARGIN * math.sqrt(1 / 12 / samples), _LEAST_MARGIN)
        self._fair = min(0.5 + margin, 0.9)
        self._wealth = np.full(len(_STAKES), -math.inf)
        self._rise = 0.0  # of the middle stake's bets since the likeliest beginning: CUSUM
        self.since = Histogram()
        self.seconds = 0.0

    @property
    def evidence(self) -> float:
        """Logarithm of the sum of wealths, the mean of all stakes."""
        return float(np.logaddexp.reduce(self._wealth)) - math.log(len(_STAKES))

    def bet(self, ranks: Floats, weights: Floats, served: Histogram, seconds: float) -> None:
        """One step.

        Args:
            ranks: Shape (n,), in [0, 1].
            weights: Shape (n,), independent batches that each stands for.
        """
        stakes = _STAKES / self._fair
        grown = np.log1p(stakes * (ranks[:, None] - self._fair)).T @ weights
        self._wealth = np.logaddexp(self._wealth, 0.0) + grown
        if self._rise <= 0:
            self.since, self.seconds, self._rise = Histogram(), 0.0, 0.0
        self._rise += float(grown[len(grown) // 2])
        self.since.merge(served)
        self.seconds += seconds


def ratio(served: Histogram, expected_ms: Sequence[float] | Floats) -> float:
    """Typical service time over that expected; nothing may be empty."""
    ms, counts = _arrays(served)
    expected = np.asarray(expected_ms, dtype=np.float64)
    return typical_ms(ms, counts) / typical_ms(expected, np.ones(len(expected)))


def typical_ms(ms: Sequence[float] | Floats, counts: Floats | None = None) -> float:
    """Geometric mean of all but the fastest and slowest fifth of service times.

    Args:
        ms: Shape (n,).
        counts: Shape (n,), how often there was each; once where None.
    """
    times = np.maximum(np.asarray(ms, dtype=np.float64), 1e-6)
    order = np.argsort(times)
    often = np.ones(len(times)) if counts is None else counts
    upto = np.cumsum(often[order]) / often.sum()
    inside = np.clip(upto, _TRIMMED, 1 - _TRIMMED)
    weights = np.diff(inside, prepend=_TRIMMED)
    return float(np.exp(weights @ np.log(times[order]) / weights.sum()))


def _arrays(served: Histogram) -> tuple[Floats, Floats]:
    pairs = np.array(list(served.values()), dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
