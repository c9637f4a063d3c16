"""One plan with its profile rows and links looked up: latency, cost and use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus.decision import Estimate, Plan, Step
from circinus.errors import NoData
from circinus.fleet import Billing
from circinus.pipeline import Deliver, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.corrections import Correction
from circinus_coordinator.planning.labels import TOLERANCE, Found
from circinus_coordinator.planning.latency import percentile_ms, service_variance
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.programme import STATION_PERCENTILE, Programme
from circinus_coordinator.planning.promise import (
    NO_WAIT,
    Arrival,
    Delays,
    Moments,
    Waiting,
    added,
    promised_ms,
)
from circinus_coordinator.planning.spacing import Passed
from circinus_coordinator.planning.uses import MEMORY, Resource, StepUse, Use, wires

__all__ = [
    "PlacedPlan",
    "arrival_scv",
    "meets",
    "place",
    "plan_of",
    "scaled",
    "snapped",
    "stream",
    "streams",
]


# A request without latency SLO is given up some time, as in the agents' runtime.
DEFAULT_BUDGET_MS = 60_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    """One operator on the request's way."""

    arrivals: tuple[tuple[int, float], ...]  # (position of the producer, -1 the source; ms)
    mean: float
    variance: float
    wires: tuple[_Taken, ...] = ()  # of each arrival


_Taken = tuple[tuple[Resource, ...], float]
"""The wires a transfer takes, and ms for which what was sent at the same instant goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPlan:
    """A plan with everything about it that does not depend on load.

    Attributes:
        query: Whose plan it is.
        plan: The plan.
        use: What a request uses.
        accuracy: Of its config vector, None where unknown.
        usage_usd: Per request: computation on devices billed by use, and per-call prices.
        machine_usd: Per request: computation pro rata on devices billed by machine.
        network_usd: Per request.
        correction: Of its waits, None for the model's.
    """

    query: Query
    plan: Plan
    use: Use
    stops: tuple[_Stop, ...]
    exits: tuple[tuple[int, float], ...]
    exit_wires: tuple[_Taken, ...]
    accuracy: float | None
    usage_usd: float
    machine_usd: float
    network_usd: float
    correction: Correction | None = None

    @property
    def usd(self) -> float:
        """Cost of a request as the query's SLO counts it."""
        return self.usage_usd + self.machine_usd + self.network_usd

    @property
    def touches(self) -> set[Resource]:
        """Every resource it uses."""
        return {*self.use.linear, *((MEMORY, step.device) for step in self.use.steps)}

    def latency_ms(self, ledger: Ledger | None = None) -> float:
        """Latency at the SLO's percentile at the ledger's loads; without one, at no load less.

        At any load it is at least that, so that what bounds plans at no load bounds them all.
        """
        percent = self.query.slo.percentile
        least = percentile_ms(*added(*self.delays(None)), percent)
        if ledger is None or not ledger.scenario.queueing:
            return least
        return max(least, promised_ms(*self.delays(ledger), percent))

    def delays(self, ledger: Ledger | None) -> tuple[list[Delays], list[Arrival]]:
        """All on a request's way, and its delivery; without a ledger the least of it."""
        steps = []
        for stop, step in zip(self.stops, self.use.steps, strict=True):
            service: Moments = (stop.mean, stop.variance)
            waits: tuple[Waiting, ...] = ()
            if ledger is not None:
                service, waits = self._through(ledger, step, service)
            elif step.quickest < 1:
                service = stop.mean * step.quickest, stop.variance * step.quickest**2
            steps.append(Delays(self._sent(stop.arrivals, stop.wires, ledger), service, waits))
        exits = list(self._sent(self.exits, self.exit_wires, ledger))
        if ledger is not None and self.correction is not None and self.correction.more_ms > 0:
            exits = [(k, ms + self.correction.more_ms, wait) for k, ms, wait in exits]
        common = self._common_wires()
        if ledger is not None and common and len(exits) == 1:
            wait = ledger.wires.waiting(common, regular=self._regular(ledger))
            factor = 1.0 if self.correction is None else self.correction.wires
            _set_apart(steps, exits[0][0], scaled(wait, factor))
        return steps, exits

    def _through(
        self, ledger: Ledger, step: StepUse, service: Moments
    ) -> tuple[Moments, tuple[Waiting, ...]]:
        """Service and waits of a step, corrected."""
        found, waits = ledger.through(step, *service)
        factor = 1.0 if self.correction is None else self.correction.waits.get(step.device, 1.0)
        if factor == 1:
            return found, waits
        if step.batch > 1:  # all in one; what is beyond a full batch is waiting
            more = found[0] - service[0], found[1] - service[1]
            return (
                service[0] + _times(more[0], factor),
                service[1] + _times(more[1], factor**2),
            ), ()
        return found, tuple(scaled(wait, factor) for wait in waits)

    def _regular(self, ledger: Ledger) -> float:
        """How regularly its requests come."""
        return 1.0 if self.use.scv == 0 else ledger.wires.regularity(self.use.sent)

    def _common_wires(self) -> tuple[Resource, ...]:
        """What all of several inputs take that are sent at one instant."""
        starts = [wires for stop in self.stops for (k, _), wires in
                  zip(stop.arrivals, stop.wires, strict=True) if k < 0]  # fmt: skip
        ways = {taken for taken, _ in starts}
        return next(iter(ways)) if len(starts) > 1 and len(ways) == 1 else ()

    def _sent(
        self,
        arrivals: Sequence[tuple[int, float]],
        wires: Sequence[_Taken],
        ledger: Ledger | None,
    ) -> tuple[Arrival, ...]:
        if ledger is None:
            return tuple((producer, ms, NO_WAIT) for producer, ms in arrivals)
        regular = self._regular(ledger)
        factor = 1.0 if self.correction is None else self.correction.wires
        return tuple(
            (
                producer,
                ms + first,
                scaled(ledger.wires.waiting(taken, regular=regular), factor) if taken else NO_WAIT,
            )
            for (producer, ms), (taken, first) in zip(arrivals, wires, strict=True)
        )

    def estimate(self, ledger: Ledger | None = None) -> Estimate:
        """What the plan promises; a limit exceeded by rounding alone is given as the limit."""
        slo = self.query.slo
        return Estimate(
            latency_ms=snapped(float(self.latency_ms(ledger)), slo.latency_ms),
            accuracy=self.accuracy,
            cost_usd_per_1000=snapped(self.usd * 1000, slo.cost_usd_per_1000),
        )


