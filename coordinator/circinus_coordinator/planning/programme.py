"""A query compiled into arrays: what the label-setting search works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.accuracy import Automaton

__all__ = ["STATION_PERCENTILE", "Hops", "Programme", "StepOptions", "planning_order"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# A station's variance must not depend on which query asks; p95 is what every profile has.
STATION_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hops:
    """Moving data between slots, `(n, n)`, or from one source, `(n,)`.

    `base_ms` is inf where there is no link or the way is not permitted.
    """

    base_ms: FloatArray
    ms_per_byte: FloatArray
    usd_per_byte: FloatArray

    def ms(self, at: tuple[IntArray, ...], size: FloatArray) -> FloatArray:
        """Transfer times at index arrays `at` for `size` bytes."""
        # An idle link of zero bandwidth carries empty messages and nothing else.
        with np.errstate(invalid="ignore"):
            moving = np.where(size > 0, size * self.ms_per_byte[at], 0.0)
        return np.asarray(self.base_ms[at] + moving)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """The ways to run one operator; arrays `(n,)` over options.

    Attributes:
        name: The operator.
        needs: Planning positions of the operators whose outputs it takes.
        rows: Profile row of each option.
        slot: Where it runs.
        config: Config id within the operator.
        configs: The config of each id.
        mean: Service time of a full batch, ms.
        variance: For the query's percentile, ms².
        station_variance: For queues, whoever asks, ms².
        size: Output bytes.
        usd: Cost per request, computation and per-call price.
        compute: `(n, resources)` seconds per request.
        quickest: The part of it that a batch takes at least, full or not; 1 where nothing waits.
        stateful: Never replicated.
        implementation: What instances are shared by.
    """

    name: str
    needs: tuple[int, ...]
    rows: tuple[OperatorProfile, ...]
    slot: IntArray
    config: IntArray
    configs: tuple[Config, ...]
    mean: FloatArray
    variance: FloatArray
    station_variance: FloatArray
    size: FloatArray
    usd: FloatArray
    compute: FloatArray
    batch: FloatArray
    memory: FloatArray
    quickest: FloatArray
    stateful: bool
    implementation: str


@dataclass(frozen=True, kw_only=True)
class Programme:
    """One query class, ready to be solved.

    Attributes:
        groups: For each slot, the interchangeable devices it may be bound to.
        devices: For each slot, the device it is bound to.
        order: Operators in planning order.
        steps: Their options.
        last_use: For each operator, the position of its last consumer (its own if none).
        hops: Between slots.
        entry: For each source operator's position: hop from its source, and the bytes.
        exits: Hop back to the source for delivery; None where the result stays.
        automaton: Admissible config vectors over `order`.
        resources: Names of the columns of `StepOptions.compute`.
    """

    scenario: Scenario
    query: Query
    pipeline: Pipeline
    groups: tuple[tuple[str, ...], ...]
    devices: tuple[str, ...]
    order: tuple[str, ...]
    steps: tuple[StepOptions, ...]
    last_use: tuple[int, ...]
    hops: Hops
    entry: Mapping[int, tuple[Hops, float]]
    exits: Hops | None
    automaton: Automaton
    resources: tuple[str, ...]

    def bind(self, devices: Sequence[str]) -> Programme:
        """The same programme on other members of the groups."""
        if tuple(devices) == self.devices:
            return self
        return dataclasses.replace(self, devices=tuple(devices))

    def unloaded(self) -> Programme:
        """With service times that nobody can be below at any load: batches at their quickest."""
        if all((step.quickest == 1).all() for step in self.steps):
            return self
        steps = tuple(
            dataclasses.replace(
                step, mean=step.mean * step.quickest, variance=step.variance * step.quickest**2
            )
            for step in self.steps
        )
        return dataclasses.replace(self, steps=steps)

    @cached_property
    def is_chain(self) -> bool:
        """True where each operator feeds just the next one."""
        return all(step.needs == ((k - 1,) if k else ()) for k, step in enumerate(self.steps))


def planning_order(pipeline: Pipeline) -> tuple[str, ...]:
    """A topological order that keeps few operators waiting for a consumer at a time."""
    order: list[str] = []
    while len(order) < len(pipeline.operators):
        ready = [
            name
            for name, spec in pipeline.operators.items()
            if name not in order and all(need in order for need in spec.needs)
        ]
        order.append(min(ready, key=lambda name: _frontier(pipeline, [*order, name])))
    return tuple(order)


def _frontier(pipeline: Pipeline, done: Sequence[str]) -> int:
    """Operators of `done` whose output is still wanted; of equals, the deeper chain goes first."""
    return sum(any(c not in done for c in pipeline.consumers(name)) for name in done)
