"""The entry point: a scenario and a decision in, what would happen out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy.typing as npt

from circinus.decision import Decision
from circinus.scenario import Scenario
from circinus_coordinator.simulation.arrivals import Split
from circinus_coordinator.simulation.faults import Fault
from circinus_coordinator.simulation.report import Report
from circinus_coordinator.simulation.service import ServiceKey

__all__ = ["simulate"]


def simulate(  # noqa: PLR0913 - the options of one experiment, all but two by name
    scenario: Scenario,
    decision: Decision,
    *,
    seconds: float,
    seed: int = 0,
    warmup_s: float | None = None,
    arrivals: Mapping[str, npt.ArrayLike] | None = None,
    services: Mapping[ServiceKey, npt.ArrayLike] | None = None,
    events: Sequence[Fault] = (),
    shedding: bool = True,
    split: Split = Split.ROUND_ROBIN,
    drain: bool = True,
) -> Report:
    """Play a decision through, request by request, as the agents' runtime would.

    The same arguments give the same report. Requests of a query come at the same times and a
    (device, profile row) draws the same service times whatever the decision, so that decisions
    are compared under the same luck.

    Args:
        seconds: Requests come from 0 to `seconds`.
        seed: Of arrivals, service times and random splits.
        warmup_s: Requests before it, and use of resources before it, are not counted; a tenth
            of `seconds` unless given.
        arrivals: By query id, arrival times in seconds ``(n,)``, of all its `count` streams
            together; other queries come as their `input.arrivals` says.
        services: Measured service times to draw from (ms, of a whole batch), in place of the
            fit to the profile row of that key.
        events: Faults.
        shedding: False: queues are endless, and nothing is given up for its deadline.
        split: How a query's requests are dealt to its plans.
        drain: Let the requests under way at the end finish (those that are never answered
            remain in flight). False: the world stops at `seconds`.

    Raises:
        InvalidInput: The decision, arrivals or events do not fit the scenario.
    """
    raise NotImplementedError