def scaled(wait: Waiting, factor: float) -> Waiting:
    """A wait so many times as long, and as likely."""
    if factor == 1:
        return wait
    mean, variance, chance = wait
    return _times(mean, factor), _times(variance, factor * factor), chance


def _times(value: float, factor: float) -> float:
    """What grows for ever does so however it is corrected."""
    return value if math.isinf(value) or value <= 0 else value * factor


def _set_apart(steps: list[Delays], last: int, wait: Waiting) -> None:
    """Let all inputs wait once, together; where in the sum this is does not matter."""
    for k, step in enumerate(steps):
        steps[k] = dataclasses.replace(
            step,
            arrivals=tuple((p, ms, NO_WAIT if p < 0 else own) for p, ms, own in step.arrivals),
            waits=(*step.waits, wait) if k == last else step.waits,
        )


def snapped(value: float, limit: float | None) -> float:
    """A value, or the limit where rounding alone makes it exceed that."""
    return limit if limit is not None and limit < value <= limit * (1 + TOLERANCE) else value


def meets(query: Query, estimate: Estimate) -> str | None:
    """The SLO that the estimate breaks (``latency``, ``accuracy``, ``cost``), None if none.

    A queue that grows for ever breaks ``latency``, promised or not.
    """
    slo = query.slo
    limit = math.inf if slo.latency_ms is None else slo.latency_ms * (1 + TOLERANCE)
    if not (math.isfinite(estimate.latency_ms) and estimate.latency_ms <= limit):
        return "latency"
    if slo.accuracy is not None and (estimate.accuracy is None or estimate.accuracy < slo.accuracy):
        return "accuracy"
    cost = slo.cost_usd_per_1000
    if cost is not None and estimate.cost_usd_per_1000 > cost * (1 + TOLERANCE):
        return "cost"
    return None


def plan_of(programme: Programme, found: Found) -> Plan:
    """The found options as a plan, operators in pipeline order, on the bound devices."""
    steps = {
        step.name: Step(
            device=programme.devices[step.slot[option]],
            config=step.rows[option].config,
            batch=step.rows[option].batch,
        )
        for step, option in zip(programme.steps, found.options, strict=True)
    }
    return {name: steps[name] for name in programme.pipeline.operators}


