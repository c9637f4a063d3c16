"""Plans, estimated: what SLOs are drawn from and contention is measured with.

Not the planner: a flat allowance for waiting, one machine per tier in a plan, and of the config
vectors only some of those measured. It need not be exact; it must be cheap, and the same
everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import BYTES_PER_GB, DeviceClass
from circinus.pipeline import Deliver
from circinus.scenario import DEFAULT_MAX_UTILISATION as MAX_UTILISATION
from circinus_coordinator.generation.fleet import Access, access_row, tier_links
from circinus_coordinator.generation.profiles import K95, K99
from circinus_coordinator.generation.tables import AccuracyTable
from circinus_coordinator.generation.templates import PipelineTemplate

__all__ = ["Path", "Plans", "Reference", "Resource"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# What a pool of like machines offers: ("cores" or "gpu", tier, pool) in seconds per second,
# ("memory", tier, pool) in megabytes, ("uplink", access, pool) in megabits per second. A pool is
# named after its class, or where one device makes a pool, after the device.
Resource = tuple[str, str, str]
# Of an accuracy table, the first (the good ones, see `tables`) and so many more by accuracy.
_GOOD, _SPREAD = 40, 120
# With queueing, machines are counted on up to here: the last of `max_utilisation` is of no use to
# queries in a hurry (chosen so that the planner reaches about the contention asked for).
BUSY = 0.6
# Every step waits as long as it takes, on average, with as much deviation: M/M/1 at half load.
# Without it, what fits by this estimate would mostly be refused for the waiting it causes.
_WAITING = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Where a query comes from, as far as plans can tell.

    Attributes:
        device_class: Of the source.
        access: How it reaches the rest.
        apart: A pipeline's two sources are two devices.
        pool: The source device where it is a pool of its own.
    """

    device_class: str
    access: Access
    apart: bool = False
    pool: str = ""

    @property
    def source(self) -> str:
        """The pool its source belongs to."""
        return self.pool or self.device_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """Plans of one pipeline from one kind of source; arrays `(placements, vectors)`.

    Attributes:
        latency_ms: By percentile (95 and 99); `inf` where a plan is not possible.
        usd: Cost per request.
        accuracy: `(vectors,)`.
        uses: What a request takes of each resource: seconds, megabits, and megabyte-seconds of
            the workers it keeps busy.
    """

    latency_ms: Mapping[float, FloatArray]
    usd: FloatArray
    accuracy: FloatArray
    uses: Mapping[Resource, FloatArray]

    def feasible(
        self, percentile: float, latency_ms: float | None, accuracy: float | None, usd: float | None
    ) -> npt.NDArray[np.bool_]:
        """Plans within the limits, `(placements, vectors)`."""
        found = np.isfinite(self.latency_ms[percentile])
        if latency_ms is not None:
            found &= self.latency_ms[percentile] <= latency_ms
        if accuracy is not None:
            found &= self.accuracy >= accuracy
        if usd is not None:
            found &= self.usd <= usd
        return found


