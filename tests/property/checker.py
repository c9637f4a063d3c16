"""An independent judge of decisions, and an independent per-query optimiser by enumeration.

Shares no code with the planner: it reads the contract (`docs/planner.md`) once more, in the
plainest way there is. Slow, and meant to be.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from circinus.decision import Assignment, Decision, Estimate, Step
from circinus.fleet import Billing
from circinus.pipeline import Config, Deliver, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario

EPS = 1e-6


def row_for(
    scenario: Scenario, pipeline: str, operator: str, device: str, config: Config, batch: int
) -> OperatorProfile | None:
    kind = scenario.device[device].device_class
    fitting = [
        row
        for row in scenario.profiles
        if row.operator == operator
        and row.device_class == kind
        and row.config == config
        and row.batch == batch
        and row.pipeline in (None, pipeline)
    ]
    qualified = [row for row in fitting if row.pipeline == pipeline]
    return (qualified or fitting or [None])[-1]


def accuracy_of(scenario: Scenario, pipeline: Pipeline, plan: Mapping[str, Step]) -> float | None:
    found = None
    for row in scenario.accuracy:
        if row.pipeline != pipeline.name:
            continue
        if all(
            row.config.get(name, Config()) == (plan[name].config if spec.knobs else Config())
            for name, spec in pipeline.operators.items()
        ):
            found = row.mean
    return found


def moves(
    scenario: Scenario, query: Query, plan: Mapping[str, Step]
) -> Iterator[tuple[str | None, str | None, str, str, float]]:
    """(producer, consumer, from device, to device, bytes) of each hop, staying included."""
    pipeline = scenario.pipelines[query.pipeline]
    needed = {need for spec in pipeline.operators.values() for need in spec.needs}
    first = next(n for n, spec in pipeline.operators.items() if not spec.needs)
    for name, spec in pipeline.operators.items():
        here = plan[name].device
        if not spec.needs:
            yield None, name, query.source[name], here, pipeline.input_bytes[name]
        for need in spec.needs:
            row = _row(scenario, pipeline, need, plan)
            yield need, name, plan[need].device, here, row.output_bytes
        if name not in needed and pipeline.deliver is Deliver.SOURCE:
            row = _row(scenario, pipeline, name, plan)
            yield name, None, here, query.source[first], row.output_bytes


def _row(
    scenario: Scenario, pipeline: Pipeline, name: str, plan: Mapping[str, Step]
) -> OperatorProfile:
    step = plan[name]
    row = row_for(scenario, pipeline.name, name, step.device, step.config, step.batch)
    assert row is not None
    return row


def broken_rule(scenario: Scenario, query: Query, plan: Mapping[str, Step]) -> str | None:
    """The placement rule this plan breaks, None if none."""
    pipeline = scenario.pipelines[query.pipeline]
    tier = {d.id: scenario.tiers.index(d.tier) for d in scenario.devices}
    if set(plan) != set(pipeline.operators):
        return "operators"
    for name, step in plan.items():
        spec = pipeline.operators[name]
        if spec.tiers is not None and scenario.device[step.device].tier not in spec.tiers:
            return f"tier of {name}"
        if any(value not in spec.knobs.get(k, ()) for k, value in step.config.items()):
            return f"config of {name}"
        if row_for(scenario, pipeline.name, name, step.device, step.config, step.batch) is None:
            return f"no profile of {name}"
    for producer, consumer, a, b, size in moves(scenario, query, plan):
        if a == b:
            continue
        link = scenario.network.between(a, b)
        if link is None:
            return f"no link {a} {b}"
        if link.bandwidth_mbps == 0 and size > 0:
            return f"no bandwidth {a} {b}"
        if consumer is not None and not pipeline.backward and tier[a] > tier[b]:
            return f"inwards {producer} {consumer}"
    return None


def hop_ms(scenario: Scenario, a: str, b: str, size: float) -> float:
    if a == b:
        return 0.0
    link = scenario.network.between(a, b)
    assert link is not None
    return link.rtt_ms / 2 + (size * 8 / (link.bandwidth_mbps * 1e6) * 1e3 if size else 0.0)


def latency(
    scenario: Scenario,
    query: Query,
    plan: Mapping[str, Step],
    variance: Mapping[str, float] | None = None,
    *,
    alone: bool = False,
) -> tuple[float, float]:
    """(mean, variance) of the unloaded latency; `variance` per operator, zero without.

    Batches are full, or, if `alone`, as small as they were measured.
    """
    pipeline = scenario.pipelines[query.pipeline]
    done: dict[str, tuple[float, float]] = {}
    result = (0.0, 0.0)
    for name in pipeline.operators:
        ready = (0.0, 0.0)
        for producer, consumer, a, b, size in moves(scenario, query, plan):
            if consumer == name:
                before = done[producer] if producer else (0.0, 0.0)
                ready = (
                    max(ready[0], before[0] + hop_ms(scenario, a, b, size)),
                    max(ready[1], before[1]),
                )
        mean = _row(scenario, pipeline, name, plan).latency_ms.mean
        if alone:
            step = plan[name]
            sizes = range(1, step.batch + 1)
            at = (scenario, pipeline.name, name, step.device, step.config)
            mean = min(row.latency_ms.mean for n in sizes if (row := row_for(*at, n)))
        done[name] = (ready[0] + mean, ready[1] + (variance or {}).get(name, 0.0))
    back = {
        p: hop_ms(scenario, a, b, size)
        for p, c, a, b, size in moves(scenario, query, plan)
        if c is None
    }
    for name in pipeline.sinks:
        result = (
            max(result[0], done[name][0] + back.get(name, 0.0)),
            max(result[1], done[name][1]),
        )
    return result


def costs(scenario: Scenario, query: Query, plan: Mapping[str, Step]) -> dict[str, float]:
    """USD per request: usage, pro rata part of rented machines, network."""
    pipeline = scenario.pipelines[query.pipeline]
    bill = {"usage": 0.0, "machines": 0.0, "network": 0.0}
    for name, step in plan.items():
        row = _row(scenario, pipeline, name, plan)
        kind = scenario.class_of(step.device)
        amounts = {"cores": kind.cores, **kind.accelerators}
        share = max((s / amounts[r] for r, s in row.compute_s.items() if s > 0), default=0.0)
        where = "machines" if kind.billing is Billing.MACHINE else "usage"
        bill[where] += kind.price_usd_hour / 3600 * share
        bill["usage"] += row.price_usd_per_call
    for _, _, a, b, size in moves(scenario, query, plan):
        if a != b:
            link = scenario.network.between(a, b)
            assert link is not None
            bill["network"] += size / 1e9 * link.price_usd_gb
    return bill


def enumerate_plans(scenario: Scenario, query: Query) -> Iterator[dict[str, Step]]:
    """Every plan that keeps the placement rules."""
    pipeline = scenario.pipelines[query.pipeline]
    ways = []
    for name, spec in pipeline.operators.items():
        mine = []
        batches = {row.batch for row in scenario.profiles if row.operator == name}
        for device, config, batch in itertools.product(
            scenario.devices, spec.configs(), sorted(batches)
        ):
            row = row_for(scenario, pipeline.name, name, device.id, config, batch)
            kind = scenario.class_of(device.id)
            if row is None or row.memory_mb > kind.memory_mb:
                continue
            if any(s > 0 and kind.resources[r] == 0 for r, s in row.compute_s.items()):
                continue
            mine.append(Step(device=device.id, config=config, batch=batch))
        ways.append(mine)
    for steps in itertools.product(*ways):
        plan = dict(zip(pipeline.operators, steps, strict=True))
        if broken_rule(scenario, query, plan) is None:
            yield plan


def violations(scenario: Scenario, decision: Decision) -> list[str]:
    """Everything that is wrong with a decision; empty where it is sound."""
    sums = _Sums(scenario)
    for assignment in decision.assignments:
        sums.add(assignment)
    return sums.wrong + _totals(scenario, decision, sums) + _capacities(scenario, sums)


def fits(scenario: Scenario, query: Query, plan: Mapping[str, Step]) -> bool:
    """Whether all traffic of the query fits on the empty fleet with this plan."""
    top, rate = scenario.max_utilisation, query.rate_rps * query.count
    pipeline, busy = scenario.pipelines[query.pipeline], defaultdict(float)
    for name, step in plan.items():
        row = _row(scenario, pipeline, name, plan)
        key = (step.device, pipeline.operators[name].run or name, step.config, step.batch)
        busy[key] += rate * row.latency_ms.mean / 1e3 / step.batch
    replicated = {}
    for name, step in plan.items():
        key = (step.device, pipeline.operators[name].run or name, step.config, step.batch)
        count = max(1, math.ceil(busy[key] / top - EPS))
        if pipeline.operators[name].stateful or not scenario.queueing:
            count = 1
        replicated[name] = dataclasses.replace(step, replicas=count)
    sums = _Sums(scenario)
    sums.add(
        Assignment(
            query=query.id,
            share=1.0,
            plan=replicated,
            estimate=Estimate(latency_ms=0, accuracy=None, cost_usd_per_1000=0),
        )
    )
    return not _capacities(scenario, sums)


class _Sums:
    """What all assignments add up to."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.queries = {q.id: q for q in scenario.queries}
        self.wrong: list[str] = []
        self.shares: dict[str, float] = defaultdict(float)
        self.use: dict[tuple[str, ...], float] = defaultdict(float)
        self.memory: dict[tuple[object, ...], tuple[float, int]] = {}
        self.busy: dict[tuple[object, ...], float] = defaultdict(float)
        self.stateful: set[tuple[object, ...]] = set()
        self.in_line: set[tuple[object, ...]] = set()
        self.opened: set[str] = set()
        self.hourly = {"usage": 0.0, "machines": 0.0, "network": 0.0}
        self.goodput = 0.0

    def add(self, a: Assignment) -> None:
        query, scenario = self.queries[a.query], self.scenario
        pipeline = scenario.pipelines[query.pipeline]
        rule = broken_rule(scenario, query, a.plan)
        if rule is not None:
            self.wrong.append(f"{a.query}: {rule}")
            return
        self.shares[a.query] += a.share
        rate = query.rate_rps * query.count * a.share
        self.goodput += query.weight * rate
        whole = not query.splittable or any(o.stateful for o in pipeline.operators.values())
        if whole and abs(a.share * query.count - round(a.share * query.count)) > EPS:
            self.wrong.append(f"{a.query}: share {a.share} of an unsplittable query")
        for name in a.plan:
            self._step(pipeline, name, a.plan, rate)
        for _, _, x, y, size in moves(scenario, query, a.plan):
            if x != y:
                mbps = size * 8 / 1e6 * rate
                self.use["link", min(x, y), max(x, y)] += mbps
                for end in (x, y):
                    self.use["uplink", end] += mbps
        self.wrong += _promises(scenario, query, a.plan, a.estimate)
        for kind, usd in costs(scenario, query, a.plan).items():
            self.hourly[kind] += usd * rate * 3600

    def _step(self, pipeline: Pipeline, name: str, plan: Mapping[str, Step], rate: float) -> None:
        step, spec = plan[name], pipeline.operators[name]
        row = _row(self.scenario, pipeline, name, plan)
        self.opened.add(step.device)
        for resource, seconds in row.compute_s.items():
            self.use[resource, step.device] += seconds * rate
        key = (step.device, spec.run or name, step.config, step.batch)
        held = self.memory.get(key)
        if held is not None and held[1] != step.replicas:
            self.wrong.append(f"{key}: replicas differ")
        self.memory[key] = (max(row.memory_mb, held[0] if held else 0.0), step.replicas)
        self.busy[key] += rate * row.latency_ms.mean / 1e3 / step.batch
        # Of a query that never sends anything nobody waits in line.
        if rate > 0 and any(s > 0 for name, s in row.compute_s.items() if name != "cores"):
            self.in_line.add(key)
        if spec.stateful:
            self.stateful.add(key)


