"""Confidence sequences: intervals that hold at every number of samples at once.

A probe is watched while it runs and ends when its decision is certain, so its number of samples
depends on what it saw; an interval that holds for a number fixed beforehand does not hold then.
These do: the chance that the truth is *ever* outside is at most `delta`, whenever one looks and
for whatever reason one stops.

Everything is built on one notion, *evidence*: the logarithm of the wealth of somebody who bets,
at fair odds if the mean were `mean`, that it is not (`bounded`). If the mean is `mean` the wealth
ever grows to `1 / delta` with a chance of at most `delta` (Ville 1939).
"""

from circinus_coordinator.profiling.sequences.bounded import (
    FAMILIES,
    Betting,
    EmpiricalBernstein,
    Evidence,
    Hoeffding,
    Mixture,
)
from circinus_coordinator.profiling.sequences.census import census_evidence
from circinus_coordinator.profiling.sequences.dependence import (
    autocorrelation_time,
    block_means,
    independent_length,
    thinned,
)
from circinus_coordinator.profiling.sequences.intervals import (
    Interval,
    mean_interval,
    quantile_interval,
    unbounded_mean_interval,
)

__all__ = [
    "FAMILIES",
    "Betting",
    "EmpiricalBernstein",
    "Evidence",
    "Hoeffding",
    "Interval",
    "Mixture",
    "autocorrelation_time",
    "block_means",
    "census_evidence",
    "independent_length",
    "mean_interval",
    "quantile_interval",
    "thinned",
    "unbounded_mean_interval",
]
