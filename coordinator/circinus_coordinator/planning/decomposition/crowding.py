"""Options as they look once machines are shared: with some waiting, and dear where they take long.

What waits is no part of the relaxation, so its mixture is made of plans without a moment to spare,
and lets steps of seconds into machines that others need for milliseconds. Here every step waits a
little, as if all machines were shared, and machines are held so little that this is kept: of
requests at rate r that hold h of the c cores of a machine for a time S, the mean wait of all is at
most w (about; Pollaczek and Khinchine, c cores as one of c times the speed) where

    sum of r h S^2 / (2 c w) + sum of r h S <= c,

which is linear in the rates. This is advice for those who look for plans, and bounds nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from circinus.fleet import CORES
from circinus_coordinator.planning.decomposition.held import Held
from circinus_coordinator.planning.programme import Programme, StepOptions

__all__ = ["Crowded"]

# Mean wait for a machine's cores (ms), and for a worker, as a part of its service. On generated
# scenarios of 60 queries 5 and 0.3 led to more than 2, 10 or 15, with or without the latter.
_WAIT_MS, _WORKER = 5.0, 0.3


class Crowded(Held):
    """Knows what the options of programmes hold, and what their waiting is like."""

    def _step(self, programme: Programme, step: StepOptions) -> StepOptions:
        alone = super()._step(programme, step)
        amounts = [programme.scenario.class_of(d).resources for d in programme.devices]
        cores = np.array([max(1.0, of.get(CORES, 0.0)) for of in amounts])[step.slot]
        wait = _WAIT_MS + _WORKER * step.mean
        compute = alone.compute.copy()
        compute[:, -1] *= 1 + step.mean / (2 * cores * _WAIT_MS)
        return dataclasses.replace(
            alone, mean=step.mean + wait, variance=step.variance + wait**2, compute=compute
        )