def _totals(scenario: Scenario, decision: Decision, sums: _Sums) -> list[str]:
    wrong = []
    rented = sum(
        scenario.class_of(d).price_usd_hour
        for d in sums.opened
        if scenario.class_of(d).billing is Billing.MACHINE
    )
    for kind, usd in {**sums.hourly, "machines": rented}.items():
        said = getattr(decision.deployment, kind)
        if not math.isclose(usd, said, rel_tol=EPS, abs_tol=1e-9):
            wrong.append(f"deployment {kind}: {usd} != {said}")
    if sorted(sums.opened) != list(decision.open_devices):
        wrong.append("open devices")
    if not math.isclose(sums.goodput, decision.goodput_rps, rel_tol=EPS, abs_tol=1e-9):
        wrong.append(f"goodput {sums.goodput} != {decision.goodput_rps}")
    if decision.bound_rps is not None and decision.goodput_rps > decision.bound_rps:
        wrong.append(f"goodput {decision.goodput_rps} above the bound {decision.bound_rps}")
    shares, turned = sums.shares, {r.query for r in decision.rejected}
    wrong += [f"{q}: shares sum to {s}" for q, s in shares.items() if s > 1 + EPS]
    for q in sums.queries:
        if shares[q] < 1 - EPS and q not in turned:
            wrong.append(f"{q}: neither served nor rejected")
        if shares[q] >= 1 - EPS / 10 and q in turned:
            wrong.append(f"{q}: served and rejected")
    return wrong