def place(
    catalogue: Catalogue, query: Query, plan: Plan, *, network: Scenario | None = None
) -> PlacedPlan:
    """Look up everything about a plan that does not depend on load.

    Args:
        catalogue: Knows the profiles.
        query: Whose.
        plan: Where and how its operators run.
        network: A scenario whose links and uplinks count in place of the catalogue's.

    Raises:
        NoData: Where a step has no profile row, or a hop no link.
    """
    scenario = catalogue.scenario
    pipeline = scenario.pipelines[query.pipeline]
    rows = {name: _row(catalogue, query, name, plan) for name in pipeline.operators}
    network = network or scenario
    way = _Way(network)
    stops = _stops(way, query, pipeline, plan, rows)
    exits = _exits(way, query, pipeline, plan, rows)
    usage, machine = _compute_usd(catalogue, plan, rows)
    return PlacedPlan(
        query=query,
        plan=plan,
        stops=stops,
        exits=tuple((k, ms) for k, ms, _ in exits),
        exit_wires=tuple(taken for _, _, taken in exits),
        use=Use.of(
            network,
            _uses(catalogue, network, query, plan, rows, stops),
            way.moves,
            way.sent(),
            arrival_scv(query),
        ),
        accuracy=catalogue.accuracy(query.pipeline).of({n: s.config for n, s in plan.items()}),
        usage_usd=usage,
        machine_usd=machine,
        network_usd=math.fsum(way.usd),
        correction=catalogue.corrections.of(query, plan),
    )


class _Way:
    """Collects the hops of a plan."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.moves: list[tuple[str, str, float]] = []
        self.usd: list[float] = []
        self._together: dict[tuple[str, int, Resource], float] = {}
        self._known: dict[tuple[str, str, int], _Taken] = {}

    def hop(self, a: str, b: str, size: float, producer: int) -> tuple[float, _Taken]:
        """Milliseconds to move `size` bytes from device `a` to device `b`, and how.

        Args:
            producer: Position of the operator whose output it is, -1 for an input: what one has to
                send leaves at one instant, once to each device.
        """
        link = self._scenario.network.between(a, b)
        if link is None:
            raise NoData(f"there is no link between {a} and {b}")
        if a == b:
            return 0.0, ((), 0.0)
        self.moves.append((a, b, size))
        self.usd.append(link.cost_usd(size))
        if producer < 0 or (a, b, producer) not in self._known:
            taken = wires(self._scenario, a, b, size)
            first = 0.0
            for wire, ms in taken:
                before = self._together.get((a, producer, wire), 0.0)
                first = max(first, before)
                self._together[a, producer, wire] = before + ms
            self._known[a, b, producer] = tuple(wire for wire, _ in taken), first
        return link.transfer_ms(size), self._known[a, b, producer]

    def sent(self) -> dict[tuple[Resource, float], int]:
        """How often something of which length (ms) is sent over which wire."""
        found: dict[tuple[Resource, float], int] = {}
        for (_, _, wire), ms in self._together.items():
            found[wire, ms] = found.get((wire, ms), 0) + 1
        return found


def _stops(
    way: _Way, query: Query, pipeline: Pipeline, plan: Plan, rows: Mapping[str, OperatorProfile]
) -> tuple[_Stop, ...]:
    position = {name: k for k, name in enumerate(pipeline.operators)}
    stops = []
    for name, spec in pipeline.operators.items():
        here = plan[name].device
        arrivals = [
            _moved(way, plan[need].device, here, rows[need].output_bytes, position[need])
            for need in spec.needs
        ]
        if not spec.needs:
            arrivals = [_moved(way, query.source[name], here, pipeline.input_bytes[name], -1)]
        stats = rows[name].latency_ms
        variance = service_variance(stats, query.slo.percentile)
        stops.append(
            _Stop(
                arrivals=tuple((k, ms) for k, ms, _ in arrivals),
                wires=tuple(taken for _, _, taken in arrivals),
                mean=stats.mean,
                variance=variance,
            )
        )
    return tuple(stops)


def _moved(way: _Way, a: str, b: str, size: float, producer: int) -> tuple[int, float, _Taken]:
    return producer, *way.hop(a, b, size, producer)


def _exits(
    way: _Way, query: Query, pipeline: Pipeline, plan: Plan, rows: Mapping[str, OperatorProfile]
) -> tuple[tuple[int, float, _Taken], ...]:
    position = {name: k for k, name in enumerate(pipeline.operators)}
    if pipeline.deliver is not Deliver.SOURCE:
        return tuple((position[name], 0.0, ((), 0.0)) for name in pipeline.sinks)
    home = query.source[pipeline.sources[0]]
    return tuple(
        _moved(way, plan[name].device, home, rows[name].output_bytes, position[name])
        for name in pipeline.sinks
    )


def _uses(
    catalogue: Catalogue,
    network: Scenario,
    query: Query,
    plan: Plan,
    rows: Mapping[str, OperatorProfile],
    stops: Sequence[_Stop],
) -> list[StepUse]:
    pipeline = catalogue.scenario.pipelines[query.pipeline]
    passed = _passed(network, pipeline, query, plan, rows)
    twins = _twins(query, pipeline, plan)
    keys = {
        name: (plan[name].device, pipeline.operators[name].implementation, row.config, row.batch)
        for name, row in rows.items()
    }
    limit = query.slo.latency_ms
    deadline = DEFAULT_BUDGET_MS if limit is None else limit
    return [
        StepUse(
            key=keys[name],
            service_ms=row.latency_ms.mean,
            variance=service_variance(row.latency_ms, STATION_PERCENTILE),
            compute_s=row.compute_s,
            memory_mb=row.memory_mb,
            stateful=spec.stateful,
            factors=catalogue.profiles.factors(pipeline.name, spec, row),
            passed=passed[name],
            spare_ms=deadline - came,
            twins=tuple(keys[twin] for twin in twins[name]),
            along=tuple(
                keys[other]
                for other in rows
                if plan[other].device == plan[name].device and keys[other] != keys[name]
            ),
            after=tuple(
                keys[need] for need in spec.needs if plan[need].device == plan[name].device
            ),
        )
        for (name, spec), row, came in zip(
            pipeline.operators.items(), rows.values(), _coming(stops), strict=True
        )
    ]


def _coming(stops: Sequence[_Stop]) -> list[float]:
    """When a request comes to each operator if it waits nowhere, ms from its start."""
    found: list[float] = []
    for stop in stops:
        found.append(
            max(ms + (found[k] + stops[k].mean if k >= 0 else 0.0) for k, ms in stop.arrivals)
        )
    return found


def _twins(query: Query, pipeline: Pipeline, plan: Plan) -> dict[str, list[str]]:
    """Of each operator those that start before it, at the same instant on the same device."""
    found: dict[str, list[str]] = {}
    since: dict[tuple[object, ...], list[str]] = {}
    for name, spec in pipeline.operators.items():
        device = plan[name].device
        if len(spec.needs) == 1:
            moment: tuple[object, ...] = (device, *spec.needs)
        elif not spec.needs and query.source[name] == device:
            moment = (device,)
        else:
            moment = (device, None, name)
        found[name] = list(since.setdefault(moment, []))
        since[moment].append(name)
    return found


def _passed(
    network: Scenario,
    pipeline: Pipeline,
    query: Query,
    plan: Plan,
    rows: Mapping[str, OperatorProfile],
) -> dict[str, Passed]:
    """Of each operator the stations that its requests have been through, wires among them."""
    here: dict[str, Passed] = {}
    after: dict[str, Passed] = {}
    for name, spec in pipeline.operators.items():
        device, row = plan[name].device, rows[name]
        came = [(plan[need].device, rows[need].output_bytes, after[need]) for need in spec.needs]
        if not spec.needs:
            came = [(query.source[name], pipeline.input_bytes[name], ())]
        found: dict[tuple[float, float], None] = {}
        for start, size, before in came:
            sent = [(ms, 0.0) for _, ms in wires(network, start, device, size)]
            found.update(dict.fromkeys((*before, *sent)))
        here[name] = tuple(found)
        mean = row.latency_ms.mean
        scv = service_variance(row.latency_ms, STATION_PERCENTILE) / mean**2 if mean > 0 else 0.0
        # Batches end all at once.
        after[name] = (*found, (mean, scv)) if row.batch == 1 else ()
    return here


def arrival_scv(query: Query) -> float:
    """Squared coefficient of variation of the gaps between a query's requests."""
    return 0.0 if query.input.arrivals == "uniform" else 1.0


