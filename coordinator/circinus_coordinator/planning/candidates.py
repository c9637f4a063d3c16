"""Where a query's operators may run at all, and with which profile rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from circinus.pipeline import Config, Deliver, OperatorSpec, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.batches import Factors, factors

__all__ = ["ProfileIndex", "candidate_placements", "edge_allowed", "permitted"]


class ProfileIndex:
    """Finds the profile rows of an operator on a device class.

    A row qualified ``pipeline/operator`` beats a plain one for the same config, class and
    batch.
    """

    def __init__(self, scenario: Scenario) -> None:
        rows: dict[tuple[str | None, str, str], dict[tuple[Config, int], OperatorProfile]]
        rows = defaultdict(dict)
        for row in scenario.profiles:
            point = (row.config, row.batch)
            rows[row.pipeline, row.operator, row.device_class][point] = row
        self._rows = rows
        self._queueing = scenario.queueing
        self._offers: dict[tuple[str, str, str], list[OperatorProfile]] = {}

    def rows(self, pipeline: str, spec: OperatorSpec, device_class: str) -> list[OperatorProfile]:
        """Rows for configs that the operator's knobs offer, in their order of first mention."""
        key = (pipeline, spec.name, device_class)
        if key not in self._offers:
            found = dict(self._rows.get((None, spec.name, device_class), {}))
            found.update(self._rows.get(key, {}))
            self._offers[key] = [row for row in found.values() if _offered(spec, row.config)]
        return self._offers[key]

    def row(
        self, pipeline: str, spec: OperatorSpec, device_class: str, config: Config, batch: int
    ) -> OperatorProfile | None:
        """The row of one point, None where there is none."""
        for owner in (pipeline, None):
            found = self._rows.get((owner, spec.name, device_class), {}).get((config, batch))
            if found is not None:
                return found if _offered(spec, config) else None
        return None

    def factors(self, pipeline: str, spec: OperatorSpec, row: OperatorProfile) -> Factors:
        """How long batches of the row take that are not full; where nothing waits all are."""
        if row.batch == 1 or not self._queueing:
            return (1.0,)
        known = {
            r.batch: r.latency_ms.mean
            for r in self.rows(pipeline, spec, row.device_class)
            if r.config == row.config and r.batch <= row.batch
        }
        sizes = sorted(known)
        return factors(sizes, [known[size] for size in sizes])


def _offered(spec: OperatorSpec, config: Config) -> bool:
    return config.keys() == spec.knobs.keys() and all(
        value in spec.knobs[knob] for knob, value in config.items()
    )


def edge_allowed(scenario: Scenario, pipeline: Pipeline, inner: str, outer: str) -> bool:
    """True where data may go on from device `inner` to device `outer`."""
    tier = scenario.tier_index
    a, b = scenario.device[inner].tier, scenario.device[outer].tier
    forward = pipeline.backward or tier[a] <= tier[b]
    return forward and scenario.network.between(inner, outer) is not None


def candidate_placements(scenario: Scenario, query: Query) -> list[tuple[str, str]]:
    """The (operator, device) pairs that occur in at least one permitted placement.

    Looks at `tiers`, monotony along the tiers, links and delivery; not at profiles. For a DAG
    with forks each edge is checked by itself, so a pair may be listed that fits no whole
    placement.

    Returns:
        Pairs in pipeline order, then in the order of the scenario's devices.
    """
    pipeline = scenario.pipelines[query.pipeline]
    allowed = allowed_devices(scenario, query)
    order = list(pipeline.operators)
    changed = True
    while changed:
        changed = False
        for name in order:
            for need in pipeline.operators[name].needs:
                changed |= _prune_edge(scenario, pipeline, allowed, need, name)
    return [
        (name, device.id)
        for name in order
        for device in scenario.devices
        if device.id in allowed[name]
    ]


def permitted(scenario: Scenario, query: Query, devices: Mapping[str, str]) -> bool:
    """True where this placement keeps to tiers, links and the way outwards."""
    pipeline = scenario.pipelines[query.pipeline]
    if devices.keys() != pipeline.operators.keys():
        return False
    if any(device not in scenario.device for device in devices.values()):
        return False
    allowed = allowed_devices(scenario, query)
    return all(devices[name] in allowed[name] for name in devices) and all(
        edge_allowed(scenario, pipeline, devices[need], devices[name])
        for name, spec in pipeline.operators.items()
        for need in spec.needs
    )


def _prune_edge(
    scenario: Scenario, pipeline: Pipeline, allowed: Mapping[str, set[str]], need: str, name: str
) -> bool:
    pairs = [
        (a, b)
        for a in allowed[need]
        for b in allowed[name]
        if edge_allowed(scenario, pipeline, a, b)
    ]
    before = len(allowed[need]), len(allowed[name])
    allowed[need].intersection_update(a for a, _ in pairs)
    allowed[name].intersection_update(b for _, b in pairs)
    return before != (len(allowed[need]), len(allowed[name]))


def allowed_devices(
    scenario: Scenario, query: Query, among: Iterable[str] | None = None
) -> dict[str, set[str]]:
    """Devices each operator may take by its own rules: tiers, its source's links, delivery.

    Args:
        scenario: Where it runs.
        query: Which query.
        among: Devices to look at; None for all.
    """
    devices = [scenario.device[d] for d in (scenario.device if among is None else among)]
    pipeline = scenario.pipelines[query.pipeline]
    home = query.source[pipeline.sources[0]]
    inward = _least_tier(scenario, query, pipeline)
    allowed: dict[str, set[str]] = {}
    for name, spec in pipeline.operators.items():
        found = set()
        for device in devices:
            if spec.tiers is not None and device.tier not in spec.tiers:
                continue
            if scenario.tier_index[device.tier] < inward[name]:
                continue
            if not spec.needs and not edge_allowed(
                scenario, pipeline, query.source[name], device.id
            ):
                continue
            if (
                pipeline.deliver is Deliver.SOURCE
                and name in pipeline.sinks
                and scenario.network.between(device.id, home) is None
            ):
                continue
            found.add(device.id)
        allowed[name] = found
    return allowed


def _least_tier(scenario: Scenario, query: Query, pipeline: Pipeline) -> dict[str, int]:
    """Innermost tier each operator may take, from the sources it hangs on."""
    least: dict[str, int] = {}
    for name, spec in pipeline.operators.items():
        if pipeline.backward:
            least[name] = 0
        elif spec.needs:
            least[name] = max(least[need] for need in spec.needs)
        else:
            least[name] = scenario.tier_index[scenario.device[query.source[name]].tier]
    return least