def _promises(
    scenario: Scenario, query: Query, plan: Mapping[str, Step], estimate: object
) -> list[str]:
    wrong = []
    slo, pipeline = query.slo, scenario.pipelines[query.pipeline]
    ms, usd = estimate.latency_ms, estimate.cost_usd_per_1000  # type: ignore[attr-defined]
    known = accuracy_of(scenario, pipeline, plan)
    if estimate.accuracy != known:  # type: ignore[attr-defined]
        wrong.append(f"{query.id}: accuracy promised is not the measured one")
    if slo.accuracy is not None and (known is None or known < slo.accuracy):
        wrong.append(f"{query.id}: accuracy {known}")
    if not math.isclose(
        usd, sum(costs(scenario, query, plan).values()) * 1e3, rel_tol=EPS, abs_tol=1e-12
    ):
        wrong.append(f"{query.id}: cost {usd}")
    if slo.cost_usd_per_1000 is not None and usd > slo.cost_usd_per_1000:
        wrong.append(f"{query.id}: cost {usd} above its limit")
    if slo.latency_ms is not None and ms > slo.latency_ms:
        wrong.append(f"{query.id}: latency {ms} above its limit")
    unloaded = latency(scenario, query, plan, alone=scenario.queueing)[0]
    if ms < unloaded * (1 - EPS):
        wrong.append(f"{query.id}: promises {ms} ms, the mean alone is {unloaded}")
    deterministic = all(_row(scenario, pipeline, n, plan).latency_ms.deterministic for n in plan)
    if not scenario.queueing and deterministic and not math.isclose(ms, unloaded, rel_tol=EPS):
        wrong.append(f"{query.id}: promises {ms} ms, it takes {unloaded}")
    return wrong


