"""The entry point: a scenario and a decision in, what would happen out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from circinus.decision import Assignment, Decision
from circinus.errors import InvalidInput
from circinus.scenario import Scenario
from circinus_coordinator.simulation.arrivals import Split
from circinus_coordinator.simulation.faults import Fault
from circinus_coordinator.simulation.meter import Meter
from circinus_coordinator.simulation.outages import Outages
from circinus_coordinator.simulation.report import Report
from circinus_coordinator.simulation.routes import Network, Way
from circinus_coordinator.simulation.service import ServiceKey
from circinus_coordinator.simulation.tally import Tally
from circinus_coordinator.simulation.traffic import traffic
from circinus_coordinator.simulation.world import World

__all__ = ["simulate"]

FloatArray = npt.NDArray[np.float64]

WARMUP = 0.1  # of the simulated time, unless given


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
        drain: Let the requests under way at the end finish. False: the world stops at
            `seconds`, and they remain in flight.

    Raises:
        InvalidInput: The decision, arrivals or events do not fit the scenario.
    """
    if not 0 < seconds < math.inf:
        raise InvalidInput(f"must be above 0, not {seconds!r}", key="seconds")
    warmup_s = seconds * WARMUP if warmup_s is None else warmup_s
    if not 0 <= warmup_s < seconds:
        raise InvalidInput("must lie between 0 and the end", key="warmup_s")
    _check(scenario, decision, arrivals or {})
    requests = traffic(
        scenario,
        decision.assignments,
        seconds=seconds,
        warmup_s=warmup_s,
        seed=seed,
        split=split,
        given=_arrays(arrivals),
    )
    world = World(requests.starts_ms, requests.deadlines_ms, shedding=shedding)
    network = Network(scenario, world, seed, _measured(services))
    ways = _ways(network, scenario, decision.assignments)
    meter = Meter(world, network, (warmup_s * 1e3, seconds * 1e3))
    outages = Outages(world, network.stages.values(), network.machines, network.wires)
    outages.schedule(scenario, events)
    enter = [way.enter for way in ways]
    entries = map(enter.__getitem__, requests.assignment.tolist())
    world.run(entries, math.inf if drain else seconds * 1e3)
    tally = Tally(scenario, decision, world, requests, (warmup_s, seconds), [w.keeps for w in ways])
    queries = tally.queries()
    return Report(
        seconds=seconds,
        warmup_s=warmup_s,
        seed=seed,
        queries=queries,
        assignments=tally.assignments(),
        devices=meter.devices(scenario),
        links=meter.links(),
        instances=meter.instances(),
        goodput_rps=math.fsum(query.goodput_rps for query in queries.values()),
        requests=len(requests.starts_ms),
    )


def _check(scenario: Scenario, decision: Decision, arrivals: Mapping[str, object]) -> None:
    known = {query.id for query in scenario.queries}
    for i, assignment in enumerate(decision.assignments):
        if assignment.query not in known:
            raise InvalidInput(
                f"unknown query {assignment.query!r}",
                key=f"assignments[{i}].query",
                remedy="simulate a decision with the scenario it was made for",
            )
    for name in arrivals:
        if name not in known:
            raise InvalidInput(f"unknown query {name!r}", key="arrivals")


def _arrays(values: Mapping[str, npt.ArrayLike] | None) -> dict[str, FloatArray]:
    return {name: np.asarray(v, dtype=np.float64) for name, v in (values or {}).items()}


def _measured(services: Mapping[ServiceKey, npt.ArrayLike] | None) -> dict[ServiceKey, FloatArray]:
    found = {key: np.asarray(v, dtype=np.float64) for key, v in (services or {}).items()}
    for key, samples in found.items():
        if samples.ndim != 1 or not len(samples) or not np.all(np.isfinite(samples)):
            raise InvalidInput("must be a row of milliseconds", key=f"services[{key[0]}]")
        if samples.min() < 0:
            raise InvalidInput("must not be negative", key=f"services[{key[0]}]")
    return found


def _ways(network: Network, scenario: Scenario, assignments: Sequence[Assignment]) -> list[Way]:
    queries = {query.id: query for query in scenario.queries}
    ways = []
    for i, assignment in enumerate(assignments):
        try:
            ways.append(network.add(assignment, queries[assignment.query]))
        except InvalidInput as error:
            raise error.within(key=f"assignments[{i}]") from None
    return ways
