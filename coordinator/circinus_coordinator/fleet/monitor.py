"""What really happened: served requests against what was promised for them.

Devices count since their start and send the counts every second or so; here the differences are
kept in buckets of a few seconds. Definitions, for a query over a window:

* *submitted*: requests its lead started; *finished* = completed + shed + failed.
* *latency*: of completed requests, from source to delivery; quantiles within 1 %.
* A request *meets its latency SLO* if it completed within it (any completed one without an SLO).
* *accuracy*: mean score of completed requests that had a label. The floor counts as met unless
  it lies above the 95 % confidence interval of that mean: a handful of unlucky samples is no
  violation.
* *cost* of 1,000 requests: of each step, the core seconds measured per dispatched request at
  the price of the device's class, plus bytes sent at the links' prices, plus what operators
  metered. The cap counts as met up to 2 % above it.
* *goodput*: requests per second that met the latency SLO, if accuracy and cost are met for the
  query as a whole; else 0. *Attainment*: the same as a fraction of finished requests.

A device is believed only what it was asked for: counts of routes it leads and of instances it was
to run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from circinus.fleet import CORES
from circinus.histogram import Histogram
from circinus.messages import (
    DesiredBody,
    InstanceTelemetry,
    Route,
    RouteTelemetry,
    Telemetry,
)
from circinus.query import Slo
from circinus.scenario import Scenario
from circinus_coordinator.fleet.heard import Latest, Promised, few
from circinus_coordinator.fleet.routes import touched

__all__ = ["Measured", "Monitor", "Served"]

BUCKET_S = 2.0
COST_TOLERANCE = 0.02
_Z_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured in a window; the module says what each figure means.

    Attributes:
        seconds: Length of the part of the window that has data.
        latency_ms: At the SLO's percentile; None without a completed request, as the others.
        accuracy: None without a labelled request.
        cost_usd_per_1000: None before a request completed or its steps reported.
        attainment: None without a finished request.
        failed: By cause; `shed` ones are apart.
        accuracy_met: False where the floor was clearly missed.
        cost_met: False where the cap was exceeded.
    """

    seconds: float = 0.0
    submitted: int = 0
    finished: int = 0
    completed: int = 0
    within_latency: int = 0
    shed: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    latency_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    mean_ms: float | None = None
    accuracy: float | None = None
    scored: int = 0
    cost_usd_per_1000: float | None = None
    goodput_rps: float = 0.0
    attainment: float | None = None
    accuracy_met: bool = True
    cost_met: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an instance served between two messages of its device.

    Attributes:
        instance: Its key.
        full: Service times of full batches that went well.
        seconds: Between the messages.
    """

    instance: str
    full: Histogram
    seconds: float


@dataclass(slots=True)
class _RouteBucket:
    start: float
    end: float
    changed: bool = False
    submitted: int = 0
    completed: int = 0
    within: int = 0
    shed: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    scored: int = 0
    score_sum: float = 0.0
    price_usd: float = 0.0
    bytes: dict[str, float] = field(default_factory=dict)

    def add(self, now: RouteTelemetry, before: RouteTelemetry | None, route: Route) -> None:
        b = before or RouteTelemetry(query=now.query, plan=now.plan)
        self.submitted += now.submitted - b.submitted
        self.completed += now.completed - b.completed
        self.within += now.within_latency - b.within_latency
        self.shed += now.shed - b.shed
        self._fail({cause: n - b.failed.get(cause, 0) for cause, n in now.failed.items()})
        self.latency.merge(Histogram(now.latency).since(Histogram(b.latency)))
        self.scored += now.scored - b.scored
        self.score_sum += now.score_sum - b.score_sum
        self.price_usd += now.price_usd - b.price_usd
        devices = touched(route)
        sent = {
            hop: size for hop, size in now.network_bytes.items() if {*hop.split(">", 1)} <= devices
        }
        _grow(self.bytes, sent, b.network_bytes)

    def merge(self, other: _RouteBucket) -> None:
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        for name in ("submitted", "completed", "within", "shed", "scored"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._fail(other.failed)
        self.latency.merge(other.latency)
        self.score_sum += other.score_sum
        self.price_usd += other.price_usd
        _grow(self.bytes, other.bytes, {})

    def _fail(self, more: Mapping[str, int]) -> None:
        _grow(self.failed, few({c: n for c, n in more.items() if n}, set(self.failed)), {})


@dataclass(slots=True)
class _InstanceBucket:
    start: float
    end: float
    changed: bool = False
    requests: int = 0
    compute_s: float = 0.0

    def add(self, now: InstanceTelemetry, before: InstanceTelemetry | None) -> None:
        self.requests += now.requests - (before.requests if before else 0)
        self.compute_s += now.compute_s - (before.compute_s if before else 0.0)


_B = TypeVar("_B", _RouteBucket, _InstanceBucket)
_K = TypeVar("_K")
_N = TypeVar("_N", int, float)


def _grow(into: dict[str, _N], now: Mapping[str, _N], before: Mapping[str, _N]) -> None:
    for key, value in now.items():
        into[key] = into.get(key, 0) + value - before.get(key, 0)


class Monitor:
    """Keeps the counters of the last `horizon_s` seconds.

    Args:
        started: Present time. Counts of an incarnation that was there before are not taken for
            things that happened since.
        horizon_s: Longest window that can be asked for.
    """

    def __init__(self, started: float, *, horizon_s: float = 900.0) -> None:
        self._horizon_s = horizon_s
        self._latest = Latest(started)
        self._promised: dict[str, Promised] = {}
        self._routes: dict[tuple[str, str, str], deque[_RouteBucket]] = {}
        """By query, plan and lead."""
        self._instances: dict[tuple[str, str], deque[_InstanceBucket]] = {}
        """By device and key."""

    def telemetry(self, message: Telemetry, now: float, body: DesiredBody) -> list[Served]:
        """Take in what a device counted up to now.

        Args:
            message: Of the incarnation that is there, as the registry judges.
            body: What the device was told to run.

        Returns:
            What its instances served since its last message.
        """
        promised = self._promised.setdefault(message.device, Promised())
        promised.update(message.device, body, now)
        found = self._latest.take(message, now)
        if found is None:
            return []
        then, before = found
        self._take_routes(message, before, promised, then, now)
        served = self._take_instances(message, before, promised, then, now)
        _prune(self._routes, now - self._horizon_s)
        _prune(self._instances, now - self._horizon_s)
        return served

    def _take_routes(
        self, message: Telemetry, before: Telemetry, promised: Promised, then: float, now: float
    ) -> None:
        earlier = {(r.query, r.plan): r for r in before.routes}
        for name, counts in {(r.query, r.plan): r for r in message.routes}.items():
            route = promised.routes.get(name)
            if route is None:
                continue  # nothing it leads, or over: devices count for as long as they are up
            place = (*name, message.device)
            same = counts == earlier.get(name)
            if place not in self._routes and same:
                continue
            bucket = _present(self._routes.setdefault(place, deque()), _RouteBucket, then, now)
            bucket.changed |= not same
            bucket.add(counts, earlier.get(name), route)

    def _take_instances(
        self, message: Telemetry, before: Telemetry, promised: Promised, then: float, now: float
    ) -> list[Served]:
        served = []
        earlier = {i.key: i for i in before.instances}
        for key, counts in {i.key: i for i in message.instances}.items():
            if not promised.has_instance(key):
                continue
            place = (message.device, key)
            same = counts == earlier.get(key)
            if place not in self._instances and same:
                continue
            held = _present(self._instances.setdefault(place, deque()), _InstanceBucket, then, now)
            held.changed |= not same
            held.add(counts, earlier.get(key))
            full = Histogram(counts.full)
            if key in earlier:
                full = full.since(Histogram(earlier[key].full))
            served.append(Served(instance=key, full=full, seconds=now - then))
        return served

    def last(self, device: str) -> Telemetry | None:
        """The latest of a device."""
        return self._latest.last(device)

    def plans(self, query: str) -> list[str]:
        """Plans of a query that have counts, by id."""
        return sorted({plan for name, plan, _ in self._routes if name == query})

    def measured(
        self,
        query: str,
        slo: Slo,
        *,
        now: float,
        window_s: float,
        routes: Iterable[Route],
        scenario: Scenario,
        plan: str | None = None,
    ) -> Measured:
        """Figures of a query, or of one of its plans.

        Args:
            routes: Of the query, for the steps and devices behind a plan id.
            scenario: For prices.
        """
        since = now - window_s
        known = {route.plan: route for route in routes}
        total: _RouteBucket | None = None
        usd = 0.0
        priced = 0
        for (name, plan_id, _), series in self._routes.items():
            if name != query or plan not in (None, plan_id):
                continue
            part = _joined(bucket for bucket in series if bucket.end > since)
            if part is None:
                continue
            if part.completed and plan_id in known:
                cost = self._usd(part, known[plan_id], scenario, since)
                if cost is not None:
                    usd += cost
                    priced += part.completed
            if total is None:
                total = part
            else:
                total.merge(part)
        return _figures(total, slo, usd / priced * 1000 if priced else None)

    def _usd(
        self, part: _RouteBucket, route: Route, scenario: Scenario, since: float
    ) -> float | None:
        """Cost of a plan's completed requests; None where a step has not reported."""
        usd = part.price_usd
        for step in route.steps:
            series = self._instances.get((step.device, step.instance), ())
            recent = [bucket for bucket in series if bucket.end > since]
            requests = sum(bucket.requests for bucket in recent)
            if not requests or step.device not in scenario.device:
                return None
            seconds = sum(bucket.compute_s for bucket in recent) / requests
            usd += part.completed * scenario.class_of(step.device).usage_cost_usd({CORES: seconds})
        for hop, size in part.bytes.items():
            start, _, end = hop.partition(">")
            if start in scenario.device and end in scenario.device:
                link = scenario.network.between(start, end)
                usd += link.cost_usd(size) if link else 0.0
        return usd