def _capacities(scenario: Scenario, sums: _Sums) -> list[str]:
    wrong = []
    top = scenario.max_utilisation
    for resource, amount in sums.use.items():
        if resource[0] == "link":
            link = scenario.network.between(resource[1], resource[2])
            assert link is not None
            limit = link.bandwidth_mbps * top
        elif resource[0] == "uplink":
            uplink = scenario.device[resource[1]].uplink_mbps
            limit = math.inf if uplink is None else uplink
        else:
            limit = scenario.class_of(resource[1]).resources[resource[0]] * top
        if amount > limit * (1 + EPS) + 1e-12:
            wrong.append(f"{resource}: {amount} of {limit}")
    held: dict[object, float] = defaultdict(float)
    for key, (size, replicas) in sums.memory.items():
        held[key[0]] += size * replicas
        taken = sums.busy[key] * (2 if key in sums.in_line else 1)
        least = max(1, math.ceil(taken / top - EPS)) if scenario.queueing else 1
        if replicas != least and key not in sums.stateful:
            wrong.append(f"{key}: {replicas} replicas, {least} are enough")
        if key in sums.stateful and (replicas != 1 or sums.busy[key] > top * (1 + EPS)):
            wrong.append(f"{key}: stateful, {replicas} replicas, busy {sums.busy[key]}")
    for device, size in held.items():
        limit = scenario.class_of(str(device)).memory_mb
        if size > limit * (1 + EPS):
            wrong.append(f"memory of {device}: {size} of {limit}")
    return wrong