def _row(catalogue: Catalogue, query: Query, name: str, plan: Plan) -> OperatorProfile:
    scenario = catalogue.scenario
    spec = scenario.pipelines[query.pipeline].operators[name]
    step = plan.get(name)
    if step is None or step.device not in scenario.device:
        raise NoData(f"{name} is not placed on a known device")
    kind = scenario.device[step.device].device_class
    row = catalogue.profiles.row(query.pipeline, spec, kind, step.config, step.batch)
    if row is None:
        raise NoData(f"no profile of {name} with {step.config}, batch {step.batch}, on {kind}")
    return row


def _compute_usd(
    catalogue: Catalogue, plan: Plan, rows: Mapping[str, OperatorProfile]
) -> tuple[float, float]:
    usage: list[float] = []
    machine: list[float] = []
    for name, row in rows.items():
        kind = catalogue.scenario.class_of(plan[name].device)
        usage.append(row.price_usd_per_call)
        bill = machine if kind.billing is Billing.MACHINE else usage
        bill.append(kind.usage_cost_usd(row.compute_s))
    return math.fsum(usage), math.fsum(machine)


def streams(query: Query, share: float) -> float:
    """Independent request streams in a share of `count` queries; below 1, the part of one."""
    return query.count * share


def stream(placed: PlacedPlan, share: float) -> tuple[float, float]:
    """Requests per second of a share of the query's traffic, and independent streams in it."""
    query = placed.query
    return query.rate_rps * query.count * share, streams(query, share)