def _prune(table: dict[_K, deque[_B]], since: float) -> None:
    for name in list(table):
        series = table[name]
        if not series or series[0].end >= since:
            continue
        while series and series[0].end < since:
            series.popleft()
        if not any(bucket.changed for bucket in series):
            del table[name]


def _present(series: deque[_B], kind: type[_B], then: float, now: float) -> _B:
    """The bucket to count into, which from now on reaches up to `now`."""
    if series and now - series[-1].start <= BUCKET_S:
        series[-1].end = now
    else:
        series.append(kind(start=then, end=now))
    return series[-1]


def _joined(buckets: Iterable[_RouteBucket]) -> _RouteBucket | None:
    total: _RouteBucket | None = None
    for bucket in buckets:
        if total is None:
            total = _RouteBucket(start=bucket.start, end=bucket.end)
        total.merge(bucket)
    return total


def _figures(total: _RouteBucket | None, slo: Slo, cost: float | None) -> Measured:
    if total is None:
        return Measured()
    finished = total.completed + total.shed + sum(total.failed.values())
    within = total.completed if slo.latency_ms is None else total.within
    accuracy = total.score_sum / total.scored if total.scored else None
    accuracy_met = accuracy is None or not _missed(accuracy, total.scored, slo.accuracy)
    cap = slo.cost_usd_per_1000
    cost_met = cost is None or cap is None or cost <= cap * (1 + COST_TOLERANCE)
    good = within if accuracy_met and cost_met else 0
    seconds = total.end - total.start
    return Measured(
        seconds=seconds,
        submitted=total.submitted,
        finished=finished,
        completed=total.completed,
        within_latency=within,
        shed=total.shed,
        failed={cause: n for cause, n in total.failed.items() if n},
        latency_ms=total.latency.quantile(slo.percentile / 100),
        p50_ms=total.latency.quantile(0.5),
        p95_ms=total.latency.quantile(0.95),
        mean_ms=total.latency.mean,
        accuracy=accuracy,
        scored=total.scored,
        cost_usd_per_1000=cost,
        goodput_rps=good / seconds if seconds > 0 else 0.0,
        attainment=good / finished if finished else None,
        accuracy_met=accuracy_met,
        cost_met=cost_met,
    )


def _missed(mean: float, samples: int, floor: float | None) -> bool:
    """True where the floor lies above the upper end of the Wilson interval of the mean.

    Scores lie in [0, 1], so a Bernoulli variable of the same mean has the largest variance:
    the interval of a proportion is on the safe side. Wilson, JASA 1927.
    """
    if floor is None:
        return False
    z2 = _Z_95**2
    centre = mean + z2 / (2 * samples)
    spread = _Z_95 * math.sqrt(mean * (1 - mean) / samples + z2 / (4 * samples**2))
    return (centre + spread) / (1 + z2 / samples) < floor
