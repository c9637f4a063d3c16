"""What each option of a programme costs at the present load and prices.

Turns the ledger into numbers the label-setting search adds up: service and waiting time with
the query's own load included, cost, priced value, and which options fit at all. Two steps of
one plan on one device are priced as if the other were not there; the finished plan is judged
again with both (`evaluate`, `selection`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.loads import SLACK, Ledger
from circinus_coordinator.planning.programme import Programme, StepOptions
from circinus_coordinator.planning.uses import MEMORY, UPLINK, WORKER, Resource, link
from circinus_coordinator.planning.waiting import Base

__all__ = ["Choice", "Moving", "Pricing", "offers"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Weight of the tie-breakers (relative use of machines, distance from the previous plan) against
# the price of the whole plan: far below what anybody pays, far above rounding.
_TIE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One operator's options at the present load and prices; arrays `(options,)`.

    Attributes:
        allowed: Options that may be taken.
        mean: Service and waiting time, ms.
        variance: ms².
        usd: Cost per request.
        value: What taking it costs by present prices; `(m, options)` where `m` are asked about.
    """

    allowed: BoolArray
    mean: FloatArray
    variance: FloatArray
    usd: FloatArray
    value: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Value of moving a byte between slots, `(n, n)`, from sources and back, `(n,)`.

    `max_bytes` says how much may move at most, by (producer, consumer) position; None stands
    for the source or the sink.
    """

    hop: FloatArray
    entry: Mapping[int, FloatArray]
    exit: FloatArray
    max_bytes: dict[tuple[int | None, int | None], FloatArray] = field(default_factory=dict)

    def at(self, index: npt.NDArray[np.int64]) -> Moving:
        """For some of the askers."""
        entry = {k: value[index] for k, value in self.entry.items()}
        return replace(self, hop=self.hop[index], entry=entry, exit=self.exit[index])

    def stacked(self) -> Moving:
        """The same with a first axis of length one: the only prices of one."""
        entry = {k: value[None] for k, value in self.entry.items()}
        return replace(self, hop=self.hop[None], entry=entry, exit=self.exit[None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What things are worth at present.

    Attributes:
        usd: Value of a US dollar.
        of: Value per unit of a resource (core-second, megabit, ...), 0 where not listed.
        previous: The step each operator had before: (device, config, batch).
        closed: Devices nothing may be placed on.
    """

    usd: float = 1.0
    of: Mapping[Resource, float] = field(default_factory=dict)
    previous: Mapping[str, tuple[str, object, int]] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()


def offers(
    programme: Programme,
    ledger: Ledger,
    pricing: Pricing,
    *,
    rate_rps: float,
    streams: float = 1.0,
    scv: float = 1.0,
) -> tuple[list[Choice], Moving]:
    """Price every option for a query that would add `rate_rps` from `streams` sources."""
    scale = max((float(s.usd.max()) for s in programme.steps if len(s.usd)), default=0.0)
    tie = _TIE * (scale * pricing.usd or 1.0)
    choices = [
        _choice(programme, step, ledger, pricing, tie, (rate_rps, streams, scv))
        for step in programme.steps
    ]
    return choices, _moving(programme, ledger, pricing, rate_rps)


def _choice(
    programme: Programme,
    step: StepOptions,
    ledger: Ledger,
    pricing: Pricing,
    tie: float,
    stream: tuple[float, float, float],
) -> Choice:
    rate_rps = stream[0]
    base = Base(programme, step, ledger)
    new = base.with_own(stream)
    memory = base.memory(step, new["busy"]) - base.memory(step, base.sums["busy"]) * base.exists
    allowed = memory <= np.array([ledger.free((MEMORY, d)) for d in programme.devices])[
        step.slot
    ] * (1 + SLACK)
    if pricing.closed:
        allowed &= ~np.array([d in pricing.closed for d in programme.devices])[step.slot]
    value = step.usd * pricing.usd
    for column, name in enumerate(programme.resources):
        use = step.compute[:, column]
        if not use.any():
            continue
        resources = [(name, device) for device in programme.devices]
        capacity = np.array([ledger.capacity(r) for r in resources])
        free = np.maximum(capacity - [ledger.load(r) for r in resources], 0.0) + SLACK * capacity
        allowed &= (use <= 0) | (use * rate_rps <= free[step.slot])
        prices = np.array([pricing.of.get(r, 0.0) for r in resources])
        relative = np.where(use > 0, use / np.maximum(capacity[step.slot], 1e-12), 0.0)
        value = value + use * prices[step.slot] + tie * relative
    memory_prices = np.array([pricing.of.get((MEMORY, d), 0.0) for d in programme.devices])
    if memory_prices.any():
        value = value + memory * memory_prices[step.slot] / max(rate_rps, 1e-9)
    allowed &= ~base.single | (new["busy"] <= ledger.capacity((WORKER,)) * (1 + SLACK))
    value = value + tie * _moved(programme, step, pricing)
    mean, variance = step.mean, step.variance
    if programme.scenario.queueing:
        waits = base.waits(new)
        mean, variance = mean + waits[0], variance + waits[1]
        allowed &= np.isfinite(mean)
    return Choice(allowed=allowed, mean=mean, variance=variance, usd=step.usd, value=value)


def _moved(programme: Programme, step: StepOptions, pricing: Pricing) -> FloatArray:
    """1 for each option that differs from the previous step, 0 without one."""
    before = pricing.previous.get(step.name)
    if before is None:
        return np.zeros(len(step.rows))
    return np.array(
        [
            float((programme.devices[slot], row.config, row.batch) != before)
            for slot, row in zip(step.slot, step.rows, strict=True)
        ]
    )


def _moving(programme: Programme, ledger: Ledger, pricing: Pricing, rate_rps: float) -> Moving:
    scenario, devices = programme.scenario, programme.devices
    most = np.full((len(devices), len(devices)), np.inf)
    price = np.zeros((len(devices), len(devices)))

    def between(a: str, b: str) -> tuple[float, float]:
        if a == b:
            return 0.0, np.inf
        resources = [
            link(a, b),
            *((UPLINK, end) for end in (a, b) if scenario.device[end].uplink_mbps is not None),
        ]
        value = sum(pricing.of.get(r, 0.0) for r in resources) * 8e-6
        free = min(ledger.free(r) + SLACK * ledger.capacity(r) for r in resources)
        return value, free / (8e-6 * rate_rps) if rate_rps > 0 else np.inf

    for i, a in enumerate(devices):
        for j, b in enumerate(devices):
            price[i, j], most[i, j] = between(a, b)
    usd = pricing.usd
    limits: dict[tuple[int | None, int | None], FloatArray] = {}
    entry: dict[int, FloatArray] = {}
    for k, step in enumerate(programme.steps):
        for need in step.needs:
            limits[need, k] = most
        if k in programme.entry:
            source = programme.query.source[step.name]
            pairs = [between(source, device) for device in devices]
            entry[k] = programme.entry[k][0].usd_per_byte * usd + [value for value, _ in pairs]
            limits[None, k] = np.array([limit for _, limit in pairs])
    exits: FloatArray = np.zeros(len(devices))
    if programme.exits is not None:
        home = programme.query.source[programme.pipeline.sources[0]]
        pairs = [between(device, home) for device in devices]
        exits = programme.exits.usd_per_byte * usd + [value for value, _ in pairs]
        for k, last in enumerate(programme.last_use):
            if last == k:
                limits[k, None] = np.array([limit for _, limit in pairs])
    return Moving(
        hop=programme.hops.usd_per_byte * usd + price, entry=entry, exit=exits, max_bytes=limits
    )
