"""A menu's latencies at the present loads, all entries at once.

The judge looks at one plan at a time and takes a millisecond for it. This says beforehand which
entries of a menu are worth asking about: mean and variance of waiting as arrays, each step as if
the plan's other steps were elsewhere, on the freest machine of its slot. Mostly below what the
judge says, who convolves and knows what waits in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config, Deliver
from circinus.query import Query
from circinus_coordinator.planning.baselines.entries import Entries
from circinus_coordinator.planning.baselines.tables import Table
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.holding import meeting
from circinus_coordinator.planning.latency import (
    SUMS,
    Station,
    Wait,
    gaps_scv,
    lengthened,
    percentile_factor,
    service_moments,
    service_variance,
    wait,
)
from circinus_coordinator.planning.loads import SLACK, Ledger
from circinus_coordinator.planning.placed import arrival_scv
from circinus_coordinator.planning.programme import STATION_PERCENTILE
from circinus_coordinator.planning.uses import taken

__all__ = ["Ways"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """The distinct steps of a menu, `(steps,)`."""

    slot: IntArray
    key: tuple[tuple[str, Config, int], ...]  # (implementation, config, batch)
    stateful: npt.NDArray[np.bool_]
    batch: FloatArray
    mean: FloatArray
    variance: FloatArray
    second: FloatArray
    third: FloatArray
    compute: FloatArray  # (steps, resources)


class Ways:
    """What does not depend on load: steps and transfers of a menu's entries.

    Args:
        entries: The menu.
        table: The pipeline.
        view: What the sources see.
    """

    def __init__(self, entries: Entries, table: Table, view: View) -> None:
        self.table, self.view = table, view
        kinds = {kind: k for k, kind in enumerate(table.kinds)}
        found: dict[tuple[int, int, int, int], int] = {}
        self.at: IntArray = np.zeros(entries.slots.shape, dtype=np.int64)
        for e in range(len(entries)):
            pick = int(entries.pick[e])
            for k in range(len(table.order)):
                step = (k, int(entries.slots[e, k]), int(entries.configs[e, k]), pick)
                self.at[e, k] = found.setdefault(step, len(found))
        self.steps = _steps(list(found), table, [kinds[kind] for kind in view.kind])
        self._slots = entries.slots
        self._size = np.zeros(entries.slots.shape)
        kind = np.array([kinds[kind] for kind in view.kind], dtype=np.int64)
        for k in range(len(table.order)):
            for which, picks in enumerate(table.picks):
                rows = entries.pick == which
                at = (kind[entries.slots[rows, k]], entries.configs[rows, k])
                self._size[rows, k] = picks[k].size[at]

    def latency_ms(
        self, query: Query, ledger: Ledger, machines: list[str], share: float
    ) -> FloatArray:
        """Estimates `(entries,)` with `share` of the query on top of the ledger's loads."""
        waits = self._waits(query, ledger, machines, share)
        mean, variance = self.steps.mean + waits[0], self.steps.variance + waits[1]
        table = self.table
        position = {name: k for k, name in enumerate(table.order)}
        done: list[tuple[FloatArray, FloatArray]] = []
        zero: FloatArray = np.zeros(len(self.at))
        for k, name in enumerate(table.order):
            ready, spread = zero, zero
            needs = table.pipeline.operators[name].needs
            for need in (position[n] for n in needs):
                moved = self._hop(self._slots[:, need], self._slots[:, k], self._size[:, need])
                ready = np.maximum(ready, done[need][0] + moved)
                spread = np.maximum(spread, done[need][1])
            if not needs:
                home = self.view.sources[table.pipeline.sources.index(name)]
                sizes = np.full(len(self.at), float(table.pipeline.input_bytes[name]))
                ready = self._hop(np.full(len(self.at), home), self._slots[:, k], sizes)
            done.append((ready + mean[self.at[:, k]], spread + variance[self.at[:, k]]))
        last, spread = zero, zero
        for k in (position[name] for name in table.pipeline.sinks):
            back = zero
            if table.pipeline.deliver is Deliver.SOURCE:
                home = self.view.sources[0]
                back = self._hop(self._slots[:, k], np.full(len(self.at), home), self._size[:, k])
            last, spread = np.maximum(last, done[k][0] + back), np.maximum(spread, done[k][1])
        return np.asarray(last + percentile_factor(query.slo.percentile) * np.sqrt(spread))

    def _hop(self, start: IntArray, end: IntArray, size: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            moving = np.where(size > 0, size * self.view.ms_per_byte[start, end], 0.0)
        return np.asarray(self.view.base_ms[start, end] + moving)

    def _waits(
        self, query: Query, ledger: Ledger, machines: list[str], share: float
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of each step's waiting, own load included."""
        steps, own = self.steps, self._own(query, share)
        held, compute = self._held(ledger, machines)
        total = {name: held[name] + own[name] for name in SUMS}
        limit = ledger.scenario.max_utilisation
        names = self.table.catalogue.resources
        longer = [taken(dict(zip(names, row, strict=True))) for row in steps.compute + compute]
        replicas = np.maximum(1.0, np.ceil(total["busy"] * longer / limit * (1 - SLACK)))
        replicas = np.where(steps.stateful, 1.0, replicas)
        rate = query.rate_rps * query.count * share
        mean: FloatArray = np.zeros(len(replicas))
        variance: FloatArray = np.zeros(len(replicas))
        for column, name in enumerate(self.table.catalogue.resources):
            use = steps.compute[:, column]
            if use.any():
                loads = (use * rate, compute[:, column] + use * rate, total["busy"])
                more = self._device(ledger, machines, name, own, loads, replicas)
                mean, variance = mean + more[0], variance + more[1]  # lines in a row
        kept = lengthened(total, Wait(mean, variance))
        devices = self.table.catalogue.corrections.devices
        factor = np.array([devices.get(m, 1.0) for m in machines])[steps.slot]
        found = wait(
            **kept, servers=replicas, utilisation=kept["busy"] / replicas, batch=steps.batch
        )
        return (found.mean + mean) * factor, (found.variance + variance) * factor**2

    def _own(self, query: Query, share: float) -> dict[str, FloatArray]:
        """What the query's own requests add to each step's station."""
        steps, count = self.steps, query.count * share
        rate = query.rate_rps * query.count * share / 1e3 / steps.batch
        return {
            "rate": rate,
            "busy": rate * steps.mean,
            "second": rate * steps.second,
            "third": rate * steps.third,
            "scv": rate * gaps_scv(arrival_scv(query), count),
            "squares": rate * rate / max(1.0, count),
            "clock": rate * rate / max(1.0, count) if arrival_scv(query) == 0 else 0.0 * rate,
            "waited": 0.0 * rate,
        }

    def _held(
        self, ledger: Ledger, machines: list[str]
    ) -> tuple[dict[str, FloatArray], FloatArray]:
        """What each step's instance carries already, and what it computes."""
        steps = self.steps
        held: dict[str, FloatArray] = {name: np.zeros(len(steps.slot)) for name in SUMS}
        compute: FloatArray = np.zeros_like(steps.compute)
        resources = self.table.catalogue.resources
        for k, (slot, key) in enumerate(zip(steps.slot.tolist(), steps.key, strict=True)):
            device = machines[slot]
            instances = ledger.instances.get(device)
            found = instances.get((device, *key)) if instances else None
            if found is not None:
                for name in SUMS:
                    held[name][k] = getattr(found.station, name)
                compute[k] = [found.compute.get(r, 0.0) for r in resources]
        return held, compute

    def _device(
        self,
        ledger: Ledger,
        machines: list[str],
        name: str,
        own: Mapping[str, FloatArray],
        loads: tuple[FloatArray, FloatArray, FloatArray],
        replicas: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Waiting for the machine itself, as `Ledger.line`."""
        steps, (mine, instance, busy) = self.steps, loads
        sums = {field: np.zeros(len(machines)) for field in SUMS}
        for slot in np.unique(steps.slot).tolist():
            station = ledger.stations.get((name, machines[slot]), Station())
            for field in SUMS:
                sums[field][slot] = getattr(station, field)
        total = {field: sums[field][steps.slot] + own[field] for field in SUMS}
        after = np.zeros((4, len(busy)))
        for k in np.flatnonzero(mine > 0).tolist():
            device = machines[int(steps.slot[k])]
            amount = ledger.scenario.class_of(device).resources.get(name, 0.0)
            load = (instance[k], busy[k], int(replicas[k]))
            holding = ledger.holding((name, device))
            after[:, k] = meeting(holding, (device, *steps.key[k]), (name, amount), load)
        held, others, chance, size = after
        size = np.maximum(size, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = wait(
                **total,
                servers=size * total["busy"] / np.maximum(held, 1e-300),
                utilisation=np.where(held >= size, 1.0, others / size),
                batch=np.ones(len(busy)),
                chance=chance,
            )
        none = (mine <= 0) | (chance <= 0)
        return np.where(none, 0.0, found.mean), np.where(none, 0.0, found.variance)


def _steps(found: list[tuple[int, int, int, int]], table: Table, kinds: list[int]) -> _Steps:
    rows = [table.picks[pick][k].rows[kinds[slot], config] for k, slot, config, pick in found]
    operators = [table.pipeline.operators[table.order[k]] for k, _, _, _ in found]
    mean = np.array([row.latency_ms.mean for row in rows], dtype=np.float64)
    station = np.array([service_variance(row.latency_ms, STATION_PERCENTILE) for row in rows])
    second, third = service_moments(mean, station.astype(np.float64))
    resources = table.catalogue.resources
    return _Steps(
        slot=np.array([slot for _, slot, _, _ in found], dtype=np.int64),
        key=tuple(
            (spec.implementation, row.config, row.batch)
            for spec, row in zip(operators, rows, strict=True)
        ),
        stateful=np.array([spec.stateful for spec in operators], dtype=bool),
        batch=np.array([row.batch for row in rows], dtype=np.float64),
        mean=mean,
        variance=np.array(
            [service_variance(row.latency_ms, table.percentile) for row in rows], dtype=np.float64
        ),
        second=second,
        third=third,
        compute=np.array(
            [[row.compute_s.get(r, 0.0) for r in resources] for row in rows], dtype=np.float64
        ).reshape(len(rows), len(resources)),
    )
