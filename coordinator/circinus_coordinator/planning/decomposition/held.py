"""Whole cores that workers hold while they run, as a resource of the relaxation.

Where plans wait, a worker keeps whole cores from others until it is through, however little it
computes meanwhile (`holding`). On average no more can be held than there is: a queue would grow
for ever. That is linear in the rates, so it may be priced, and it bounds what can be served; for
steps that mostly wait for something far away it says much more than the seconds they compute.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from circinus.fleet import CORES
from circinus.pipeline import Config
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.holding import units_held
from circinus_coordinator.planning.programme import Programme, StepOptions

__all__ = ["HELD", "Held"]

FloatArray = npt.NDArray[np.float64]
Point = tuple[str, str, Config, int]  # device class, implementation, config, batch

HELD = "held"
"""The resource's name: core-seconds per second that workers hold."""


class Held:
    """Knows what the options of programmes hold."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._units = self._least_units()

    def _least_units(self) -> dict[Point, int]:
        """Cores a worker holds. Rows that share a worker may differ; the least is certain."""
        catalogue, found = self._catalogue, dict[Point, int]()
        scenario = catalogue.scenario
        for name, pipeline in scenario.pipelines.items():
            for spec in pipeline.operators.values():
                for kind in scenario.device_classes.values():
                    cores = kind.resources.get(CORES, 0.0)
                    for row in catalogue.profiles.rows(name, spec, kind.name):
                        busy = row.latency_ms.mean / 1e3 / row.batch
                        seconds = row.compute_s.get(CORES, 0.0)
                        units = 0
                        if busy > 0 and seconds > 0 and cores > 0:
                            units = units_held(CORES, cores, seconds, busy)
                        point = (kind.name, spec.implementation, row.config, row.batch)
                        found[point] = min(found.get(point, units), units)
        return found

    def extended(self, programme: Programme) -> Programme:
        """The programme with held cores as one more column of its steps' `compute`."""
        steps = tuple(self._step(programme, step) for step in programme.steps)
        return dataclasses.replace(programme, steps=steps)

    def _step(self, programme: Programme, step: StepOptions) -> StepOptions:
        device = self._catalogue.scenario.device
        held = np.zeros((len(step.rows), 1))
        for k, (slot, row) in enumerate(zip(step.slot, step.rows, strict=True)):
            kind = device[programme.devices[slot]].device_class
            units = self._units[kind, step.implementation, row.config, row.batch]
            held[k] = units * row.latency_ms.mean / 1e3 / row.batch
        return dataclasses.replace(step, compute=np.concatenate([step.compute, held], axis=1))