class Reference:
    """Estimates plans on machines of a fleet.

    Attributes:
        utilisation: Of machines, up to which the estimate counts on them.
    """

    def __init__(
        self,
        tiers: Sequence[str],
        classes: Mapping[str, Sequence[str]],
        machines: Mapping[str, DeviceClass],
        *,
        queueing: bool,
    ) -> None:
        self._tiers, self._classes, self._machines = tiers, classes, machines
        self.utilisation = BUSY if queueing else MAX_UTILISATION
        self._queueing = queueing
        self._between = {
            frozenset(row.between): (row.rtt_ms, row.bandwidth_mbps, row.price_usd_gb)
            for row in tier_links(tiers)
        }
        self._outer = [(tier, name) for tier in tiers[1:] for name in classes[tier]]

    def plans(self, template: PipelineTemplate, table: AccuracyTable, path: Path) -> Plans:
        """All plans the estimate knows."""
        slots = [(self._tiers[0], path.device_class), *self._outer]
        placements = self._placements(template, table, path.apart)
        vectors, accuracy = _vectors(table)
        hops = self._hops(path, slots)
        tally = _Tally((len(placements), len(vectors)), slots, path)
        done: dict[str, tuple[FloatArray, FloatArray]] = {}
        home = np.zeros(len(placements), dtype=np.int64)
        names = list(template.needs)
        for k, name in enumerate(names):
            mean, variance = tally.zeros(), tally.zeros()
            size: FloatArray
            if name in template.input_bytes:
                size = np.full(len(vectors), template.input_bytes[name])
                mean = tally.move(hops, home, placements[:, k], size)
            for need in template.needs[name]:
                n = names.index(need)
                size = table.operators[n].output_bytes[vectors[:, n]]
                moved = tally.move(hops, placements[:, n], placements[:, k], size)
                mean = _larger(mean, done[need][0] + moved)
                variance = _larger(variance, done[need][1])
            own = self._step(tally, table, k, placements[:, k], vectors[:, k])
            done[name] = mean + own[0], variance + own[1]
        needed = {need for needs in template.needs.values() for need in needs}
        mean, variance = tally.zeros(), tally.zeros()
        for k, name in enumerate(names):
            if name in needed:
                continue
            end = done[name][0]
            if template.deliver is Deliver.SOURCE:
                size = table.operators[k].output_bytes[vectors[:, k]]
                end = end + tally.move(hops, placements[:, k], home, size)
            mean, variance = _larger(mean, end), _larger(variance, done[name][1])
        deviation = np.sqrt(variance)
        return Plans(
            latency_ms={95.0: mean + K95 * deviation, 99.0: mean + K99 * deviation},
            usd=tally.usd,
            accuracy=accuracy,
            uses=tally.uses,
        )

    def _step(
        self, tally: _Tally, table: AccuracyTable, k: int, at: IntArray, configs: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of a step's service; books what it takes and costs."""
        op = table.operators[k]
        kinds = [name for _, name in tally.slots]
        mean = np.stack([op.mean_ms[name] for name in kinds])[at][:, configs]
        deviation = np.stack([op.deviation_ms[name] for name in kinds])[at][:, configs]
        cores = np.stack([op.cores_s[name] for name in kinds])[at][:, configs]
        gpu = np.stack([op.gpu_s[name] for name in kinds])[at][:, configs]
        rate = np.array([self._machines[name].price_usd_hour / 3600 for name in kinds])[at]
        amount = np.array([self._machines[name].cores for name in kinds])[at]
        dominant = np.maximum(cores / amount[:, None], gpu)  # every accelerator here counts 1
        tally.usd += rate[:, None] * dominant + op.price_usd[configs]
        # With queueing, workers multiply with the load, and each holds its memory.
        busy_s = np.where(np.isinf(mean), 0.0, mean) / 1e3
        held = busy_s * op.memory_mb[configs] / self.utilisation if self._queueing else 0 * busy_s
        for s, (tier, name) in enumerate(tally.slots):
            here = (at == s)[:, None]
            if here.any():
                pool = tally.pool(s)
                tally.take(("cores", tier, pool), np.where(here, cores, 0.0))
                tally.take(("memory", tier, pool), np.where(here, held, 0.0))
                if self._machines[name].accelerators:
                    tally.take(("gpu", tier, pool), np.where(here, gpu, 0.0))
        waiting = _WAITING * np.where(np.isinf(mean), 0.0, mean)
        return mean + waiting, deviation * deviation + waiting * waiting

    def _placements(
        self, template: PipelineTemplate, table: AccuracyTable, apart: bool
    ) -> IntArray:
        """`(placements, operators)` slots: outwards only, one class per tier.

        Sources that are apart meet beyond their tier.
        """
        names = list(template.needs)
        allowed = [op.template.tiers or tuple(self._tiers) for op in table.operators]
        found: list[tuple[int, ...]] = []

        def extend(steps: tuple[int, ...]) -> None:
            k = len(steps)
            if k == len(names):
                found.extend(self._bound(steps))
                return
            needs = template.needs[names[k]]
            least = max((steps[names.index(need)] for need in needs), default=0)
            if apart and len(needs) > 1:
                least = max(least, 1)
            for tier in range(least, len(self._tiers)):
                if self._tiers[tier] in allowed[k]:
                    extend((*steps, tier))

        extend(())
        return np.array(found, dtype=np.int64)

    def _bound(self, steps: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The tiers of a placement as slots, for each choice of classes."""
        used = sorted(set(steps) - {0})
        options = [
            [1 + i for i, (tier, _) in enumerate(self._outer) if tier == self._tiers[t]]
            for t in used
        ]
        return [
            tuple({0: 0, **dict(zip(used, chosen, strict=True))}[t] for t in steps)
            for chosen in itertools.product(*options)
        ]

    def _hops(self, path: Path, slots: Sequence[tuple[str, str]]) -> FloatArray:
        """`(3, slots, slots)`: rtt/2 in ms, ms per byte, USD per byte."""
        hops = np.zeros((3, len(slots), len(slots)))
        for i, j in itertools.permutations(range(len(slots)), 2):
            ends = frozenset((slots[i][0], slots[j][0]))
            if 0 in (i, j):
                rtt, mbps, usd = access_row(path.access, slots[i or j][0])
            elif ends in self._between:
                rtt, mbps, usd = self._between[ends]
            else:
                continue  # no placement has two classes of one tier
            hops[:, i, j] = rtt / 2, 8e-3 / mbps, usd / BYTES_PER_GB
        return hops


def _larger(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(a, b))


class _Tally:
    """Costs and uses of all plans, summed operator by operator."""

    def __init__(
        self, shape: tuple[int, int], slots: Sequence[tuple[str, str]], path: Path
    ) -> None:
        self.shape, self.slots = shape, slots
        self.usd: FloatArray = np.zeros(shape)
        self.uses: dict[Resource, FloatArray] = {}
        self._path = path
        self._uplink: Resource = ("uplink", path.access.name, path.source)

    def pool(self, slot: int) -> str:
        return self.slots[slot][1] if slot else self._path.source

    def zeros(self) -> FloatArray:
        return np.zeros(self.shape)

    def take(self, resource: Resource, amount: FloatArray) -> None:
        self.uses[resource] = self.uses.get(resource, self.zeros()) + amount

    def move(self, hops: FloatArray, a: IntArray, b: IntArray, size: FloatArray) -> FloatArray:
        """Time of a transfer between the slots of each placement; books its price."""
        base, per_byte, usd = hops[:, a, b]
        self.usd += usd[:, None] * size
        carried = ((a == 0) != (b == 0))[:, None]
        if carried.any():
            self.take(self._uplink, carried * size * 8e-6)
        return np.asarray(base[:, None] + per_byte[:, None] * size)


def _vectors(table: AccuracyTable) -> tuple[IntArray, FloatArray]:
    """Some of the table's vectors, with neutral knobs all at their first or all at their last."""
    count = len(table.mean)
    rest = np.argsort(-table.mean[_GOOD:], kind="stable") + _GOOD
    if len(rest) > _SPREAD:
        rest = rest[(np.arange(_SPREAD) * (len(rest) - 1)) // (_SPREAD - 1)]
    chosen = np.concatenate([np.arange(min(_GOOD, count)), rest])
    plain = table.vectors[chosen]
    last = plain.copy()
    for k, op in enumerate(table.operators):
        ends = np.arange(len(op.configs))
        np.maximum.at(ends, op.first, np.arange(len(op.configs)))
        last[:, k] = ends[plain[:, k]]
    accuracy = table.mean[chosen]
    if (last == plain).all():
        return plain, accuracy
    return np.concatenate([plain, last]), np.concatenate([accuracy, accuracy])
